"""The report: its numbers, its page, its gauges, its run of MLflow, and what is said where there is nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sqidflow.core.errors import DataError
from sqidflow.core.settings import SearchSettings, Settings, load_settings
from sqidflow.core.workdir import Workdir
from sqidflow.monitoring.drift import drift_alarms
from sqidflow.monitoring.log import SetAside, quarantine, quarantined
from sqidflow.monitoring.mlflow_run import metrics_of, to_mlflow
from sqidflow.monitoring.privacy import forget
from sqidflow.monitoring.reference import training_queries
from sqidflow.monitoring.report import run_monitoring
from sqidflow.search import schemas
from sqidflow.search.api.metrics import Metrics
from sqidflow.search.engine import Request
from sqidflow.search.experiments import Exposure
from sqidflow.search.query_log import QueryLog
from sqidflow.search.state import MONITORING_REPORT
from sqidflow.search.ubi import EventRecord, QueryRecord
from tests.fixtures.small_index import BRANDS, COLORS, KINDS, SmallIndex

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
MODEL = {"model": "zero-shot", "index": "5a11"}
TRAINING = [f"{brand} {color} {kind}" for brand in BRANDS for color in COLORS for kind in KINDS]


def _query(number: int, query: str, **more: Any) -> QueryRecord:
    timings = {"rewrite_ms": 0.1, "encode_ms": 0.2, "retrieve_ms": 1.0, "rank_ms": 1.0, "total_ms": 4.0 + number % 3}
    details = {
        "outcome": "answered", "variant": "a", "strategy": "single", "cached": False, "timings": timings,
        "scores": [0.5, 0.4], "classes": "ES", **MODEL,
    }  # fmt: skip
    hits = more.pop("hits", ["P00", "P01"])
    client, at = more.pop("client", f"client-{number % 5}"), more.pop("at", NOW - timedelta(hours=1 + number % 40))
    return QueryRecord(f"r{number}", query, at, client, hits, {**details, **more})


def _write(folder: Path, *records: QueryRecord | EventRecord | str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for kind, of in (("queries", QueryRecord), ("events", EventRecord)):
        lines = [
            each if isinstance(each, str) else json.dumps(each.document())
            for each in records
            if isinstance(each, of) or (kind == "queries" and isinstance(each, str))
        ]
        (folder / f"{kind}-20260504-1-0.jsonl").write_text("".join(line + "\n" for line in lines))


Ask = Callable[[int, str], QueryRecord]


@pytest.fixture
def ask(small_index: SmallIndex) -> Ask:
    """A search with what the small index really answers."""
    core = small_index.core()

    def asked(number: int, query: str) -> QueryRecord:
        outcome = core.search(Request(query))
        return _query(
            number,
            query,
            hits=[hit.product_id for hit in outcome.hits],
            scores=[hit.score for hit in outcome.hits],
            classes="".join("ESCI"[3 - int(np.argmax(hit.probabilities))] for hit in outcome.hits),
            outcome=outcome.refusal.code if outcome.refusal else "uncertain" if outcome.uncertain else "answered",
        )

    return asked


@pytest.fixture
def place(tmp_path: Path, small_index: SmallIndex) -> Iterator[Workdir]:
    """A workdir with the small index and fifty training queries, of which one is held out."""
    workdir = Workdir(tmp_path)
    shutil.copytree(small_index.folder, workdir.index / "5a11")
    workdir.prepared.mkdir(parents=True)
    rows = "".join(f"{number},{query}\n" for number, query in enumerate(TRAINING))
    workdir.pairs.write_text("query_id,query\n" + rows)
    yield workdir


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(tmp_path, ["monitoring.least_queries=20", "monitoring.resamples=200"], {})


def _busy_log(place: Workdir) -> None:
    """Twenty searches for what was trained on, one of them twice, one without a result, and clicks."""
    searches = [_query(number, TRAINING[number * 2]) for number in range(20)]
    refused = {"outcome": "nothing_fits", "hits": [], "scores": [], "classes": ""}
    line = {"at": (NOW - timedelta(hours=2)).isoformat(), "request_id": "old", "query": "old kettle", "results": []}
    _write(
        place.var / "search",
        *searches,
        _query(20, TRAINING[0].upper()),
        _query(21, "qwxz", **refused),
        _query(22, "qwxz", **refused),
        _query(99, "old", at=NOW - timedelta(days=9)),
        json.dumps(searches[0].document()),
        json.dumps(line | {"outcome": "nothing_fits", "cached": True, "variant": "a", "strategy": "single"}),
        '{"query_id": "cut of',
        json.dumps(_query(50, "x", at=NOW + timedelta(days=1)).document()),
        *(EventRecord("impression", NOW - timedelta(hours=1), f"r{number}", position=1) for number in (0, 1, 2, 21)),
        EventRecord("click", NOW - timedelta(hours=1), "r0", object_id="P01", position=2),
        EventRecord("click", NOW - timedelta(minutes=59), "r0", object_id="P01", position=2),
        EventRecord("view", NOW - timedelta(hours=1), "r1", object_id="P00", position=1),
        EventRecord("click", NOW - timedelta(hours=1), "r777", object_id="P00", position=1),
    )


def test_numbers_of_a_report(place: Workdir, settings: Settings) -> None:
    _busy_log(place)
    report = run_monitoring(place, settings, None, None, NOW).document
    assert (report["searches"], report["different_queries"], report["clients"]) == (24, 22, 5)
    assert report["outcomes"] == {"answered": 21, "nothing_fits": 3}
    assert report["nothing_fits_share"] == report["without_result_share"] == 3 / 24
    assert report["cached_share"] == 1 / 24 and report["latency_ms"]["total_ms"]["p50"] == 5.0
    assert report["classes"] == {"E": 21, "S": 21} and sum(each["searches"] for each in report["volume"]) == 24
    assert report["queries_without_result"][0] == {"text": "qwxz", "searches": 2}
    assert report["frequent_queries"][0] == {"text": TRAINING[0], "searches": 2}
    assert {"text": "qwxz", "searches": 2} in report["unknown_words"]
    assert report["actions"] == {"impression": 4, "click": 3, "view": 1}
    assert report["positions"] == [
        {"position": 1, "shown": 3, "clicks": 0, "rate": 0.0},
        {"position": 2, "shown": 3, "clicks": 1, "rate": 1 / 3},  # clicked twice, once counted
    ]
    assert (report["answers_shown"], report["abandoned_share"]) == (3, 1 / 3)
    assert report["log"] == {
        "read": 32, "before_ubi": 1, "duplicates": 1, "clock_went_back": report["log"]["clock_went_back"],
        "unknown_answers": 1, "not_read": {"damaged line": 1, "timestamp in the future": 1},
    }  # fmt: skip
    assert report["quarantine"] == {"damaged line": 1, "timestamp in the future": 1}
    assert run_monitoring(place, settings, None, None, NOW).document["quarantine"] == report["quarantine"]
    assert len(quarantined(place.var / "search")) == 2


def test_what_is_set_aside_is_kept_as_long_as_the_log(place: Workdir, settings: Settings) -> None:
    for days in (31, 29):
        quarantine(place.var / "search", [SetAside("x", days, "damaged line", "{")], NOW - timedelta(days=days))
    _write(place.var / "search", _query(1, "red kettle"))
    assert run_monitoring(place, settings, None, None, NOW).document["quarantine"] == {"damaged line": 1}
    assert [row["line"] for row in quarantined(place.var / "search")] == [29]


def test_what_the_service_rejected_is_counted_and_set_aside(place: Workdir, settings: Settings) -> None:
    queries = QueryLog(place.var / "search", SearchSettings(), place.var / "search" / "experiments.db")
    queries.put(_query(1, "red kettle", client="client-2"), Exposure("r1", "single", "a", {}, "pair"))
    click = EventRecord("click", NOW - timedelta(hours=1), "r9", "client-1", object_id="P01", position=1)
    for reason in ("duplicate", "there is no such answer, or it is too old"):
        queries.put_rejected(click, reason)
    queries.put_rejected(replace(click, timestamp=NOW - timedelta(days=30)), "long ago")
    queries.close()
    report = run_monitoring(place, settings, None, None, NOW).document
    assert report["log"]["duplicates"] == 1 and report["actions"] == {}
    assert report["log"]["not_read"] == {"there is no such answer, or it is too old": 1}
    assert report["quarantine"] == {"there is no such answer, or it is too old": 1}
    forget(place.var / "search", "client-1")
    assert run_monitoring(place, settings, None, None, NOW).document["quarantine"] == {}


def test_what_was_trained_on_is_no_drift_and_another_shop_is(place: Workdir, settings: Settings, ask: Ask) -> None:
    _write(place.var / "search", *(ask(number, TRAINING[number]) for number in range(0, 50, 2)))
    report = run_monitoring(place, settings, None, None, NOW).document
    assert report["alarms"] == [] and all(check["value"] is not None for check in report["drift"])
    words = "zapatos de mujer para correr azules talla"
    others = [_query(number, f"{words} {number}", hits=["P49"]) for number in range(40)]
    _write(place.var / "search", *others)
    report = run_monitoring(place, settings, None, None, NOW)
    alarms = {alarm["name"] for alarm in report.document["alarms"]}
    assert {"query_length", "unknown_words", "language", "brand", "vectors"} <= alarms
    assert {alarm.name for alarm in drift_alarms(place, settings, NOW)} == alarms
    page = report.files["html"].read_text()
    assert all(alarm["hint"] in page.replace("&#x27;", "'") for alarm in report.document["alarms"])
    assert "<script" not in page and "http" not in page


def test_one_client_that_repeats_itself_is_no_drift(place: Workdir, settings: Settings, ask: Ask) -> None:
    usual = [ask(number, TRAINING[number]) for number in range(0, 50, 2)]
    poisoned = [_query(1000 + number, "zapatos de mujer", client="one", hits=["P49"]) for number in range(3000)]
    _write(place.var / "search", *usual, *poisoned)
    report = run_monitoring(place, settings, None, None, NOW).document
    assert report["searches"] == 3025 and report["alarms"] == []
    assert {check["window_size"] for check in report["drift"]} == {26}


def test_held_out_queries_are_no_reference(place: Workdir) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = place.evaluations / "ladder"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"query_id": pa.array(range(40), pa.int64())}), folder / "scores.parquet")
    assert sorted(training_queries(place, 1000)) == sorted(TRAINING[40:])
    assert len(training_queries(place, 3)) == 3


def test_without_a_model_the_rest_is_reported(tmp_path: Path, settings: Settings) -> None:
    place = Workdir(tmp_path)
    _write(place.var / "search", _query(1, "red kettle"))
    report = run_monitoring(place, settings, None, None, NOW).document
    assert report["searches"] == 1 and report["drift"] == [] and "no pushed model and no index" in report["note"]
    assert drift_alarms(place, settings, NOW) == []


def test_nothing_searched_says_of_when_there_is_something(place: Workdir, settings: Settings) -> None:
    assert drift_alarms(place, settings, NOW) == []
    with pytest.raises(DataError, match="nothing was searched from 2026-04-27 12:00; search first"):
        run_monitoring(place, settings, None, None, NOW)
    _write(place.var / "search", _query(1, "red kettle", at=NOW - timedelta(days=100)))
    with pytest.raises(DataError, match="the log has searches from 2026-01-24 12:00 to"):
        run_monitoring(place, settings, None, None, NOW)
    assert run_monitoring(place, settings, NOW - timedelta(days=200), None, NOW).document["searches"] == 1


def test_slow_answers_are_an_alarm(place: Workdir, settings: Settings) -> None:
    slow = {"rewrite_ms": 0, "encode_ms": 0, "retrieve_ms": 0, "rank_ms": 0, "total_ms": 1500.0}
    _write(place.var / "search", *(_query(number, TRAINING[number], timings=slow) for number in range(9)))
    (alarm,) = run_monitoring(place, settings, None, None, NOW).document["alarms"]
    assert (alarm["name"], alarm["value"], alarm["threshold"]) == ("latency", 1500.0, 1000.0)


def test_the_gauges_and_the_route_have_the_report(place: Workdir, settings: Settings) -> None:
    _busy_log(place)
    document = run_monitoring(place, settings, None, None, NOW).document
    text = Metrics(place.artifacts / MONITORING_REPORT).text().decode()
    assert "sqidflow_monitoring_searches 24.0" in text and 'sqidflow_monitoring_alarm{name="unreadable"} 1.0' in text
    assert f"sqidflow_monitoring_report_timestamp_seconds {NOW.timestamp():.9e}".split("e")[0] in text
    drift = next(each for each in document["drift"] if each["name"] == "language")
    assert f'sqidflow_monitoring_drift{{check="language"}} {drift["value"]}' in text
    schemas.MonitoringReport.model_validate(document)
    (place.artifacts / MONITORING_REPORT).write_text("{")
    assert "monitoring" not in Metrics(place.artifacts / MONITORING_REPORT).text().decode()


@pytest.mark.slow
def test_a_run_that_a_person_can_read(place: Workdir, settings: Settings) -> None:
    import mlflow

    _busy_log(place)
    report = run_monitoring(place, settings, None, None, NOW)
    run_id = to_mlflow(report.document, report.files["html"], place, Settings())
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{place.mlflow / 'mlflow.db'}")
    run = client.get_run(run_id)
    assert (
        run.info.run_name == f"24 searches, {len(report.document['alarms'])} alarms" and run.info.status == "FINISHED"
    )
    assert run.data.metrics == pytest.approx(metrics_of(report.document))
    assert run.data.metrics["outcome_nothing_fits"] == 3 and run.data.metrics["total_p50_ms"] == 5.0
    assert {each.path for each in client.list_artifacts(run_id)} == {"index.html", "report.json"}
