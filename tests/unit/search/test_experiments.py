"""Interleaving, the report, its statistics."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path

import pytest

from sqidflow.search.experiments import (
    Answered,
    Experiments,
    Exposure,
    Opinion,
    StoreUnavailable,
    sign_test,
    team_draft,
    wilson,
)


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


def _told(made: Experiments, request: str, client: str, *opinions: tuple[str, str], blind: bool = True) -> None:
    """The page showed an answer to a client, who then clicked or voted."""
    made.accept(Opinion("impression", request, client, blind=blind))
    for kind, value in opinions:
        of = {"product_id": value} if kind == "click" else {"vote": value}
        made.accept(Opinion(kind, request, client, blind=blind, **of))


def _interleaved(request: str, query: str, pair: str = "now") -> Exposure:
    return Exposure(request, "interleave", None, {"p1": "a", "p2": "b"}, pair, query)


def test_eleven_votes_of_one_client_are_one_client(tmp_path: Path) -> None:
    made = Experiments(tmp_path / "e.db")
    made.expose([Exposure(f"r{number}", "single", "a", {"p1": "a"}, "now", f"query {number}") for number in range(11)])
    for number in range(11):
        _told(made, f"r{number}", "client-1", ("vote", "b"), ("vote", "b"))
    report = made.report("now")
    assert (report.counts["b"].queries, report.counts["b"].clients, report.p) == (11, 1, 1)
    for number in range(2, 12):
        _told(made, "r0", f"client-{number}", ("vote", "b"))
    report = made.report("now")
    assert report.counts["b"].clients == 11 and report.p == pytest.approx(2 / 2**11)
    made.close()


def test_one_vote_a_client_and_query_the_newest(tmp_path: Path) -> None:
    made = Experiments(tmp_path / "e.db")
    made.expose(
        [
            Exposure("r1", "single", "a", {}, "now", "Red  Kettle"),
            Exposure("r2", "single", "a", {}, "now", "red kettle"),
        ]
    )
    _told(made, "r1", "client-1", ("vote", "b"))
    _told(made, "r2", "client-1", ("vote", "tie"), ("vote", "a"))
    report = made.report("now")
    assert (report.counts["a"].queries, report.counts["b"].queries, report.tied_queries) == (1, 0, 0)
    made.close()


def test_only_what_the_page_showed_and_only_blind_counts(tmp_path: Path) -> None:
    made = Experiments(tmp_path / "e.db")
    made.expose(
        [_interleaved("shown", "kettle"), _interleaved("named", "lamp"), _interleaved("asked by a program", "x")]
    )
    made.accept(Opinion("vote", "asked by a program", "client-1", vote="b", blind=True))
    made.accept(Opinion("click", "asked by a program", "client-1", "p2"))
    _told(made, "named", "client-1", ("vote", "b"), ("click", "p2"), blind=False)
    made.accept(Opinion("vote", "named", "client-1", vote="b", blind=True))  # the names were seen before
    report = made.report("now")
    assert report.p is None and report.not_counted == 3
    assert (report.counts["b"].impressions, report.counts["b"].clicks, report.counts["b"].queries) == (1, 1, 0)
    _told(made, "shown", "client-1", ("click", "p1"), ("click", "p1"))
    made.accept(Opinion("impression", "shown", "client-1", blind=False))  # revealed after the choice
    made.accept(Opinion("click", "shown", "client-1", "p2"))
    report = made.report("now")
    assert (report.counts["a"].queries, report.counts["a"].clients, report.counts["a"].impressions) == (1, 1, 2)
    made.close()


def test_clicks_of_interleaved_answers_decide_where_nobody_voted(tmp_path: Path) -> None:
    made = Experiments(tmp_path / "e.db")
    made.expose([_interleaved("r1", "one"), _interleaved("r2", "two"), _interleaved("r3", "three")])
    _told(made, "r1", "client-1", ("click", "p1"), ("click", "other"))
    _told(made, "r2", "client-1", ("click", "p1"), ("click", "p2"))
    _told(made, "r3", "client-1", ("click", "p1"), ("vote", "b"))
    report = made.report("now")
    assert [report.counts[name].queries for name in "ab"] == [1, 1]
    assert (report.tied_queries, report.tied_clients, report.p) == (1, 1, None)
    assert report.counts["a"].clicked == 3
    made.forget(datetime.now(UTC) + timedelta(seconds=1))
    assert made.report("now").counts["a"].impressions == 0
    made.close()


def test_who_has_no_id_is_one_client_together(tmp_path: Path) -> None:
    made = Experiments(tmp_path / "e.db")
    made.expose([_interleaved(f"r{number}", f"{number}") for number in range(9)])
    for number in range(9):
        _told(made, f"r{number}", "", ("vote", "a"))
    assert made.report("now").counts["a"].clients == 1
    made.close()


def test_another_pair_begins_with_nothing(tmp_path: Path) -> None:
    made = Experiments(tmp_path / "e.db")
    for pair, times in (("before", 5), ("now", 1)):
        for number in range(times):
            made.expose([_interleaved(f"{pair}-{number}", f"{number}", pair)])
            _told(made, f"{pair}-{number}", "client-1", ("click", "p2"))
    assert made.report("now").counts["b"].queries == 1 and made.report("before").counts["b"].queries == 5
    made.close()


def test_the_newest_judgement_of_a_client_stands_and_outlives_the_answers(tmp_path: Path) -> None:
    made = Experiments(tmp_path / "e.db")
    made.expose(
        [
            Exposure("r1", "single", "a", {"p1": "a"}, "now", "Red kettle"),
            Exposure("r2", "single", "a", {"p1": "a"}, "now", "red  KETTLE"),
        ]
    )
    made.accept(Opinion("judgement", "r1", "client-1", "p1", "E"), "us")
    made.accept(Opinion("judgement", "r2", "client-1", "p1", "S"), "us")
    made.accept(Opinion("judgement", "r1", "client-2", "p1", "I"), "us")
    made.accept(Opinion("judgement", "never given", "client-2", "p1", "I"))
    made.forget(datetime.now(UTC) + timedelta(seconds=1))
    given, total = made.judgements()
    assert total == 2 and [(each.client, each.label) for each in given] == [("client-2", "I"), ("client-1", "S")]
    mine, _ = made.judgements("client-1", " RED kettle")
    assert [(each.query, each.label, each.locale, each.picture) for each in mine] == [("red  KETTLE", "S", "us", False)]
    assert made.judgements(limit=1, offset=1)[0][0].client == "client-1"
    made.close()


def test_an_answer_keeps_its_order_and_gives_each_opinion_its_position(tmp_path: Path) -> None:
    made = Experiments(tmp_path / "e.db")
    teams = {"p9": "a", "p1": "b", "p5": "a"}
    made.expose([Exposure("r1", "interleave", None, teams, "now", model="1+2", client="client-1", session="visit-1")])
    made.expose([Exposure("r2", "single", "a", {"p7": "a", "p3": "a"}, "now", first_rank=11)])
    assert made.answered("r1") == Answered(("p9", "p1", "p5"), 1)
    assert made.answered("never given") is None
    made.accept(Opinion("click", "r1", "client-1", "p5", session="visit-1"))
    made.accept(Opinion("view", "r2", "client-1", "p3"))
    made.accept(Opinion("click", "r1", "client-1", "p1", position=40))  # the answer had it second
    made.accept(Opinion("impression", "r1", "client-1"))
    made.close()
    with sqlite3.connect(tmp_path / "e.db") as stored:
        feedback = stored.execute("SELECT kind, position, session FROM feedback ORDER BY rowid").fetchall()
        exposure = stored.execute("SELECT model, client, session, first_rank FROM exposures ORDER BY request_id")
        assert exposure.fetchall() == [("1+2", "client-1", "visit-1", 1), ("", "", "", 11)]
    stored.close()
    assert feedback == [("click", 3, "visit-1"), ("view", 12, ""), ("click", 2, ""), ("impression", None, "")]


def test_an_event_that_is_delivered_again_counts_once(tmp_path: Path) -> None:
    made = Experiments(tmp_path / "e.db")
    made.expose([Exposure("r1", "single", "a", {"p1": "a"}, "now", "red kettle")])
    first = Opinion("judgement", "r1", "client-1", "p1", "E", event_id="event-0001")
    assert made.accept(first) is True
    assert made.accept(replace(first, label="I")) is False
    assert [each.label for each in made.judgements()[0]] == ["E"]
    assert made.accept(replace(first, client="client-2")) is True  # nobody uses up another's ids
    assert made.accept(replace(first, event_id=None)) is True
    made.close()


def test_all_of_a_client_is_deleted_and_nothing_else(tmp_path: Path) -> None:
    made = Experiments(tmp_path / "e.db")
    assert made.delete_client("client-1") == {"exposures": 0, "feedback": 0, "judgements": 0}
    for client in ("client-1", "client-2", ""):
        made.expose([Exposure(f"r {client}", "single", "a", {"p1": "a"}, "now", f"secret of {client}", client=client)])
        made.accept(Opinion("judgement", f"r {client}", client, "p1", "E"))
        made.accept(Opinion("click", f"r {client}", client, "p1"))
    assert made.delete_client("") == {"exposures": 0, "feedback": 0, "judgements": 0}
    assert made.delete_client("client-1") == {"exposures": 1, "feedback": 2, "judgements": 1}
    assert {each.client for each in made.judgements()[0]} == {"client-2", ""}
    assert made.answered("r client-1") is None and made.answered("r client-2") is not None
    made.close()
    assert b"secret of client-1" not in b"".join(file.read_bytes() for file in tmp_path.iterdir())


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
        made.accept(Opinion("impression", f"r{number}"))
        assert made.report("now").counts["a"].impressions == number
        made.close()
    with sqlite3.connect(tmp_path / "e.db") as stored:
        rows = stored.execute("SELECT request_id, model, client, first_rank FROM exposures").fetchall()
    stored.close()
    assert rows == [("r0", "", "", 1), ("r1", "", "", 1), ("r2", "", "", 1)]


def test_a_file_that_cannot_be_used_is_said_and_taken_again_once_it_is_well(tmp_path: Path) -> None:
    file = tmp_path / "e.db"
    file.write_bytes(b"no database at all" * 100)
    made = Experiments(file)
    with pytest.raises(StoreUnavailable, match=r"e\.db: the store of feedback cannot be used .*not a database"):
        made.report("now")
    with pytest.raises(StoreUnavailable):
        made.accept(Opinion("click", "r1", "", "p1"))
    file.unlink()
    made.expose([Exposure("r1", "single", "a", {"p1": "a"}, "now")])
    made.accept(Opinion("impression", "r1"))
    made.accept(Opinion("click", "r1", "", "p1"))
    assert made.report("now").counts["a"].clicks == 1
    made.close()


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "search").write_text("a file where the folder should be")
    with pytest.raises(StoreUnavailable, match="cannot be used"):
        Experiments(tmp_path / "search" / "e.db").report("now")
