"""The bench of damaged indexes: it finds nothing in an index that is checked, and much in one that is not."""

from __future__ import annotations

from sqidflow.benches.damage import DAMAGE, bench
from sqidflow.core.settings import load_settings
from sqidflow.core.workdir import Workdir
from sqidflow.search import index
from tests.workdirs import Shared


def test_every_damage_is_refused(shared_index: Shared) -> None:
    document = bench(Workdir(shared_index.workdir), load_settings(shared_index.workdir))
    assert document["failures"] == []
    assert document["refused"] == document["damaged"] > 283
    assert [row["damage"] for row in document["rows"]] == list(DAMAGE)


def test_an_index_whose_files_are_not_checked_answers_wrongly(shared_index: Shared, monkeypatch) -> None:
    monkeypatch.setattr(index, "check_files", lambda *_, **__: None)
    document = bench(Workdir(shared_index.workdir), load_settings(shared_index.workdir))
    assert sum(row["wrong"] for row in document["rows"]) > 0
    assert sum(row["other_errors"] for row in document["rows"]) > 0
    assert len(document["failures"]) == document["damaged"] - document["refused"]
