"""Records of User Behavior Insights (UBI) 1.3: searches, and what people did with the answers.

The service writes its log in this form, the monitoring reads it, and other tools read and write the same. The schemas:
https://github.com/o19s/ubi. Extensions of ours are in ``query_attributes`` and ``event_attributes``, where UBI has
room for them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

APPLICATION = "sqidflow"
OBJECT_ID_FIELD = "product_id"
MAX_NAME_CHARS = 100
MAX_OBJECT_ID_CHARS = 256
IMPRESSION, CLICK, VIEW, JUDGEMENT, VOTE = "impression", "click", "view", "judgement", "vote"
ACTIONS = (IMPRESSION, CLICK, VIEW, JUDGEMENT, VOTE)
"""What the page sends, and the store of feedback has. The first three are names that UBI lists."""
_SAME_ACTIONS = {
    "view_search_results": IMPRESSION, "item_impression": IMPRESSION, "item_click": CLICK, "product_click": CLICK,
    "product_view": VIEW, "view_item": VIEW, "item_add_to_cart": "add_to_cart", "item_purchase": "purchase",
    "item_watch": "watch",
}  # fmt: skip
_UNLISTED = {
    IMPRESSION: "view_search_results", CLICK: "item_click", VIEW: "product_view", "add_to_cart": "item_add_to_cart",
    "purchase": "item_purchase", "watch": "item_watch",
}  # fmt: skip
"""How the log writes them: UBI's schema takes an action that is one of its list or any text, and not both, so that it
refuses the very names of its list."""
_ITEM_IMPRESSION = "item_impression"
_NO_POSITION = 0
"""In our log: of a product that was not in an answer. Others count their ranks from 0."""
_MILLISECONDS_FROM = 1e11
"""Numbers from here on are milliseconds: as seconds they would be of the year 5138."""


class UnfitRecord(ValueError):
    """A document that is no record of UBI; the text is the reason."""


@dataclass(frozen=True, slots=True)
class QueryRecord:
    """A search and the products of its answer, in the order of ranks. ``client_id`` is "" where there is none."""

    query_id: str
    user_query: str
    timestamp: datetime
    client_id: str = ""
    hit_ids: Sequence[str] | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    application: str = APPLICATION
    object_id_field: str = OBJECT_ID_FIELD

    def document(self) -> dict[str, Any]:
        """As UBI's ``query.request`` schema has it."""
        document: dict[str, Any] = {"application": self.application, "query_id": self.query_id}
        if self.client_id:
            document["client_id"] = self.client_id
        document["user_query"] = self.user_query
        document["timestamp"] = _text_of(self.timestamp)
        document["object_id_field"] = self.object_id_field
        if self.hit_ids is not None:
            document["query_response_id"] = self.query_id
            document["query_response_hit_ids"] = list(self.hit_ids)
        document["query_attributes"] = self.attributes
        return document


@dataclass(frozen=True, slots=True)
class EventRecord:
    """What somebody did, by the one name of ``action_of``.

    ``position``: the product's rank from 1, or of the answer's first product where the event is about the whole answer.
    Ids are "" where there are none.
    """

    action_name: str
    timestamp: datetime
    query_id: str = ""
    client_id: str = ""
    session_id: str = ""
    object_id: str = ""
    position: int | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """Further ones than ``object`` and ``position``."""
    application: str = APPLICATION
    object_id_field: str = OBJECT_ID_FIELD
    message_type: str = ""

    def document(self, listed: bool = False) -> dict[str, Any]:
        """As UBI's ``event`` schema has it; that knows no ``event_attributes`` without a position.

        Args:
            listed: write the names of UBI's list, which other tools count by, though the schema refuses them.
        """
        action = self.action_name
        if not listed:
            is_item = action == IMPRESSION and self.object_id
            action = _ITEM_IMPRESSION if is_item else _UNLISTED.get(action, action)
        document: dict[str, Any] = {"application": self.application, "action_name": action}
        for name in ("query_id", "session_id", "client_id", "message_type"):
            if getattr(self, name):
                document[name] = getattr(self, name)
        document["timestamp"] = _text_of(self.timestamp)
        if self.position is not None or self.object_id or self.attributes:
            attributes: dict[str, Any] = {**self.attributes, "position": {"ordinal": self.position or _NO_POSITION}}
            if self.object_id:
                attributes["object"] = {"object_id": self.object_id, "object_id_field": self.object_id_field}
            document["event_attributes"] = attributes
        return document


def action_of(name: str) -> str:
    """The one name of an action: ``click`` for ``item_click`` too."""
    return _SAME_ACTIONS.get(name, name)


