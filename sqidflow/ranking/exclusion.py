"""What a query excludes and which attributes it asks for, by its terms; the same in training and search."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Literal

from sqidflow.ranking.languages import LANGUAGES, Language
from sqidflow.ranking.prices import without_prices
from sqidflow.ranking.words import DEFAULT_LANGUAGE, NUMBER, UNIT_TERMS, folded, spoken_around, words

_HYPHENATED = re.compile(r"(?<![^\W_])(?:no|non|not|minus|sin)-([^\W_]+)")
_DEGREES = frozenset({"too", "veri", "so", "just", "onli", "realli", "that", "muy", "tan"})
_QUALIFIERS = frozenset({"real", "genuin", "faux", "fake", "artifici", "any", "ani", "added", "ad", "visibl", "new"})
# An adjective is a wish of its own: "jacket without hood waterproof".
_ADJECTIVES = ("proof", "abl", "ibl", "less", "resist", "free")
_HYPHEN_FREE = re.compile(r"([^\W_]+)-(?:free|libre)(?![^\W_])")
OPPOSITES = ("un", "non", "in", "im", "ir", "il", "dis", "anti", "de", "mis")
WITHOUT = "less"
_FREE = frozenset({"free", "libre"})
_MOST_WORDS = 2

Kind = Literal["color", "material", "audience", "brand", "number"]


@dataclass(frozen=True)
class Asked:
    """A query's terms: all of them, those asked for, and the excluded things of one or two terms each."""

    terms: tuple[str, ...]
    asked: tuple[str, ...]
    excluded: tuple[tuple[str, ...], ...] = ()

    @property
    def excluded_terms(self) -> tuple[str, ...]:
        return tuple(term for thing in self.excluded for term in thing)


@dataclass(frozen=True)
class Wish:
    """An attribute that a query asks for: its kind and the term."""

    kind: Kind
    term: str


def read_query(
    query: str, language: str = DEFAULT_LANGUAGE, is_brand: Callable[[str], bool] = lambda term: False
) -> Asked:
    """The terms of a query, split into what is asked for and what is excluded.

    Nothing is excluded by a negation that is part of a name ("no-show socks", "No 7", "minus 20"), by "non" before
    anything but a colour, material or ingredient, or by "no" at the start of a name ("no pull dog harness"). "sugar
    free" asks for what it says. Prices are neither asked for nor excluded, and what a sentence says around a wish
    ("where can i buy a ...") is not asked for.

    Args:
        is_brand: whether a term is a word of a brand; such a word is excluded by itself ("except nike shoes").
    """
    query = without_prices(query)
    terms = words(query, language)
    lists = LANGUAGES[language]
    around = spoken_around(terms, language)
    if lists.negations.isdisjoint(terms):
        return Asked(terms, _wish(terms, around))
    in_name = {term for word in _HYPHENATED.findall(folded(query)) for term in words(word, language)[:1]}
    asked: list[str] = []
    excluded: list[tuple[str, ...]] = []
    position = 0
    while position < len(terms):
        end = position
        things: list[tuple[str, ...]] = []
        if terms[position] in lists.negations:
            end, things = _excluded_after(terms, position, language, in_name, is_brand)
        if things:
            excluded += things
            position = end
        else:
            asked.append(terms[position])
            position += 1
    return Asked(terms, _wish(tuple(asked), around), tuple(excluded))


def _wish(terms: tuple[str, ...], around: frozenset[str]) -> tuple[str, ...]:
    """The terms without those that are said around a wish; all where there are no others."""
    return tuple(term for term in terms if term not in around) or terms if around else terms


def is_opposite(one: str, other: str) -> bool:
    """Whether one word is the other with a negative syllable: unscented and scented, cordless and cord."""
    longer, shorter = (one, other) if len(one) > len(other) else (other, one)
    return longer == shorter + WITHOUT or any(longer == negative + shorter for negative in OPPOSITES)


def denied_terms(title: str, terms: Sequence[str], language: str = DEFAULT_LANGUAGE) -> dict[str, None]:
    """The distinct terms that a title says its product is without: what it excludes, what stands right after one of its
    negations ("No-Show") and what it is free of.

    Args:
        terms: the title's, as ``words`` reads them.
    """
    lists = LANGUAGES[language]
    denied: dict[str, None] = {}
    if not lists.negations.isdisjoint(terms):
        denied |= dict.fromkeys(read_query(title, language).excluded_terms)
        denied |= dict.fromkeys(
            after
            for before, after in pairwise(terms)
            if before in lists.negations and after not in lists.stop_words and not NUMBER.match(after)
        )
    if not _FREE.isdisjoint(terms):
        # "green, free shipping" is green: without a hyphen only what things are often free of.
        often = lists.ingredients | lists.materials
        denied |= dict.fromkeys(before for before, after in pairwise(terms) if after in _FREE and before in often)
        denied |= dict.fromkeys(
            term for word in _HYPHEN_FREE.findall(folded(title)) for term in words(word, language)[-1:]
        )
    return denied


def denied_term(term: str) -> str:
    """The term of a product that says it is without something."""
    return f"-{term}"


def terms_to_index(text: str, language: str = DEFAULT_LANGUAGE) -> list[str]:
    """A product's terms for BM25: its words, and each thing it says it is without once more as a ``denied_term``."""
    terms = words(text, language)
    return [*terms, *map(denied_term, denied_terms(text, terms, language))]


