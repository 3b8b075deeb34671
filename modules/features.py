"""The only home of feature names, classes, gains, and of the features that are not plain vectors.

What the ranker reads while it trains and while it serves comes from the same functions here: the component
``FeatureJoin`` calls :func:`lexical_features` for each judged list, a search service calls it for its candidates.
NumPy only, so that a service needs neither TensorFlow nor TFX.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

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
# What Transform makes of the vectors: query-text, query-picture, text-picture, and the blend of the first two.
COSINES = "cosines"
COSINE_NAMES = ("cosine_text", "cosine_image", "cosine_text_image", "cosine")

FEATURE_SERVICE = "ranker_v1"
"""Feast's name of the features a model was trained on. A change of their meaning takes the next number."""

CLASSES = ("I", "C", "S", "E")
"""ESCI classes in the order of their ids: irrelevant 0, complement 1, substitute 2, exact 3."""
CLASS_IDS = {label: class_id for class_id, label in enumerate(CLASSES)}
GAINS = {"E": 1.0, "S": 0.1, "C": 0.01, "I": 0.0}
"""Linear gains of the ESCI shopping-queries task (Reddy et al. 2022, arXiv:2206.06588)."""
CLASS_GAINS = np.array([GAINS[label] for label in CLASSES])
"""float64 [4]: the gain of each class id."""

_WORD = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+", re.UNICODE)
_NUMBER = re.compile(r"\d")
_NEGATIONS = frozenset({"without", "no", "not", "non", "except", "minus"})
_STOP_WORDS = frozenset("a an and by for from in of on or the to with".split())
COLOR_WORDS = frozenset(
    "beige black blue bronze brown burgundy copper coral cream cyan gold golden gray green grey indigo ivory khaki "
    "lavender lilac magenta maroon mint multicolor navy olive orange peach pink plum purple red rose silver tan teal "
    "turquoise violet white yellow".split()
)

LEXICAL_NAMES = (
    "token_overlap",  # share of the query's words that the product's text has
    "title_overlap",  # the same for the title alone
    "jaccard",  # words in both over words in either (query, title)
    "trigram_overlap",  # share of the query's character trigrams that the product's text has
    "phrase_in_title",  # share of the query's word pairs that stand in the title in that order
    "last_word_in_title",  # 1 where the query's last word, mostly its noun, is in the title
    "idf_overlap",  # overlap with words weighted by how rare they are among the candidates
    "brand_in_query",  # 1 where every word of the brand is in the query
    "query_has_color",  # 1 where the query names a colour
    "color_match",  # share of the query's colours that title or colour field has
    "color_conflict",  # 1 where the query names a colour, the product another and not that one
    "query_has_number",  # 1 where the query names a number
    "number_match",  # share of the query's numbers that the product's text has
    "query_has_negation",  # 1 where the query excludes something ("without", "no", ...)
    "negated_present",  # share of what the query excludes that the product's text has all the same
    "query_length",  # log(1 + words)
    "title_length",  # log(1 + words)
)
"""The columns of ``lexical_features``, in order."""


def _singular(word: str) -> str:
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("ches", "shes", "xes", "sses")):
        return word[:-2]
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


@lru_cache(maxsize=200_000)
def words(text: str) -> tuple[str, ...]:
    """The words of a text in order: NFKC, case folded, plural s taken off, punctuation dropped."""
    return tuple(_singular(word) for word in _WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


@lru_cache(maxsize=200_000)
def _trigrams(text: str) -> frozenset[str]:
    joined = f" {' '.join(words(text))} "
    return frozenset(joined[i : i + 3] for i in range(len(joined) - 2))


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _split_negation(query: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words asked for and the words excluded: the two that follow the first negation are excluded."""
    for position, word in enumerate(query):
        if word in _NEGATIONS and position + 1 < len(query):
            excluded = [w for w in query[position + 1 : position + 3] if w not in _STOP_WORDS]
            return [*query[:position], *query[position + 3 :]], excluded
    return list(query), []


def lexical_features(
    query: str, titles: Sequence[str], brands: Sequence[str], colors: Sequence[str]
) -> np.ndarray:
    """What the words say about one query and its n candidates, judged or retrieved.

    Args:
        query: the query's text.
        titles, brands, colors: n texts each; an empty string where a product has none.

    Returns:
        float32 [n, len(LEXICAL_NAMES)], finite, every column in 0..1 but the two lengths. A candidate's row
        depends on the other candidates only through ``idf_overlap``.

    Raises:
        ValueError: the three lists differ in length.
    """
    count = len(titles)
    if not count == len(brands) == len(colors):
        raise ValueError(f"titles, brands and colors must be as long as each other: {count}, {len(brands)}, {len(colors)}")
    all_words = words(query)
    asked, excluded = _split_negation(all_words)
    asked = [word for word in asked if word not in _STOP_WORDS] or asked
    asked_set, excluded_set = set(asked), set(excluded)
    pairs = set(zip(asked, asked[1:]))
    trigrams = _trigrams(" ".join(asked))
    query_colors = asked_set & COLOR_WORDS
    numbers = {word for word in asked if _NUMBER.match(word)}

    title_words = [words(title) for title in titles]
    texts = [
        set(title) | set(words(brand)) | set(words(color)) for title, brand, color in zip(title_words, brands, colors)
    ]
    # Rarity among the candidates; +1 keeps a word that all of them have from weighing nothing.
    weights = {word: np.log1p(count / (1 + sum(word in text for text in texts))) for word in asked_set}
    total_weight = sum(weights.values())

    out = np.zeros((count, len(LEXICAL_NAMES)), np.float32)
    for row, (title, title_list, text, brand, color) in enumerate(zip(titles, title_words, texts, brands, colors)):
        in_title = set(title_list)
        brand_words = set(words(brand))
        product_colors = text & COLOR_WORDS
        matched = asked_set & text
        all_trigrams = _trigrams(title) | _trigrams(brand) | _trigrams(color)
        out[row] = (
            _share(len(matched), len(asked_set)),
            _share(len(asked_set & in_title), len(asked_set)),
            _share(len(asked_set & in_title), len(asked_set | in_title)),
            _share(len(trigrams & all_trigrams), len(trigrams)),
            _share(len(pairs & set(zip(title_list, title_list[1:]))), len(pairs)),
            float(bool(asked) and asked[-1] in in_title),
            sum(weights[word] for word in matched) / total_weight if total_weight else 0.0,
            float(bool(brand_words) and brand_words <= asked_set),
            float(bool(query_colors)),
            _share(len(query_colors & text), len(query_colors)),
            float(bool(query_colors) and bool(product_colors) and not query_colors & product_colors),
            float(bool(numbers)),
            _share(len(numbers & text), len(numbers)),
            float(bool(excluded)),
            _share(len(excluded_set & text), len(excluded_set)),
            np.log1p(len(all_words)),
            np.log1p(len(title_list)),
        )
    return out
