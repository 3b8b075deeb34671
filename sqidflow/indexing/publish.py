"""From a folder beside to the index that the service takes: checksums, to the disk, one rename."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from sqidflow.core.errors import SqidflowError
from sqidflow.search.checksums import check_files, checksums_of
from sqidflow.search.index import META_FILE, Meta, ProductIndex, ask_for, index_folders

_KEPT_INDEXES = 3


@contextmanager
def beside(target: Path) -> Iterator[Path]:
    """An empty folder to build an index in; it is gone afterwards unless it was published. What a killed build left is
    removed first."""
    folder = target.with_name(f".{target.name}.{os.getpid()}")
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob(".*"):
        shutil.rmtree(left, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def seal(folder: Path, meta: Meta) -> Meta:
    """Write ``meta`` with a checksum of every other file, and open the index once, as a service does.

    The checksums are of this moment; files read whole again would come from the same memory.
    """
    meta = replace(meta, files=checksums_of(folder, META_FILE))
    meta.write(folder)
    ProductIndex(folder, checked=True)
    return meta


def publish(folder: Path, target: Path, meta: Meta, keep: Collection[str] = ()) -> Meta:
    """Write checksums, flush the index to disk and rename it: ``target`` is complete or does not exist.

    Args:
        keep: versions of models; the newest index of each stays, of the others the newest indexes of all.
    """
    meta = seal(folder, meta)
    for path in (*folder.rglob("*"), folder):
        _sync(path)
    shutil.rmtree(target, ignore_errors=True)
    folder.rename(target)
    _sync(target.parent)
    ask_for(target)
    for old in superseded(index_folders(target.parent), keep):
        shutil.rmtree(old, ignore_errors=True)
    return meta


def superseded(folders: Sequence[Path], keep: Collection[str]) -> list[Path]:
    """Which indexes may go, of all with the newest first: but the newest few, and the newest of each model to keep."""
    missing, old = set(keep), []
    for number, folder in enumerate(folders):
        try:
            version = Meta.read(folder).model_version
        except SqidflowError:
            version = ""
        if number >= _KEPT_INDEXES and version not in missing:
            old.append(folder)
        missing.discard(version)
    return old


def verify(folder: Path) -> Meta:
    """Read every file of an index.

    Raises:
        SqidflowError: one is missing or not what was written; names it.
    """
    meta = Meta.read(folder)
    if not meta.files:
        raise SqidflowError("the index was not finished", where=folder, hint="run `sqidflow index`")
    check_files(folder, meta.files, whole=True)
    return meta


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
