"""Interleaving, the report, its statistics."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path

import pytest

from sqidflow.search.experiments import Experiments, Exposure, StoreUnavailable, sign_test, team_draft, wilson


def test_team_draft_takes_turns_and_nothing_twice() -> None:
    drawn = team_draft(["1", "2", "3", "4"], ["2", "5", "1", "6"], 5, cycle([True]))
    assert drawn == [("1", "a"), ("2", "b"), ("3", "a"), ("5", "b"), ("4", "a")]
    drawn = team_draft(["1", "2"], ["2", "5"], 10, cycle([False]))
    assert drawn == [("2", "b"), ("1", "a"), ("5", "b")]
    assert team_draft([], ["7", "8"], 3, cycle([True])) == [("7", "b"), ("8", "b")]
    assert team_draft([], [], 3, cycle([True])) == []


def test_wilson_against_published_values() -> None:
    # Newcombe 1998, table I: 81 of 263 and 0 of 20.
    assert wilson(81, 263) == pytest.approx((81 / 263, 0.2553, 0.3662), abs=1e-4)
    assert wilson(0, 20) == pytest.approx((0, 0, 0.1611), abs=1e-4)
    assert wilson(0, 0) is None


def test_sign_test() -> None:
    assert sign_test(0, 0) is None
    assert sign_test(5, 0) == pytest.approx(2 / 32)
    assert sign_test(3, 3) == 1


def test_report(tmp_path: Path) -> None:
    made = Experiments(tmp_path / "e.db")
    made.expose(
        [
            Exposure("r1", "interleave", None, {"p1": "a", "p2": "b"}, "now"),
            Exposure("r2", "interleave", None, {"p1": "a", "p2": "b"}, "now"),
            Exposure("r3", "single", "a", {"p1": "a"}, "now"),
            Exposure("r3", "single", "b", {"p9": "b"}, "now"),  # an id comes once
            Exposure("r4", "zscore", "b", {}, "now"),  # nothing fitted: shown, and nothing to click
        ]
    )
    for request, product in (("r1", "p1"), ("r1", "p1"), ("r2", "p1"), ("r2", "p2"), ("r3", "p1"), ("r3", "other"),
                             ("unknown", "p1")):  # fmt: skip
        made.accept("click", request, product, None, None)
    made.accept("vote", "r4", None, None, "b")
    made.accept("vote", "r3", None, None, "tie")
    made.accept("judgement", "r3", "p1", "E", None)
    report = made.report("now")
    assert report["counts"]["a"] == {"exposures": 3, "clicks": 3, "clicked": 3, "wins": 1}
    assert report["counts"]["b"] == {"exposures": 3, "clicks": 1, "clicked": 1, "wins": 1}
    assert report["ties"] == 2 and report["p"] == 1
    made.forget(datetime.now(UTC) + timedelta(seconds=1))
    assert made.report("now")["counts"]["a"]["exposures"] == 0
    made.close()


def test_votes_for_what_was_never_shown_do_not_count(tmp_path: Path) -> None:
    made = Experiments(tmp_path / "e.db")
    made.expose([Exposure("shown", "single", "a", {"p1": "a"}, "now")])
    for number in range(20):
        made.accept("vote", f"invented-{number}", None, None, "b")
    made.accept("vote", "shown", None, None, "tie")
    made.accept("vote", "shown", None, None, "a")  # who thinks again is believed the second time
    report = made.report("now")
    assert (report["counts"]["a"]["wins"], report["counts"]["b"]["wins"], report["ties"]) == (1, 0, 0)
    made.close()


def test_another_pair_begins_with_nothing(tmp_path: Path) -> None:
    made = Experiments(tmp_path / "e.db")
    for pair, wins in (("before", 5), ("now", 1)):
        for number in range(wins):
            request = f"{pair}-{number}"
            made.expose([Exposure(request, "interleave", None, {"p1": "a", "p2": "b"}, pair)])
            made.accept("click", request, "p2", None, None)
            made.accept("vote", request, None, None, "b")
    counts = made.report("now")["counts"]
    assert counts["b"] == {"exposures": 1, "clicks": 1, "clicked": 1, "wins": 2}
    assert made.report("before")["counts"]["b"]["wins"] == 10
    made.close()


def test_a_file_of_before_is_taken_over(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "e.db") as old:
        old.execute(
            "CREATE TABLE exposures (request_id TEXT PRIMARY KEY, at TEXT NOT NULL, strategy TEXT NOT NULL, "
            "variant TEXT, teams TEXT NOT NULL) WITHOUT ROWID"
        )
        old.execute("INSERT INTO exposures VALUES ('r0', '2026-01-01', 'single', 'a', '{}')")
    old.close()
    for number in (1, 2):
        made = Experiments(tmp_path / "e.db")
        made.expose([Exposure(f"r{number}", "single", "a", {"p": "a"}, "now")])
        assert made.report("now")["counts"]["a"]["exposures"] == number
        made.close()


def test_a_file_that_cannot_be_used_is_said_and_taken_again_once_it_is_well(tmp_path: Path) -> None:
    file = tmp_path / "e.db"
    file.write_bytes(b"no database at all" * 100)
    made = Experiments(file)
    with pytest.raises(StoreUnavailable, match=r"e\.db: the store of feedback cannot be used .*not a database"):
        made.report("now")
    with pytest.raises(StoreUnavailable):
        made.accept("click", "r1", "p1", None, None)
    file.unlink()
    made.expose([Exposure("r1", "single", "a", {"p1": "a"}, "now")])
    made.accept("click", "r1", "p1", None, None)
    assert made.report("now")["counts"]["a"]["clicks"] == 1
    made.close()


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "search").write_text("a file where the folder should be")
    with pytest.raises(StoreUnavailable, match="cannot be used"):
        Experiments(tmp_path / "search" / "e.db").report("now")
