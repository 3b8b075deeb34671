"""The words of the prepared products are read once, and never another catalogue's."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from sqidflow.indexing import kept_words
from sqidflow.indexing.build import Judgements, build
from sqidflow.indexing.kept_words import ReadWords, words_of
from sqidflow.ranking.lexical import lexical_features_of
from tests.fixtures.small_index import SmallIndex, small_meta


def _none() -> np.ndarray:
    return np.zeros((0, 0), np.float32)


@dataclass(frozen=True)
class _Shop:
    titles: list[str]
    brands: list[str | None]
    colors: list[str | None]
    product_ids: list[str] = field(default_factory=list)
    text: np.ndarray = field(default_factory=_none)
    image: np.ndarray = field(default_factory=_none)
    has_image: np.ndarray = field(default_factory=_none)


SHOP = _Shop(
    ["Red kettle 2 l", "Padded phone case, for phone", "Zapatos de niño ñandú", ""],
    ["Acme", None, "Ñuñoa", ""],
    ["red", "blue", None, None],
)
QUERY = "red kettle not blue"


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[_Shop]:
    """The catalogues whose texts were read."""
    done: list[_Shop] = []
    read = ReadWords.of

    def counted(products: _Shop, language: str) -> ReadWords:
        done.append(products)
        return read(products, language)

    monkeypatch.setattr(kept_words.ReadWords, "of", staticmethod(counted))
    return done


def _same(one: ReadWords, other: ReadWords) -> bool:
    rows = np.arange(len(one.texts))
    features = [lexical_features_of(QUERY, each.texts, rows) for each in (one, other)]
    scores = [each.words.scores(each.words.terms(QUERY)) for each in (one, other)]
    return bool(np.array_equal(*features) and np.array_equal(*scores))


def test_the_second_step_takes_what_the_first_has_read(tmp_path: Path, readings: list[_Shop]) -> None:
    first, second = (words_of(tmp_path, SHOP, "english") for _ in range(2))
    assert len(readings) == 1
    assert _same(first, second)


@pytest.mark.parametrize(
    "other",
    [
        replace(SHOP, titles=["Red kettle 3 l", *SHOP.titles[1:]]),
        replace(SHOP, brands=["Acm", *SHOP.brands[1:]], colors=["ered", *SHOP.colors[1:]]),
        replace(SHOP, brands=["Acme", "", *SHOP.brands[2:]]),
    ],
    ids=["a title", "the same characters in other fields", "an empty brand"],
)
def test_other_texts_are_read(tmp_path: Path, readings: list[_Shop], other: _Shop) -> None:
    words_of(tmp_path, SHOP, "english")
    assert _same(words_of(tmp_path, other, "english"), ReadWords.of(other, "english"))
    assert readings[1] is other
    assert len(list((tmp_path / kept_words.FOLDER).iterdir())) == 1, "older words are removed"


def test_another_language_is_read(tmp_path: Path, readings: list[_Shop]) -> None:
    words_of(tmp_path, SHOP, "english")
    assert words_of(tmp_path, SHOP, "spanish").texts.language == "spanish"
    assert len(readings) == 2


@pytest.mark.parametrize("damage", ["cut", "changed", "gone", "no seal"])
def test_what_is_damaged_is_read_again(
    tmp_path: Path, readings: list[_Shop], damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    whole = words_of(tmp_path, SHOP, "english")
    [folder] = (tmp_path / kept_words.FOLDER).iterdir()
    file = folder / "texts" / "title_values.npy"
    content = file.read_bytes()
    if damage == "cut":
        file.write_bytes(content[:-4])
    elif damage == "changed":
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "gone":
        file.unlink()
    else:
        (folder / "files.json").write_text("{")
    assert _same(words_of(tmp_path, SHOP, "english"), whole)
    assert "read again from the products" in caplog.text
    words_of(tmp_path, SHOP, "english")
    assert len(readings) == 2, "what was read again is kept"


def test_a_full_disk_costs_time_and_nothing_else(
    tmp_path: Path, readings: list[_Shop], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(self: object, folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "half.npy").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("sqidflow.ranking.lexical.EncodedTexts.save", full)
    assert len(words_of(tmp_path, SHOP, "english").texts) == len(SHOP.titles)
    assert "not kept" in caplog.text
    assert not list((tmp_path / kept_words.FOLDER).iterdir())


def test_an_index_of_kept_words_is_the_one_of_the_products(small_index: SmallIndex, tmp_path: Path) -> None:
    catalogue, ranker = small_index.catalogue, small_index.ranker
    nothing = Judgements(np.zeros(0, np.int64), np.zeros(0, np.int64), (), ())
    folders = []
    for name in ("read", "kept"):
        kept = kept_words.kept_words_of(tmp_path, catalogue, "english")
        assert (kept is None) == (name == "read")
        folder = tmp_path / name
        build(folder, catalogue, nothing, (), catalogue.text[:2], ranker, small_meta(catalogue, ranker), read=kept)
        folders.append({file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()})
        words_of(tmp_path, catalogue, "english")
    assert folders[0] == folders[1]
