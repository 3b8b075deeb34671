"""What a query excludes, what it asks for, and which candidates do not keep to it."""

from __future__ import annotations

import numpy as np
import pytest

from sqidflow.evaluation.bm25 import bm25_scores
from sqidflow.ranking.exclusion import (
    Wish,
    asked_attributes,
    denied_terms,
    excluded_terms,
    read_query,
    terms_to_index,
    terms_to_search,
)
from sqidflow.ranking.lexical import EncodedTexts, unmet_wishes, violates
from sqidflow.ranking.prices import without_prices
from sqidflow.ranking.words import words


@pytest.mark.parametrize(
    "query",
    [
        "Non-Stick Pan 28 cm", "non stick pan", "no show socks", "No-Show Socks 6 Pack", "non slip bath mat",
        "No 7 face cream", "no. 7 cream", "minus 20 sleeping bag", "no tie shoelaces", "non-toxic crayons",
        "shoes without",        "no pull dog harness", "collar no bark", "not your mothers shampoo",
        "sugar free cookies", "lead-free paint",
        "no", "non", "zero sugar cola",
    ],
)  # fmt: skip
def test_a_name_excludes_nothing(query: str) -> None:
    read = read_query(query)
    assert read.excluded == ()
    assert read.asked == read.terms == words(query)


@pytest.mark.parametrize(
    ("query", "asked", "excluded"),
    [
        ("kettle not green 2 l", "kettle 2 l", ["green"]),
        ("kettle not green", "kettle", ["green"]),
        ("cookies without sugar or salt", "cookies", ["sugar", "salt"]),
        ("without sugar or salt", "", ["sugar", "salt"]),
        ("shoes except nike", "shoes", ["nike"]),
        ("except nike shoes", "shoes", ["nike"]),
        ("shoes except new balance", "shoes", ["new balance"]),
        ("shirt no leather", "shirt", ["leather"]),
        ("no leather shoes", "shoes", ["leather"]),
        ("non leather shoes", "shoes", ["leather"]),
        ("case without belt clip blue", "case blue", ["belt clip"]),
        ("jacket without hood waterproof", "jacket waterproof", ["hood"]),
        ("sofa not velvet or leather large", "sofa large", ["velvet", "leather"]),
        ("belt not real leather", "belt", ["real leather"]),
        ("dress not red and blue", "dress", ["red", "blue"]),
        ("kettle not green and with whistle", "kettle and with whistle", ["green"]),
        ("tv not 55 inch", "tv", ["55 inch"]),
        ("mug without the lid", "mug", ["lid"]),
        ("shirt minus pocket", "shirt", ["pocket"]),
        ("toy not for dogs", "toy", ["dogs"]),
        ("KETTLE NOT GREEN", "kettle", ["green"]),
        ("lamp excluding bulbs", "lamp", ["bulbs"]),
    ],
)
def test_the_excluded_ends_where_it_should(query: str, asked: str, excluded: list[str]) -> None:
    read = read_query(query)
    assert read.asked == words(asked)
    assert read.excluded == tuple(words(thing) for thing in excluded)


@pytest.mark.parametrize(
    ("query", "excluded"),
    [
        ("zapatos no rojos", [("rojo",)]), ("tetera sin tapa", [("tap",)]),
        ("leche sin lactosa ni azúcar", [("lactosa",), ("azucar",)]),
        ("crema no 7", []), ("bolso excepto negro", [("negro",)]),
    ],
)  # fmt: skip
def test_spanish(query: str, excluded: list[tuple[str, ...]]) -> None:
    assert list(read_query(query, "spanish").excluded) == excluded


def test_a_brand_is_excluded_by_itself() -> None:
    brands = {"acm"}
    assert read_query("shoes without acme logo", is_brand=brands.__contains__).excluded == (("acm",),)


def test_only_what_the_catalogue_knows_can_be_demoted() -> None:
    assert excluded_terms("kettle not green or plaid", {"green"}.__contains__) == (("green",),)


