"""Every search as one line of JSON, written by a thread of its own: the answer never waits for the disk.

``var/search/queries-<day>-<process>-<number>.jsonl``. A full queue or a full disk costs lines, which are counted, never
an answer. Files older than the retention are deleted. Searches of a shadow model have files of their own,
``shadows-<day>-<process>-<number>.jsonl``: whoever counts searches must not count them twice.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any

import orjson

from sqidflow.core.settings import SearchSettings
from sqidflow.search.experiments import Experiments, Exposure

_LOG = logging.getLogger(__name__)
_QUEUED = 10_000
_BATCH = 200
WRITTEN_EVERY_S = 0.5
_SECONDS_PER_DAY = 86_400
_QUERIES, _SHADOWS = "queries", "shadows"


@dataclass
class _LogFile:
    """The file that is written now: its day and its number among those of the process."""

    stream: IO[str] | None = None
    day: str = ""
    number: int = 0


class QueryLog:
    """Takes searches from any thread; ``dropped`` counts those that were not written."""

    def __init__(self, folder: Path, settings: SearchSettings, experiments: Path) -> None:
        self._folder, self._settings = folder, settings
        self._experiments = Experiments(experiments)
        # Not a queue that wakes its reader: the writer would take the interpreter from the answer that is under way.
        self._waiting: deque[tuple[dict[str, Any] | None, Exposure | None]] = deque()
        self._wake, self._ends = threading.Event(), False
        self._turn = threading.Condition()
        self._turns = 0
        self._files = {kind: _LogFile() for kind in (_QUERIES, _SHADOWS)}
        self.dropped = 0
        self._thread = threading.Thread(target=self._write, name="query-log", daemon=True)
        self._thread.start()

    def put(self, line: dict[str, Any] | None, exposure: Exposure) -> None:
        """Take a search for the log (where that is on) and for the experiment; written within a second."""
        if len(self._waiting) >= _QUEUED:
            self.dropped += 1
            return
        self._waiting.append((line if self._settings.query_log else None, exposure))

    def put_shadow(self, line: dict[str, Any]) -> None:
        """Take a search of a shadow model, where the log is on."""
        if not self._settings.query_log:
            return
        if len(self._waiting) >= _QUEUED:
            self.dropped += 1
            return
        self._waiting.append((line, None))

    def flush(self) -> None:
        """Wait until all that was put is written."""
        with self._turn:
            # The turn under way may have begun before the last put: two turns from now all is written.
            wanted = self._turns + 2
            while self._turns < wanted and self._thread.is_alive() and not self._ends:
                self._wake.set()
                self._turn.wait(timeout=0.5)

    def close(self) -> None:
        self._ends = True
        self._wake.set()
        self._thread.join(timeout=10)
        self._experiments.close()

    def _write(self) -> None:
        self._retain()
        while True:
            self._wake.wait(WRITTEN_EVERY_S)
            self._wake.clear()
            ends = self._ends
            while self._waiting:
                self._write_some([self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))])
            with self._turn:
                self._turns += 1
                self._turn.notify_all()
            if ends:
                for file in self._files.values():
                    if file.stream is not None:
                        file.stream.close()
                return

    def _write_some(self, items: list[tuple[dict[str, Any] | None, Exposure | None]]) -> None:
        try:
            for kind, shadow in ((_QUERIES, False), (_SHADOWS, True)):
                lines = [line for line, exposure in items if line is not None and (exposure is None) == shadow]
                if lines:
                    self._append(lines, kind)
            self._experiments.expose([exposure for _, exposure in items if exposure is not None])
        except Exception as error:  # the log's own failure is never the service's
            self.dropped += len(items)
            _LOG.warning("query log: %d searches not written (%s)", len(items), error)
            for file in self._files.values():
                file.stream = None

    def _append(self, lines: list[dict[str, Any]], kind: str) -> None:
        day = datetime.now(UTC).strftime("%Y%m%d")
        file = self._files[kind]
        stream = file.stream
        if stream is None or day != file.day or stream.tell() > self._settings.query_log_mb * 1_000_000:
            if stream is not None:
                stream.close()
                file.number += 1
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder / f"{kind}-{day}-{os.getpid()}-{file.number}.jsonl"
            file.stream = stream = path.open("a", encoding="utf-8", errors="replace")
            file.day = day
            self._retain()
        stream.write("".join(orjson.dumps(line).decode() + "\n" for line in lines))
        stream.flush()

    def _retain(self) -> None:
        oldest = time.time() - self._settings.query_log_days * _SECONDS_PER_DAY
        for file in (path for kind in self._files for path in self._folder.glob(f"{kind}-*.jsonl")):
            try:
                if file.stat().st_mtime < oldest:
                    file.unlink()
            except OSError:
                continue
        try:
            self._experiments.forget(datetime.now(UTC) - timedelta(days=self._settings.query_log_days))
        except Exception as error:
            _LOG.warning("experiments: old rows were not deleted (%s)", error)
