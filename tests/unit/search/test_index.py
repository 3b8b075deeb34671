"""The index on disk: what it holds, and that a damaged file is refused whatever the damage."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sqidflow.core.errors import SqidflowError
from sqidflow.search import checksums
from sqidflow.search.index import Meta, ProductIndex, ask_for, index_folders
from tests.fixtures.small_index import PICTURE, SmallIndex


def test_what_is_known_of_a_product(small_index: SmallIndex) -> None:
    index = ProductIndex(small_index.folder)
    assert len(index) == 50
    assert index.row_of("P07") == 7 and index.product_ids(np.array([7, 0])) == ["P07", "P00"]
    assert index.row_of("P") is None and index.row_of("nowhere") is None and index.row_of("P" * 300) is None
    assert index.cell("title", 7) == small_index.catalogue.titles[7]
    assert index.cell("bullet_points", 0) == "First point\nSecond point" and index.cell("bullet_points", 1) is None
    assert index.judged(3) == [{"query_id": 7, "query": "red kettle", "label": "I"}] and index.judged(1) == []
    assert index.picture(0) == PICTURE and index.picture(1) is None
    assert index.has_picture(0) and not index.has_picture(1)
    np.testing.assert_allclose(np.linalg.norm(index.text.astype(np.float32), axis=1), 1, atol=1e-3)
    assert index.document_counts["kettle"] == 10


def test_filters_are_ands_of_ors(small_index: SmallIndex) -> None:
    index = ProductIndex(small_index.folder)
    assert index.allowed([], [], False) is None
    red = index.allowed([], [" RED "], False)
    assert red is not None and [small_index.catalogue.colors[row] for row in np.flatnonzero(red)] == ["red"] * 10
    both = index.allowed(["acme"], ["red", "blue"], False)
    assert both is not None and both.sum() == 10
    pictured = index.allowed(["acme"], [], True)
    assert pictured is not None and np.flatnonzero(pictured).tolist() == [0, 14, 28, 42]
    nobody = index.allowed(["nobody"], [], False)
    assert nobody is not None and not nobody.any()


def _cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _one_byte_short(content: bytes) -> bytes:
    return content[:-1]


def _emptied(content: bytes) -> bytes:
    return b""


def _longer(content: bytes) -> bytes:
    return content + b"\0"


def _flipped_at(share: float) -> Callable[[bytes], bytes]:
    def flip(content: bytes) -> bytes:
        at = min(int(share * len(content)), len(content) - 1)
        return content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :]

    return flip


def _zeros(content: bytes) -> bytes:
    return bytes(len(content))


DAMAGE: dict[str, Callable[[bytes], bytes] | None] = {
    "deleted": None,
    "cut": _cut,
    "one byte short": _one_byte_short,
    "emptied": _emptied,
    "longer": _longer,
    "first byte flipped": _flipped_at(0.0),
    "middle flipped": _flipped_at(0.5),
    "last byte flipped": _flipped_at(1.0),
    "zeros": _zeros,
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_file_is_refused_in_one_line_that_names_it(
    small_index: SmallIndex, tmp_path: Path, kind: str
) -> None:
    copy = Path(shutil.copytree(small_index.folder, tmp_path / "index"))
    files = sorted(file for file in copy.rglob("*") if file.is_file())
    assert len(files) > 25
    for file in files:
        content = file.read_bytes()
        damage = DAMAGE[kind]
        changed = None if damage is None else damage(content)
        if changed == content:
            continue  # an empty file has no byte to lose
        if changed is None:
            file.unlink()
        else:
            file.write_bytes(changed)
        with pytest.raises(SqidflowError) as caught:
            ProductIndex(copy)
        message = caught.value.message
        assert str(file) in message and "sqidflow index" in message and "\n" not in message, message
        file.write_bytes(content)
    assert len(ProductIndex(copy)) == 50, "and the whole one is taken"


@pytest.mark.parametrize("whole", [True, False])
def test_large_files_are_compared_whole_where_that_was_asked_for(
    small_index: SmallIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    monkeypatch.setattr(checksums, "WHOLE_BYTES", 10)
    monkeypatch.setattr(checksums, "_HEAD_BYTES", 100)
    copy = Path(shutil.copytree(small_index.folder, tmp_path / "index"))
    expected = checksums.checksums_of(copy, "meta.json")
    file = copy / "text.npy"
    content = file.read_bytes()
    for at, refused in ((50, True), (len(content) - 1, whole)):
        file.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        if refused:
            with pytest.raises(SqidflowError, match=r"text\.npy: .*is not what was written"):
                checksums.check_files(copy, expected, whole=whole)
        else:
            checksums.check_files(copy, expected, whole=whole)


def test_an_index_of_another_format_is_refused(small_index: SmallIndex, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(small_index.folder, tmp_path / "index"))
    replace(Meta.read(copy), format=1).write(copy)
    with pytest.raises(SqidflowError, match="index of format 1, this code reads 5; run `sqidflow index`"):
        ProductIndex(copy)


def test_meta_says_what_was_written(small_index: SmallIndex) -> None:
    meta = Meta.read(small_index.folder)
    assert meta.files.keys() == {
        file.relative_to(small_index.folder).as_posix()
        for file in small_index.folder.rglob("*")
        if file.is_file() and file.name != "meta.json"
    }
    assert (meta.products, meta.not_judged, meta.model, meta.kind) == (50, 48, "zero-shot, not trained", "exact")
    assert json.loads((small_index.folder / "meta.json").read_text())["files"]["text.npy"]["size_bytes"] == (
        (small_index.folder / "text.npy").stat().st_size
    )


def test_the_index_asked_for_last_comes_first_whatever_the_clock_says(tmp_path: Path) -> None:
    for name, moment in (("old", 100), ("tomorrow", 4_000_000_000), (".building", 5_000_000_000)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "meta.json").touch()
        os.utime(tmp_path / name, (moment, moment))
    assert [folder.name for folder in index_folders(tmp_path)] == ["tomorrow", "old"]
    ask_for(tmp_path / "old")
    assert [folder.name for folder in index_folders(tmp_path)] == ["old", "tomorrow"]