def test_attributes_that_are_asked_for() -> None:
    wishes = asked_attributes("red leather shoes for women 2 l not green acme", is_brand={"acm"}.__contains__)
    assert [(wish.kind, wish.term) for wish in wishes] == [
        ("color", "red"), ("material", "leather"), ("audience", "woman"), ("number", "2"), ("brand", "acm"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("title", "denied"),
    [
        ("Brown Belt without Buckle", ["buckl"]),
        ("Mug without a Lid or Handle, white", ["lid", "handl"]),
        ("No-Show Socks", ["show"]),
        ("Gluten-Free Flour, sugar free", ["gluten", "sugar"]),
        ("Kettle Green Free Shipping, No 7", []),
        ("Belt", []),
    ],
)
def test_what_a_title_says_it_is_without(title: str, denied: list[str]) -> None:
    assert list(denied_terms(title, words(title))) == denied
    assert terms_to_index(title) == [*words(title), *(f"-{term}" for term in denied)]


def test_what_is_excluded_finds_what_says_it_is_without() -> None:
    assert terms_to_search("belt without buckle") == ["belt", "-buckl"]
    catalogue = {"says": "Belt without Buckle", "has": "Belt with Buckle", "neither": "Leather Belt", "other": "Mug"}
    scores = dict(zip(catalogue, bm25_scores(["belt without buckle"] * 4, list(catalogue), catalogue)))
    assert scores["says"] > scores["neither"] > 0 == scores["other"]
    assert scores["has"] <= scores["neither"]


TITLES = (
    ("Green Kettle 2 l", "", ""),
    ("Kettle", "", "Green"),
    ("Blue Kettle without Handle", "", ""),
    ("Red Mug with Handle", "Greenland", ""),
    ("Leather-free belt", "", ""),
    ("Real leather belt", "", ""),
    ("No-Show Socks", "", ""),
)
ROWS = np.arange(len(TITLES))


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("kettle not green", [0, 1]),
        ("kettles except GREENS", [0, 1]),
        ("kettle without handle", [3]),  # the third says that it has none
        ("belt no leather", [5]),  # nor has the fifth
        ("belt not real leather", [5]),
        ("socks no show", []),
        ("kettle", []),
        ("kettle not purple", []),
        ("mug except greenland", [3]),
        ("", []),
    ],
)
def test_what_has_an_excluded_thing(query: str, rows: list[int]) -> None:
    texts = EncodedTexts.of(*zip(*TITLES))
    assert np.flatnonzero(violates(query, texts, ROWS)).tolist() == rows
    assert violates(query, texts, ROWS[:0]).shape == (0,)


@pytest.mark.parametrize(
    ("query", "unmet"),
    [
        ("red kettle", [Wish("color", "red")]),  # the red mug is no kettle
        ("blue kettle", []),
        ("green kettle", []),  # by its colour field
        ("red kettle 3 l", [Wish("color", "red"), Wish("number", "3")]),
        ("pink toaster", [Wish("color", "pink")]),  # no toaster either: all are looked at
        ("kettle", []),
    ],
)
def test_wishes_that_nothing_meets(query: str, unmet: list[Wish]) -> None:
    assert list(unmet_wishes(query, EncodedTexts.of(*zip(*TITLES)), ROWS)) == unmet


@pytest.mark.parametrize(
    ("query", "without"),
    [
        ("kettle under 20 dollars", "kettle"),
        ("phone under $100", "phone"),
        ("bicycle less than 200", "bicycle"),
        ("shoes between 20 and 40 dollars", "shoes"),
        ("hat for 10 euros", "hat"),
        ("helmet \u00a330", "helmet"),
        ("20 dollar mug", "mug"),
        ("lamp under 12 inches", "lamp under 12 inches"),  # a size
        ("bottle under 32 oz", "bottle under 32 oz"),
        ("desk under 48 x 24", "desk under 48 x 24"),
        ("shoes size 8 to 10", "shoes size 8 to 10"),
        ("$50", "$50"),  # nothing else would be left
    ],
)
def test_a_price_is_not_asked_for(query: str, without: str) -> None:
    assert without_prices(query) == without
    assert read_query(query).asked == read_query(without).asked


@pytest.mark.parametrize(
    ("query", "wish"),
    [
        ("where can i buy a red kettle", ("red", "kettl")),
        ("do you have socks?", ("sock",)),
        ("i need a mug for my mother", ("mug",)),
        ("which phone is the best", ("phone",)),
        ("best gift mug", ("best", "gift", "mug")),  # no sentence: each word may be a title's
        ("what is this", ("what", "is", "this")),  # nothing else would be left
    ],
)
def test_what_a_sentence_says_around_a_wish_is_not_asked_for(query: str, wish: tuple[str, ...]) -> None:
    assert tuple(term for term in read_query(query).asked if term not in ("a", "the", "for")) == wish
