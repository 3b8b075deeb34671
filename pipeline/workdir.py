"""Where everything of a run lies, and who may write there."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import DiskFullError, SqidflowError, WorkdirBusyError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True)
class Workdir:
    """The folders of a workdir; ``root`` is absolute."""

    root: Path

    @property
    def data(self) -> Path:
        """Raw files, DVC's."""
        return self.root / "data"

    @property
    def artifacts(self) -> Path:
        """What is derived from the data."""
        return self.root / "artifacts"

    @property
    def prepared(self) -> Path:
        return self.artifacts / "prepared"

    @property
    def pairs(self) -> Path:
        return self.prepared / "pairs.csv"

    @property
    def tfx_root(self) -> Path:
        return self.artifacts / "tfx"

    @property
    def mlmd(self) -> Path:
        return self.tfx_root / "metadata.db"

    @property
    def serving(self) -> Path:
        """Pushed models, a folder a version."""
        return self.artifacts / "serving"

    @property
    def index(self) -> Path:
        """Product indexes, a folder a digest."""
        return self.artifacts / "index"

    @property
    def evaluations(self) -> Path:
        """The last held-out scores of each model."""
        return self.artifacts / "evaluations"

    @property
    def metrics(self) -> Path:
        """Small JSON and CSV that git keeps."""
        return self.root / "metrics"

    @property
    def var(self) -> Path:
        """Scratch state."""
        return self.root / "var"

    @property
    def logs(self) -> Path:
        return self.var / "logs"

    @property
    def mlflow(self) -> Path:
        return self.var / "mlflow"

    @contextmanager
    def locked(self, what: str) -> Iterator[None]:
        """Hold the workdir for writing. The lock is the kernel's: a killed process leaves none behind.

        Raises:
            WorkdirBusyError: another process holds it; names that process and what it does.
            SqidflowError: the folder cannot be made or written.
        """
        import fcntl

        file = self.var / "lock"
        with _may_write(self.root):
            self.var.mkdir(parents=True, exist_ok=True)
            file.touch()
        with open(file, "a+") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                stream.seek(0)
                try:
                    holder = json.loads(stream.read())
                    name = f"process {holder['pid']} ({holder['what']})"
                except (ValueError, KeyError):
                    name = "another process"
                raise WorkdirBusyError(
                    f"{name} is at work here",
                    where=self.root,
                    mend="wait for it, or give this run a folder of its own with --workdir DIR",
                ) from error
            stream.truncate(0)
            stream.write(json.dumps({"pid": os.getpid(), "what": what}))
            stream.flush()
            yield


@contextmanager
def _may_write(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFullError(
                "the disk is full", where=folder, mend="free some, or use --workdir DIR on another disk"
            ) from error
        raise SqidflowError(
            f"cannot be made or written ({error.strerror})",
            where=folder,
            mend="choose a folder that you may write in with --workdir DIR",
        ) from error


def write_atomically(file: Path, text: str) -> None:
    """Write ``text`` beside ``file``, then rename: a reader sees the old file or the new one, never half of it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)


def disk_full(error: BaseException) -> OSError | None:
    """The 'no space' error behind an exception, or None."""
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
    """Refuse to start without room, and turn a disk that fills up meanwhile into one line.

    Raises:
        DiskFullError: fewer than ``needed_bytes`` are free, or a write failed for want of space.
        SqidflowError: the folder cannot be made.
    """
    import shutil

    with _may_write(folder):
        folder.mkdir(parents=True, exist_ok=True)
    needed = f"about {max(needed_bytes, 1) / 1e6:.0f} MB are needed"
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise DiskFullError(
            f"{free / 1e6:.0f} MB free, {needed}", where=folder, mend="free some, or use --workdir DIR on another disk"
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
            mend="free some, then run the same command again: finished components come from the cache",
        ) from error
