"""Which judgements are of one query, whoever gave the ids."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from sqidflow.core.errors import DataError
from sqidflow.data.query_numbers import drop_conflicts_of_merged_ids, ids_of_given, number_queries

FILE = Path("judgements.csv")


def table(*rows: tuple[int | None, str, str, str, str]) -> pa.Table:
    names = ("query_id", "query", "product_id", "product_locale", "esci_label")
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    return pa.table({**columns, "query_id": pa.array(columns["query_id"], pa.int64())})


SPELLINGS = ("Red Shoe", " red  shoe", "red\u00a0shoe", "RED SHOE ", "re\u00add shoe", "red\u200b shoe", "ｒｅｄ shoe")


@pytest.mark.parametrize("spelling", SPELLINGS[1:])
def test_spellings_are_one_query_with_the_first_of_them(spelling: str) -> None:
    numbered = number_queries(table((None, SPELLINGS[0], "A", "us", "E"), (None, spelling, "B", "us", "S")), FILE)
    assert numbered.table["query_id"].to_pylist() == [1, 1]
    assert numbered.table["query"].to_pylist() == ["Red Shoe", "Red Shoe"]
    assert (numbered.numbered, numbered.merged_spellings) == (1, 1)
    assert any("1 spellings differ" in note for note in numbered.notes)


def test_accents_and_words_still_make_another_query() -> None:
    texts = ["cafe", "café", "red shoe", "redshoe", "red shoes"]
    numbered = number_queries(table(*((None, text, "A", "us", "E") for text in texts)), FILE)
    assert numbered.table["query_id"].to_pylist() == [1, 2, 3, 4, 5]
    assert (
        number_queries(table((None, "cafe\u0301", "A", "us", "E"), (None, "café", "B", "us", "E")), FILE).numbered == 1
    )


def test_one_text_in_two_locales_is_two_queries() -> None:
    rows = [(None, "airbuds", "A", "us", "C"), (None, "airbuds", "A", "es", "I"), (None, "airbuds", "B", "es", "E")]
    assert number_queries(table(*rows), FILE).table["query_id"].to_pylist() == [1, 2, 2]


def test_two_given_ids_of_one_text_become_the_first() -> None:
    rows = [(9, "lamp", "A", "us", "E"), (4, "Lamp ", "B", "us", "E"), (5, "mug", "A", "us", "E")]
    numbered = number_queries(table(*rows), FILE)
    assert numbered.table["query_id"].to_pylist() == [9, 9, 5]
    assert (numbered.merged_ids, numbered.numbered, numbered.made_up) == (1, 0, None)
    assert any("1 query_ids have the text and locale of another one" in note for note in numbered.notes)
    assert ids_of_given(numbered) == {9: [9], 4: [9], 5: [5]}


def test_a_given_id_of_two_locales_stays_with_the_first() -> None:
    rows = [(3, "lamp", "A", "us", "E"), (3, "lamp", "A", "es", "I")]
    numbered = number_queries(table(*rows), FILE)
    assert numbered.table["query_id"].to_pylist() == [3, 4]
    assert numbered.made_up == (4, 4)
    assert ids_of_given(numbered) == {3: [3, 4]}


def test_a_given_id_of_two_texts_is_an_error_where_no_id_is_missing() -> None:
    with pytest.raises(DataError, match="row 3, column query_id: query_id 3 is 'mug' here and 'lamp' in row 1"):
        number_queries(
            table((3, "lamp", "A", "us", "E"), (3, "LAMP", "B", "us", "E"), (3, "mug", "A", "us", "I")), FILE
        )


def test_what_the_second_id_says_against_the_first_is_dropped() -> None:
    rows = [
        (1, "lamp", "A", "us", "E"), (1, "lamp", "B", "us", "S"), (2, "Lamp", "A", "us", "I"),
        (2, "Lamp", "B", "us", "S"), (2, "Lamp", "C", "us", "I"),
    ]  # fmt: skip
    keep, first = drop_conflicts_of_merged_ids(number_queries(table(*rows), FILE))
    assert keep.tolist() == [True, True, False, True, True]
    assert first == 2


def test_contradictions_under_one_id_are_left_for_the_error() -> None:
    rows = [(1, "lamp", "A", "us", "E"), (1, "lamp", "A", "us", "I"), (2, "Lamp", "B", "us", "I")]
    keep, first = drop_conflicts_of_merged_ids(number_queries(table(*rows), FILE))
    assert keep.all() and first is None
