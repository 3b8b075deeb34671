"""The only home of feature names, classes, gains, and of the features that are not plain vectors.

What the ranker reads while it trains and while it serves comes from the same functions here: the component
``FeatureJoin`` calls :func:`candidate_features_of` for the lists that search would retrieve, with the judged products
appended, a search service for its candidates.
NumPy only, so that a service needs neither TensorFlow nor TFX.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from sqidflow.ranking.lexical import LEXICAL_NAMES, EncodedTexts, lexical_features, lexical_features_of
from sqidflow.ranking.retrieval import RETRIEVAL_NAMES, Fusion, likeness_to_thing, retrieval_features
from sqidflow.ranking.words import DEFAULT_LANGUAGE, words

__all__ = ["LEXICAL_NAMES", "RETRIEVAL_NAMES", "lexical_features", "words"]

# The pair: what a judgement says, and of what.
QUERY_ID = "query_id"
PRODUCT_ID = "product_id"
LABEL = "esci_label"
RATING = "rating"
QUERY = "query"
TITLE = "product_title"
BRAND = "product_brand"
COLOR = "product_color"
EVENT_TIMESTAMP = "event_timestamp"

# The vectors, one FLOAT[d] feature each, as Feast serves them (not normalised).
QUERY_VEC = "query_vec"
TEXT_VEC = "product_text_vec"
IMAGE_VEC = "product_image_vec"
VECTORS = (QUERY_VEC, TEXT_VEC, IMAGE_VEC)
HAS_IMAGE = "has_image"

# What is computed from a query and the words of a product.
LEXICAL = "lexical_features"
# How a product stands among the query's other candidates.
RELATIVE = "relative_features"
# What retrieval says: how well words and vectors agree, and where that puts the product among the retrieved.
RETRIEVAL = "retrieval_features"
# What Transform makes of the vectors: query-text, query-picture, text-picture, and the blend of the first two.
COSINES = "cosines"
COSINE_NAMES = ("cosine_text", "cosine_image", "cosine_text_image", "cosine")

BASELINES = ("random", "cosine_text", "cosine_image", "cosine")
"""Columns of a kept evaluation that rank without a model."""

# What results are sliced by: the same for all products of a query, as TFMA puts whole queries into slices. No ranker
# reads them; the share of Exacts tells of the labels.
PICTURES = "pictures"
QUERY_LENGTH = "query_length"
EXACT_SHARE = "exact_share"
SLICES = (PICTURES, QUERY_LENGTH, EXACT_SHARE)

FEATURE_SERVICE = "ranker_v1"
"""Feast's name of the features a model was trained on. A change of their meaning takes the next number."""

CLASSES = ("I", "C", "S", "E")
"""ESCI classes in the order of their ids: irrelevant 0, complement 1, substitute 2, exact 3."""
CLASS_IDS = {label: class_id for class_id, label in enumerate(CLASSES)}
GAINS = {"E": 1.0, "S": 0.1, "C": 0.01, "I": 0.0}
"""Linear gains of the ESCI shopping-queries task (Reddy et al. 2022, arXiv:2206.06588)."""
CLASS_GAINS = np.array([GAINS[label] for label in CLASSES])
"""float64 [4]: the gain of each class id."""

_COMPARED_LEXICAL = ("token_overlap", "head_overlap", "fuzzy_overlap", "idf_overlap", "trigram_overlap")
COMPARED = ("cosine_text", "cosine_image", "cosine", *_COMPARED_LEXICAL)
"""What is compared with the query's other candidates. ``cosine_image`` of a product without a picture is the mean of
those that have one, and ``cosine`` the mean of the two: so a missing picture is neither an advantage nor a loss."""
RELATIVE_NAMES = (
    *(f"{name}_worse" for name in COMPARED),  # share of the other candidates that are worse, ties half; 0.5 if alone
    *(f"{name}_gap" for name in COMPARED),  # how far it is below the list's best; 0 for the best
)
"""The columns of ``relative_features``, in order: all in 0..1 but the gaps of cosines, which are in 0..2.

Shares and gaps, not ranks and z-scores: judged lists have about 20 products, retrieved ones a hundred, mostly with a
longer tail, which moves a rank or a standard deviation more than the difference to the best.
"""


