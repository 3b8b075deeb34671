"""Files of User Behavior Insights: another tool's into our log, ours for other tools."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import orjson

from sqidflow.core.errors import DataError, SqidflowError
from sqidflow.core.files import may_write
from sqidflow.monitoring import log
from sqidflow.monitoring.log import Reading
from sqidflow.monitoring.privacy import stored_client
from sqidflow.search import ubi
from sqidflow.search.query_log import EVENTS, QUERIES, log_lock
from sqidflow.search.ubi import EventRecord, QueryRecord, UnfitRecord

SUFFIXES = (".ndjson", ".jsonl", ".json", ".csv")
NO_KIND = "neither a query nor an event"
UNKNOWN_QUERY = "event of an unknown query"
_BEFORE_TEXT = {b" ", b"\t", b"\r", b"\n", b"\xef", b"\xbb", b"\xbf"}
"""Blanks, and the bytes of a mark of UTF-8."""
_LEFT_AFTER_S = 3600.0
CUT_OFF = "the compressed file ends early or is damaged"
_BULK_ACTIONS = {"index", "create", "update", "delete"}
_NOT_STORED = ("ip", "user_id", "browser", "message")
_KEPT_ATTRIBUTES = ("event_id", "label", "vote", "blind", "result_count", "quantity")
"""Of an event's own attributes: others may hold addresses, browsers, names."""
_KEPT_QUERY_ATTRIBUTES = (
    "session_id", "rewritten", "variant", "strategy", "outcome", "cutoff", "k", "threshold", "brands", "colors",
    "with_picture", "verbatim", "filters", "sort", "offset", "scores", "classes", "cached", "image", "timings", "model",
    "index", "candidates", "similarity_z", "page", "page_size", "result_count", "number_of_results",
)  # fmt: skip


@dataclass
class Imported:
    """What was imported, and what not and why."""

    queries: int = 0
    events: int = 0
    actions: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    not_stored: Counter[str] = field(default_factory=Counter)
    """Fields that were left out, since they tell who somebody is."""
    renamed_clients: int = 0
    ranks_from_zero: list[str] = field(default_factory=list)
    """Applications that count ranks from 0; theirs were moved by one."""
    first: datetime | None = None
    last: datetime | None = None

    def as_dict(self) -> dict[str, Any]:
        return {
            "queries": self.queries,
            "events": self.events,
            "actions": dict(self.actions.most_common()),
            "duplicates": self.duplicates,
            "quarantined": dict(self.refused.most_common()),
            "not_stored": dict(self.not_stored.most_common()),
            "renamed_clients": self.renamed_clients,
            "ranks_from_zero": self.ranks_from_zero,
            "first": None if self.first is None else self.first.isoformat(),
            "last": None if self.last is None else self.last.isoformat(),
        }


