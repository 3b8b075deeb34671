"""An index is whole or it does not exist."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sqidflow.core.errors import SqidflowError
from sqidflow.indexing import publish
from sqidflow.search.index import Meta, ProductIndex
from tests.fixtures.small_index import SmallIndex


def test_a_published_index_is_the_one_that_was_built(small_index: SmallIndex, tmp_path: Path) -> None:
    target = tmp_path / "index" / "5a11"
    (tmp_path / "index" / ".left.1").mkdir(parents=True)
    with publish.beside(target) as folder:
        shutil.copytree(small_index.folder, folder, dirs_exist_ok=True)
        (folder / "more.bin").write_bytes(b"also part of it")
        publish.publish(folder, target, Meta.read(folder))
    assert [path.name for path in target.parent.iterdir()] == ["5a11"]
    assert publish.verify(target).files.keys() >= {"more.bin", "text.npy", "words/vocab.index.json"}
    assert len(ProductIndex(target)) == 50


def test_a_build_that_fails_leaves_the_old_index(small_index: SmallIndex, tmp_path: Path) -> None:
    target = tmp_path / "5a11"
    shutil.copytree(small_index.folder, target)
    with pytest.raises(RuntimeError, match="half built"), publish.beside(target) as folder:
        (folder / "text.npy").write_bytes(b"half")
        raise RuntimeError("half built")
    assert [path.name for path in tmp_path.iterdir()] == ["5a11"]
    assert len(ProductIndex(target)) == 50


def test_what_cannot_be_opened_is_not_published(small_index: SmallIndex, tmp_path: Path) -> None:
    target = tmp_path / "5a11"
    with pytest.raises(SqidflowError, match="the index is damaged"), publish.beside(target) as folder:
        shutil.copytree(small_index.folder, folder, dirs_exist_ok=True)
        (folder / "vectors.faiss").write_bytes(b"not what FAISS writes")
        publish.publish(folder, target, Meta.read(folder))
    assert not target.exists()


def test_three_indexes_are_kept(small_index: SmallIndex, tmp_path: Path) -> None:
    for name in "abcd":
        with publish.beside(tmp_path / name) as folder:
            shutil.copytree(small_index.folder, folder, dirs_exist_ok=True)
            publish.publish(folder, tmp_path / name, Meta.read(folder))
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert len(kept) == 3 and "d" in kept


def test_an_unfinished_index_is_not_verified(small_index: SmallIndex, tmp_path: Path) -> None:
    from dataclasses import replace

    copy = Path(shutil.copytree(small_index.folder, tmp_path / "index"))
    replace(Meta.read(copy), files={}).write(copy)
    with pytest.raises(SqidflowError, match="was not finished"):
        publish.verify(copy)