def cosines(query_vecs: np.ndarray, text_vecs: np.ndarray, image_vecs: np.ndarray, has_image: np.ndarray) -> np.ndarray:
    """The cosines of n pairs, as Transform computes them in its graph; vectors of any length, a zero vector's are 0.

    Args:
        query_vecs: float32 [n, d], or [d] for the candidates of one query. text_vecs, image_vecs: float32 [n, d]; what
            stands in ``image_vecs`` where there is no picture does not matter. has_image: 0 or 1, [n].

    Returns:
        float32 [n, 4], the columns of ``COSINE_NAMES``; 0 for the pictures that are missing.
    """
    pictured = np.asarray(has_image).reshape(-1, 1) > 0
    texts = unit(text_vecs)
    # Spread out, so that a query's vector gives the same bits whether it comes once or once a candidate.
    queries = np.ascontiguousarray(np.broadcast_to(unit(query_vecs), texts.shape))
    images = unit(image_vecs)
    text, image, both = (
        np.einsum("nd,nd->n", *pair) for pair in ((queries, texts), (queries, images), (texts, images))
    )
    image[~pictured[:, 0]], both[~pictured[:, 0]] = 0, 0
    return np.stack([text, image, both, (text + np.where(pictured[:, 0], image, text)) / 2], axis=1)


_SIGN_EXPONENT_FRACTION = np.int32(-0x70002000)
"""The bits that a half-precision number has, 13 places further to the left: 0x8fffe000."""
_EXPONENT_BIAS = np.float32(2**112)
"""Single precision counts exponents from 127, half precision from 15."""


def single(vectors: np.ndarray) -> np.ndarray:
    """Finite float16 of any shape as float32: the same numbers as ``astype``, in a quarter of its time.

    NumPy converts number by number; this moves the bits of all at once. Every search converts a quarter of a million.
    """
    bits = np.ascontiguousarray(vectors, np.float16).view(np.int16).astype(np.int32)
    bits <<= 13
    bits &= _SIGN_EXPONENT_FRACTION
    values: np.ndarray = bits.view(np.float32)
    values *= _EXPONENT_BIAS
    return values


def unit(vectors: np.ndarray) -> np.ndarray:
    """float32 [..., d] scaled to length 1; zeros stay zeros."""
    vectors = np.asarray(vectors, np.float32)
    norms = np.sqrt(np.einsum("...d,...d->...", vectors, vectors))[..., None]
    units: np.ndarray = vectors / np.maximum(norms, np.float32(1e-12))
    return units


def relative_features(
    cosine: np.ndarray, has_image: np.ndarray, lexical: np.ndarray, bounds: np.ndarray | None = None
) -> np.ndarray:
    """How each product stands among the other candidates of its query; many lists at a time.

    Args:
        cosine: float32 [n, 4], see :func:`cosines`. has_image: 0 or 1, [n]. lexical: float32 [n, k], see
            :func:`lexical_features`.
        bounds: int64 [lists + 1], where each list's rows begin, the last is n; None for a single list.

    Returns:
        float32 [n, len(RELATIVE_NAMES)], finite, bounded: see ``RELATIVE_NAMES``. The only candidate of a list and a
        list of equal ones are 0.5 worse and 0 from the best.

    Raises:
        ValueError: lengths differ, or a list is empty.
    """
    count = len(cosine)
    if bounds is None:
        bounds = np.array([0, count] if count else [0])
    sizes = np.diff(bounds)
    if not count == len(has_image) == len(lexical) == bounds[-1] or (sizes < 1).any():
        raise ValueError(
            f"{count} cosines, {len(has_image)} pictures, {len(lexical)} lexical rows do not fill {len(sizes)} lists"
        )
    out = np.empty((count, len(RELATIVE_NAMES)), np.float32)
    if not count:
        return out
    starts, group = bounds[:-1], np.repeat(np.arange(len(sizes)), sizes)
    pictured = np.asarray(has_image).reshape(-1) > 0
    if len(sizes) == 1:  # a search; column by column takes three times as long
        compared = np.stack([*_compared(cosine, pictured, lexical, starts, group)], axis=1)
        return _relative_of_one(np.round(compared.astype(np.float64), 6))
    others = np.maximum(sizes - 1, 1)[group]
    for column, values in enumerate(_compared(cosine, pictured, lexical, starts, group)):
        # Rounded: what differs by the noise of a sum is a tie.
        values = np.round(values.astype(np.float64), 6)
        order = np.lexsort((values, group))
        ordered, of = values[order], group[order]
        first = np.r_[True, (np.diff(ordered) != 0) | (np.diff(of) != 0)]
        tie = np.cumsum(first) - 1
        begin = np.flatnonzero(first)
        equal = np.diff(np.r_[begin, count])
        share = np.empty(count)
        share[order] = (begin[tie] - starts[of] + (equal[tie] - 1) / 2) / others[order]
        share[(sizes == 1)[group]] = 0.5
        out[:, column] = share
        out[:, len(COMPARED) + column] = np.maximum.reduceat(values, starts)[group] - values
    return out


