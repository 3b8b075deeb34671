"""The store as the service writes it, read into rows; older files and damaged ones too."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from sqidflow.core.errors import SqidflowError
from sqidflow.monitoring.feedback import read_feedback
from sqidflow.search.experiments import Experiments, Exposure, Opinion


def test_reads_what_the_service_wrote(tmp_path: Path) -> None:
    file = tmp_path / "a folder?" / "experiments.db"
    store = Experiments(file)
    teams = {"P2": "a", "P1": "b"}
    store.expose([Exposure("r1", "interleave", None, teams, "pair", "Red  Shoe", "", "7+8", "client-1", "", 11)])
    store.accept(Opinion("impression", "r1", "client-1"))
    store.accept(Opinion("judgement", "r1", "client-1", "P1", "S"), "us")
    feedback = read_feedback(file)
    answer = feedback.answers["r1"]
    assert answer.products == ("P2", "P1") and answer.first_rank == 11 and answer.key == "red shoe"
    assert (answer.model, answer.strategy, answer.pair, answer.picture) == ("7+8", "interleave", "pair", False)
    assert [event.kind for event in feedback.events] == ["impression", "judgement"]
    assert feedback.judgements[0].label == "S" and feedback.judgements[0].at == feedback.events[1].at
    store.close()


def test_no_store_is_no_feedback(tmp_path: Path) -> None:
    assert read_feedback(tmp_path / "experiments.db").events == ()
    assert not list(tmp_path.iterdir())


def test_a_file_of_an_earlier_version_and_damaged_rows(tmp_path: Path) -> None:
    file = tmp_path / "experiments.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE exposures (request_id TEXT, at TEXT, strategy TEXT, variant TEXT, teams TEXT)")
        connection.execute("CREATE TABLE feedback (at TEXT, request_id TEXT, kind TEXT, product_id TEXT, label TEXT)")
        rows = [
            ("r1", "2026-01-01", "a", "a", '{"P1": "a"}'),
            ("r2", "x", "a", "a", '{"P1": '),
            ("r3", "", "", "", "[]"),
        ]
        connection.executemany("INSERT INTO exposures VALUES (?, ?, ?, ?, ?)", rows)
        connection.execute("INSERT INTO feedback VALUES ('no time', 'r1', 'click', 'P1', NULL)")
    feedback = read_feedback(file)
    assert list(feedback.answers) == ["r1"] and feedback.damaged_answers == 2
    assert feedback.events[0].at is None and feedback.judgements == ()


def test_a_damaged_store_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "experiments.db"
    file.write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    with pytest.raises(SqidflowError, match="cannot be read"):
        read_feedback(file)
