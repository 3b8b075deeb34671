"""Reads the query log: records of UBI, lines of before it, and what is no record, which is counted and set aside."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import orjson

from sqidflow.core.files import may_write, write_atomically
from sqidflow.search import ubi
from sqidflow.search.query_log import EVENTS, QUERIES, REJECTED, log_files, log_lock
from sqidflow.search.ubi import EventRecord, QueryRecord, UnfitRecord

QUARANTINE_FILE = "quarantine.jsonl"
DAMAGED = "damaged line"
FUTURE = "timestamp in the future"
DUPLICATE = "duplicate"
WENT_BACK = "clock went back"
BEFORE_UBI = "line of before UBI"
CLOCK_TOLERANCE = timedelta(minutes=5)
"""Clocks of two machines may differ by this much."""
_SHOWN_CHARS = 2000
_PERSONAL = re.compile(
    r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.])|(?<![\w:])(?:[0-9a-fA-F]{1,4}:){3,7}[0-9a-fA-F]{1,4}(?![\w:])"
    r"|(?<=\"user_id\":)\s*\"[^\"]*\"|[\w.+-]+@[\w-]+\.[\w.]+"
)
"""Addresses of machines and of people: what is set aside is kept as it came, but for these."""
_MOST_SET_ASIDE = 10_000
"""Lines of one reading; further ones are counted and not copied."""
_Record = TypeVar("_Record", QueryRecord, EventRecord)


@dataclass(frozen=True, slots=True)
class SetAside:
    """A line that is not used, and why. ``source``: the file's name; ``line`` counts from 1."""

    source: str
    line: int
    reason: str
    text: str

    @property
    def key(self) -> str:
        """The same line is set aside once, however often it is read."""
        return hashlib.sha256(f"{self.source}\n{self.line}\n{self.reason}\n{self.text}".encode()).hexdigest()[:24]


@dataclass
class Reading:
    """What was met on the way: how often each thing, and the lines that are set aside."""

    counts: Counter[str] = field(default_factory=Counter)
    set_aside: list[SetAside] = field(default_factory=list)

    def refuse(self, source: str, line: int, reason: str, text: str) -> None:
        self.counts[reason] += 1
        if len(self.set_aside) < _MOST_SET_ASIDE:
            self.set_aside.append(SetAside(source, line, reason, _PERSONAL.sub("[left out]", text)[:_SHOWN_CHARS]))


def is_within(time: datetime, since: datetime | None, until: datetime | None) -> bool:
    """Whether a time is at or after ``since`` and before ``until``; None leaves that side open."""
    return (since is None or time >= since) and (until is None or time < until)


def read_queries(folder: Path, now: datetime, reading: Reading) -> Iterator[QueryRecord]:
    """The log's searches in the order of the files, each id once; the rest is counted in ``reading``."""

    def parsed(document: dict[str, Any]) -> QueryRecord:
        if "user_query" in document or "query_id" in document:
            return ubi.query_of(document)
        record = ubi.query_of_before(document)
        reading.counts[BEFORE_UBI] += 1
        return record

    return _read(log_files(folder, QUERIES), parsed, lambda record: record.query_id, now, reading)


def read_events(folder: Path, now: datetime, reading: Reading) -> Iterator[EventRecord]:
    """The log's events in the order of the files, each once; the rest is counted in ``reading``."""
    return _read(log_files(folder, EVENTS), ubi.event_of, event_key, now, reading)


def read_rejected(folder: Path, since: datetime | None, until: datetime | None, reading: Reading) -> None:
    """Count the events that the service did not take, of a time; those that were delivered before are duplicates."""
    for file in log_files(folder, REJECTED):
        for number, text in lines_of(file):
            shown = text.decode("utf-8", "replace")
            try:
                document = orjson.loads(text)
                reason = document.pop("reason")
                time = ubi.event_of(document).timestamp
            except (ValueError, TypeError, AttributeError, KeyError):  # UnfitRecord is a ValueError
                reading.refuse(file.name, number, DAMAGED, shown)
                continue
            if not is_within(time, since, until):
                continue
            if reason == DUPLICATE:
                reading.counts[DUPLICATE] += 1
            else:
                reading.refuse(file.name, number, str(reason)[:100], shown)


