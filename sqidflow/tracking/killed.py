"""Ends MLflow runs whose process was killed: they would stay RUNNING for ever.

A process that has runs open keeps a locked file in the workdir, and its runs carry the file's name as a tag. The kernel
releases the lock however the process ends, be it by SIGKILL or with the machine, and knows nothing of clocks or of ids
that are given again. So a file that is not locked names runs of a process that is gone; whoever opens the store next
ends those of them that are still RUNNING as KILLED, and no other.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient

_LOG = logging.getLogger(__name__)
PROCESS_TAG = "sqidflow.process"
"""Names the process that made a run: host, process id and a random part."""


class OpenRuns:
    """The runs that this process has open in one folder of locked files."""

    _of_folder: dict[tuple[int, Path], OpenRuns] = {}

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._runs: set[str] = set()
        self._lock: int | None = None
        self.name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:12]}"

    @classmethod
    def of(cls, folder: Path) -> OpenRuns:
        """This process's; a forked child has its own."""
        return cls._of_folder.setdefault((os.getpid(), folder), cls(folder))

    @property
    def _file(self) -> Path:
        return self._folder / f"{self.name}.json"

    def begin(self) -> str:
        """Lock the file before a run is made; returns the value of the run's ``PROCESS_TAG``."""
        if self._lock is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            hidden = self._file.with_name(f".{self._file.name}")
            lock = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(lock, json.dumps({"inode": os.fstat(lock).st_ino}).encode())
            hidden.rename(self._file)  # seen only when it is locked
            self._lock = lock
        return self.name

    def opened(self, run_id: str) -> None:
        self._runs.add(run_id)

    def closed(self, run_id: str) -> None:
        """Forget a run that has ended; the file goes with the last one."""
        self._runs.discard(run_id)
        if not self._runs and self._lock is not None:
            self._file.unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None


def processes_gone(folder: Path, own_store: bool) -> Iterator[tuple[str, Path]]:
    """Name and file of each process in ``folder`` that is gone and had runs open.

    Args:
        own_store: the tracking store lies in the workdir. A file that was copied with its workdir counts only then: the
            process may be alive elsewhere, and a store that both share has its runs.
    """
    for file in sorted(folder.glob("[!.]*.json")):
        with suppress(OSError, ValueError, KeyError):  # removed by its process just now, or not one of these files
            lock = os.open(file, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                original = json.loads(os.read(lock, 1000))["inode"] == os.fstat(lock).st_ino
            finally:
                os.close(lock)
            if original or own_store:
                yield file.stem, file


def end_killed_runs(client: MlflowClient, folder: Path, own_store: bool) -> list[str]:
    """End the RUNNING runs of processes that are gone as KILLED; returns their ids."""
    ended = []
    for process, file in processes_gone(folder, own_store):
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        chosen = f"tags.`{PROCESS_TAG}` = '{process}' and attributes.status = 'RUNNING'"
        for run in client.search_runs(experiments, filter_string=chosen, max_results=50_000):
            client.set_terminated(run.info.run_id, "KILLED")
            ended.append(run.info.run_id)
        file.unlink(missing_ok=True)
    if ended:
        _LOG.warning("MLflow: %d runs of killed processes ended as KILLED", len(ended))
    return ended
