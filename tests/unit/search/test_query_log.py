"""Lines are written behind the answers, kept for so long, and never cost one."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path

from sqidflow.core.settings import SearchSettings
from sqidflow.search.experiments import Experiments, Exposure
from sqidflow.search.query_log import QueryLog
from sqidflow.search.ubi import EventRecord, QueryRecord


def _log(folder: Path, **settings: object) -> QueryLog:
    return QueryLog(folder, SearchSettings(**settings), folder / "experiments.db")


def _exposure(number: int) -> Exposure:
    return Exposure(f"r{number}", "single", "a", {"p": "a"}, "pair")


def _record(number: int, query: str = "red kettle") -> QueryRecord:
    return QueryRecord(f"r{number}", query, datetime.now(UTC))


def _lines(folder: Path) -> list[dict]:
    return [json.loads(line) for file in sorted(folder.glob("*.jsonl")) for line in file.read_text().splitlines()]


def test_every_line_and_exposure_is_written(tmp_path: Path) -> None:
    log = _log(tmp_path)
    for number in range(500):
        log.put(_record(number, "caf\u00e9 \u0000 \U0001f45f"), _exposure(number))
    log.flush()
    assert [line["query_id"] for line in _lines(tmp_path)] == [f"r{number}" for number in range(500)]
    assert {line["user_query"] for line in _lines(tmp_path)} == {"caf\u00e9 \u0000 \U0001f45f"}
    stored = Experiments(tmp_path / "experiments.db")
    assert all(stored.answered(f"r{number}").products == ("p",) for number in range(500))
    log.put(_record(500), _exposure(500))
    log.close()
    assert _lines(tmp_path)[-1]["query_id"] == "r500" and log.dropped == 0


def test_files_are_finished_at_their_size(tmp_path: Path) -> None:
    log = _log(tmp_path, query_log_mb=1)
    for number in range(30):
        log.put(_record(number, "x" * 100_000), _exposure(number))
        log.flush()
    log.close()
    files = sorted(tmp_path.glob("*.jsonl"))
    assert len(files) == 3 and all(file.stat().st_size < 1_300_000 for file in files)
    assert len(_lines(tmp_path)) == 30


def test_old_files_are_deleted(tmp_path: Path) -> None:
    old, new = tmp_path / "queries-20200101-1-0.jsonl", tmp_path / "queries-20991231-1-0.jsonl"
    old_events = tmp_path / "events-20200101-1-0.jsonl"
    other = tmp_path / "notes.txt"
    for file in (old, old_events, new, other):
        file.write_text("{}\n")
    for file in (old, old_events, other):
        os.utime(file, (time.time() - 8 * 86_400,) * 2)
    log = _log(tmp_path, query_log_days=7)
    log.flush()
    log.close()
    assert not old.exists() and not old_events.exists() and new.exists() and other.exists()


def test_a_folder_that_cannot_be_written_costs_lines_alone(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text("not a folder")
    log = _log(place)
    log.put(_record(1), _exposure(1))
    log.flush()
    assert log.dropped == 1
    log.close()


def test_what_is_too_much_is_dropped_and_counted(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("sqidflow.search.query_log._QUEUED", 3)
    monkeypatch.setattr("sqidflow.search.query_log.WRITTEN_EVERY_S", 30)
    log = _log(tmp_path)
    log.flush()
    for number in range(10):
        log.put(_record(number), _exposure(number))
    log.close()
    assert log.dropped == 7 and len(_lines(tmp_path)) == 3


def test_events_have_files_of_their_own(tmp_path: Path) -> None:
    log = _log(tmp_path)
    log.put_event(EventRecord("click", datetime.now(UTC), "r1", object_id="p1", position=3))
    log.close()
    (file,) = tmp_path.glob("events-*.jsonl")
    about = {"object": {"object_id": "p1", "object_id_field": "product_id"}, "position": {"ordinal": 3}}
    line = json.loads(file.read_text())
    assert line["action_name"] == "item_click" and line["event_attributes"] == about
    assert not list(tmp_path.glob("queries-*.jsonl"))


def test_a_file_that_is_exchanged_is_written_on_in_its_place(tmp_path: Path) -> None:
    log = _log(tmp_path)
    log.put(_record(1), _exposure(1))
    log.flush()
    (file,) = tmp_path.glob("queries-*.jsonl")
    other = tmp_path / "other"
    other.write_text('{"kept": true}\n')
    other.replace(file)
    log.put(_record(2), _exposure(2))
    log.close()
    assert [line.get("query_id") for line in _lines(tmp_path)] == [None, "r2"]


def test_a_line_that_was_cut_off_stays_by_itself(tmp_path: Path) -> None:
    day = datetime.now(UTC).strftime("%Y%m%d")
    file = tmp_path / f"queries-{day}-{os.getpid()}-0.jsonl"
    file.write_text('{"query_id": "r0", "user_qu')
    log = _log(tmp_path)
    log.put(_record(1), _exposure(1))
    log.close()
    assert [json.loads(line)["query_id"] for line in file.read_text().splitlines()[1:]] == ["r1"]
