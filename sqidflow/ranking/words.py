"""Texts as words: how a query and a product's text are read, before anything is compared."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

_APOSTROPHE = re.compile(r"(?<=[^\W\d_])['\u2019](?=[^\W\d_])")
_WORD = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+", re.UNICODE)
NUMBER = re.compile(r"\d")
# Where a title stops naming the product and begins to list what else it is for, comes in or goes with.
_HEAD_END = re.compile(r"[,;|(\[–—]| - |\bfor\b|\bwith\b|\bcompatible\b", re.IGNORECASE)
_NEGATIONS = frozenset({"without", "no", "not", "non", "except", "minus"})
STOP_WORDS = frozenset(["a", "an", "and", "by", "for", "from", "in", "of", "on", "or", "the", "to", "with"])
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


def _singular(word: str) -> str:
    if word in _NEGATIONS:
        return word
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("ches", "shes", "xes", "sses")):
        return word[:-2]
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


_REMEMBERED_CHARS = 200
"""Longer texts are read anew each time: 20,000 of what a client may send would be some 200 MB."""


def words(text: str) -> tuple[str, ...]:
    """The words of a text in order: NFKC, case folded, plural s taken off, punctuation dropped.

    An apostrophe inside a word joins it: "women's" is "women", as "womens" is.
    """
    return _remembered(text) if len(text) <= _REMEMBERED_CHARS else _read(text)


def _read(text: str) -> tuple[str, ...]:
    folded = _APOSTROPHE.sub("", unicodedata.normalize("NFKC", text).casefold())
    return tuple(_singular(word) for word in _WORD.findall(folded))


_remembered = lru_cache(maxsize=20_000)(_read)


def split_negation(query: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words asked for and the words excluded: the two that follow the first negation are excluded."""
    for position, word in enumerate(query):
        if word in _NEGATIONS and position + 1 < len(query):
            excluded = [w for w in query[position + 1 : position + 3] if w not in STOP_WORDS]
            return [*query[:position], *query[position + 3 :]], excluded
    return list(query), []


def head(title: str) -> str:
    """The part of a title that names the product; the whole title where the head would be empty."""
    found = _HEAD_END.search(title)
    return title[: found.start()] if found and found.start() > 0 else title


def measures(text: Sequence[str]) -> dict[str, set[str]]:
    """Unit -> numbers: the word after a number, or before it ("16 oz", "size 9")."""
    found: dict[str, set[str]] = {}
    for position, word in enumerate(text):
        if NUMBER.match(word):
            for unit in (text[position + 1 : position + 2], text[max(position - 1, 0) : position]):
                if unit and not NUMBER.match(unit[0]) and unit[0] not in STOP_WORDS:
                    found.setdefault(unit[0], set()).add(word)
    return found