def event_key(event: EventRecord) -> str:
    """What two deliveries of one event have in common: its id, or else all that it says."""
    own = event.attributes.get("event_id")
    if isinstance(own, str) and own:
        return f"{event.client_id} {own}"
    said = (
        event.application, event.action_name, event.query_id, event.client_id, event.session_id,
        event.timestamp.isoformat(), event.object_id, event.position,
    )  # fmt: skip
    return hashlib.sha256(repr(said).encode()).hexdigest()[:32]


def _read(
    files: Iterable[Path],
    parsed: Callable[[dict[str, Any]], _Record],
    key_of: Callable[[_Record], str],
    now: datetime,
    reading: Reading,
) -> Iterator[_Record]:
    keys: set[str] = set()
    for file in files:
        latest: datetime | None = None
        for number, text in lines_of(file):
            try:
                document = orjson.loads(text)
                if not isinstance(document, dict):
                    raise UnfitRecord("the line is no object")
                record = parsed(document)
            except UnfitRecord as error:
                reading.refuse(file.name, number, str(error), text.decode("utf-8", "replace"))
                continue
            except ValueError:
                reading.refuse(file.name, number, DAMAGED, text.decode("utf-8", "replace"))
                continue
            if record.timestamp > now + CLOCK_TOLERANCE:
                reading.refuse(file.name, number, FUTURE, text.decode("utf-8", "replace"))
                continue
            key = key_of(record)
            if key in keys:
                reading.counts[DUPLICATE] += 1
                continue
            keys.add(key)
            if record.application == ubi.APPLICATION:  # an import is in no order
                if latest is not None and record.timestamp < latest - CLOCK_TOLERANCE:
                    reading.counts[WENT_BACK] += 1
                latest = record.timestamp
            yield record


def lines_of(file: Path) -> Iterator[tuple[int, bytes]]:
    """A file's lines with their numbers from 1, without those that are blank."""
    with file.open("rb") as stream:
        for number, text in enumerate(stream, 1):
            if stripped := text.strip():
                yield number, stripped


def quarantine(folder: Path, lines: Iterable[SetAside], now: datetime | None = None) -> int:
    """Append lines that are not used to the quarantine, with their reason, those that are not in it; how many."""
    file = folder / QUARANTINE_FILE
    fresh = list(lines)
    if not fresh:
        return 0
    at = (now or datetime.now(UTC)).isoformat(timespec="seconds")
    with may_write(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with log_lock(folder):
            keys = {each["key"] for each in quarantined(folder)}
            added = {each.key: each for each in fresh if each.key not in keys}
            with file.open("a", encoding="utf-8") as stream:
                for key, each in added.items():
                    row = {"at": at, "key": key, "source": each.source, "line": each.line, "reason": each.reason}
                    stream.write(json.dumps({**row, "text": each.text}) + "\n")
    return len(added)


def retain_quarantine(folder: Path, oldest: datetime) -> int:
    """Delete what was set aside before; how many lines. Nobody needs it longer than the log."""
    file = folder / QUARANTINE_FILE
    if not file.is_file():
        return 0
    with may_write(folder), log_lock(folder):
        rows = quarantined(folder)
        kept = [row for row in rows if str(row.get("at", "")) >= oldest.isoformat(timespec="seconds")]
        if len(kept) < len(rows):
            write_atomically(file, "".join(json.dumps(row) + "\n" for row in kept))
    return len(rows) - len(kept)


def quarantined(folder: Path) -> list[dict[str, Any]]:
    """The rows of the quarantine; one that is damaged itself is left out."""
    rows = []
    file = folder / QUARANTINE_FILE
    if file.is_file():
        for _, text in lines_of(file):
            try:
                row = orjson.loads(text)
            except ValueError:
                continue
            if isinstance(row, dict) and isinstance(row.get("key"), str):
                rows.append(row)
    return rows
