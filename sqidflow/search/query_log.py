"""Every search and event as one line of JSON, written by a thread of its own: the answer never waits for the disk.

``var/search/queries-<day>-<process>-<number>.jsonl`` and ``events-...``: records of User Behavior Insights, see
``sqidflow.search.ubi``; ``rejected-...``: events that were not taken, and why. Searches of a shadow model are in
``shadows-...``, in files of their own: whoever counts searches must not count them twice. A full queue or a full disk
costs lines, which are counted, never an answer. Files older than the retention are deleted.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any

import orjson
from filelock import FileLock, Timeout

from sqidflow.core.errors import SqidflowError
from sqidflow.core.settings import SearchSettings
from sqidflow.search.experiments import Experiments, Exposure
from sqidflow.search.ubi import EventRecord, QueryRecord

_LOG = logging.getLogger(__name__)
_QUEUED = 10_000
_BATCH = 200
WRITTEN_EVERY_S = 0.5
_LOCK_S = 60.0
_SECONDS_PER_DAY = 86_400
QUERIES, EVENTS, REJECTED, SHADOWS = "queries", "events", "rejected", "shadows"
KINDS = (QUERIES, EVENTS, REJECTED, SHADOWS)
STORE_FILE = "experiments.db"


def log_files(folder: Path, kind: str) -> list[Path]:
    """The log's files of one of ``KINDS``, in the order of their names."""
    return sorted(folder.glob(f"{kind}-*.jsonl"))


@contextmanager
def log_lock(folder: Path) -> Iterator[None]:
    """Held while lines are appended or files rewritten: what a rewriting did not read would be lost.

    Raises:
        SqidflowError: another process has held it for a minute.
    """
    lock = FileLock(folder / "log.lock", timeout=_LOCK_S)
    try:
        lock.acquire()
    except Timeout as error:
        raise SqidflowError(
            f"another process has rewritten the log for {_LOCK_S:.0f} s", where=folder, hint="try again when it ends"
        ) from error
    try:
        yield
    finally:
        lock.release()


@dataclass(frozen=True)
class Rejected:
    """An event that was not stored."""

    event: EventRecord
    reason: str

    def document(self) -> dict[str, Any]:
        return {"reason": self.reason, **self.event.document()}


_Item = tuple[QueryRecord | None, Exposure] | EventRecord | Rejected | QueryRecord
"""A search; an event; one that was not taken; a search of a shadow model."""


