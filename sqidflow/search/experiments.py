"""What was shown and what people thought of it, in one sqlite file that all workers write to."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqidflow.core.errors import SqidflowError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS exposures (
    request_id TEXT PRIMARY KEY, at TEXT NOT NULL, strategy TEXT NOT NULL, variant TEXT, teams TEXT NOT NULL,
    pair TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS feedback (
    at TEXT NOT NULL, request_id TEXT NOT NULL, kind TEXT NOT NULL, product_id TEXT, label TEXT, vote TEXT
);
CREATE INDEX IF NOT EXISTS feedback_by_request ON feedback (request_id);
"""
_Z = 1.959963984540054  # 97.5 % point of the normal distribution


@dataclass(frozen=True)
class Exposure:
    """An answer that was shown.

    ``teams``: product id -> the variant that brought it; ``pair``: what both variants were.
    """

    request_id: str
    strategy: str
    variant: str | None
    teams: dict[str, str]
    pair: str


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
                _add_pair(connection)
                self._connection = connection
            with self._connection:
                yield self._connection

    def expose(self, exposures: Sequence[Exposure]) -> None:
        if not exposures:
            return
        at = datetime.now(UTC).isoformat()
        rows = [(e.request_id, at, e.strategy, e.variant, json.dumps(e.teams), e.pair) for e in exposures]
        with self._open() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO exposures (request_id, at, strategy, variant, teams, pair) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                rows,
            )

    def accept(self, kind: str, request_id: str, product_id: str | None, label: str | None, vote: str | None) -> None:
        row = (datetime.now(UTC).isoformat(), request_id, kind, product_id, label, vote)
        with self._open() as connection:
            connection.execute("INSERT INTO feedback VALUES (?, ?, ?, ?, ?, ?)", row)

    def forget(self, before: datetime) -> None:
        if not self._file.is_file():
            return
        with self._open() as connection:
            connection.execute("DELETE FROM exposures WHERE at < ?", (before.isoformat(),))
            connection.execute("DELETE FROM feedback WHERE at < ?", (before.isoformat(),))

    def report(self, pair: str) -> dict[str, Any]:
        """Exposures, clicks, wins by variant, ties, and the sign test's p; of answers that this very pair gave.

        Another model, index or retrieval is another variant, and inherits no counts.

        A click counts once a product and answer, for the variant that brought it. An interleaved answer is won by the
        variant with more clicks; a vote is a win of its own.
        """
        with self._open() as connection:
            shown = connection.execute("SELECT variant, teams FROM exposures WHERE pair = ?", (pair,)).fetchall()
            clicks = connection.execute(
                "SELECT DISTINCT f.request_id, f.product_id, e.strategy, e.teams FROM feedback f "
                "JOIN exposures e USING (request_id) WHERE f.kind = 'click' AND e.pair = ?",
                (pair,),
            ).fetchall()
            votes = connection.execute(
                "SELECT f.request_id, f.vote FROM feedback f JOIN exposures e USING (request_id) "
                "WHERE f.kind = 'vote' AND e.pair = ? GROUP BY f.request_id HAVING f.at = MAX(f.at)",
                (pair,),
            ).fetchall()
        counts = {name: {"exposures": 0, "clicks": 0, "clicked": 0, "wins": 0} for name in ("a", "b")}
        for variant, teams in shown:
            for name in {variant} - {None} or set(json.loads(teams).values()):
                counts[name]["exposures"] += 1
        by_answer: dict[str, dict[str, int]] = {}
        interleaved = set()
        for request, product, strategy, teams in clicks:
            name = json.loads(teams).get(product)
            if name is None:
                continue
            counts[name]["clicks"] += 1
            by_answer.setdefault(request, {"a": 0, "b": 0})[name] += 1
            if strategy == "interleave":
                interleaved.add(request)
        ties = 0
        for request, won in by_answer.items():
            for name, clicked in won.items():
                counts[name]["clicked"] += clicked > 0
            if request in interleaved:
                if won["a"] == won["b"]:
                    ties += 1
                else:
                    counts["a" if won["a"] > won["b"] else "b"]["wins"] += 1
        for _, vote in votes:
            if vote in counts:
                counts[vote]["wins"] += 1
            else:
                ties += 1
        wins_a, wins_b = counts["a"]["wins"], counts["b"]["wins"]
        return {"counts": counts, "ties": ties, "p": sign_test(wins_a, wins_b)}

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None


def _add_pair(connection: sqlite3.Connection) -> None:
    """A file of before exposures said whose they were; what is in it belongs to no pair."""
    with connection:
        connection.execute("BEGIN IMMEDIATE")  # several workers may open the file at once
        columns = {row[1] for row in connection.execute("PRAGMA table_info(exposures)")}
        if "pair" not in columns:
            connection.execute("ALTER TABLE exposures ADD COLUMN pair TEXT NOT NULL DEFAULT ''")


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
