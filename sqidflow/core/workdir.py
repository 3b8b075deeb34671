"""Paths of a workdir, and the lock that allows one writer at a time."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqidflow.core import feature_files
from sqidflow.core.errors import SqidflowError, WorkdirBusyError
from sqidflow.core.files import may_write, write_atomically


def refuse_patterns(root: Path) -> None:
    """Raises SqidflowError for a path that TFX and Beam would take for a pattern of several."""
    odd = sorted({char for char in str(root) if char in "*?[]\\"})
    if odd:
        raise SqidflowError(
            f"a workdir's path may not have {' '.join(odd)}: TFX reads its paths as patterns",
            where=root,
            hint="rename the folder, or choose another with --workdir DIR",
        )


def _holder(file: Path) -> str:
    try:
        holder = json.loads(file.read_text(encoding="utf-8"))
        return f"process {holder['pid']} ({holder['what']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


@dataclass(frozen=True)
class Workdir:
    """The folders of a workdir; ``root`` is absolute."""

    root: Path

    @property
    def data(self) -> Path:
        """Raw files, versioned by DVC."""
        return self.root / "data"

    @property
    def artifacts(self) -> Path:
        """Files derived from the data."""
        return self.root / "artifacts"

    @property
    def prepared(self) -> Path:
        return self.artifacts / "prepared"

    @property
    def pairs(self) -> Path:
        return self.prepared / "pairs.csv"

    def pairs_of_split(self, split: str) -> Path:
        """The pairs of one split, where ``split.by`` is ``esci``."""
        return self.artifacts / feature_files.PAIRS_OF_SPLIT.format(split=split)

    @property
    def tfx_root(self) -> Path:
        return self.artifacts / "tfx"

    @property
    def mlmd(self) -> Path:
        return self.tfx_root / "metadata.db"

    @property
    def serving(self) -> Path:
        """Pushed models, one folder per version."""
        return self.artifacts / "serving"

    @property
    def index(self) -> Path:
        """Product indexes, one folder per digest."""
        return self.artifacts / "index"

    @property
    def evaluations(self) -> Path:
        """The latest held-out scores of each model."""
        return self.artifacts / "evaluations"

    @property
    def metrics(self) -> Path:
        """Small JSON and CSV files that are committed to git."""
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
        """Lock the workdir for writing. The kernel releases the lock if the process is killed.

        Raises:
            WorkdirBusyError: another process has the lock; names that process and what it runs.
            SqidflowError: the folder cannot be created or written.
        """
        from filelock import FileLock, Timeout

        file, holder_file = self.var / "lock", self.var / "lock_holder.json"
        lock = FileLock(file, blocking=False)
        with may_write(self.root):
            self.var.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire()
            except Timeout as error:
                raise WorkdirBusyError(
                    f"{_holder(holder_file)} is already writing to this workdir",
                    where=self.root,
                    hint="wait until it ends, or use another folder with --workdir DIR",
                ) from error
        try:
            with may_write(self.root):
                write_atomically(holder_file, json.dumps({"pid": os.getpid(), "what": what}))
            yield
        finally:
            lock.release()