class QueryLog:
    """Takes searches and events from any thread; ``dropped`` counts those that were not written."""

    def __init__(self, folder: Path, settings: SearchSettings, experiments: Path) -> None:
        self._folder, self._settings = folder, settings
        self._experiments = Experiments(experiments)
        # Not a queue that wakes its reader: the writer would take the interpreter from the answer that is under way.
        self._waiting: deque[_Item] = deque()
        self._wake, self._ends = threading.Event(), False
        self._turn = threading.Condition()
        self._turns = 0
        self._files = {kind: _LogFile(folder, kind, settings.query_log_mb) for kind in KINDS}
        self.dropped = 0
        self._lost: deque[str] = deque(maxlen=_QUEUED)  # request ids of answers that were given and not stored
        self._thread = threading.Thread(target=self._write, name="query-log", daemon=True)
        self._thread.start()

    def put(self, record: QueryRecord | None, exposure: Exposure) -> None:
        """Take a search for the log (where that is on) and for the experiment; written within a second."""
        self._take((record if self._settings.query_log else None, exposure))

    def put_event(self, record: EventRecord) -> None:
        """Take an event for the log, where that is on."""
        if self._settings.query_log:
            self._take(record)

    def put_shadow(self, record: QueryRecord) -> None:
        """Take a search of a shadow model for the log, where that is on."""
        if self._settings.query_log:
            self._take(record)

    def put_rejected(self, record: EventRecord, reason: str) -> None:
        """Take an event that was not stored, where the log is on: what is refused is to be seen by somebody."""
        if self._settings.query_log:
            self._take(Rejected(record, reason))

    def _take(self, item: _Item) -> None:
        if len(self._waiting) >= _QUEUED:
            self.dropped += 1
            return
        self._waiting.append(item)

    def has_lost(self, request_id: str) -> bool:
        """Whether this process gave an answer that it then could not store, so that no feedback on it can be taken."""
        return request_id in tuple(self._lost)

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
                    file.close()
                return

    def _write_some(self, items: Sequence[_Item]) -> None:
        searches = [item for item in items if isinstance(item, tuple)]
        events = [item for item in items if isinstance(item, EventRecord)]
        rejected = [item for item in items if isinstance(item, Rejected)]
        try:
            self._append(QUERIES, [record for record, _ in searches if record is not None])
            self._append(EVENTS, events)
            self._append(SHADOWS, [item for item in items if isinstance(item, QueryRecord)])
            self._append(REJECTED, rejected)
            self._experiments.expose([exposure for _, exposure in searches])
        except Exception as error:  # the log's own failure is never the service's
            self.dropped += len(items)
            self._lost.extend(exposure.request_id for _, exposure in searches)
            _LOG.warning("query log: %d searches and events not written (%s)", len(items), error)
            for file in self._files.values():
                file.forget()

    def _append(self, kind: str, records: Sequence[QueryRecord | EventRecord | Rejected]) -> None:
        if records:
            self._folder.mkdir(parents=True, exist_ok=True)
            text = "".join(orjson.dumps(record.document()).decode() + "\n" for record in records)
            with log_lock(self._folder):
                begun = self._files[kind].append(text)
            if begun:
                self._retain()

    def _retain(self) -> None:
        oldest = time.time() - self._settings.query_log_days * _SECONDS_PER_DAY
        for file in (file for kind in KINDS for file in log_files(self._folder, kind)):
            try:
                if file.stat().st_mtime < oldest:
                    file.unlink()
            except OSError:
                continue
        try:
            self._experiments.forget(datetime.now(UTC) - timedelta(days=self._settings.query_log_days))
        except Exception as error:
            _LOG.warning("experiments: old rows were not deleted (%s)", error)


class _LogFile:
    """The file of one kind that a process appends to: a new one each day, and each ``megabytes``."""

    def __init__(self, folder: Path, kind: str, megabytes: int) -> None:
        self._folder, self._kind, self._most = folder, kind, megabytes * 1_000_000
        self._stream: IO[str] | None = None
        self._file = Path()
        self._opened_for = ""
        self._number = 0

    def append(self, text: str) -> bool:
        """Append whole lines; returns whether a file was begun."""
        day = datetime.now(UTC).strftime("%Y%m%d")
        stream = self._stream
        if stream is not None and not self._is_in_place(stream):
            self.close()  # somebody's lines were deleted: the file is another one now
            stream = None
        begins = stream is None
        if stream is None or day != self._opened_for or stream.tell() > self._most:
            if stream is not None:
                stream.close()
                self._number += 1
                begins = True
            self._file = self._folder / f"{self._kind}-{day}-{os.getpid()}-{self._number}.jsonl"
            whole = _ends_a_line(self._file)
            self._stream = stream = self._file.open("a", encoding="utf-8", errors="replace")
            self._opened_for = day
            if not whole:
                stream.write("\n")  # a full disk cut the last line off: the next one must not be added to it
        stream.write(text)
        stream.flush()
        return begins

    def _is_in_place(self, stream: IO[str]) -> bool:
        try:
            return os.path.samestat(os.fstat(stream.fileno()), self._file.stat())
        except OSError:
            return False

    def forget(self) -> None:
        """After a failure: the next line opens the file again."""
        self._stream = None

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None


def _ends_a_line(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            if not stream.seek(0, os.SEEK_END):
                return True
            stream.seek(-1, os.SEEK_END)
            return stream.read(1) == b"\n"
    except FileNotFoundError:
        return True
