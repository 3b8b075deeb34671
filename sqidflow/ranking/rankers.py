"""What ranks candidates: the protocol that the search core knows, and the ranker that needs no training."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Protocol

import numpy as np

from sqidflow.core.model_files import ZERO_SHOT_VERSION
from sqidflow.ranking import features

ZERO_SHOT_NAME = "zero-shot, not trained"
_COSINE_WEIGHT = 0.7


@dataclass(frozen=True)
class Candidates:
    """What a ranker may read of one query and n products; float32, ``query_vec`` [d], the others [n, ...].

    ``text`` and ``image`` are unit vectors. ``bm25`` is the score of the query's words, 0 where it has none; ``fusion``
    is that and the cosine together, see :func:`zero_shot_scores`.
    """

    query_vec: np.ndarray
    text: np.ndarray
    image: np.ndarray
    has_image: np.ndarray
    mapped_norm: np.ndarray
    lexical: np.ndarray
    relative: np.ndarray
    bm25: np.ndarray
    fusion: np.ndarray

    def __len__(self) -> int:
        return len(self.text)

    def take(self, rows: np.ndarray) -> Candidates:
        parts = {name: getattr(self, name)[rows] for name in PRODUCT_FIELDS}
        return Candidates(self.query_vec, **{name: np.array(values) for name, values in parts.items()})


PRODUCT_FIELDS = tuple(field.name for field in fields(Candidates) if field.name != "query_vec")
"""The fields of :class:`Candidates` that have a row a product."""


@dataclass(frozen=True)
class Provenance:
    """What a ranker was made of; None where it was not, or does not say."""

    feature_contract: str
    feature_service: str
    data_hash: str | None = None
    git_commit: str | None = None
    mlflow_run_id: str | None = None


class Ranker(Protocol):
    """Class probabilities for a query's candidates. For use by many threads.

    ``name`` is shown to people; ``version`` is part of what an index belongs to; ``dim`` is the length of the vectors
    that it reads; ``trained`` says whether it learned from judgements, and so whether its scores mean anything by
    themselves; ``reads`` names the fields of :class:`Candidates` that make a difference to it.
    """

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def dim(self) -> int: ...

    @property
    def trained(self) -> bool: ...

    @property
    def reads(self) -> frozenset[str]: ...

    @property
    def provenance(self) -> Provenance: ...

    def probabilities(self, candidates: Candidates) -> np.ndarray:
        """float32 [n, 4], columns in the order of ``features.CLASSES``."""
        ...

    def mapped_norm(self, text: np.ndarray) -> np.ndarray:
        """What the index keeps of unit text vectors float32 [n, d] for the ranker, float32 [n]; ones where nothing."""
        ...


def zero_shot_scores(cosine: np.ndarray, bm25: np.ndarray) -> np.ndarray:
    """The order of retrieval itself: 0.7 times the cosine and 0.3 times BM25, each as a z-score among the candidates.

    Args:
        cosine: the zero-shot cosines of a query's n candidates. bm25: their BM25 scores; all 0 for a picture, which
            leaves the cosine alone.

    Returns:
        float32 [n]; 0 is the candidates' mean.
    """
    return (_COSINE_WEIGHT * _z_scores(cosine) + (1 - _COSINE_WEIGHT) * _z_scores(bm25)).astype(np.float32)


def _z_scores(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, np.float64)
    spread = values.std() if len(values) else 0.0
    return (values - values.mean()) / spread if spread > 1e-9 else np.zeros(len(values))


class ZeroShotRanker:
    """Ranks by :func:`zero_shot_scores`, for a catalogue that nobody has judged yet.

    A score becomes the chance of an Exact by the logistic function, the rest of it that of an Irrelevant: an order,
    not a calibrated probability.
    """

    name = ZERO_SHOT_NAME
    version = ZERO_SHOT_VERSION
    trained = False
    reads = frozenset({"fusion"})

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.provenance = Provenance(features.contract(), features.FEATURE_SERVICE)

    def probabilities(self, candidates: Candidates) -> np.ndarray:
        exact = 1 / (1 + np.exp(-candidates.fusion.astype(np.float64)))
        chances = np.zeros((len(candidates), len(features.CLASSES)), np.float32)
        chances[:, features.CLASS_IDS["E"]] = exact
        chances[:, features.CLASS_IDS["I"]] = 1 - exact
        return chances

    def mapped_norm(self, text: np.ndarray) -> np.ndarray:
        return np.ones(len(text), np.float32)
