"""Answers that the service gave and what people did with them, read from its store into typed rows."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from sqidflow.core.errors import SqidflowError
from sqidflow.core.sqlite import read_only
from sqidflow.core.workdir import Workdir
from sqidflow.ranking.query_text import query_key
from sqidflow.search.query_log import STORE_FILE

_ANSWER_COLUMNS = {
    "request_id": "''", "at": "''", "query": "''", "image": "''", "teams": "'{}'", "first_rank": "1", "strategy": "''",
    "pair": "''", "model": "''",
}  # fmt: skip
_EVENT_COLUMNS = {
    "at": "''", "kind": "''", "request_id": "''", "client": "''", "session": "''", "product_id": "NULL",
    "label": "NULL",
}  # fmt: skip
_JUDGEMENT_COLUMNS = {
    "at": "''", "client": "''", "text": "''", "image": "''", "product_id": "''", "label": "''", "locale": "NULL",
}  # fmt: skip
"""Column -> what stands for it in a file of an earlier version, which does not have it."""


@dataclass(frozen=True)
class Answer:
    """An answer: its products in the order in which it has them, the first at ``first_rank``.

    ``pair``: what both variants were, so that equal pairs and queries mean equal lists.
    """

    request_id: str
    at: datetime | None
    query: str
    picture: bool
    products: tuple[str, ...]
    first_rank: int
    strategy: str
    pair: str
    model: str

    @cached_property
    def key(self) -> str:
        """The normal form of its query."""
        return query_key(self.query)


@dataclass(frozen=True)
class Event:
    """What a client did with an answer; ``at`` is None where the time cannot be read."""

    at: datetime | None
    kind: str
    request_id: str
    client: str
    session: str
    product_id: str | None
    label: str | None


@dataclass(frozen=True)
class GivenJudgement:
    """The newest judgement of a client on a product for a query."""

    at: datetime | None
    client: str
    query: str
    picture: bool
    product_id: str
    label: str
    locale: str | None

    @property
    def key(self) -> str:
        """The normal form of its query."""
        return query_key(self.query)


@dataclass(frozen=True)
class Feedback:
    """All that the store has. ``damaged_answers``: answers whose products cannot be read; they are not in it."""

    answers: Mapping[str, Answer] = field(default_factory=dict)
    events: tuple[Event, ...] = ()
    judgements: tuple[GivenJudgement, ...] = ()
    damaged_answers: int = 0


def store_file(workdir: Workdir) -> Path:
    """Where the service keeps answers and feedback."""
    return workdir.var / "search" / STORE_FILE


def read_feedback(file: Path) -> Feedback:
    """Read the store, empty where there is none; the service may write to it meanwhile.

    Raises:
        SqidflowError: it is damaged.
    """
    if not file.is_file():
        return Feedback()
    try:
        with read_only(file, wait_s=10) as connection:
            connection.execute("BEGIN")  # one state of all three tables
            answers = _rows(connection, "exposures", _ANSWER_COLUMNS)
            events = _rows(connection, "feedback", _EVENT_COLUMNS, "ORDER BY rowid")
            judgements = _rows(
                connection, "judgements", _JUDGEMENT_COLUMNS, "ORDER BY client, query, image, product_id"
            )
    except sqlite3.Error as error:
        raise SqidflowError(
            f"the store of feedback cannot be read ({error})", where=file, hint="move the file away where it is damaged"
        ) from error
    read = [_answer(row) for row in answers]
    return Feedback(
        {answer.request_id: answer for answer in read if answer is not None},
        tuple(Event(_moment(row[0]), *row[1:]) for row in events),
        tuple(GivenJudgement(_moment(row[0]), row[1], row[2], bool(row[3]), *row[4:]) for row in judgements),
        sum(answer is None for answer in read),
    )


def _rows(connection: sqlite3.Connection, table: str, columns: Mapping[str, str], order: str = "") -> list[tuple]:
    has = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
    if not has:
        return []
    chosen = ", ".join(name if name in has else f"{default} AS {name}" for name, default in columns.items())
    return connection.execute(f"SELECT {chosen} FROM {table} {order}").fetchall()


def _answer(row: tuple) -> Answer | None:
    request_id, at, query, image, teams, first_rank, strategy, pair, model = row
    try:
        products = json.loads(teams)
        if not isinstance(products, dict):
            return None
        return Answer(
            request_id, _moment(at), str(query), bool(image), tuple(products), int(first_rank), strategy, pair, model
        )
    except (ValueError, TypeError):
        return None


def _moment(text: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