def import_ubi(file: Path, folder: Path, now: datetime) -> Imported:
    """Read a file of queries and events into the log; what cannot be used goes to the quarantine with the reason.

    Takes lines of JSON, with or without OpenSearch's bulk lines, an array of JSON, and CSV; each compressed by gzip or
    not. Ids that the log has are left out, so the same file can be imported again.

    Raises:
        DataError: the file is missing, of another kind, or nothing in it can be read.
        SqidflowError: the log's folder cannot be written.
    """
    result, reading = Imported(), Reading()
    known, events_known = _known(folder, now)
    zero_based, in_file = _first_look(file)
    result.ranks_from_zero = sorted(zero_based)
    known_or_new = known | in_file
    with may_write(folder):
        folder.mkdir(parents=True, exist_ok=True)
        stamp = f"import-{time.strftime('%Y%m%d', time.gmtime(now.timestamp()))}-{os.getpid()}-{time.time_ns()}"
        with _both(folder, stamp) as (to_queries, to_events):
            for number, text, document in _documents(file):
                if document is None:
                    reading.refuse(file.name, number, log.DAMAGED if number else CUT_OFF, text)
                    continue
                try:
                    record = _record(document)
                    if record.timestamp > now + log.CLOCK_TOLERANCE:
                        raise UnfitRecord(log.FUTURE)
                    if isinstance(record, EventRecord) and record.query_id and record.query_id not in known_or_new:
                        raise UnfitRecord(UNKNOWN_QUERY)
                except UnfitRecord as error:
                    reading.refuse(file.name, number, str(error), text)
                    continue
                clean = _without_people(record, document, result)
                if isinstance(clean, QueryRecord):
                    if clean.query_id in known:
                        result.duplicates += 1
                        continue
                    known.add(clean.query_id)
                    result.queries += 1
                    to_queries(clean.document())
                else:
                    if clean.position is not None and clean.application in zero_based:
                        clean = replace(clean, position=clean.position + 1)
                    key = log.event_key(clean)
                    if key in events_known:
                        result.duplicates += 1
                        continue
                    events_known.add(key)
                    result.events += 1
                    result.actions[clean.action_name] += 1
                    to_events(clean.document())
                result.first = min(result.first or clean.timestamp, clean.timestamp)
                result.last = max(result.last or clean.timestamp, clean.timestamp)
    result.refused = reading.counts
    log.quarantine(folder, reading.set_aside, now)
    if not result.queries and not result.events and not result.duplicates:
        raise DataError(
            f"nothing in it is a query or an event of UBI ({_reasons(reading.counts)})",
            file=file,
            hint=f"the file needs lines with user_query or action_name; {log.QUARANTINE_FILE} has the lines",
        )
    return result


def _reasons(counts: Counter[str]) -> str:
    return ", ".join(f"{reason}: {count}" for reason, count in counts.most_common(3)) or "it is empty"


def _known(folder: Path, now: datetime) -> tuple[set[str], set[str]]:
    """Ids of the queries and keys of the events that the log has."""
    return (
        {record.query_id for record in log.read_queries(folder, now, Reading())},
        {log.event_key(record) for record in log.read_events(folder, now, Reading())},
    )


def _first_look(file: Path) -> tuple[set[str], set[str]]:
    """Applications whose ranks begin at 0, and the ids of the file's queries."""
    zero, queries = set(), set()
    for _, _, document in _documents(file):
        if document is None:
            continue
        try:
            record = _record(document)
        except UnfitRecord:
            continue
        if isinstance(record, QueryRecord):
            queries.add(record.query_id)
        elif record.position == 0 and record.object_id and record.application != ubi.APPLICATION:
            zero.add(record.application)
    return zero, queries


def _record(document: Mapping[str, Any]) -> QueryRecord | EventRecord:
    if "action_name" in document:
        return ubi.event_of(document)
    if "user_query" in document:
        return ubi.query_of(document)
    raise UnfitRecord(NO_KIND)


def _without_people(
    record: QueryRecord | EventRecord, document: Mapping[str, Any], result: Imported
) -> QueryRecord | EventRecord:
    details = document.get("event_attributes")
    for name in _NOT_STORED:
        if document.get(name) or (isinstance(details, dict) and details.get(name)):
            result.not_stored[name] += 1
    client = stored_client(record.client_id)
    result.renamed_clients += client != record.client_id
    kept = _KEPT_QUERY_ATTRIBUTES if isinstance(record, QueryRecord) else _KEPT_ATTRIBUTES
    attributes = {name: record.attributes[name] for name in kept if name in record.attributes}
    return replace(record, client_id=client, attributes=attributes)


# --- reading ----------------------------------------------------------------------------------------------------------


def _documents(file: Path) -> Iterator[tuple[int, str, dict[str, Any] | None]]:
    """Line, text and document; None for one that is damaged, and line 0 where a compressed file is cut off."""
    kind = [each for each in file.suffixes if each != ".gz"][-1:]
    if not file.is_file():
        raise DataError("does not exist", file=file, hint="name a file of UBI queries and events")
    if kind and kind[0] not in SUFFIXES:
        raise DataError(f"files end with {', '.join(SUFFIXES)}, or .gz after that", file=file, hint="rename the file")
    try:
        with _opened(file) as stream:
            first = stream.read(1)
            while first in _BEFORE_TEXT:
                first = stream.read(1)
            rest = _Again(first, stream)
            if kind == [".csv"]:
                yield from _rows(file, rest)
            elif first == b"[":
                yield from _array(file, rest)
            else:
                yield from _lines(rest)
    except (EOFError, gzip.BadGzipFile, zlib.error):
        yield 0, "", None
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})", file=file, hint="check the file") from error


