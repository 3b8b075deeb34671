"""Interleaving, the report, its statistics."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path

import pytest

from search.experiments import Experiments, Exposure, sign_test, team_draft, wilson


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
            Exposure("r1", "interleave", None, {"p1": "a", "p2": "b"}),
            Exposure("r2", "interleave", None, {"p1": "a", "p2": "b"}),
            Exposure("r3", "single", "a", {"p1": "a"}),
            Exposure("r3", "single", "b", {"p9": "b"}),  # an id comes once
            Exposure("r4", "zscore", "b", {}),  # nothing fitted: shown, and nothing to click
        ]
    )
    for request, product in (("r1", "p1"), ("r1", "p1"), ("r2", "p1"), ("r2", "p2"), ("r3", "p1"), ("r3", "other"),
                             ("unknown", "p1")):  # fmt: skip
        made.accept("click", request, product, None, None)
    made.accept("vote", "r4", None, None, "b")
    made.accept("vote", "r3", None, None, "tie")
    made.accept("judgement", "r3", "p1", "E", None)
    report = made.report()
    assert report["counts"]["a"] == {"exposures": 3, "clicks": 3, "clicked": 3, "wins": 1}
    assert report["counts"]["b"] == {"exposures": 3, "clicks": 1, "clicked": 1, "wins": 1}
    assert report["ties"] == 2 and report["p"] == 1
    made.forget(datetime.now(UTC) + timedelta(seconds=1))
    assert made.report()["counts"]["a"]["exposures"] == 0
    made.close()
