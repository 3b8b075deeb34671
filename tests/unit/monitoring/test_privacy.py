"""All of a browser is deleted, nothing else, and a service that runs loses no line by it."""

from __future__ import annotations

import json
import os
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sqidflow.core.errors import SqidflowError
from sqidflow.core.settings import SearchSettings
from sqidflow.monitoring.log import Reading, SetAside, quarantine, read_events, read_queries
from sqidflow.monitoring.privacy import forget, stored_client
from sqidflow.search.experiments import Experiments, Exposure, Opinion
from sqidflow.search.query_log import QueryLog
from sqidflow.search.ubi import EventRecord, QueryRecord

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def _search(log: QueryLog, number: int, client: str) -> None:
    record = QueryRecord(f"r{number}", f"secret of {client}", NOW, client, ["p1"])
    log.put(record, Exposure(record.query_id, "single", "a", {"p1": "a"}, "pair", record.user_query, client=client))
    log.put_event(EventRecord("click", NOW, record.query_id, client, object_id="p1", position=1))
    log.put_event(
        EventRecord("view", NOW, record.query_id, object_id="p1", position=1, attributes={"event_id": f"e{number}"})
    )


def test_a_client_is_deleted_everywhere_and_nobody_else(tmp_path: Path) -> None:
    log = QueryLog(tmp_path, SearchSettings(), tmp_path / "experiments.db")
    for number, client in enumerate(["client-1", "client-2", "client-1", ""]):
        _search(log, number, client)
    log.flush()
    store = Experiments(tmp_path / "experiments.db")
    store.accept(Opinion("judgement", "r0", "client-1", "p1", "E"))
    quarantine(
        tmp_path, [SetAside("x", 1, "damaged line", '{"client_id": "client-1", "us'), SetAside("x", 2, "d", "{")]
    )
    (file,) = tmp_path.glob("queries-*.jsonl")
    (tmp_path / f".{file.name}.99999").write_text("client-1")  # of a process that was killed
    os.utime(file, (1_000_000_000, 1_000_000_000))
    result = forget(tmp_path, "client-1")
    assert result.total == 2 + 4 + 1 + 2 + 1 + 1
    assert result.rows == {"exposures": 2, "feedback": 1, "judgements": 1}
    assert file.stat().st_mtime == 1_000_000_000  # the retention goes by it
    assert [each.client_id for each in read_queries(tmp_path, NOW, Reading())] == ["client-2", ""]
    assert {each.query_id for each in read_events(tmp_path, NOW, Reading())} == {"r1", "r3"}
    assert "client-1" not in "".join(each.read_text(errors="replace") for each in tmp_path.glob("*.jsonl*"))
    assert not list(tmp_path.glob(".*.jsonl.*"))
    assert store.judgements()[1] == 0
    _search(log, 9, "client-3")
    log.close()
    store.close()
    assert [each.client_id for each in read_queries(tmp_path, NOW, Reading())] == ["client-2", "", "client-3"]
    assert forget(tmp_path, "client-1").total == 0
    with pytest.raises(SqidflowError, match="the id is empty"):
        forget(tmp_path, "  ")


def test_an_imported_id_is_deleted_by_the_name_it_had(tmp_path: Path) -> None:
    record = QueryRecord("r1", "x", NOW, stored_client("someone@example.org"))
    (tmp_path / "queries-import-1.jsonl").write_text(json.dumps(record.document()) + "\n")
    assert forget(tmp_path, "someone@example.org").total == 1


def test_lines_that_are_written_meanwhile_are_kept(tmp_path: Path) -> None:
    log = QueryLog(tmp_path, SearchSettings(), tmp_path / "experiments.db")

    def write() -> None:
        for number in range(300):
            _search(log, number, "client-1" if number % 3 == 0 else f"other-{number}")
            log.flush() if number % 20 == 0 else None

    writer = threading.Thread(target=write)
    writer.start()
    while writer.is_alive():
        forget(tmp_path, "client-1")
    log.close()
    forget(tmp_path, "client-1")
    reading = Reading()
    kept = [each.query_id for each in read_queries(tmp_path, NOW, reading)]
    assert sorted(kept) == sorted(f"r{number}" for number in range(300) if number % 3) and log.dropped == 0
    assert not reading.counts