class _Again(io.RawIOBase):
    """A stream with its first byte put back."""

    def __init__(self, first: bytes, stream: IO[bytes]) -> None:
        self._first, self._stream = first, stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._first or self._stream.read(len(buffer))
        self._first = b""
        buffer[: len(data)] = data
        return len(data)


@contextmanager
def _opened(file: Path) -> Iterator[IO[bytes]]:
    with file.open("rb") as stream:
        if stream.read(2) == b"\x1f\x8b":
            stream.seek(0)
            with gzip.open(stream) as unpacked:
                yield unpacked  # type: ignore[misc]
        else:
            stream.seek(0)
            yield stream


def _lines(stream: io.RawIOBase) -> Iterator[tuple[int, str, dict[str, Any] | None]]:
    for number, line in enumerate(io.BufferedReader(stream), 1):
        if not line.strip():
            continue
        document = _parsed(line)
        if document is not None and len(document) == 1 and next(iter(document)) in _BULK_ACTIONS:
            continue  # says where the next line goes to
        yield number, line.decode("utf-8", "replace").rstrip("\n"), document


def _array(file: Path, stream: io.RawIOBase) -> Iterator[tuple[int, str, dict[str, Any] | None]]:
    try:
        items = orjson.loads(io.BufferedReader(stream).read())
    except ValueError as error:
        raise DataError(
            f"the array is damaged ({error})", file=file, hint="lines of JSON (.ndjson) can be read up to a damage"
        ) from error
    for number, item in enumerate(items, 1):
        document = _source(item) if isinstance(item, dict) else None
        yield number, json.dumps(item)[:4000], document


def _rows(file: Path, stream: io.RawIOBase) -> Iterator[tuple[int, str, dict[str, Any] | None]]:
    """CSV: a column a field; nested fields as JSON in a cell, or a column each, named with dots."""
    text = io.TextIOWrapper(io.BufferedReader(stream), encoding="utf-8", errors="replace", newline="")
    reader = csv.DictReader(text)
    try:
        for row in reader:
            shown = ",".join(str(value) for value in row.values())
            if None in row or any(value is None for value in row.values()):
                yield reader.line_num, shown, None  # more or fewer cells than the header
                continue
            document: dict[str, Any] = {}
            for name, cell in row.items():
                if cell != "":
                    _put(document, str(name).split("."), _cell(cell))
            yield reader.line_num, shown, document
    except csv.Error as error:
        raise DataError(f"line {reader.line_num}: {error}", file=file, hint="quote cells that have commas") from error


def _cell(cell: str) -> Any:
    if cell[:1] in "{[" or cell.lstrip("-").isdigit():
        try:
            value = orjson.loads(cell)
        except ValueError:
            return cell
        return cell if isinstance(value, int) and str(value) != cell else value
    return cell


def _put(document: dict[str, Any], path: list[str], value: Any) -> None:
    for name in path[:-1]:
        inner = document.setdefault(name, {})
        if not isinstance(inner, dict):
            return
        document = inner
    document[path[-1]] = value


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        document = orjson.loads(line)
    except ValueError:
        return None
    return _source(document) if isinstance(document, dict) else None


def _source(document: dict[str, Any]) -> dict[str, Any]:
    """A document as it was stored, where it is a hit of an OpenSearch answer."""
    inner = document.get("_source")
    return inner if isinstance(inner, dict) else document


# --- writing ----------------------------------------------------------------------------------------------------------

_Write = Callable[[Mapping[str, Any]], None]


