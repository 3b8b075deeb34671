"""Which texts are one query."""

from __future__ import annotations

import pytest

from sqidflow.ranking.query_text import query_key


@pytest.mark.parametrize(
    "same",
    [
        "Red Shoe",
        "  red\u00a0\tshoe\n",
        "ＲＥＤ shoe",
        "re\u00add sh\u200boe",
        "\ufeffred shoe\u200e",
        "red\x00shoe",
    ],
)
def test_what_a_searcher_does_not_mean_to_say_makes_no_other_query(same: str) -> None:
    assert query_key(same) == "red shoe"


def test_accents_may_be_written_in_two_ways() -> None:
    assert query_key("Cafe\u0301") == query_key("CAFÉ") == "café"


@pytest.mark.parametrize(
    ("one", "other"), [("cafe", "café"), ("1,000", "1.000"), ("redshoe", "red shoe"), ("a-b", "a b")]
)
def test_other_words_are_another_query(one: str, other: str) -> None:
    assert query_key(one) != query_key(other)