def _relative_of_one(values: np.ndarray) -> np.ndarray:
    """:func:`relative_features` of one list, float32 [n, 2 k], from its rounded values, float64 [n, k]."""
    count = len(values)
    order = np.argsort(values, axis=0, kind="stable")
    ordered = np.take_along_axis(values, order, axis=0)
    place = np.arange(count)[:, None]
    differs = ordered[1:] != ordered[:-1]
    edge = np.ones((1, values.shape[1]), bool)
    begin = np.maximum.accumulate(np.where(np.concatenate([edge, differs]), place, 0), axis=0)
    last = np.where(np.concatenate([differs, edge]), place, count)
    end = np.minimum.accumulate(last[::-1], axis=0)[::-1] + 1
    share = np.empty_like(values)
    worse = (begin + (end - begin - 1) / 2) / max(count - 1, 1)
    np.put_along_axis(share, order, np.full_like(worse, 0.5) if count == 1 else worse, axis=0)
    return np.concatenate([share, values.max(axis=0) - values], axis=1).astype(np.float32)


def _compared(
    cosine: np.ndarray, pictured: np.ndarray, lexical: np.ndarray, starts: np.ndarray, group: np.ndarray
) -> Iterable[np.ndarray]:
    """The columns of ``COMPARED``, float [n] each."""
    text, image = np.clip(cosine[:, :2].astype(np.float64), -1.0, 1.0).T
    seen = np.add.reduceat(pictured.astype(np.float64), starts)
    mean = np.add.reduceat(np.where(pictured, image, 0.0), starts) / np.maximum(seen, 1.0)
    image = np.where(pictured, image, mean[group])
    yield from (text, image, (text + image) / 2)
    for name in _COMPARED_LEXICAL:
        yield lexical[:, LEXICAL_NAMES.index(name)]


@dataclass(frozen=True)
class Retrieved:
    """What retrieval knows of a list of n products of one query.

    ``bm25`` float32 [n], zeros where the query has no known word; ``total_idf`` the most it could be, see
    ``bm25.WordIndex``; ``count`` the retrieved products, the first of the list: those after them were added (judged, or
    chosen by a filter) and move no other's features.
    """

    bm25: np.ndarray
    total_idf: float
    fusion: Fusion
    count: int


def candidate_features(
    query: str,
    titles: Sequence[str | None],
    brands: Sequence[str | None],
    colors: Sequence[str | None],
    query_vec: np.ndarray,
    text_vecs: np.ndarray,
    image_vecs: np.ndarray,
    has_image: np.ndarray,
    fusion: Fusion,
    language: str = DEFAULT_LANGUAGE,
) -> dict[str, np.ndarray]:
    """:func:`candidate_features_of` for n products that are the whole catalogue; None where one has no such text.

    Raises:
        ValueError: lengths differ.
    """
    from sqidflow.ranking.bm25 import WordIndex, product_text

    texts = EncodedTexts.of(titles, brands, colors, language)
    index = WordIndex.of([product_text(*each) for each in zip(titles, brands, colors)], language)
    asked = index.terms(query)
    bm25 = index.scores(asked)
    found = Retrieved(
        np.zeros(len(texts), np.float32) if bm25 is None else bm25, index.total_idf(asked), fusion, len(texts)
    )
    return candidate_features_of(
        query, texts, np.arange(len(texts)), query_vec, text_vecs, image_vecs, has_image, found
    )


