"""mkdocs hooks: pages generated from the code, and links that lead out of the documentation."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
_OUTSIDE = re.compile(r"\[([^\]]+)\]\((\.\./[^)#]+)(?:#[^)]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for name, text in (("reference/api.md", http_api()), ("reference/python.md", python_api())):
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links to files outside docs/ become their paths: the site does not contain them."""
    inside = "../" * page.file.src_uri.count("/")

    def path_only(match: re.Match[str]) -> str:
        text, target = match.groups()
        if inside and not target.startswith(inside + "../"):
            return match[0]
        path = f"`{target.removeprefix(inside).lstrip('./')}`"
        return path if text.strip("`") in path else f"{text} ({path})"

    return _OUTSIDE.sub(path_only, markdown)


def http_api() -> str:
    """The operations of web/openapi.json, which a test compares with the service."""
    document = json.loads((ROOT / "web" / "openapi.json").read_text(encoding="utf-8"))
    lines = ["# HTTP API", "", document["info"].get("description", ""), ""]
    lines += ["The running service has the same description at `/openapi.json` and a page to try it at `/docs`.", ""]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            lines += [f"## {method.upper()} `{path}`", "", operation.get("summary", "") + ".", ""]
            if operation.get("description"):
                lines += [operation["description"], ""]
            if operation.get("parameters"):
                lines += ["| parameter | in | type | meaning |", "| --- | --- | --- | --- |"]
                lines += [_parameter(each) for each in operation["parameters"]]
                lines.append("")
            body = operation.get("requestBody", {}).get("content", {})
            for kind, content in body.items():
                lines += [f"Body, `{kind}`:", "", *_fields(content.get("schema", {}), document), ""]
            statuses = [f"{status}: {each.get('description', '')}" for status, each in operation["responses"].items()]
            lines += ["Answers: " + "; ".join(statuses) + ".", ""]
    return "\n".join(lines)


def _parameter(parameter: dict[str, Any]) -> str:
    schema = parameter.get("schema", {})
    return (
        f"| `{parameter['name']}` | {parameter['in']} | {_type(schema)} | {_cell(parameter.get('description', ''))} |"
    )


def _fields(schema: dict[str, Any], document: dict[str, Any]) -> list[str]:
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    required = set(schema.get("required", ()))
    rows = []
    for name, field in schema.get("properties", {}).items():
        mark = " (required)" if name in required else ""
        rows.append(f"| `{name}`{mark} | {_type(field)} | {_cell(field.get('description', ''))} |")
    return ["| field | type | meaning |", "| --- | --- | --- |", *rows]


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return schema["$ref"].rsplit("/", 1)[1]
    if "anyOf" in schema:
        return " or ".join(_type(each) for each in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    return str(schema.get("type", "any"))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def python_api() -> str:
    """The public names of the package with signatures and docstrings."""
    import sqidflow

    lines = ["# Python API", "", "```python", "from sqidflow import " + ", ".join(sqidflow.__all__), "```", ""]
    for name in sorted(sqidflow.__all__, key=str.lower):
        value = getattr(sqidflow, name)
        lines += [f"## {name}", "", "```python", f"{name}{_signature(value)}", "```", "", *_prose(value)]
        if inspect.isclass(value):
            for member, method in inspect.getmembers(value, inspect.isfunction):
                if not member.startswith("_") and member in vars(value) and inspect.getdoc(method):
                    lines += [f"### {name}.{member}", "", "```python", f"{member}{_signature(method)}", "```", ""]
                    lines += _prose(method)
    return "\n".join(lines)


def _signature(value: Any) -> str:
    try:
        return str(inspect.signature(value)).replace("'", "")
    except (TypeError, ValueError):
        return "(...)"


def _prose(value: Any) -> list[str]:
    text = inspect.getdoc(value) or ""
    text = text.replace("``", "`")
    text = re.sub(r"^(Args|Returns|Raises):\n", r"**\1**\n\n", text, flags=re.MULTILINE)
    text = re.sub(r"^    (\w[^\n]*)", r"- \1", text, flags=re.MULTILINE)
    return [re.sub(r"^        +", "  ", text, flags=re.MULTILINE), ""]