def query_of(document: Mapping[str, Any]) -> QueryRecord:
    """A search of our log or of another tool's.

    Raises:
        UnfitRecord: a field that is needed is missing or of another kind.
    """
    hits = document.get("query_response_hit_ids")
    if hits is not None and not isinstance(hits, list):
        raise UnfitRecord("query_response_hit_ids is no list")
    attributes = document.get("query_attributes")
    if attributes is not None and not isinstance(attributes, dict):
        raise UnfitRecord("query_attributes is no object")
    query = document.get("user_query")
    if not isinstance(query, str):
        raise UnfitRecord("user_query is no text")
    return QueryRecord(
        _name(document, "query_id", needed=True),
        query,
        timestamp_of(document.get("timestamp")),
        _name(document, "client_id"),
        None if hits is None else [str(each) for each in hits],
        attributes or {},
        _name(document, "application"),
        _name(document, "object_id_field") or OBJECT_ID_FIELD,
    )


def event_of(document: Mapping[str, Any]) -> EventRecord:
    """An event of our log or of another tool's.

    Raises:
        UnfitRecord: a field that is needed is missing or of another kind.
    """
    attributes = document.get("event_attributes")
    if attributes is not None and not isinstance(attributes, dict):
        raise UnfitRecord("event_attributes is no object")
    rest = dict(attributes or {})
    about, position = rest.pop("object", None), rest.pop("position", None)
    about = about if isinstance(about, dict) else {}
    ordinal = position.get("ordinal") if isinstance(position, dict) else None
    if ordinal is not None and (not isinstance(ordinal, int) or isinstance(ordinal, bool) or ordinal < 0):
        raise UnfitRecord("position.ordinal is no rank")
    product = about.get("object_id")
    if product is not None and not isinstance(product, (str, int)):
        raise UnfitRecord("object_id is no id")
    if len(str(product)) > MAX_OBJECT_ID_CHARS:
        raise UnfitRecord(f"object_id has more than {MAX_OBJECT_ID_CHARS} characters")
    application = _name(document, "application")
    if application == APPLICATION and ordinal == _NO_POSITION:
        ordinal = None
    return EventRecord(
        action_of(_name(document, "action_name", needed=True)),
        timestamp_of(document.get("timestamp")),
        _name(document, "query_id"),
        _name(document, "client_id"),
        # Tools of before 1.3 have it among the attributes.
        _name(document, "session_id") or _name(rest, "session_id"),
        "" if product is None else str(product),
        ordinal,
        rest,
        application,
        _name(about, "object_id_field") or OBJECT_ID_FIELD,
        _name(document, "message_type"),
    )


def query_of_before(line: Mapping[str, Any]) -> QueryRecord:
    """A line of this project's query log as it was before UBI.

    Raises:
        UnfitRecord: it is none.
    """
    known = dict(line)
    try:
        results = known.pop("results")
        attributes = {"scores": [score for _, score in results]}
        hits = [str(product) for product, _ in results]
        query, at = str(known.pop("query")), timestamp_of(known.pop("at"))
        number = str(known.pop("request_id", "")) or f"{at.timestamp()} {query}"
    except (KeyError, TypeError, ValueError) as error:
        raise UnfitRecord("neither a record of UBI nor a line of the log before it") from error
    return QueryRecord(number, query, at, "", hits, known | attributes, APPLICATION)


def timestamp_of(value: object) -> datetime:
    """ISO 8601, in UTC where it names no zone, or seconds or milliseconds since 1970, as some tools write them.

    Raises:
        UnfitRecord: it is no time.
    """
    if value is None:
        raise UnfitRecord("there is no timestamp")
    try:
        if isinstance(value, str):
            time = datetime.fromisoformat(value)
            return time if time.tzinfo is UTC else time.replace(tzinfo=time.tzinfo or UTC).astimezone(UTC)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            return datetime.fromtimestamp(value / 1000 if abs(value) >= _MILLISECONDS_FROM else value, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise UnfitRecord("the timestamp is no time") from error
    raise UnfitRecord("the timestamp is no time")


def _text_of(time: datetime) -> str:
    return f"{time.isoformat(timespec='milliseconds').removesuffix('+00:00')}Z"


def _name(document: Mapping[str, Any], key: str, needed: bool = False) -> str:
    value = document.get(key)
    if value is None or value == "":
        if needed:
            raise UnfitRecord(f"there is no {key}")
        return ""
    if not isinstance(value, (str, int)) or isinstance(value, bool):
        raise UnfitRecord(f"{key} is no text")
    if len(str(value)) > MAX_NAME_CHARS:
        raise UnfitRecord(f"{key} has more than {MAX_NAME_CHARS} characters")
    return str(value)
