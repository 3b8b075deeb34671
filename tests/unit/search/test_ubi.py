"""Records of UBI: written, read again, and read from what other tools write."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from sqidflow.search.ubi import (
    EventRecord,
    QueryRecord,
    UnfitRecord,
    event_of,
    query_of,
    query_of_before,
    timestamp_of,
)

AT = datetime(2026, 5, 4, 3, 2, 1, 500_000, UTC)


def _again(record: QueryRecord | EventRecord) -> Any:
    document = json.loads(json.dumps(record.document()))
    return event_of(document) if isinstance(record, EventRecord) else query_of(document)


@pytest.mark.parametrize(
    "record",
    [
        QueryRecord("q1", "caf\u00e9 \U0001f45f", AT, "client-1", ["B2", "B1"], {"k": 3}),
        QueryRecord("q1", "", AT),
        QueryRecord("q1", "nothing", AT, hit_ids=[]),
        EventRecord("click", AT, "q1", "client-1", "visit-1", "B1", 2, {"event_id": "e1"}, message_type="INFO"),
        EventRecord("vote", AT, "q1", position=1, attributes={"vote": "a", "blind": True}),
        EventRecord("view", AT, object_id="B1"),
        EventRecord("page_exit", AT),
    ],
)
def test_what_is_written_is_read_again(record: QueryRecord | EventRecord) -> None:
    assert _again(record) == record


def test_names_of_actions_in_the_log_and_for_other_tools() -> None:
    names = {
        ("impression", ""): ("view_search_results", "impression"),
        ("impression", "B1"): ("item_impression", "impression"),
        ("click", "B1"): ("item_click", "click"),
        ("view", "B1"): ("product_view", "view"),
        ("judgement", "B1"): ("judgement", "judgement"),
        ("purchase", "B1"): ("item_purchase", "purchase"),
    }
    for (action, product), (ours, listed) in names.items():
        record = EventRecord(action, AT, object_id=product, position=1)
        assert (record.document()["action_name"], record.document(listed=True)["action_name"]) == (ours, listed)


def test_another_tools_ways_of_writing() -> None:
    event = event_of(
        {
            "action_name": "item_click",
            "timestamp": 1717527762080,
            "query_id": "q",
            "application": "shop",
            "event_attributes": {
                "session_id": "s",
                "object": {"object_id": 42},
                "position": {"ordinal": 0, "x": 3},
                "ip": "1.2.3.4",
            },
        }
    )
    assert (event.action_name, event.object_id, event.position, event.session_id) == ("click", "42", 0, "s")
    assert event.timestamp == datetime(2024, 6, 4, 19, 2, 42, 80_000, UTC)
    query = query_of({"user_query": "x", "query_id": "q", "timestamp": "2018-11-13T20:20:39", "client_id": None})
    assert query.timestamp == datetime(2018, 11, 13, 20, 20, 39, tzinfo=UTC) and query.hit_ids is None
    assert timestamp_of("2018-11-13T22:20:39+02:00") == query.timestamp == timestamp_of(1542140439)


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ({"user_query": "x", "timestamp": "2026-01-01"}, "there is no query_id"),
        ({"user_query": None, "query_id": "q", "timestamp": "2026-01-01"}, "user_query is no text"),
        ({"user_query": "x", "query_id": "q"}, "there is no timestamp"),
        ({"user_query": "x", "query_id": "q", "timestamp": "yesterday"}, "the timestamp is no time"),
        ({"user_query": "x", "query_id": "q", "timestamp": 1e300}, "the timestamp is no time"),
        ({"user_query": "x", "query_id": "q", "timestamp": True}, "the timestamp is no time"),
        ({"user_query": "x", "query_id": "q" * 101, "timestamp": 1}, "query_id has more than 100 characters"),
        ({"user_query": "x", "query_id": ["q"], "timestamp": 1}, "query_id is no text"),
        ({"user_query": "x", "query_id": "q", "timestamp": 1, "query_response_hit_ids": "B1"}, "hit_ids is no list"),
        ({"action_name": "click"}, "there is no timestamp"),
        ({"action_name": 3.5, "timestamp": 1}, "action_name is no text"),
        ({"action_name": "click", "timestamp": 1, "event_attributes": []}, "event_attributes is no object"),
        (
            {"action_name": "click", "timestamp": 1, "event_attributes": {"position": {"ordinal": -1}}},
            "position.ordinal is no rank",
        ),
    ],
)
def test_what_is_no_record_says_why(document: dict[str, Any], why: str) -> None:
    with pytest.raises(UnfitRecord, match=why):
        event_of(document) if "action_name" in document else query_of(document)


def test_a_line_of_before_ubi() -> None:
    line = {"at": "2026-01-01T00:00:00+00:00", "request_id": "r1", "query": "shoe", "results": [["B1", 0.5]], "k": 10}
    record = query_of_before(line)
    assert (record.query_id, record.user_query, record.hit_ids) == ("r1", "shoe", ["B1"])
    assert record.attributes == {"scores": [0.5], "k": 10}
    with pytest.raises(UnfitRecord, match="neither a record of UBI"):
        query_of_before({"at": "2026-01-01"})
