"""The API's description as one page, drawn from its OpenAPI document; loads nothing and needs no script."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, Response

_STYLE = """
:root {
  color-scheme: light dark; background: light-dark(#fff, #14181e); color: light-dark(#1a2029, #e7e5df);
}
a { color: light-dark(#1d4f8a, #8fbcf0) }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 0 auto; padding: 1rem }
code, pre { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: .9em }
pre { overflow-x: auto; padding: .6rem; border: 1px solid }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1rem }
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid;
  overflow-wrap: anywhere }
h3 { overflow-wrap: anywhere }
section { margin-top: 2rem }
summary { min-height: 1.5rem; cursor: pointer }
"""


def install(app: FastAPI) -> None:
    """Serve the description at /docs."""

    async def page() -> Response:
        return HTMLResponse(draw(app.openapi()))

    async def style() -> Response:
        return Response(_STYLE, media_type="text/css")

    app.add_api_route("/docs", page, include_in_schema=False, response_class=HTMLResponse)
    app.add_api_route("/docs.css", style, include_in_schema=False, response_class=Response)


def draw(document: dict[str, Any]) -> str:
    """HTML of an OpenAPI document: each operation with parameters, body, answers and an example, then the shapes."""
    info = document["info"]
    operations = [
        _operation(document, path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    schemas = [_schema(name, schema) for name, schema in document["components"]["schemas"].items()]
    schemes = document["components"].get("securitySchemes", {})
    keys = "".join(
        f"<p><strong>{escape(scheme['name'])}</strong> ({escape(scheme['in'])}): "
        f"{escape(scheme.get('description', ''))}</p>"
        for scheme in schemes.values()
    )
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{escape(info['title'])}: API</title><link rel='icon' href='data:,'>"
        "<link rel='stylesheet' href='/docs.css'></head><body><main>"
        f"<h1>{escape(info['title'])}: API</h1><p>{escape(info.get('description', ''))}</p>"
        "<p><a href='/openapi.json'>openapi.json</a> is the same for programs. <a href='/'>Search page</a></p>"
        f"<h2>Authentication</h2>{keys}<h2>Operations</h2>{''.join(operations)}<h2>Shapes</h2>{''.join(schemas)}"
        "</main></body></html>"
    )


def _operation(document: dict[str, Any], path: str, method: str, operation: dict[str, Any]) -> str:
    parts = [
        f"<section id='{escape(operation['operationId'])}'><h3><code>{method.upper()} {escape(path)}</code></h3>"
        f"<p>{escape(operation.get('summary', ''))}. {escape(operation.get('description', ''))}</p>"
    ]
    parameters = operation.get("parameters", [])
    if parameters:
        rows = [
            (each["name"], each["in"], _kind(each["schema"]), each.get("description", ""), each.get("required", False))
            for each in parameters
        ]
        parts.append(_table(("parameter", "in", "type", "meaning"), rows))
    for kind, body in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(f"<p>Body: {escape(kind)}, {_kind(body['schema'])}</p>")
    example = _example(document, path, method, operation)
    if example:
        parts.append(f"<pre tabindex='0' aria-label='Example'>{escape(example)}</pre>")
    answers = [
        (status, "; ".join(f"{kind}" for kind in answer.get("content", {})), answer["description"])
        for status, answer in operation["responses"].items()
    ]
    parts.append(f"<details><summary>Answers</summary>{_plain_table(('status', 'type', 'meaning'), answers)}</details>")
    return "".join([*parts, "</section>"])


def _example(document: dict[str, Any], path: str, method: str, operation: dict[str, Any]) -> str | None:
    """A call of curl where the document has an example for all that is required; None otherwise."""
    if method == "get":
        from urllib.parse import urlencode

        values = {}
        for each in operation.get("parameters", []):
            examples = each["schema"].get("examples") or each.get("examples")
            if examples:
                values[each["name"]] = examples[0]
            elif each.get("required"):
                return None
        return f"curl -s 'localhost:8000{path}{'?' + urlencode(values) if values else ''}'"
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if not body:
        return None
    schema = document["components"]["schemas"][body["schema"]["$ref"].rpartition("/")[2]]
    fields = {name: field["examples"][0] for name, field in schema["properties"].items() if field.get("examples")}
    if not set(schema.get("required", ())) <= fields.keys():
        return None
    return f"curl -s localhost:8000{path} -H 'content-type: application/json' -d '{json.dumps(fields)}'"


def _schema(name: str, schema: dict[str, Any]) -> str:
    required = schema.get("required", ())
    rows = [
        (field, "", _kind(each), each.get("description", ""), field in required)
        for field, each in schema.get("properties", {}).items()
    ]
    head = f"<section id='{escape(name)}'><h3><code>{escape(name)}</code></h3>"
    table = _table(("field", "", "type", "meaning"), rows)
    return f"{head}<p>{escape(schema.get('description', ''))}</p>{table}</section>"


def _table(head: tuple[str, ...], rows: list[tuple[str, str, str, str, bool]]) -> str:
    keep = [at for at, title in enumerate(head) if title]
    lines = []
    for name, place, kind, meaning, required in rows:
        cells = (
            f"<code>{escape(name)}</code>{' <strong>required</strong>' if required else ''}",
            escape(place), kind, escape(meaning),
        )  # fmt: skip
        lines.append("<tr>" + "".join(f"<td>{cells[at]}</td>" for at in keep) + "</tr>")
    titles = "".join(f"<th scope='col'>{head[at]}</th>" for at in keep)
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _plain_table(head: tuple[str, ...], rows: Iterable[Sequence[str]]) -> str:
    titles = "".join(f"<th scope='col'>{title}</th>" for title in head)
    lines = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{lines}</tbody></table>"


def _kind(schema: dict[str, Any]) -> str:
    """A schema's type as HTML, with links to the shapes."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"<a href='#{escape(name)}'>{escape(name)}</a>"
    if "anyOf" in schema:
        return " or ".join(_kind(each) for each in schema["anyOf"])
    if "allOf" in schema:
        return " and ".join(_kind(each) for each in schema["allOf"])
    if "enum" in schema:
        return ", ".join(f"<code>{escape(json.dumps(value))}</code>" for value in schema["enum"])
    if "const" in schema:
        return f"<code>{escape(json.dumps(schema['const']))}</code>"
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}"
    bounds = [
        f"{sign} {schema[key]}"
        for key, sign in (("minimum", "≥"), ("maximum", "≤"), ("maxLength", "length ≤"))
        if key in schema
    ]
    return escape(" ".join([str(schema.get("type", "any")), *bounds]))
