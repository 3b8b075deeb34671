"""Files of another engine come into the log, ours go out, and what is damaged is counted and set aside."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sqidflow.core.errors import DataError, SqidflowError
from sqidflow.monitoring.log import Reading, quarantined, read_events, read_queries
from sqidflow.monitoring.ubi_files import export_ubi, import_ubi
from tests.unit.monitoring.ubi_schemas import problems_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
QUERY = {
    "application": "shop", "query_id": "q1", "client_id": "c1", "user_query": "red shoe",
    "timestamp": "2025-12-30T10:00:00Z", "query_response_hit_ids": ["B1", "B2"],
    "query_attributes": {"page": 1, "email": "someone@example.org"},
}  # fmt: skip
CLICK = {
    "application": "shop", "action_name": "click", "query_id": "q1", "client_id": "c1", "session_id": "s1",
    "timestamp": "2025-12-30T10:00:05Z", "user_id": "u-77",
    "event_attributes": {"object": {"object_id": "B2"}, "position": {"ordinal": 2}, "ip": "10.1.2.3"},
}  # fmt: skip


def _file(folder: Path, *documents: Any, name: str = "ubi.ndjson") -> Path:
    file = folder / name
    text = "".join((each if isinstance(each, str) else json.dumps(each)) + "\n" for each in documents)
    file.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return file


def _log(folder: Path) -> tuple[list[Any], list[Any]]:
    return list(read_queries(folder, NOW, Reading())), list(read_events(folder, NOW, Reading()))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "var"


def test_the_file_of_another_engine(real_data: Path, folder: Path) -> None:
    file = real_data / "ubi_queries_events.ndjson.gz"
    first = import_ubi(file, folder, NOW)
    assert first.queries > 250 and first.events > 2000 and first.actions["click"] > 200
    assert first.ranks_from_zero == ["esci_ubi_sample"]
    queries, events = _log(folder)
    assert (len(queries), len(events)) == (first.queries, first.events)
    assert not [why for each in (*queries, *events) for why in problems_of(each.document(), real_data)]
    assert min(each.position for each in events if each.object_id and each.position is not None) == 1
    again = import_ubi(file, folder, NOW)
    assert (again.queries, again.events) == (0, 0) and again.duplicates > first.queries + first.events
    assert len(quarantined(folder)) == first.refused.total()  # set aside once, too


@pytest.mark.parametrize("form", ["ubi.ndjson", "ubi.ndjson.gz", "bulk", "hits", "ubi.json", "ubi.csv"])
def test_every_form_of_file(tmp_path: Path, folder: Path, form: str) -> None:
    if form == "bulk":
        file = _file(tmp_path, {"index": {"_index": "ubi_queries"}}, QUERY, {"create": {}}, CLICK)
    elif form == "hits":
        file = _file(tmp_path, {"_index": "ubi_queries", "_id": "1", "_source": QUERY}, {"_source": CLICK})
    elif form.endswith(".json"):
        file = tmp_path / form
        file.write_text("\ufeff" + json.dumps([QUERY, CLICK], indent=1), encoding="utf-8")
    elif form.endswith(".csv"):
        file = tmp_path / form
        _csv(file, [QUERY, CLICK])
    else:
        file = _file(tmp_path, QUERY, CLICK, name=form)
    result = import_ubi(file, folder, NOW)
    assert (result.queries, result.events, result.refused.total()) == (1, 1, 0)
    (query,), (event,) = _log(folder)
    assert (query.query_id, query.user_query, query.hit_ids) == ("q1", "red shoe", ["B1", "B2"])
    assert query.attributes == {"page": 1}
    assert (event.action_name, event.object_id, event.position, event.session_id) == ("click", "B2", 2, "s1")
    written = "".join(each.read_text() for each in folder.glob("*.jsonl"))
    assert "10.1.2.3" not in written and "u-77" not in written and "someone" not in written
    assert result.not_stored["ip"] == result.not_stored["user_id"] == 1


def _csv(file: Path, documents: Iterable[dict[str, Any]]) -> None:
    flat = []
    for each in documents:
        row = {name: json.dumps(value) if isinstance(value, (dict, list)) else value for name, value in each.items()}
        if "event_attributes" in each:
            del row["event_attributes"]
            row["event_attributes.object.object_id"] = each["event_attributes"]["object"]["object_id"]
            row["event_attributes.position.ordinal"] = each["event_attributes"]["position"]["ordinal"]
            row["event_attributes.ip"] = each["event_attributes"]["ip"]
        flat.append(row)
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(dict.fromkeys(name for row in flat for name in row)), restval="")
        writer.writeheader()
        writer.writerows(flat)


def test_what_is_damaged_is_counted_and_set_aside_with_its_reason(tmp_path: Path, folder: Path) -> None:
    unknown = {**CLICK, "query_id": "q9", "client_id": "10.0.0.9"}
    future = {**QUERY, "query_id": "q2", "timestamp": "2027-01-01T00:00:00Z"}
    file = _file(
        tmp_path, QUERY, json.dumps(CLICK)[:60], QUERY, future, unknown, CLICK, CLICK, {"neither": 1}, "[1]",
        "\x00\xff",
    )  # fmt: skip
    result = import_ubi(file, folder, NOW)
    assert (result.queries, result.events, result.duplicates) == (1, 1, 2)
    assert result.refused == {
        "damaged line": 3, "timestamp in the future": 1, "event of an unknown query": 1,
        "neither a query nor an event": 1,
    }  # fmt: skip
    rows = quarantined(folder)
    assert [(row["line"], row["reason"]) for row in rows if row["source"] == "ubi.ndjson"][:2] == [
        (2, "damaged line"),
        (4, "timestamp in the future"),
    ]
    assert "10.0.0.9" not in json.dumps(rows) and "10.1.2.3" not in json.dumps(rows) and "u-77" not in json.dumps(rows)


def test_a_compressed_file_that_is_cut_off_is_read_up_to_there(tmp_path: Path, folder: Path) -> None:
    documents = [{**QUERY, "query_id": f"q{number}", "user_query": f"{hash(number)} shoe"} for number in range(5000)]
    file = _file(tmp_path, *documents, name="ubi.ndjson.gz")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    result = import_ubi(file, folder, NOW)
    assert 500 < result.queries < 4500
    assert result.refused["the compressed file ends early or is damaged"] == 1


def test_ids_that_name_a_person_or_a_machine_are_replaced(tmp_path: Path, folder: Path) -> None:
    people = ["someone@example.org", "192.168.1.7", "2001:db8::1", "5e3b2a1c"]
    result = import_ubi(
        _file(tmp_path, *({**QUERY, "query_id": f"{n}", "client_id": each} for n, each in enumerate(people))),
        folder,
        NOW,
    )
    queries, _ = _log(folder)
    assert result.renamed_clients == 3 and queries[3].client_id == "5e3b2a1c"
    assert not {each.client_id for each in queries} & set(people[:3])


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("none.ndjson", None, "does not exist"),
        ("ubi.xlsx", "x", "files end with .ndjson, .jsonl, .json, .csv"),
        ("ubi.json", "[{", "the array is damaged"),
        ("ubi.ndjson", "", "nothing in it is a query or an event of UBI \\(it is empty\\)"),
        ("ubi.ndjson", "x\ny\n", "nothing in it is .*damaged line: 2"),
    ],
)
def test_a_file_that_cannot_be_imported_says_why(
    tmp_path: Path, folder: Path, name: str, text: str | None, why: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=why):
        import_ubi(tmp_path / name, folder, NOW)
    assert not list(folder.glob("*queries*"))


def test_the_log_goes_out_and_comes_in_again(tmp_path: Path, folder: Path, real_data: Path) -> None:
    shown = {
        **CLICK,
        "application": "sqidflow",
        "action_name": "impression",
        "event_attributes": {"position": {"ordinal": 1}},
    }
    import_ubi(_file(tmp_path, QUERY, CLICK, shown), folder, NOW)
    out = tmp_path / "out.ndjson.gz"
    exported = export_ubi(folder, out, None, None, NOW)
    assert (exported.queries, exported.events) == (1, 3)  # an impression for each product
    lines = [json.loads(line) for line in gzip.decompress(out.read_bytes()).splitlines()]
    assert [line["index"]["_index"] for line in lines[::2]] == ["ubi_queries", *["ubi_events"] * 3]
    assert not [why for line in lines[1::2] for why in problems_of(line, real_data, listed=True)]
    back = import_ubi(out, tmp_path / "other", NOW)
    assert (back.queries, back.actions["impression"], back.actions["click"]) == (1, 2, 1)
    with pytest.raises(SqidflowError, match="nothing of that time"):
        export_ubi(folder, out, NOW, None, NOW)
    assert gzip.decompress(out.read_bytes())  # the file of before stays
