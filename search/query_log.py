"""Every search as one line of JSON, written by a thread of its own: the answer never waits for the disk.

``var/search/queries-<day>-<process>-<number>.jsonl``. A full queue or a full disk costs lines, which are counted, never
an answer. Files older than the retention are deleted.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any

from pipeline.settings import SearchSettings
from search.experiments import Experiments, Exposure

_LOG = logging.getLogger(__name__)
_QUEUED = 10_000
_BATCH = 500
_SECONDS_PER_DAY = 86_400


class QueryLog:
    """Takes searches from any thread; ``dropped`` counts those that were not written."""

    def __init__(self, folder: Path, settings: SearchSettings, experiments: Path) -> None:
        self._folder, self._settings = folder, settings
        self._experiments = Experiments(experiments)
        self._queue: queue.Queue[tuple[dict[str, Any] | None, Exposure | None] | None] = queue.Queue(_QUEUED)
        self._stream: IO[str] | None = None
        self._opened_for = ""
        self._number = 0
        self.dropped = 0
        self._thread = threading.Thread(target=self._write, name="query-log", daemon=True)
        self._thread.start()

    def put(self, line: dict[str, Any] | None, exposure: Exposure | None) -> None:
        """Queue a search for the log (where that is on) and for the experiment."""
        try:
            self._queue.put_nowait((line if self._settings.query_log else None, exposure))
        except queue.Full:
            self.dropped += 1

    def flush(self) -> None:
        """Wait until all that was put is written."""
        self._queue.join()

    def close(self) -> None:
        self._queue.put(None)
        self._thread.join(timeout=10)
        self._experiments.close()

    def _write(self) -> None:
        self._retain()
        while True:
            items = [self._queue.get()]
            while len(items) < _BATCH:
                try:
                    items.append(self._queue.get_nowait())
                except queue.Empty:
                    break
            ends = any(item is None for item in items)
            wanted = [item for item in items if item is not None]
            try:
                lines = [line for line, _ in wanted if line is not None]
                if lines:
                    self._append(lines)
                self._experiments.expose([exposure for _, exposure in wanted if exposure is not None])
            except Exception as error:  # the log's own failure is never the service's
                self.dropped += len(wanted)
                _LOG.warning("query log: %d searches not written (%s)", len(wanted), error)
                self._stream = None
            finally:
                for _ in items:
                    self._queue.task_done()
            if ends:
                if self._stream is not None:
                    self._stream.close()
                return

    def _append(self, lines: list[dict[str, Any]]) -> None:
        day = datetime.now(UTC).strftime("%Y%m%d")
        stream = self._stream
        if stream is None or day != self._opened_for or stream.tell() > self._settings.query_log_mb * 1_000_000:
            if stream is not None:
                stream.close()
                self._number += 1
            self._folder.mkdir(parents=True, exist_ok=True)
            file = self._folder / f"queries-{day}-{os.getpid()}-{self._number}.jsonl"
            self._stream = stream = file.open("a", encoding="utf-8", errors="replace")
            self._opened_for = day
            self._retain()
        stream.write("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
        stream.flush()

    def _retain(self) -> None:
        oldest = time.time() - self._settings.query_log_days * _SECONDS_PER_DAY
        for file in self._folder.glob("queries-*.jsonl"):
            try:
                if file.stat().st_mtime < oldest:
                    file.unlink()
            except OSError:
                continue
        try:
            self._experiments.forget(datetime.now(UTC) - timedelta(days=self._settings.query_log_days))
        except Exception as error:
            _LOG.warning("experiments: old rows were not deleted (%s)", error)
