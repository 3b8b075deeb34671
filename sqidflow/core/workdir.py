"""Where everything of a run lies, and who may write there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqidflow.core.errors import SqidflowError, WorkdirBusyError
from sqidflow.core.files import may_write


def refuse_patterns(root: Path) -> None:
    """Raises SqidflowError for a path that TFX and Beam would take for a pattern of several."""
    odd = sorted({char for char in str(root) if char in "*?[]\\"})
    if odd:
        raise SqidflowError(
            f"a workdir's path may not have {' '.join(odd)}: TFX reads its paths as patterns",
            where=root,
            hint="rename the folder, or choose another with --workdir DIR",
        )


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
        with may_write(self.root):
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
                    hint="wait for it, or give this run a folder of its own with --workdir DIR",
                ) from error
            stream.truncate(0)
            stream.write(json.dumps({"pid": os.getpid(), "what": what}))
            stream.flush()
            yield
