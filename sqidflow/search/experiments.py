"""What was shown and what people thought of it, in one sqlite file that all workers write to."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqidflow.core.errors import SqidflowError
from sqidflow.ranking.query_text import query_key

_SCHEMA = """
CREATE TABLE IF NOT EXISTS exposures (
    request_id TEXT PRIMARY KEY, at TEXT NOT NULL, strategy TEXT NOT NULL, variant TEXT, teams TEXT NOT NULL,
    pair TEXT NOT NULL DEFAULT '', query TEXT NOT NULL DEFAULT '', image TEXT NOT NULL DEFAULT '',
    model TEXT NOT NULL DEFAULT '', client TEXT NOT NULL DEFAULT '', session TEXT NOT NULL DEFAULT '',
    first_rank INTEGER NOT NULL DEFAULT 1
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS feedback (
    at TEXT NOT NULL, request_id TEXT NOT NULL, kind TEXT NOT NULL, product_id TEXT, label TEXT, vote TEXT,
    client TEXT NOT NULL DEFAULT '', blind INTEGER NOT NULL DEFAULT 0, position INTEGER,
    session TEXT NOT NULL DEFAULT '', event_id TEXT
);
CREATE INDEX IF NOT EXISTS feedback_by_request ON feedback (request_id);
CREATE TABLE IF NOT EXISTS judgements (
    client TEXT NOT NULL, query TEXT NOT NULL, image TEXT NOT NULL, product_id TEXT NOT NULL, label TEXT NOT NULL,
    locale TEXT, at TEXT NOT NULL, text TEXT NOT NULL,
    PRIMARY KEY (client, query, image, product_id)
) WITHOUT ROWID;
"""
_ADDED = (
    ("exposures", "pair", "TEXT NOT NULL DEFAULT ''"),
    ("exposures", "query", "TEXT NOT NULL DEFAULT ''"),
    ("exposures", "image", "TEXT NOT NULL DEFAULT ''"),
    ("exposures", "model", "TEXT NOT NULL DEFAULT ''"),
    ("exposures", "client", "TEXT NOT NULL DEFAULT ''"),
    ("exposures", "session", "TEXT NOT NULL DEFAULT ''"),
    ("exposures", "first_rank", "INTEGER NOT NULL DEFAULT 1"),
    ("feedback", "client", "TEXT NOT NULL DEFAULT ''"),
    ("feedback", "blind", "INTEGER NOT NULL DEFAULT 0"),
    ("feedback", "position", "INTEGER"),
    ("feedback", "session", "TEXT NOT NULL DEFAULT ''"),
    ("feedback", "event_id", "TEXT"),
)
"""Columns that files of earlier versions do not have."""
_INDEXES = """
CREATE UNIQUE INDEX IF NOT EXISTS feedback_by_event ON feedback (client, event_id) WHERE event_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS feedback_by_client ON feedback (client);
CREATE INDEX IF NOT EXISTS exposures_by_client ON exposures (client) WHERE client != '';
"""
"""On columns that files of earlier versions get first."""
TEST = (
    "Two-sided exact sign test on clients. Only what the page showed counts, and only while the variants' names were "
    "hidden. A client's newest vote on a query decides that query for the client; without a vote, the variant with "
    "more clicks in interleaved answers does. A client counts once, for the variant that it preferred on more queries; "
    "requests without a client id are one client together."
)
Z_95 = 1.959963984540054
"""The 97.5 % point of the normal distribution: a 95 % interval reaches so many standard errors to each side."""


@dataclass(frozen=True)
class Exposure:
    """An answer of the API; whether a person saw it is told by an impression.

    ``teams``: product id -> the variant that brought it, in the order of ranks, which the store keeps; ``pair``: what
    both variants were; ``query``: as it was typed; ``image``: digest of the query's picture, "" without one;
    ``model``: version of the model that answered, of two variants both versions joined by "+", a's first;
    ``client``, ``session``: random ids of the browser, "" where there are none; ``first_rank``: rank of the first
    product, above 1 on a further page.
    """

    request_id: str
    strategy: str
    variant: str | None
    teams: dict[str, str]
    pair: str
    query: str = ""
    image: str = ""
    model: str = ""
    client: str = ""
    session: str = ""
    first_rank: int = 1


@dataclass(frozen=True)
class Opinion:
    """What a person thought of an answer, or that the page showed it (``kind`` impression).

    ``kind``: impression, click, view (of the product's page), judgement or vote; ``client``: the browser's random id,
    "" where there is none; ``blind``: the variants' names were hidden; ``position``: rank of the product, from 1;
    ``event_id``: the client's id of the event, by which a repeated delivery is known.
    """

    kind: str
    request_id: str
    client: str = ""
    product_id: str | None = None
    label: str | None = None
    vote: str | None = None
    blind: bool = False
    position: int | None = None
    session: str = ""
    event_id: str | None = None


@dataclass(frozen=True)
class Answered:
    """What the store knows of an answer: its products in the order of ranks, and the rank of the first."""

    products: tuple[str, ...]
    first_rank: int

    def position_of(self, product_id: str | None) -> int | None:
        """Rank of a product, from 1; None where the answer does not have it."""
        return self.first_rank + self.products.index(product_id) if product_id in self.products else None


@dataclass(frozen=True)
class Judgement:
    """The newest judgement of a client on a product for a query. ``picture``: the query had a picture too."""

    at: str
    client: str
    query: str
    picture: bool
    product_id: str
    label: str
    locale: str | None


class StoreUnavailable(SqidflowError):
    """The file of feedback cannot be read or written: a full or read-only disk, or damage."""


class Experiments:
    """The file; opened when it is first needed, for use by many threads."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Raises StoreUnavailable where the file cannot be read or written."""
        try:
            with self._connected() as connection:
                yield connection
        except (sqlite3.Error, OSError) as error:
            self.close()  # the next call finds out whether the file is well again
            raise StoreUnavailable(
                f"the store of feedback cannot be used ({error})",
                where=self._file,
                hint="free some disk space, or move the file away where it is damaged",
            ) from error

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._connection is None:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                connection = sqlite3.connect(self._file, timeout=5, check_same_thread=False)
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=NORMAL")
                connection.executescript(_SCHEMA)
                _add_columns(connection)
                connection.executescript(_INDEXES)
                self._connection = connection
            with self._connection:
                yield self._connection

    def expose(self, exposures: Sequence[Exposure]) -> None:
        if not exposures:
            return
        at = datetime.now(UTC).isoformat()
        rows = [
            (
                e.request_id, at, e.strategy, e.variant, json.dumps(e.teams), e.pair, e.query, e.image, e.model,
                e.client, e.session, e.first_rank,
            )
            for e in exposures
        ]  # fmt: skip
        with self._open() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO exposures (request_id, at, strategy, variant, teams, pair, query, image, model, "
                "client, session, first_rank) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                rows,
            )

    def answered(self, request_id: str) -> Answered | None:
        """An answer's products; None where there was no such answer, or where it is older than the retention."""
        with self._open() as connection:
            return _answered(connection, request_id)

    def accept(self, opinion: Opinion, locale: str | None = None) -> bool:
        """Store an opinion; ``locale``: of the products, for a judgement. The newest judgement of a client stands.

        The position is the one that the answer had, whatever the client says: it decides how much a click weighs.
        Returns False for a repeated delivery of an event, which changes nothing.
        """
        at = datetime.now(UTC).isoformat()
        o = opinion
        with self._open() as connection:
            answer = _answered(connection, o.request_id)
            position = answer.position_of(o.product_id) if answer is not None else None
            stored = connection.execute(
                "INSERT INTO feedback (at, request_id, kind, product_id, label, vote, client, blind, "
                "position, session, event_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (client, event_id) WHERE event_id IS NOT NULL DO NOTHING",
                (
                    at, o.request_id, o.kind, o.product_id, o.label, o.vote, o.client, o.blind,
                    o.position if position is None else position, o.session, o.event_id,
                ),
            ).rowcount  # fmt: skip
            if not stored:
                return False
            if o.kind != "judgement":
                return True
            exposure = connection.execute(
                "SELECT query, image FROM exposures WHERE request_id = ?", (o.request_id,)
            ).fetchone()
            if exposure is None:
                return True
            query, image = exposure
            connection.execute(
                "INSERT OR REPLACE INTO judgements (client, query, image, product_id, label, locale, at, text) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (o.client, query_key(query), image, o.product_id, o.label, locale, at, query),
            )
        return True

    def delete_client(self, client: str) -> dict[str, int]:
        """Delete all that came from a browser: how many rows of each table. "" is no browser and deletes nothing."""
        if not client or not self._file.is_file():
            return {"exposures": 0, "feedback": 0, "judgements": 0}
        with self._open() as connection:
            # Overwritten and not only unlinked from the file, or the text could still be read there.
            connection.execute("PRAGMA secure_delete = ON")
            deleted = {
                table: connection.execute(f"DELETE FROM {table} WHERE client = ?", (client,)).rowcount
                for table in ("exposures", "feedback", "judgements")
            }
            connection.commit()
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return deleted

    def judgements(
        self, client: str | None = None, query: str | None = None, limit: int = -1, offset: int = 0
    ) -> tuple[list[Judgement], int]:
        """Judgements, the newest first, and how many there are; of one client or one query where these are given."""
        conditions, values = [], []
        if client is not None:
            conditions.append("client = ?")
            values.append(client)
        if query is not None:
            conditions.append("query = ?")
            values.append(query_key(query))
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        with self._open() as connection:
            total = connection.execute(f"SELECT COUNT(*) FROM judgements{where}", values).fetchone()[0]
            rows = connection.execute(
                "SELECT at, client, text, image != '', product_id, label, locale FROM judgements"
                f"{where} ORDER BY at DESC, client, query, product_id LIMIT ? OFFSET ?",
                [*values, limit, offset],
            ).fetchall()
        return [Judgement(row[0], row[1], row[2], bool(row[3]), *row[4:]) for row in rows], total

    def forget(self, before: datetime) -> None:
        """Delete answers, clicks and votes of before; judgements stay."""
        if not self._file.is_file():
            return
        with self._open() as connection:
            connection.execute("DELETE FROM exposures WHERE at < ?", (before.isoformat(),))
            connection.execute("DELETE FROM feedback WHERE at < ?", (before.isoformat(),))

    def report(self, pair: str) -> Comparison:
        """How the variants of this very pair compare, see ``TEST``.

        Another model, index or retrieval is another variant, and inherits no counts.
        """
        with self._open() as connection:
            rows = connection.execute(
                "SELECT f.rowid, f.kind, f.client, f.product_id, f.vote, f.blind, "
                "e.request_id, e.strategy, e.variant, e.teams, e.query, e.image FROM feedback f "
                "JOIN exposures e USING (request_id) WHERE e.pair = ? ORDER BY f.at, f.rowid",
                (pair,),
            ).fetchall()
        return compare(
            [
                _Event(
                    kind, client, product, vote, bool(blind), request, strategy, variant, json.loads(teams),
                    (query_key(query), image),
                )
                for _, kind, client, product, vote, blind, request, strategy, variant, teams, query, image in rows
            ]
        )  # fmt: skip

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None


def _answered(connection: sqlite3.Connection, request_id: str) -> Answered | None:
    row = connection.execute("SELECT teams, first_rank FROM exposures WHERE request_id = ?", (request_id,)).fetchone()
    return None if row is None else Answered(tuple(json.loads(row[0])), row[1])


def _add_columns(connection: sqlite3.Connection) -> None:
    """A file of an earlier version gets its new columns; what is in it belongs to no pair and to no client."""
    with connection:
        connection.execute("BEGIN IMMEDIATE")  # several workers may open the file at once
        for table, column, kind in _ADDED:
            if column not in {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}:
                connection.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")


@dataclass(frozen=True)
class _Event:
    """A row of feedback with the answer it is about; ``asked``: the query and the digest of its picture."""

    kind: str
    client: str
    product_id: str | None
    vote: str | None
    blind: bool
    request_id: str
    strategy: str
    variant: str | None
    teams: dict[str, str]
    asked: tuple[str, str]


@dataclass
class VariantCounts:
    """``impressions``: answers with its products that the page showed; ``clicked``: those with a click on one.

    ``queries``: pairs of client and query that it won; ``clients``: those that preferred it on more queries.
    """

    impressions: int = 0
    clicks: int = 0
    clicked: int = 0
    queries: int = 0
    clients: int = 0


@dataclass
class Comparison:
    """Counts by variant, undecided queries and clients, and the sign test's p; None without a client that decided."""

    counts: dict[str, VariantCounts]
    tied_queries: int
    tied_clients: int
    p: float | None
    not_counted: int
    """Votes that do not count: given with the names shown, or of an answer that the page did not show to the client."""


def compare(events: Sequence[_Event]) -> Comparison:
    """The comparison that ``TEST`` describes, from events in the order of time."""
    counts = {name: VariantCounts() for name in ("a", "b")}
    blind: dict[tuple[str, str], bool] = {}  # (client, answer) that was shown -> names hidden up to now
    votes: dict[tuple[str, tuple[str, str]], str] = {}
    won: dict[tuple[str, tuple[str, str]], Counter[str]] = {}
    products: set[tuple[str, str, str | None]] = set()
    clicked: set[tuple[str, str, str]] = set()
    not_counted = 0
    for event in events:
        key = event.client, event.request_id
        name = event.teams.get(event.product_id or "")
        if event.kind == "impression":
            if key not in blind:
                for brought in {event.variant} if event.variant else set(event.teams.values()):
                    counts[brought].impressions += 1
            blind[key] = blind.get(key, True) and event.blind
        elif event.kind == "click" and key in blind and name and (*key, event.product_id) not in products:
            products.add((*key, event.product_id))
            clicked.add((*key, name))
            counts[name].clicks += 1
            if event.strategy == "interleave" and blind[key]:
                won.setdefault((event.client, event.asked), Counter())[name] += 1
        elif event.kind == "vote" and event.vote:
            if event.blind and blind.get(key, False):
                votes[event.client, event.asked] = event.vote
            else:
                not_counted += 1
    for _, _, name in clicked:
        counts[name].clicked += 1
    decided = {key: _more(each) for key, each in won.items()} | votes
    by_client: dict[str, Counter[str]] = {}
    for (client, _), name in decided.items():
        by_client.setdefault(client, Counter())[name] += 1
        if name in counts:
            counts[name].queries += 1
    preferred = [_more(each) for each in by_client.values()]
    for name in counts:
        counts[name].clients = preferred.count(name)
    return Comparison(
        counts,
        sum(name == "tie" for name in decided.values()),
        preferred.count("tie"),
        sign_test(counts["a"].clients, counts["b"].clients),
        not_counted,
    )


def _more(each: Counter[str]) -> str:
    if each["a"] == each["b"]:
        return "tie"
    return "a" if each["a"] > each["b"] else "b"


def sign_test(wins_a: int, wins_b: int) -> float | None:
    """Two-sided exact binomial test that both win equally often; None without a win."""
    if not wins_a + wins_b:
        return None
    from scipy.stats import binomtest

    return float(binomtest(wins_a, wins_a + wins_b).pvalue)


def client_name(client: str) -> str:
    """What reports and answers call a client: twelve digits of a digest of its id."""
    return hashlib.sha256(client.encode()).hexdigest()[:12]


def wilson(successes: int, trials: int) -> tuple[float, float, float] | None:
    """Share with its 95 % interval (Wilson 1927): mean, low, high; None without a trial."""
    if not trials:
        return None
    share = successes / trials
    centre = (share + Z_95**2 / (2 * trials)) / (1 + Z_95**2 / trials)
    half = Z_95 / (1 + Z_95**2 / trials) * (share * (1 - share) / trials + Z_95**2 / (4 * trials**2)) ** 0.5
    return share, max(0.0, centre - half), min(1.0, centre + half)


def team_draft(first: Sequence[str], second: Sequence[str], k: int, coins: Iterator[bool]) -> list[tuple[str, str]]:
    """Team-draft interleaving (Radlinski, Kurup and Joachims 2008): (product, "a" or "b"), at most k.

    ``coins``: who picks first where both teams are of equal size; True is a.
    """
    lists = {"a": list(first), "b": list(second)}
    taken: dict[str, str] = {}
    sizes = {"a": 0, "b": 0}
    while len(taken) < k:
        rest = {name: next((p for p in products if p not in taken), None) for name, products in lists.items()}
        if rest["a"] is None and rest["b"] is None:
            break
        a_picks = sizes["a"] < sizes["b"] if sizes["a"] != sizes["b"] else next(coins)
        name = "a" if a_picks else "b"
        if rest[name] is None:
            name = "b" if name == "a" else "a"
        taken[rest[name]] = name  # type: ignore[index]
        sizes[name] += 1
    return list(taken.items())
