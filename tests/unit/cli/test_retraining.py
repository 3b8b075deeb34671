"""`sqidflow retrain` at the command line: what it refuses in one line, and what it prints where nothing is to do."""

from __future__ import annotations

from pathlib import Path

from sqidflow.core.workdir import Workdir
from tests.command_line import must, sqidflow


def test_without_features_it_names_the_verb(tmp_path: Path) -> None:
    answer = sqidflow("retrain", "--workdir", str(tmp_path))
    assert answer.code == 2 and "sqidflow features" in answer.err and "Traceback" not in answer.err


def test_a_watcher_has_no_document(tmp_path: Path) -> None:
    answer = sqidflow("retrain", "--watch", "--json", "--workdir", str(tmp_path))
    assert answer.code == 2 and "--watch" in answer.err


def test_nothing_to_do_and_two_at_once(prepared_copy: Path) -> None:
    arguments = ("retrain", "--if-needed", "--json", "--workdir", str(prepared_copy))
    settings = ("retrain.new_data=false", "retrain.drift=false")
    document = must(sqidflow(*arguments, settings=settings)).json
    assert not document["ran"] and document["feedback"]["new_judgements"] == 0 and document["decision"] is None
    with Workdir(prepared_copy).locked("retrain"):
        answer = sqidflow(*arguments, settings=settings)
    assert answer.code == 2 and "already writing" in answer.err
