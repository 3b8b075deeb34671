"""Small arrays in place of transformed splits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from sqidflow.ranking import features

DIM = 6


def unit_rows(rng: np.random.Generator, count: int, dim: int) -> np.ndarray:
    vectors = rng.standard_normal((count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="session")
def inputs_of() -> Callable[..., dict[str, np.ndarray]]:
    """Transformed features of ``count`` pairs, by name, for any model."""

    def make(count: int, seed: int = 0, dim: int = DIM) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(seed)
        vectors = {name: unit_rows(rng, count, dim) for name in features.VECTORS}
        return {
            **vectors,
            features.HAS_IMAGE: np.ones((count, 1), np.float32),
            features.COSINES: rng.uniform(-1, 1, (count, len(features.COSINE_NAMES))).astype(np.float32),
            features.LEXICAL: rng.uniform(0, 1, (count, len(features.LEXICAL_NAMES))).astype(np.float32),
            features.RELATIVE: rng.uniform(0, 1, (count, len(features.RELATIVE_NAMES))).astype(np.float32),
            features.RETRIEVAL: rng.uniform(0, 1, (count, len(features.RETRIEVAL_NAMES))).astype(np.float32),
        }

    return make
