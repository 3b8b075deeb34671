"""Texts as numbers: the arrays say what the words say, in memory and mapped from disk, for any list of a catalogue."""

from __future__ import annotations

import csv
import tempfile
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqidflow.ranking.lexical import LEXICAL_NAMES, EncodedTexts, lexical_features, lexical_features_of
from tests.fixtures import plain_lexical

WORDS = st.sampled_from(
    ["red", "blue", "shoe", "shoes", "running", "runing", "kettle", "ketle", "acme", "acmee", "16", "oz", "1,5"]
    + ["liter", "for", "men", "womens", "kids", "without", "not", "lid", "a", "navy", "größe", "日本", "x", "new,", "-"]
    + [
        "no-show",
        "scented",
        "unscented",
        "or",
        "leather",
        "free",
        "phone",
        "case",
        "compatible",
        "t-shirt",
        "1,000",
        "女性用",
    ]
)
TEXT = st.lists(WORDS, max_size=8).map(" ".join)
PRODUCTS = st.lists(st.tuples(TEXT, st.one_of(st.none(), TEXT), st.one_of(st.none(), TEXT)), min_size=1, max_size=6)


@settings(max_examples=300, deadline=None)
@given(query=TEXT, products=PRODUCTS)
def test_arrays_equal_what_is_computed_word_by_word(query, products):
    titles, brands, colors = zip(*products)
    np.testing.assert_array_equal(
        lexical_features(query, titles, brands, colors), plain_lexical.lexical_features(query, titles, brands, colors)
    )


@settings(max_examples=100, deadline=None)
@given(query=TEXT, catalogue=PRODUCTS, data=st.data())
def test_a_list_out_of_a_catalogue_is_as_if_it_stood_alone(query, catalogue, data):
    rows = data.draw(st.lists(st.integers(0, len(catalogue) - 1), max_size=8))
    alone = lexical_features(query, *(zip(*[catalogue[row] for row in rows]) if rows else ((), (), ())))
    found = lexical_features_of(query, EncodedTexts.of(*zip(*catalogue)), np.array(rows, np.int64))
    np.testing.assert_array_equal(found, alone)


def test_real_judgements_equal_what_is_computed_word_by_word(real_data: Path):
    with (real_data / "esci_us_train_sample.csv").open(newline="", encoding="utf-8") as stream:
        rows = sorted(csv.DictReader(stream), key=lambda row: row["query"])
    texts = [[row[name] for row in rows] for name in ("product_title", "product_brand", "product_color")]
    encoded = EncodedTexts.of(*texts)
    neighbours = 7  # nearly all of these queries have one product: others are put beside it
    for start in range(0, len(rows) - neighbours, neighbours):
        own = np.arange(start, start + neighbours)
        listed = ([column[row] for row in own] for column in texts)
        query = rows[start]["query"]
        expected = plain_lexical.lexical_features(query, *listed)
        np.testing.assert_array_equal(lexical_features_of(query, encoded, own), expected)
    assert len(list(groupby(rows, key=lambda row: row["query"]))) > 1000


def test_saved_and_mapped_it_is_the_same(tmp_path: Path):
    texts = (["Red kettle, 1.5 liter", "Acme shoe for men", ""], ["Acme", None, ""], [None, "navy", ""])
    encoded = EncodedTexts.of(*texts)
    encoded.save(tmp_path / "texts")
    mapped = EncodedTexts.load(tmp_path / "texts")
    assert len(mapped) == 3
    assert not mapped.title.values.flags.writeable  # pages of the file, not a copy
    rows = np.array([2, 0, 1])
    for query in ("acme ketle 1.5 liter", "shoes without lid", ""):
        np.testing.assert_array_equal(
            lexical_features_of(query, mapped, rows), lexical_features_of(query, encoded, rows)
        )


TEXTS = st.tuples(
    *(st.sampled_from(["", "Red kettle, 1.5 liter", "Hülle für Handys ohne Rand", "日本 shoe", "é", "a b"]),) * 3
)


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXTS, max_size=6), st.lists(st.one_of(TEXTS, st.integers(0, 5)), max_size=8))
def test_a_changed_catalogue_is_encoded_as_if_it_were_read_whole(
    before: list[tuple[str, str, str]], now: list[tuple[str, str, str] | int]
):
    now = [row for row in now if not isinstance(row, int) or row < len(before)]
    rows = np.array([row if isinstance(row, int) else -1 for row in now], np.int64)
    fresh = [row for row in now if not isinstance(row, int)]
    whole = [before[row] if isinstance(row, int) else row for row in now]

    def columns(texts: list) -> list[list[str]]:
        return [[text[part] for text in texts] for part in range(3)]

    with tempfile.TemporaryDirectory() as folder:
        EncodedTexts.of(*columns(before)).save(Path(folder) / "before")
        changed = EncodedTexts.load(Path(folder) / "before").with_rows(rows, *columns(fresh))
        changed.save(Path(folder) / "changed")
        EncodedTexts.of(*columns(whole)).save(Path(folder) / "whole")
        files = sorted(file.name for file in (Path(folder) / "whole").iterdir())
        assert len(files) == 25
        for name in files:
            np.testing.assert_array_equal(
                np.load(Path(folder) / "changed" / name), np.load(Path(folder) / "whole" / name), err_msg=name
            )


def test_a_missing_file_is_named(tmp_path: Path):
    EncodedTexts.of(["a"], [""], [""]).save(tmp_path)
    (tmp_path / "trigram_codes.npy").unlink()
    with pytest.raises(FileNotFoundError, match="trigram_codes"):
        EncodedTexts.load(tmp_path)


def test_words_are_found_by_their_number_and_back():
    vocabulary = EncodedTexts.of(["zebra apple größe 日本 apple"], ["acme"], ["red"]).vocabulary
    found = {vocabulary.word(number): number for number in range(len(vocabulary))}
    assert set(found) == {"zebra", "appl", "gross", "日", "本", "日本", "acm", "red"}
    assert all(vocabulary.number(word) == number for word, number in found.items())
    assert [vocabulary.number(word) for word in ("", "aaa", "zzz", "app", "apples")] == [-1] * 5


def test_an_empty_catalogue_and_an_empty_list():
    assert lexical_features_of("red", EncodedTexts.of([], [], []), np.array([], int)).shape == (0, len(LEXICAL_NAMES))
    encoded = EncodedTexts.of(["red shoe"], [""], [""])
    assert lexical_features_of("red", encoded, np.array([], int)).shape == (0, len(LEXICAL_NAMES))
