"""What ranks candidates: the protocol that the search core knows, and the ranker that needs no training."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Protocol

import numpy as np

from sqidflow.core.model_files import ZERO_SHOT_VERSION
from sqidflow.ranking import features
from sqidflow.ranking.retrieval import Fusion

ZERO_SHOT_NAME = "zero-shot, not trained"
_F0 = features.RETRIEVAL_NAMES.index("f0")


@dataclass(frozen=True)
class Candidates:
    """What a ranker may read of one query and n products; float32, ``query_vec`` [d], the others [n, ...].

    ``text`` and ``image`` are unit vectors; ``lexical``, ``relative`` and ``retrieval`` as of
    :func:`sqidflow.ranking.features.candidate_features_of`.
    """

    query_vec: np.ndarray
    text: np.ndarray
    image: np.ndarray
    has_image: np.ndarray
    mapped_norm: np.ndarray
    lexical: np.ndarray
    relative: np.ndarray
    retrieval: np.ndarray

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
    themselves; ``reads`` names the fields of :class:`Candidates` that make a difference to it; ``fusion`` has the
    weights that it was trained with, None where the catalogue's own will do; ``class_rule`` as
    :func:`sqidflow.ranking.features.predicted_classes` takes it.
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

    @property
    def fusion(self) -> Fusion | None: ...

    @property
    def class_rule(self) -> tuple[float, ...]: ...

    def probabilities(self, candidates: Candidates) -> np.ndarray:
        """float32 [n, 4], columns in the order of ``features.CLASSES``."""
        ...

    def mapped_norm(self, text: np.ndarray) -> np.ndarray:
        """What the index keeps of unit text vectors float32 [n, d] for the ranker, float32 [n]; ones where nothing."""
        ...


class ZeroShotRanker:
    """Ranks by ``f0``, the fusion of vectors and words, for a catalogue without judgements.

    A score becomes the chance of an Exact by the logistic function, the rest of it that of an Irrelevant: an order,
    not a calibrated probability.
    """

    name = ZERO_SHOT_NAME
    version = ZERO_SHOT_VERSION
    trained = False
    fusion = None
    class_rule = features.PLAIN_RULE
    reads = frozenset({"retrieval"})

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.provenance = Provenance(features.contract(), features.FEATURE_SERVICE)

    def probabilities(self, candidates: Candidates) -> np.ndarray:
        exact = 1 / (1 + np.exp(-candidates.retrieval[:, _F0].astype(np.float64)))
        chances = np.zeros((len(candidates), len(features.CLASSES)), np.float32)
        chances[:, features.CLASS_IDS["E"]] = exact
        chances[:, features.CLASS_IDS["I"]] = 1 - exact
        return chances

    def mapped_norm(self, text: np.ndarray) -> np.ndarray:
        return np.ones(len(text), np.float32)
