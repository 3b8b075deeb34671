"""The verbs of the monitoring: what they print, how they end."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sqidflow.cli import app
from sqidflow.core.errors import SqidflowError


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    """A workdir with an hour's log: two searches and a click, slow ones."""
    folder = tmp_path / "var" / "search"
    folder.mkdir(parents=True)
    at = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    details = {"outcome": "answered", "timings": {"total_ms": 2500.0}, "cached": False}
    query = {"user_query": "red shoe", "timestamp": at, "client_id": "client-1", "query_response_hit_ids": ["B1"]}
    lines = [{**query, "query_id": f"q{number}", "query_attributes": details} for number in range(2)]
    (folder / "queries-1.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    about = {"object": {"object_id": "B1"}, "position": {"ordinal": 1}}
    click = {"action_name": "item_click", "query_id": "q0", "timestamp": at, "event_attributes": about}
    (folder / "events-1.jsonl").write_text(json.dumps(click) + "\n")
    return tmp_path


def run(workdir: Path, *arguments: str) -> Any:
    return CliRunner().invoke(app, ["monitor", *arguments, "--workdir", str(workdir)])


def test_a_report_names_its_alarms_and_what_to_do(workdir: Path) -> None:
    done = run(workdir)
    assert done.exit_code == 0
    assert "alarm" in done.output and "what to do: see which part of an answer is slow" in done.output
    assert "nothing is compared" in done.output  # there is no model
    assert run(workdir, "--fail").exit_code == 1
    document = json.loads(run(workdir, "--json").stdout)
    assert document["searches"] == 2 and document["actions"] == {"click": 1}
    assert [alarm["name"] for alarm in document["alarms"]] == ["latency"]
    assert Path(document["files"]["html"]).read_text().startswith("<!doctype html>")


def test_a_time_that_is_none_is_refused(workdir: Path) -> None:
    refused = run(workdir, "--since", "yesterday").exception
    assert isinstance(refused, SqidflowError) and refused.exit_code == 2
    assert "--since: 'yesterday' is no time; write 2026-01-31" in refused.message


def test_the_log_goes_out_comes_in_and_is_forgotten(workdir: Path, tmp_path: Path) -> None:
    file = tmp_path / "ubi.ndjson"
    out = json.loads(run(workdir, "export-ubi", str(file), "--json").stdout)
    assert (out["queries"], out["events"]) == (2, 1)
    other = tmp_path / "other"
    other.mkdir()
    taken = json.loads(run(other, "import-ubi", str(file), "--json").stdout)
    assert (taken["queries"], taken["events"], taken["duplicates"]) == (2, 1, 0)
    assert "queries" in run(other, "import-ubi", str(file)).output
    gone = json.loads(run(other, "forget", "--client", "client-1", "--json").stdout)
    assert gone["total"] == 3
    assert "0 lines and rows of client client-1 deleted" in run(other, "forget", "--client", "client-1").output