def candidate_features_of(
    query: str,
    texts: EncodedTexts,
    rows: np.ndarray,
    query_vec: np.ndarray,
    text_vecs: np.ndarray,
    image_vecs: np.ndarray,
    has_image: np.ndarray,
    retrieved: Retrieved,
) -> dict[str, np.ndarray]:
    """Everything that is computed from a query's whole list of n products: those retrieved, then those added.

    Args:
        texts, rows: the products' words, see :func:`sqidflow.ranking.lexical.lexical_features_of`.
        query_vec: float32 [d], text_vecs, image_vecs: float32 [n, d], all as the encoder made them; a row of
            ``image_vecs`` without a picture may hold anything. has_image: 0 or 1, [n].

    Returns:
        ``COSINES`` float32 [n, 4], ``LEXICAL`` float32 [n, len(LEXICAL_NAMES)], ``RELATIVE`` float32 [n,
        len(RELATIVE_NAMES)], ``RETRIEVAL`` float32 [n, len(RETRIEVAL_NAMES)].

    Raises:
        ValueError: lengths differ.
    """
    lexical = lexical_features_of(query, texts, rows)
    cosine = cosines(query_vec, text_vecs, image_vecs, has_image)
    return {
        COSINES: cosine,
        LEXICAL: lexical,
        RELATIVE: relative_features(cosine, has_image, lexical),
        RETRIEVAL: retrieval_features(
            cosine[:, COSINE_NAMES.index("cosine")],
            retrieved.bm25,
            lexical[:, LEXICAL_NAMES.index("trigram_overlap")],
            retrieved.total_idf,
            retrieved.fusion,
            retrieved.count,
            likeness_to_thing(
                _blends(text_vecs, image_vecs, has_image),
                lexical[:, LEXICAL_NAMES.index("head_noun_match")] > 0,
                retrieved.count,
            ),
        ),
    }


def _blends(text_vecs: np.ndarray, image_vecs: np.ndarray, has_image: np.ndarray) -> np.ndarray:
    """The middle of each product's two vectors, its text's where it has no picture; float32 [n, d].

    Lists and the index hold unit vectors already.
    """
    pictured = np.asarray(has_image).reshape(-1, 1) > 0
    return (text_vecs + np.where(pictured, image_vecs, text_vecs)) / np.float32(2)


PLAIN_RULE = (1.0, 1.0, 1.0, 1.0)
"""Predicts the most probable class."""


def predicted_classes(probabilities: np.ndarray, rule: Sequence[float] = PLAIN_RULE) -> np.ndarray:
    """The predicted class of each product, int64 [n]: the largest of the probabilities float [n, 4], each times its
    class's factor in ``rule``. A rule chosen on validation lets a rare class be predicted; probabilities are unchanged.
    """
    classes: np.ndarray = (np.asarray(probabilities) * np.asarray(rule, np.float64)).argmax(axis=1)
    return classes


def pictures_slice(has_image: np.ndarray) -> str:
    """Whether all, some or none of a query's products (0 or 1, int64 [n]) have a picture."""
    return "all with picture" if has_image.all() else "some without" if has_image.any() else "none with picture"


def query_length_slice(query: str) -> str:
    """How many words a query has, in the three groups that reports slice by."""
    count = len(words(query))
    return "1-2 words" if count <= 2 else "3-4 words" if count <= 4 else "5 words or more"


def exact_share_slice(ratings: np.ndarray) -> str:
    """How many of a query's judged products (class ids int64 [n]) are Exact, in the groups that reports slice by."""
    exact = int(np.sum(ratings == CLASS_IDS["E"]))
    if not exact:
        return "no Exact"
    return (
        "up to 1/3 Exact"
        if 3 * exact <= len(ratings)
        else "up to 2/3"
        if 3 * exact <= 2 * len(ratings)
        else "above 2/3"
    )


COMPUTATION = "2"
"""Counts up when a column of the same name comes to mean something else; 2: the thing that a title names is no longer
an adjective at its end."""


def contract() -> str:
    """Eight hex digits over what a ranker reads: the service, the names and order of every computed column, and
    ``COMPUTATION``.

    Models of different contracts cannot score the same examples and are never compared with each other.
    """
    names = (
        FEATURE_SERVICE,
        COMPUTATION,
        *VECTORS,
        HAS_IMAGE,
        *COSINE_NAMES,
        *LEXICAL_NAMES,
        *RELATIVE_NAMES,
        *RETRIEVAL_NAMES,
    )
    return hashlib.sha256("|".join(names).encode()).hexdigest()[:8]
