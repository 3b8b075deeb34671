"""The published schemas of User Behavior Insights, where this machine has them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def problems_of(document: Mapping[str, Any], real_data: Path, listed: bool = False) -> list[str]:
    """What the published schema of a query or an event says against a document.

    ``listed``: the names of actions that the schema lists are allowed. As it is published it takes one of its list or
    any text but not both, and so refuses all of its list.
    """
    from jsonschema import Draft202012Validator, FormatChecker

    name = "event" if "action_name" in document else "query.request"
    schema = json.loads((real_data / "ubi_schema" / f"{name}.schema.json").read_text(encoding="utf-8"))
    if listed and name == "event":
        action = schema["properties"]["action_name"]
        action["anyOf"] = action.pop("oneOf")
    validator = Draft202012Validator(schema, format_checker=FormatChecker())
    return [error.message for error in validator.iter_errors(document)]
