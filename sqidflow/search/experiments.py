"""What was shown and what people thought of it, in one sqlite file that all workers write to."""

from __future__ import annotations

import json
import sqlite3
import threading
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqidflow.core.errors import SqidflowError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS exposures (
    request_id TEXT PRIMARY KEY, at TEXT NOT NULL, strategy TEXT NOT NULL, variant TEXT, teams TEXT NOT NULL,
    pair TEXT NOT NULL DEFAULT '', query TEXT NOT NULL DEFAULT '', image TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS feedback (
    at TEXT NOT NULL, request_id TEXT NOT NULL, kind TEXT NOT NULL, product_id TEXT, label TEXT, vote TEXT,
    client TEXT NOT NULL DEFAULT '', blind INTEGER NOT NULL DEFAULT 0
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
    ("feedback", "client", "TEXT NOT NULL DEFAULT ''"),
    ("feedback", "blind", "INTEGER NOT NULL DEFAULT 0"),
)
"""Columns that files of earlier versions do not have."""
TEST = (
    "Two-sided exact sign test on clients. Only what the page showed counts, and only while the variants' names were "
    "hidden. A client's newest vote on a query decides that query for the client; without a vote, the variant with "
    "more clicks in interleaved answers does. A client counts once, for the variant that it preferred on more queries; "
    "requests without a client id are one client together."
)
_Z = 1.959963984540054  # 97.5 % point of the normal distribution


@dataclass(frozen=True)
class Exposure:
    """An answer of the API; whether a person saw it is told by an impression.

    ``teams``: product id -> the variant that brought it; ``pair``: what both variants were; ``query``: as it was typed;
    ``image``: digest of the query's picture, "" without one.
    """

    request_id: str
    strategy: str
    variant: str | None
    teams: dict[str, str]
    pair: str
    query: str = ""
    image: str = ""


@dataclass(frozen=True)
class Opinion:
    """What a person thought of an answer, or that the page showed it (``kind`` impression).

    ``client``: the browser's random id, "" where there is none; ``blind``: the variants' names were hidden.
    """

    kind: str
    request_id: str
    client: str = ""
    product_id: str | None = None
    label: str | None = None
    vote: str | None = None
    blind: bool = False


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


def query_key(query: str) -> str:
    """The form in which two queries are one: NFKC, without case, with single blanks."""
    return " ".join(unicodedata.normalize("NFKC", query).casefold().split())


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
                self._connection = connection
            with self._connection:
                yield self._connection

    def expose(self, exposures: Sequence[Exposure]) -> None:
        if not exposures:
            return
        at = datetime.now(UTC).isoformat()
        rows = [
            (e.request_id, at, e.strategy, e.variant, json.dumps(e.teams), e.pair, e.query, e.image) for e in exposures
        ]
        with self._open() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO exposures (request_id, at, strategy, variant, teams, pair, query, image) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                rows,
            )

    def products_of(self, request_id: str) -> frozenset[str] | None:
        """The products of an answer; None where there was no such answer, or where it is older than the retention."""
        with self._open() as connection:
            row = connection.execute("SELECT teams FROM exposures WHERE request_id = ?", (request_id,)).fetchone()
        return None if row is None else frozenset(json.loads(row[0]))

    def accept(self, opinion: Opinion, locale: str | None = None) -> None:
        """Store an opinion; ``locale``: of the products, for a judgement. The newest judgement of a client stands."""
        at = datetime.now(UTC).isoformat()
        o = opinion
        with self._open() as connection:
            connection.execute(
                "INSERT INTO feedback (at, request_id, kind, product_id, label, vote, client, blind) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (at, o.request_id, o.kind, o.product_id, o.label, o.vote, o.client, o.blind),
            )
            if o.kind != "judgement":
                return
            exposure = connection.execute(
                "SELECT query, image FROM exposures WHERE request_id = ?", (o.request_id,)
            ).fetchone()
            if exposure is None:
                return
            query, image = exposure
            connection.execute(
                "INSERT OR REPLACE INTO judgements (client, query, image, product_id, label, locale, at, text) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (o.client, query_key(query), image, o.product_id, o.label, locale, at, query),
            )

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


def wilson(successes: int, trials: int) -> tuple[float, float, float] | None:
    """Share with its 95 % interval (Wilson 1927): mean, low, high; None without a trial."""
    if not trials:
        return None
    share = successes / trials
    centre = (share + _Z**2 / (2 * trials)) / (1 + _Z**2 / trials)
    half = _Z / (1 + _Z**2 / trials) * (share * (1 - share) / trials + _Z**2 / (4 * trials**2)) ** 0.5
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
