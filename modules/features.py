"""The only home of feature names, classes, gains, and of the features that are not plain vectors.

What the ranker reads while it trains and while it serves comes from the same functions here: the component
``FeatureJoin`` calls :func:`lexical_features` and :func:`relative_features` for the judged lists, a search service both
at once, by :func:`candidate_features`, for its candidates.
NumPy only, so that a service needs neither TensorFlow nor TFX.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
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
# How a product stands among the query's other candidates.
RELATIVE = "relative_features"
# What Transform makes of the vectors: query-text, query-picture, text-picture, and the blend of the first two.
COSINES = "cosines"
COSINE_NAMES = ("cosine_text", "cosine_image", "cosine_text_image", "cosine")

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

_APOSTROPHE = re.compile(r"(?<=[^\W\d_])['\u2019](?=[^\W\d_])")
_WORD = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+", re.UNICODE)
_NUMBER = re.compile(r"\d")
# Where a title stops naming the product and begins to list what else it is for, comes in or goes with.
_HEAD_END = re.compile(r"[,;|(\[–—]| - |\bfor\b|\bwith\b|\bcompatible\b", re.IGNORECASE)
_NEGATIONS = frozenset({"without", "no", "not", "non", "except", "minus"})
_STOP_WORDS = frozenset(["a", "an", "and", "by", "for", "from", "in", "of", "on", "or", "the", "to", "with"])
COLOR_WORDS = frozenset(
    [
        "beige",
        "black",
        "blue",
        "bronze",
        "brown",
        "burgundy",
        "copper",
        "coral",
        "cream",
        "cyan",
        "gold",
        "golden",
        "gray",
        "green",
        "grey",
        "indigo",
        "ivory",
        "khaki",
        "lavender",
        "lilac",
        "magenta",
        "maroon",
        "mint",
        "multicolor",
        "navy",
        "olive",
        "orange",
        "peach",
        "pink",
        "plum",
        "purple",
        "red",
        "rose",
        "silver",
        "tan",
        "teal",
        "turquoise",
        "violet",
        "white",
        "yellow",
    ]
)
AUDIENCES = {
    **dict.fromkeys(("man", "men", "mens", "male", "gentleman", "him"), "men"),
    **dict.fromkeys(("woman", "women", "womens", "female", "lady", "her"), "women"),
    **dict.fromkeys(("kid", "child", "children", "toddler", "boy", "girl", "youth", "junior"), "kids"),
    **dict.fromkeys(("baby", "infant", "newborn"), "babies"),
    **dict.fromkeys(("dog", "puppy", "cat", "kitten", "pet"), "pets"),
}
"""Words for whom a product is made, to the group they name."""
_FUZZY_WORD_LENGTH = 4
_FUZZY_CUT_OFF = 0.75

LEXICAL_NAMES = (
    "token_overlap",  # share of the query's words that the product's text has
    "title_overlap",  # the same for the title alone
    "head_overlap",  # the same for the title's head, which names the product
    "fuzzy_overlap",  # mean over the query's words of the likeness to the nearest word of the product's text
    "fuzzy_head_overlap",  # the same for the title's head
    "jaccard",  # words in both over words in either (query, title)
    "trigram_overlap",  # share of the query's character trigrams that the product's text has
    "phrase_in_title",  # share of the query's word pairs that stand in the title in that order
    "last_word_in_title",  # 1 where the query's last word, mostly its noun, is in the title
    "idf_overlap",  # overlap with words weighted by how rare they are among the candidates
    "idf_head_overlap",  # the same for the title's head
    "first_match",  # where in the title the first of the query's words stands: 1 at its start, 0 at its end or nowhere
    "brand_in_query",  # 1 where every word of the brand is in the query
    "brand_conflict",  # 1 where the query names another candidate's brand and not this one's
    "query_has_color",  # 1 where the query names a colour
    "color_match",  # share of the query's colours that title or colour field has
    "color_field_match",  # share of the query's colours that the colour field has
    "color_conflict",  # 1 where the query names a colour, the colour field (or else the title's head) another
    "query_has_number",  # 1 where the query names a number
    "number_match",  # share of the query's numbers that the product's text has
    "measure_match",  # share of the query's measures (a number and its unit) that the title has
    "measure_conflict",  # share of the query's measures whose unit the title has with another number
    "audience_match",  # share of the groups the query is for that the title names
    "audience_conflict",  # 1 where the query is for one group, the title for others alone
    "query_has_negation",  # 1 where the query excludes something ("without", "no", ...)
    "negated_present",  # share of what the query excludes that the product's text has all the same
    "query_length",  # log(1 + words)
    "title_length",  # log(1 + words)
)
"""The columns of ``lexical_features``, in order."""

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


def _singular(word: str) -> str:
    if word in _NEGATIONS:
        return word
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("ches", "shes", "xes", "sses")):
        return word[:-2]
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


@lru_cache(maxsize=50_000)
def words(text: str) -> tuple[str, ...]:
    """The words of a text in order: NFKC, case folded, plural s taken off, punctuation dropped.

    An apostrophe inside a word joins it: "women's" is "women", as "womens" is.
    """
    folded = _APOSTROPHE.sub("", unicodedata.normalize("NFKC", text).casefold())
    return tuple(_singular(word) for word in _WORD.findall(folded))


@lru_cache(maxsize=8_000)  # a real title's set of trigrams takes about 12 kB
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


def _head(title: str) -> str:
    """The part of a title that names the product; the whole title where the head would be empty."""
    found = _HEAD_END.search(title)
    return title[: found.start()] if found and found.start() > 0 else title


def _measures(text: Sequence[str]) -> dict[str, set[str]]:
    """Unit -> numbers: the word after a number, or before it ("16 oz", "size 9")."""
    found: dict[str, set[str]] = {}
    for position, word in enumerate(text):
        if _NUMBER.match(word):
            for unit in (text[position + 1 : position + 2], text[max(position - 1, 0) : position]):
                if unit and not _NUMBER.match(unit[0]) and unit[0] not in _STOP_WORDS:
                    found.setdefault(unit[0], set()).add(word)
    return found


def _audiences(text: Sequence[str]) -> set[str]:
    return {AUDIENCES[word] for word in text if word in AUDIENCES}


class _Likeness:
    """How like each of the query's words is to the nearest word of a text: 1 for the same, else rapidfuzz's
    Damerau-Levenshtein likeness where that is at least 0.75, else 0.

    Short words and numbers are like nothing but themselves. Remembers pairs of words: titles repeat them.
    """

    def __init__(self, asked: Sequence[str]) -> None:
        from rapidfuzz.distance import DamerauLevenshtein

        self._similarity = DamerauLevenshtein.normalized_similarity
        self._asked = asked
        self._known: dict[str, dict[str, float]] = {word: {} for word in asked}

    def _nearest(self, asked: str, text: Iterable[str]) -> float:
        if len(asked) < _FUZZY_WORD_LENGTH or _NUMBER.match(asked):
            return 0.0
        known, best = self._known[asked], 0.0
        for word in text:
            likeness = known.get(word)
            if likeness is None:
                near = abs(len(asked) - len(word)) <= 2 and len(word) >= _FUZZY_WORD_LENGTH and not _NUMBER.match(word)
                likeness = self._similarity(asked, word, score_cutoff=_FUZZY_CUT_OFF) if near else 0.0
                known[word] = likeness
            if likeness > best:
                best = likeness
        return best

    def mean(self, text: set[str]) -> float:
        if not self._asked:
            return 0.0
        return sum(1.0 if word in text else self._nearest(word, text) for word in self._asked) / len(self._asked)


def lexical_features(
    query: str, titles: Sequence[str], brands: Sequence[str | None], colors: Sequence[str | None]
) -> np.ndarray:
    """What the words say about one query and its n candidates, judged or retrieved.

    Args:
        query: the query's text.
        titles, brands, colors: n texts each; None or an empty string where a product has none.

    Returns:
        float32 [n, len(LEXICAL_NAMES)], finite, every column in 0..1 but the two lengths. A candidate's row depends
        on the other candidates only through the ``idf_`` columns and ``brand_conflict``.

    Raises:
        ValueError: the three lists differ in length.
    """
    count = len(titles)
    if not count == len(brands) == len(colors):
        lengths = f"{count}, {len(brands)}, {len(colors)}"
        raise ValueError(f"titles, brands and colors must be as long as each other: {lengths}")
    titles, brands, colors = ([text or "" for text in texts] for texts in (titles, brands, colors))
    all_words = words(query)
    asked, excluded = _split_negation(all_words)
    asked = [word for word in asked if word not in _STOP_WORDS] or asked
    asked_set, excluded_set = set(asked), set(excluded)
    pairs = set(zip(asked, asked[1:]))
    trigrams = _trigrams(" ".join(asked))
    query_colors = asked_set & COLOR_WORDS
    numbers = {word for word in asked if _NUMBER.match(word)}
    measures, groups = _measures(asked), _audiences(asked)
    likeness = _Likeness(asked)

    title_words = [words(title) for title in titles]
    brand_words = [frozenset(words(brand)) for brand in brands]
    color_words = [frozenset(words(color)) & COLOR_WORDS for color in colors]
    texts = [set(title) | brand | set(words(color)) for title, brand, color in zip(title_words, brand_words, colors)]
    # Rarity among the candidates; +1 keeps a word that all of them have from weighing nothing.
    # Sorted: a sum of floats must not depend on the order of a set, which differs from process to process.
    weights = {word: float(np.log1p(count / (1 + sum(word in text for text in texts)))) for word in sorted(asked_set)}
    total_weight = sum(weights.values())
    brands_named = {brand for brand in brand_words if brand and brand <= asked_set}

    out = np.zeros((count, len(LEXICAL_NAMES)), np.float32)
    for row, (title, in_order, text, brand, field) in enumerate(
        zip(titles, title_words, texts, brand_words, color_words)
    ):
        in_title = set(in_order)
        head = set(words(_head(title)))
        matched, in_head = asked_set & text, asked_set & head
        product_colors = field or head & COLOR_WORDS
        product_measures, product_groups = _measures(in_order), _audiences(in_order)
        known = {unit for unit in measures if unit in product_measures}
        agreeing = {unit for unit in known if measures[unit] & product_measures[unit]}
        first = next((position for position, word in enumerate(in_order) if word in asked_set), len(in_order))
        out[row] = (
            _share(len(matched), len(asked_set)),
            _share(len(asked_set & in_title), len(asked_set)),
            _share(len(in_head), len(asked_set)),
            likeness.mean(text),
            likeness.mean(head),
            _share(len(asked_set & in_title), len(asked_set | in_title)),
            _share(len(trigrams & (_trigrams(title) | _trigrams(brands[row]) | _trigrams(colors[row]))), len(trigrams)),
            _share(len(pairs & set(zip(in_order, in_order[1:]))), len(pairs)),
            float(bool(asked) and asked[-1] in in_title),
            sum(weights[word] for word in weights if word in matched) / total_weight if total_weight else 0.0,
            sum(weights[word] for word in weights if word in in_head) / total_weight if total_weight else 0.0,
            1.0 - first / len(in_order) if in_order else 0.0,
            float(brand in brands_named),
            float(bool(brands_named) and brand not in brands_named),
            float(bool(query_colors)),
            _share(len(query_colors & text), len(query_colors)),
            _share(len(query_colors & field), len(query_colors)),
            float(bool(query_colors) and bool(product_colors) and not query_colors & product_colors),
            float(bool(numbers)),
            _share(len(numbers & text), len(numbers)),
            _share(len(agreeing), len(measures)),
            _share(len(known - agreeing), len(measures)),
            _share(len(groups & product_groups), len(groups)),
            float(bool(groups) and bool(product_groups) and not groups & product_groups),
            float(bool(excluded)),
            _share(len(excluded_set & text), len(excluded_set)),
            np.log1p(len(all_words)),
            np.log1p(len(in_order)),
        )
    return out


def cosines(query_vecs: np.ndarray, text_vecs: np.ndarray, image_vecs: np.ndarray, has_image: np.ndarray) -> np.ndarray:
    """The cosines of n pairs, as Transform computes them in its graph; vectors of any length, a zero vector's are 0.

    Args:
        query_vecs: float32 [n, d], or [d] for the candidates of one query. text_vecs, image_vecs: float32 [n, d]; what
            stands in ``image_vecs`` where there is no picture does not matter. has_image: 0 or 1, [n].

    Returns:
        float32 [n, 4], the columns of ``COSINE_NAMES``; 0 for the pictures that are missing.
    """
    pictured = np.asarray(has_image).reshape(-1, 1) > 0
    texts = _unit(text_vecs)
    # Spread out, so that a query's vector gives the same bits whether it comes once or once a candidate.
    queries = np.ascontiguousarray(np.broadcast_to(_unit(query_vecs), texts.shape))
    images = _unit(np.where(pictured, image_vecs, np.float32(0)))
    text, image, both = (
        np.einsum("nd,nd->n", *pair) for pair in ((queries, texts), (queries, images), (texts, images))
    )
    return np.stack([text, image, both, (text + np.where(pictured[:, 0], image, text)) / 2], axis=1)


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors = np.asarray(vectors, np.float32)
    norms = np.sqrt(np.einsum("...d,...d->...", vectors, vectors))[..., None]
    return vectors / np.maximum(norms, np.float32(1e-12))


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
    others = np.maximum(sizes - 1, 1)[group]
    for column, values in enumerate(_compared(cosine, np.asarray(has_image).reshape(-1) > 0, lexical, starts, group)):
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


def candidate_features(
    query: str,
    titles: Sequence[str],
    brands: Sequence[str | None],
    colors: Sequence[str | None],
    query_vec: np.ndarray,
    text_vecs: np.ndarray,
    image_vecs: np.ndarray,
    has_image: np.ndarray,
) -> dict[str, np.ndarray]:
    """Everything that is computed from a query's whole list of n candidates, judged or retrieved.

    Args:
        query, titles, brands, colors: see :func:`lexical_features`.
        query_vec: float32 [d], text_vecs, image_vecs: float32 [n, d], all as the encoder made them; a row of
            ``image_vecs`` without a picture may hold anything. has_image: 0 or 1, [n].

    Returns:
        ``LEXICAL`` float32 [n, len(LEXICAL_NAMES)], ``RELATIVE`` float32 [n, len(RELATIVE_NAMES)].

    Raises:
        ValueError: lengths differ.
    """
    lexical = lexical_features(query, titles, brands, colors)
    cosine = cosines(query_vec, text_vecs, image_vecs, has_image)
    return {LEXICAL: lexical, RELATIVE: relative_features(cosine, has_image, lexical)}


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


def contract() -> str:
    """Eight hex digits over what a ranker reads: the service and the names and order of every computed column.

    Models of different contracts cannot score the same examples and are never compared with each other.
    """
    names = (FEATURE_SERVICE, *VECTORS, HAS_IMAGE, *COSINE_NAMES, *LEXICAL_NAMES, *RELATIVE_NAMES)
    return hashlib.sha256("|".join(names).encode()).hexdigest()[:8]