def terms_to_search(query: str, language: str = DEFAULT_LANGUAGE) -> list[str]:
    """A query's terms for BM25: what it asks for, and what it excludes as products name what they are without.

    So "belt without buckle" finds the belts that say so, and none for its buckle.
    """
    read = read_query(query, language)
    return [*read.asked, *map(denied_term, read.excluded_terms)]


def excluded_terms(
    query: str, catalogue_knows: Callable[[str], bool] = lambda term: True, language: str = DEFAULT_LANGUAGE
) -> tuple[tuple[str, ...], ...]:
    """The things a query excludes whose terms the catalogue has all of: only those can be demoted."""
    return tuple(thing for thing in read_query(query, language).excluded if all(map(catalogue_knows, thing)))


def asked_attributes(
    query: str, language: str = DEFAULT_LANGUAGE, is_brand: Callable[[str], bool] = lambda term: False
) -> tuple[Wish, ...]:
    """The colours, materials, audiences, brands and numbers a query asks for, in its order, each once."""
    lists = LANGUAGES[language]
    wishes: dict[Wish, None] = {}
    for term in read_query(query, language, is_brand).asked:
        kind = _kind(term, lists, is_brand)
        if kind is not None:
            wishes[Wish(kind, term)] = None
    return tuple(wishes)


def _kind(term: str, lists: Language, is_brand: Callable[[str], bool]) -> Kind | None:
    if term in lists.colors:
        return "color"
    if term in lists.materials:
        return "material"
    if term in lists.audiences:
        return "audience"
    if NUMBER.match(term):
        return "number"
    return "brand" if is_brand(term) else None


@lru_cache(maxsize=len(LANGUAGES))
def _attributes(language: str) -> frozenset[str]:
    lists = LANGUAGES[language]
    return frozenset({*lists.colors, *lists.materials, *lists.ingredients, *lists.audiences})


@lru_cache(maxsize=len(LANGUAGES))
def _names(language: str) -> dict[str, frozenset[str]]:
    """Negation -> the terms before which it begins a name."""
    lists = LANGUAGES[language]
    return {
        negation: frozenset(term for word in followers for term in words(word, language))
        for negation, followers in lists.names_with_negation.items()
    }


def _excluded_after(
    terms: Sequence[str], at: int, language: str, in_name: Collection[str], is_brand: Callable[[str], bool]
) -> tuple[int, list[tuple[str, ...]]]:
    """Where what the negation at ``at`` excludes ends, and the things; none where it is part of a name."""
    lists, negation = LANGUAGES[language], terms[at]
    start = at + 1
    # "no more than", "not for the kitchen": articles and prepositions exclude nothing by themselves.
    while start < len(terms) and (terms[start] in lists.stop_words or terms[start] in _DEGREES):
        start += 1
    if start >= len(terms) or terms[start] in lists.negations:
        return at, []
    first = terms[start]
    attribute = first in _attributes(language) or is_brand(first)
    if NUMBER.match(first) and negation in ("no", "non", "minus", "menos"):
        return at, []
    if first in _names(language).get(negation, ()) or (first in in_name and not attribute):
        return at, []
    if negation == "non" and not attribute:
        return at, []
    if negation == "no" and at == 0 and start + 1 < len(terms) and not attribute:
        return at, []
    things: list[tuple[str, ...]] = []
    position = start
    while True:
        thing, position = _thing(terms, position, language, negation, at > 0, is_brand)
        things.append(thing)
        following = position + 1
        if following >= len(terms) or terms[position] not in lists.joins:
            break
        # "or" and "nor" go on excluding; after "and" only what is of the same sort does: "not green and with a lid".
        alike = _kind(terms[following], lists, is_brand) == _kind(thing[0], lists, is_brand)
        goes_on = alike if terms[position] in ("and", "y", "e") else True
        if not goes_on or terms[following] in lists.stop_words or NUMBER.match(terms[following]):
            break
        position = following
    return position, things


def _thing(
    terms: Sequence[str],
    at: int,
    language: str,
    negation: str,
    something_before: bool,
    is_brand: Callable[[str], bool],
) -> tuple[tuple[str, ...], int]:
    """One excluded thing, and where it ends: a colour, material, brand or number by itself, else up to two terms."""
    lists, first, end = LANGUAGES[language], terms[at], at + 1
    if NUMBER.match(first):
        unit = terms[end : end + 1]
        end += bool(unit) and unit[0] in UNIT_TERMS
        return tuple(terms[at:end]), end
    alone = first in _attributes(language) or is_brand(first)
    qualified = first in _QUALIFIERS
    if negation in ("not", "except", "excluding", "excepto", "salvo") and not qualified:
        # "not" mostly stands before an adjective, "except" before a name: of two words only where nothing follows.
        alone = alone or negation == "not" or not something_before or end + 1 < len(terms)
    while end - at < _MOST_WORDS and end < len(terms) and not alone:
        following = terms[end]
        if (
            NUMBER.match(following)
            or following in lists.stop_words
            or following in lists.negations
            or (following in _attributes(language) and not qualified)
            or following.endswith(_ADJECTIVES)
        ):
            break
        end += 1
    return tuple(terms[at:end]), end
