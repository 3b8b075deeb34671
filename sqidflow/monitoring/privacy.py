"""Deletes all that a browser left: from the log's files, the quarantine and the store of feedback."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import orjson

from sqidflow.core.errors import SqidflowError
from sqidflow.core.files import may_write
from sqidflow.monitoring.log import QUARANTINE_FILE, lines_of
from sqidflow.search.experiments import Experiments
from sqidflow.search.query_log import EVENTS, QUERIES, REJECTED, SHADOWS, STORE_FILE, log_files, log_lock


@dataclass
class Forgotten:
    """How many lines of each file and rows of each table were deleted."""

    lines: dict[str, int] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.lines.values()) + sum(self.rows.values())


def stored_client(client: str) -> str:
    """The form in which another tool's client id is stored: one that names a person or an address as a digest."""
    if "@" in client or _is_address(client):
        return sha256(client.encode()).hexdigest()[:32]
    return client


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.strip())
    except ValueError:
        return False
    return True


def forget(folder: Path, client: str) -> Forgotten:
    """Delete a client's searches, what was done with their answers, its events and its judgements.

    Each file is rewritten beside itself and renamed: a kill leaves the old or the new one. A service that runs goes on
    in the new file. The file keeps its time, which the retention goes by.

    Raises:
        SqidflowError: the id is empty, or the folder cannot be written.
    """
    if not client.strip():
        raise SqidflowError("the id is empty", where="--client", hint="give the whole id, as the log has it")
    ids = {client, stored_client(client)}
    result = Forgotten()
    if not folder.is_dir():
        return result
    with may_write(folder), log_lock(folder):
        for left in folder.glob(".*.jsonl.*"):
            left.unlink()  # a rewriting was killed; the lock says that none is under way
        answers: set[str] = set()

        def of_client(text: bytes) -> bool:
            document = _document(text)
            if document is None:
                return any(each.encode() in text for each in ids)
            is_own, answer = document.get("client_id") in ids, document.get("query_id")
            if is_own and isinstance(answer, str) and "action_name" not in document:
                answers.add(answer)
            return is_own

        def of_its_answers(text: bytes) -> bool:
            document = _document(text)
            return of_client(text) or (document is not None and document.get("query_id") in answers)

        def holds_it(text: bytes) -> bool:
            return any(each.encode() in text for each in ids)

        for file in (*log_files(folder, QUERIES), *log_files(folder, SHADOWS)):
            _rewrite(file, of_client, result)
        for file in (*log_files(folder, EVENTS), *log_files(folder, REJECTED)):
            _rewrite(file, of_its_answers, result)
        if (folder / QUARANTINE_FILE).is_file():
            _rewrite(folder / QUARANTINE_FILE, holds_it, result)
    store = Experiments(folder / STORE_FILE)
    try:
        for each in sorted(ids):
            for table, count in store.delete_client(each).items():
                result.rows[table] = result.rows.get(table, 0) + count
    finally:
        store.close()
    return result


def _document(text: bytes) -> dict[str, object] | None:
    try:
        document = orjson.loads(text)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _rewrite(file: Path, is_deleted: Callable[[bytes], bool], result: Forgotten) -> None:
    before = file.stat()
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    deleted = 0
    try:
        with beside.open("wb") as stream:
            for _, text in lines_of(file):
                if is_deleted(text):
                    deleted += 1
                else:
                    stream.write(text + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
        if deleted:
            os.chmod(beside, before.st_mode)
            os.utime(beside, ns=(before.st_atime_ns, before.st_mtime_ns))
            beside.replace(file)
            result.lines[file.name] = deleted
    finally:
        beside.unlink(missing_ok=True)
