"""Atomic writes, and full or read-only disks reported as one line."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqidflow.core.errors import DiskFullError, MissingInputError, SqidflowError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def may_write(folder: Path) -> Iterator[None]:
    """Turn an OSError raised while writing to ``folder`` into an error that the user can fix."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFullError(
                "the disk is full", where=folder, hint="free some space, or use --workdir DIR on another disk"
            ) from error
        raise SqidflowError(
            f"the folder cannot be created or written ({error.strerror})",
            where=folder,
            hint="choose a writable folder with --workdir DIR",
        ) from error


def write_atomically(file: Path, text: str) -> None:
    """Write ``text`` to a temporary file, then rename it: a reader sees the old or the new content, never a part."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(file)
    finally:
        with suppress(OSError):  # on a read-only disk even what is missing cannot be removed
            temporary.unlink(missing_ok=True)


def disk_full(error: BaseException) -> OSError | None:
    """The 'no space' error among an exception and its causes, or None."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in _FULL:
            return seen
        if any(
            sign in str(seen)
            for sign in ("No space left on device", "database or disk is full", "RESOURCE_EXHAUSTED: No space")
        ):
            return OSError(errno.ENOSPC, str(seen))
        seen = seen.__cause__ or seen.__context__
    return None


@contextmanager
def disk_guard(folder: Path, needed_bytes: int) -> Iterator[None]:
    """Check the free space before a step, and report a disk that fills up during the step as one line.

    Raises:
        DiskFullError: fewer than ``needed_bytes`` are free, or a write failed because the disk is full.
        SqidflowError: the folder cannot be created.
    """
    import shutil

    with may_write(folder):
        folder.mkdir(parents=True, exist_ok=True)
    needed = f"about {max(needed_bytes, 1) / 1e6:.0f} MB are needed"
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise DiskFullError(
            f"{free / 1e6:.0f} MB free, {needed}",
            where=folder,
            hint="free some space, or use --workdir DIR on another disk",
        )
    try:
        yield
    except Exception as error:
        if disk_full(error) is None:
            raise
        free = shutil.disk_usage(folder).free
        raise DiskFullError(
            f"the disk is full ({free / 1e6:.0f} MB free, {needed})",
            where=folder,
            hint="free some space, then run the same command again: finished components come from the cache",
        ) from error


def require(path: Path, command: str = "make run") -> Path:
    """Return ``path`` if it exists.

    Args:
        command: creates ``path``; named in the hint.

    Raises:
        MissingInputError: it does not exist.
    """
    if not path.exists():
        raise MissingInputError("does not exist", file=path, hint=f"run `{command}` first")
    return path
