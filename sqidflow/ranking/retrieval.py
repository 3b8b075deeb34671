"""What retrieval says about a query's candidates: which they are, and the order that needs no training.

Training, evaluation and search call these functions. Statistics of a list are those of its retrieved rows alone: a
product that is judged and was not retrieved moves no other's features. NumPy only.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from sqidflow.ranking.words import surfaces, words

FUSION_RANK = 60
"""Constant of reciprocal rank fusion (Cormack, Clarke and Buettcher 2009)."""

RETRIEVAL_NAMES = (
    "f0",  # the order that needs no training: the weighted sum of the three z-scores below
    "bm25_share",  # BM25 over what a product could have at most: the sum of the idf of the query's terms
    "z_cosine",  # the zero-shot cosine, in deviations from the mean of the retrieved candidates
    "z_bm25",  # BM25, the same
    "z_trigram",  # the share of the query's character trigrams that the product's text has, the same
    "z_thing",  # the cosine to the middle of the retrieved candidates whose titles name what the query names, the same
)
"""The columns of ``retrieval_features``, in order."""

Kind = Literal["semantic", "lexical"]

_BLOCK = 64
_LEAST_SPREAD = 1e-6
_MOST_TITLES = 400
_FEWEST_TITLES = 20
_SEMANTIC_FROM = 2.0
_TRIGRAM_BUCKETS = 2**14


@dataclass(frozen=True)
class Fusion:
    """The weights of the z-scores in ``f0``."""

    cosine: float
    bm25: float
    trigram: float

    @classmethod
    def of(cls, kind: Kind) -> Fusion:
        """For vectors that know more than the letters of a text (semantic), and for those that do not (lexical)."""
        return _FUSIONS[kind]

    @classmethod
    def read(cls, content: Mapping[str, float]) -> Fusion:
        """Of a model's card or an index's meta.

        Raises:
            ValueError: it is no fusion.
        """
        try:
            return cls(**{name: float(content[name]) for name in ("cosine", "bm25", "trigram")})
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"no weights of cosine, bm25 and trigram: {content!r}") from error

    def as_json(self) -> dict[str, float]:
        return asdict(self)


_FUSIONS: dict[Kind, Fusion] = {"semantic": Fusion(0.6, 0.3, 0.1), "lexical": Fusion(0.2, 0.5, 0.3)}
PICTURE_ALONE = Fusion(1.0, 0.0, 0.0)
"""For a query without words."""


def best_rows(scores: np.ndarray, count: int, above: float = 0.0) -> np.ndarray:
    """Rows of the highest scores ``above`` a bound, int64 [at most count], best first, ties by row.

    The ``count``-th highest of the blocks' maxima is a bound below the ``count``-th highest score: what is under it
    need not be sorted, which is nearly all.
    """
    whole = len(scores) // _BLOCK * _BLOCK
    bound = above
    if whole >= count * _BLOCK:
        highest = scores[:whole].reshape(-1, _BLOCK).max(axis=1)
        bound = float(np.partition(highest, len(highest) - count)[len(highest) - count])
    rows = np.flatnonzero(scores >= bound) if bound > above else np.flatnonzero(scores > above)
    return rows[np.lexsort((rows, -scores[rows]))][:count]


def fused_rows(near: np.ndarray, worded: np.ndarray, count: int) -> np.ndarray:
    """The candidates of a query: reciprocal rank fusion of two lists of rows, each best first; ties by row.

    Returns:
        int64 [at most count], best first.
    """
    rows = np.concatenate([near, worded]).astype(np.int64)
    ranks = np.concatenate([np.arange(len(near)), np.arange(len(worded))])
    distinct, place = np.unique(rows, return_inverse=True)
    total = np.bincount(place, weights=1.0 / (FUSION_RANK + 1 + ranks), minlength=len(distinct))
    return distinct[np.lexsort((distinct, -total))][:count]


def candidate_rows(near: np.ndarray, bm25: np.ndarray | None, count: int) -> np.ndarray:
    """The ``count`` nearest rows by vector and the best half as many by words, fused.

    Args:
        near: int64, rows by cosine, best first. bm25: float [products], None where no product has a word.
    """
    worded = np.zeros(0, np.int64) if bm25 is None else best_rows(bm25, count // 2)
    return fused_rows(near, worded, count) if len(worded) else near[:count]


def z(values: np.ndarray, retrieved: int | None = None) -> np.ndarray:
    """Values in deviations from the mean of the first ``retrieved`` of them (all where None); float64 [n].

    0 throughout where those are equal, or there are none.
    """
    values = np.asarray(values, np.float64)
    known = values[:retrieved]
    spread = float(known.std()) if len(known) else 0.0
    if spread <= _LEAST_SPREAD:
        return np.zeros(len(values))
    scores: np.ndarray = (values - known.mean()) / spread
    return scores


def retrieval_features(
    cosine: np.ndarray,
    bm25: np.ndarray,
    trigram: np.ndarray,
    total_idf: float,
    fusion: Fusion,
    retrieved: int | None = None,
    thing: np.ndarray | None = None,
) -> np.ndarray:
    """What retrieval says about n products of one query.

    Args:
        cosine: zero-shot cosines [n] (column ``cosine`` of ``features.cosines``). bm25: scores [n], zeros where the
            query has no known word. trigram: column ``trigram_overlap`` of the lexical features [n].
        total_idf: sum of the idf of the query's terms, unknown ones included.
        fusion: the weights of ``f0``.
        retrieved: how many of the products, the first ones, retrieval found; all where None.
        thing: as of :func:`likeness_to_thing` [n]; None is zeros.

    Returns:
        float32 [n, len(RETRIEVAL_NAMES)], finite.
    """
    # Rounded: what differs by the noise of a sum is the same.
    of_cosine, of_bm25, of_trigram, of_thing = (
        z(np.round(np.asarray(values, np.float64), 6), retrieved)
        for values in (cosine, bm25, trigram, np.zeros(len(cosine)) if thing is None else thing)
    )
    f0 = fusion.cosine * of_cosine + fusion.bm25 * of_bm25 + fusion.trigram * of_trigram
    share = np.asarray(bm25, np.float64) / total_idf if total_idf > 0 else np.zeros(len(f0))
    return np.stack([f0, share, of_cosine, of_bm25, of_trigram, of_thing], axis=1).astype(np.float32)


def likeness_to_thing(blends: np.ndarray, named: np.ndarray, retrieved: int) -> np.ndarray:
    """How like n products are to those whose titles name what the query names: a bicycle in the right colour is no
    shoe, and a sneaker is like a shoe whatever its title says. float64 [n], zeros where no title or every one names it.

    Args:
        blends: float32 [n, d], the middle of a product's unit vectors. named: which titles name the thing, bool [n].
        retrieved: how many of the products retrieval found; the middle is of those.
    """
    own = np.flatnonzero(named[:retrieved])
    if not len(own) or len(own) == len(named[:retrieved]):
        return np.zeros(len(named))
    middle = blends[own].mean(0)
    lengths = np.sqrt(np.einsum("nd,nd->n", blends, blends)) * np.sqrt(middle @ middle)
    closeness: np.ndarray = (blends @ middle / np.maximum(lengths, 1e-12)).astype(np.float64)
    return closeness


def fusion_scores(
    cosine: np.ndarray, bm25: np.ndarray, trigram: np.ndarray, fusion: Fusion, retrieved: int | None = None
) -> np.ndarray:
    """Column ``f0`` of :func:`retrieval_features`, float32 [n]."""
    return retrieval_features(cosine, bm25, trigram, 0.0, fusion, retrieved)[:, 0]


def fusion_kind(titles: Sequence[str], encode: Callable[[list[str]], np.ndarray], language: str) -> Kind:
    """Whether vectors know more of a catalogue than the letters of its texts.

    Titles are split into two halves that share no term. Vectors that find a title's other half at least twice as well
    as character trigrams do (mean reciprocal rank) are semantic. Words copied from titles as queries would not tell:
    they flatter BM25.

    Args:
        titles: of the whole catalogue; 400 are read, the same each time.
        encode: texts -> float [n, d].
    """
    distinct = sorted({title for title in titles if title})
    halves = [_halves(title, language) for title in random.Random(1).sample(distinct, min(_MOST_TITLES, len(distinct)))]
    halves = [(first, second) for first, second in halves if first and second]
    if len(halves) < _FEWEST_TITLES:
        return "lexical"
    first, second = [half for half, _ in halves], [half for _, half in halves]
    by_vector = _reciprocal_rank(_units(encode(first)), _units(encode(second)))
    by_letters = _reciprocal_rank(_letters(first), _letters(second))
    return "semantic" if by_vector >= _SEMANTIC_FROM * by_letters else "lexical"


def _halves(title: str, language: str) -> tuple[str, str]:
    """Every second word of a title, and those of the others that share no term with them."""
    spoken = list(dict.fromkeys(surfaces(title)))
    first = spoken[::2]
    terms = {term for word in first for term in words(word, language)}
    second = [word for word in spoken[1::2] if terms.isdisjoint(words(word, language))]
    return " ".join(first), " ".join(second)


def _letters(texts: Sequence[str]) -> np.ndarray:
    """Which character trigrams of words each text has, hashed: unit float32 [n, buckets in use]."""
    from zlib import crc32

    rows, columns = [], []
    for row, text in enumerate(texts):
        for word in text.split():
            padded = f" {word} "
            for at in range(len(padded) - 2):
                bucket = crc32(padded[at : at + 3].encode()) % _TRIGRAM_BUCKETS
                rows.append(row)
                columns.append(bucket)
    out = np.zeros((len(texts), _TRIGRAM_BUCKETS), np.float32)
    out[rows, columns] = 1.0
    return _units(out)


def _units(vectors: np.ndarray) -> np.ndarray:
    vectors = np.asarray(vectors, np.float32)
    units: np.ndarray = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return units


def _reciprocal_rank(first: np.ndarray, second: np.ndarray) -> float:
    """Mean reciprocal rank of each row's own partner, ties counted half."""
    scores = np.round((first @ second.T).astype(np.float64), 6)
    own = np.diagonal(scores)[:, None]
    ranks = 1 + (scores > own).sum(1) + ((scores == own).sum(1) - 1) / 2
    return float((1 / ranks).mean())
