"""The answers that a workdir's services gave, read without writing: for whoever asks where one came from."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from sqidflow.core.errors import DataError
from sqidflow.core.sqlite import read_only
from sqidflow.search.query_log import QUERIES, STORE_FILE, log_files
from sqidflow.search.state import Opened, opened_in

_NEWEST = 5


@dataclass(frozen=True)
class GivenAnswer:
    """An answer: which models and which product indexes gave it, a's first where both variants did.

    ``indexes`` is empty where the record does not say; ``source`` is where it was found.
    """

    request_id: str
    at: str
    query: str
    strategy: str
    models: tuple[str, ...]
    indexes: tuple[str, ...]
    source: str


@dataclass(frozen=True)
class AnswersOfModel:
    """How many answers a model gave, alone or beside another, from when to when, and the newest ids."""

    count: int
    first_at: str
    last_at: str
    newest: tuple[str, ...]


def find_answer(folder: Path, request_id: str) -> GivenAnswer | None:
    """An answer by its request id, in the store of answers, else in the query log; None where neither has it.

    Args:
        folder: ``var/search``.

    Raises:
        DataError: the store cannot be read, and the log does not have the answer.
    """
    problem: DataError | None = None
    try:
        stored = _stored(folder, request_id)
        if stored is not None:
            return stored
    except DataError as error:
        problem = error
    logged = _logged(folder, request_id)
    if logged is None and problem is not None:
        raise problem
    return logged


def answers_by_model(folder: Path) -> dict[str, AnswersOfModel]:
    """Version of a model -> its answers that are still known. Answers of before they named their model are left out.

    Raises:
        DataError: the store cannot be read.
    """
    found: dict[str, AnswersOfModel] = {}
    with _reading(folder) as store:
        if store is None or "model" not in _columns(store):
            return {}
        rows = store.execute("SELECT model, COUNT(*), MIN(at), MAX(at) FROM exposures WHERE model != '' GROUP BY model")
        for models, count, first, last in rows.fetchall():
            ids = store.execute(
                "SELECT request_id FROM exposures WHERE model = ? ORDER BY at DESC, request_id LIMIT ?",
                (models, _NEWEST),
            ).fetchall()
            newest = tuple(request for (request,) in ids)
            for model in models.split("+"):
                known = found.get(model, AnswersOfModel(0, first, last, ()))
                found[model] = AnswersOfModel(
                    known.count + count, min(known.first_at, first), max(known.last_at, last),
                    (*known.newest, *newest)[:_NEWEST],
                )  # fmt: skip
    return found


@contextmanager
def _reading(folder: Path) -> Iterator[sqlite3.Connection | None]:
    file = folder / STORE_FILE
    if not file.is_file():
        yield None
        return
    try:
        with read_only(file) as store:
            store.row_factory = sqlite3.Row
            yield store
    except sqlite3.Error as error:
        raise DataError(
            f"the store of answers cannot be read ({error})", file=file, hint="move it away where it is damaged"
        ) from error


def _columns(store: sqlite3.Connection) -> set[str]:
    return {row["name"] for row in store.execute("PRAGMA table_info(exposures)")}


def _stored(folder: Path, request_id: str) -> GivenAnswer | None:
    with _reading(folder) as store:
        if store is None:
            return None
        row = store.execute("SELECT * FROM exposures WHERE request_id = ?", (request_id,)).fetchone()
        if row is None:
            return None
        columns = row.keys()
        pair: list[Opened] = opened_in(row["pair"] if "pair" in columns else "")
        shown = [each for each in pair if row["variant"] in (None, each.variant)]
        models = tuple(each for each in (row["model"] if "model" in columns else "").split("+") if each)
        return GivenAnswer(
            request_id, row["at"], row["query"] if "query" in columns else "", row["strategy"],
            _distinct([each.model for each in shown]) or models, _distinct([each.index for each in shown]), STORE_FILE,
        )  # fmt: skip


def _logged(folder: Path, request_id: str) -> GivenAnswer | None:
    needle = request_id.encode()
    for file in reversed(log_files(folder, QUERIES)):
        try:
            content = file.read_bytes()
        except OSError:
            continue
        at = content.find(needle)
        while at >= 0:
            start, end = content.rfind(b"\n", 0, at) + 1, content.find(b"\n", at)
            answer = _of_line(content[start : end if end >= 0 else None], request_id, file.name)
            if answer is not None:
                return answer
            at = content.find(needle, at + len(needle))
    return None


def _of_line(line: bytes, request_id: str, source: str) -> GivenAnswer | None:
    try:
        document: dict[str, Any] = orjson.loads(line)
        if document.get("query_id", document.get("request_id")) != request_id:
            return None
        details = document.get("query_attributes", document)
        return GivenAnswer(
            request_id,
            str(document.get("timestamp", document.get("at", ""))),
            str(document.get("user_query", document.get("query", ""))),
            str(details.get("strategy", "")),
            tuple(str(details[name]) for name in ("model",) if details.get(name)),
            tuple(str(details[name]) for name in ("index",) if details.get(name)),
            source,
        )
    except (ValueError, AttributeError):
        return None


def _distinct(names: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
