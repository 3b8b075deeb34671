"""Changed queries: seeded, of their kind, and never the same as before."""

from __future__ import annotations

import random

import pytest
from rapidfuzz.distance import OSA

from sqidflow.evaluation.behaviour.perturbations import (
    INJECTIONS,
    JUDGED_KINDS,
    TYPING,
    Kind,
    gibberish,
    neighbours,
    perturbed,
    plural,
    singular,
    symbols,
)

QUERIES = [
    "red wool blanket", "wireless headphones for kids", "24 inch bicycle", "leather sofa without padded",
    "head phones", "kettle", "waterproof running shoes for women",
]  # fmt: skip
KINDS = {kind.name: kind for kind in JUDGED_KINDS}


def changed(name: str, query: str, seed: int = 1, rate: float = 0.0) -> str | None:
    return perturbed(KINDS[name], [query], seed, rate)[0]


@pytest.mark.parametrize("kind", JUDGED_KINDS, ids=lambda kind: kind.name)
def test_a_seed_decides_and_what_changes_is_another_text(kind: Kind) -> None:
    once = perturbed(kind, QUERIES, 3, 0.2)
    assert once == perturbed(kind, QUERIES, 3, 0.2)
    assert any(text is not None for text in once), "the kind applies to some query"
    assert all(text != query for text, query in zip(once, QUERIES))
    alone = perturbed(kind, QUERIES[2:3], 3, 0.2)
    assert alone == once[2:3], "a query's change does not depend on the others"


@pytest.mark.parametrize("kind", TYPING, ids=lambda kind: kind.name)
def test_a_typing_error_is_one_edit_of_one_word(kind: Kind) -> None:
    for query, text in zip(QUERIES, perturbed(kind, QUERIES, 5, 0.0)):
        assert text is not None and OSA.distance(query, text) == 1
        assert [word[0] for word in text.split()] == [word[0] for word in query.split()], "first letters stay"


def test_the_rate_is_the_share_of_words() -> None:
    (text,) = perturbed(KINDS["dropped"], ["waterproof leather hiking boots"], 5, 0.75)
    assert text is not None and len("waterproof leather hiking boots") - len(text) == 3


def test_keys_have_their_neighbours() -> None:
    assert set(neighbours("g")) == set("fhtyvb") and set(neighbours("q")) == set("wa") and neighbours("4") == ""


@pytest.mark.parametrize(
    ("name", "query", "expected"),
    [
        ("compound", "red head phones", "red headphones"),
        ("compound", "red headphones", "red head phones"),
        ("number", "red kettle", "red kettles"),
        ("number", "blue shoes for women", "blue shoe for women"),
        ("synonym", "green sofa", "green couch"),
        ("slang", "shoes without laces", "kicks w/o laces"),
        ("latin", "red shoes for women", "rojo zapatos para mujeres"),
        ("script", "red lamp", "красный лампа"),
        ("order", "kettle", None),
        ("synonym", "trampoline", None),
        ("unit", "red kettle", None),
        ("compound", "red kettle", None),
    ],
)
def test_a_kind_does_what_it_says(name: str, query: str, expected: str | None) -> None:
    assert changed(name, query) == expected


def test_word_order_keeps_the_words_and_what_governs_others() -> None:
    text = changed("order", "red wool blanket for kids without fringe")
    assert text is not None and text.endswith(" for kids without fringe")
    assert sorted(text.split()) == sorted(["red", "wool", "blanket", "for", "kids", "without", "fringe"])


@pytest.mark.parametrize(("one", "many"), [("box", "boxes"), ("baby", "babies"), ("toy", "toys"), ("dress", "dresses")])
def test_regular_plurals(one: str, many: str) -> None:
    assert plural(one) == many and singular(many) == one


def test_nonsense_has_letters_or_none() -> None:
    assert len(gibberish(40, 1)) == len(set(gibberish(40, 1))) == 40 and gibberish(40, 1) != gibberish(40, 2)
    assert all(text.replace(" ", "").isalpha() for text in gibberish(40, 1))
    assert not any(char.isalnum() for text in symbols(60, 1) for char in text) and len(symbols(60, 1)) == 60
    assert len(set(INJECTIONS)) == len(INJECTIONS) > 10


def test_no_change_fails_on_odd_queries() -> None:
    rng = random.Random(4)
    odd = [
        "",
        " ",
        "a",
        "!!!",
        "\u7d05\u3044\u9774",
        "".join(map(chr, range(33, 300))),
        *(str(rng.random()) for _ in range(9)),
    ]
    for kind in JUDGED_KINDS:
        assert len(perturbed(kind, odd, 1, 0.5)) == len(odd)