@contextmanager
def _both(folder: Path, stamp: str) -> Iterator[tuple[_Write, _Write]]:
    """Files of queries and of events, renamed to their places when all is written; those without a line are not kept.

    Queries first: after a kill between the two, importing again adds the events.
    """
    names = {kind: folder / f"{kind}-{stamp}.jsonl" for kind in (QUERIES, EVENTS)}
    beside = {kind: file.with_name(f".{file.name}") for kind, file in names.items()}
    for left in (each for kind in names for each in folder.glob(f".{kind}-import-*.jsonl")):
        if time.time() - left.stat().st_mtime > _LEFT_AFTER_S:
            left.unlink(missing_ok=True)  # an import was killed
    streams = {kind: file.open("wb") for kind, file in beside.items()}
    try:
        yield (
            lambda document: _write_line(streams[QUERIES], document),
            lambda document: _write_line(streams[EVENTS], document),
        )
        with log_lock(folder):
            for kind, stream in streams.items():
                empty = not stream.tell()
                stream.close()
                if not empty:
                    beside[kind].replace(names[kind])
    finally:
        for kind, stream in streams.items():
            stream.close()
            beside[kind].unlink(missing_ok=True)


def _write_line(stream: IO[bytes], document: Mapping[str, Any]) -> None:
    stream.write(orjson.dumps(document) + b"\n")


def export_ubi(folder: Path, file: Path, since: datetime | None, until: datetime | None, now: datetime) -> Exported:
    """Write the log as lines of JSON with OpenSearch's bulk lines; compressed where the name ends with .gz.

    Our page tells once that it shows an answer; other tools count an impression of each product, so that is written,
    and actions have the names of UBI's list.

    Raises:
        SqidflowError: the name ends otherwise, the folder cannot be written, or the log has nothing of that time.
    """
    if not any(file.name.endswith(suffix) for suffix in (".ndjson", ".ndjson.gz", ".jsonl", ".jsonl.gz")):
        raise SqidflowError(
            "the log is written as .ndjson or .ndjson.gz", where=file, hint="name the file that way, e.g. ubi.ndjson.gz"
        )
    reading, result = Reading(), Exported()
    shown: dict[str, tuple[int, list[str]]] = {}
    beside = file.with_name(f".{file.name}.part")
    try:
        with may_write(file.parent), _written(beside, file.name.endswith(".gz")) as stream:
            for query in log.read_queries(folder, now, reading):
                if log.is_within(query.timestamp, since, until):
                    first = query.attributes.get("offset")
                    shown[query.query_id] = (first if isinstance(first, int) else 0, list(query.hit_ids or ()))
                    _write_bulk(stream, "ubi_queries", query.query_id, query.document())
                    result.queries += 1
            for event in log.read_events(folder, now, reading):
                if log.is_within(event.timestamp, since, until):
                    for each in _each_impression(event, shown):
                        _write_bulk(stream, "ubi_events", None, each.document(listed=True))
                        result.events += 1
        if not result.queries and not result.events:
            raise SqidflowError(
                "the log has nothing of that time", where=folder, hint="search first, or leave out --since and --until"
            )
        with may_write(file.parent):
            beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)
    result.left_out = dict(reading.counts)
    return result


@dataclass
class Exported:
    """How much was written, and what of the log was left out."""

    queries: int = 0
    events: int = 0
    left_out: dict[str, int] = field(default_factory=dict)


def _each_impression(event: EventRecord, shown: Mapping[str, tuple[int, list[str]]]) -> Iterator[EventRecord]:
    if event.action_name != ubi.IMPRESSION or event.object_id or event.query_id not in shown:
        yield event
        return
    offset, products = shown[event.query_id]
    for position, product in enumerate(products, offset + 1):
        yield replace(event, object_id=product, position=position, attributes={})


@contextmanager
def _written(file: Path, compressed: bool) -> Iterator[IO[bytes]]:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as plain:
        if compressed:
            with gzip.GzipFile(filename="", mode="wb", fileobj=plain, mtime=0) as packed:
                yield packed  # type: ignore[misc]
        else:
            yield plain


def _write_bulk(stream: IO[bytes], index: str, number: str | None, document: Mapping[str, Any]) -> None:
    target = {"_index": index} | ({"_id": number} if number else {})
    stream.write(orjson.dumps({"index": target}) + b"\n" + orjson.dumps(document) + b"\n")
