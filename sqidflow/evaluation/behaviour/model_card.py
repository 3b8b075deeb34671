"""The model card: what a model is, what it was measured to do and not to do, filled from an audit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_VERDICTS = {"pass": "pass", "warn": "warning", "block": "blocks", "note": "note"}


def model_card(report: Mapping[str, Any], audit: Mapping[str, Any]) -> str:
    """Markdown.

    Args:
        report: of the run that trained the model. audit: as of ``Audit.as_dict``.
    """
    model = audit["model"]
    lines = [
        f"# Model {model['version']}",
        "",
        "Filled by `sqidflow audit`; do not edit.",
        "",
        "| | |",
        "| --- | --- |",
        *(f"| {key.replace('_', ' ')} | {_cell(value)} |" for key, value in model.items() if value is not None),
        *_training(report),
        "",
        "## Use",
        "",
        "Ranks the products of one catalogue for queries of shoppers, after retrieval by vectors and words. The score "
        "is the expected ESCI gain. It was trained and measured on the judgements named above and on nothing else: "
        "another catalogue, language or encoder needs its own training and audit. It is not meant to rank people, "
        "prices or anything that is no product.",
        "",
        f"## Audit: {_VERDICTS[audit['verdict']]}",
        "",
    ]
    for name, section in audit["sections"].items():
        lines += [f"### {name.capitalize()}", ""]
        lines += [f"- **{_VERDICTS[line['verdict']]}**: {_cell(line['text'])}" for line in section["lines"]]
        lines.append("")
    ndcg = report.get("ndcg", {})
    lines += ["## Held-out NDCG", "", "| method | NDCG | low | high |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {method} | {value['mean']:.4f} | {value['low']:.4f} | {value['high']:.4f} |"
        for method, value in ndcg.items()
    ]
    missed = report.get("classes_missed") or {}
    lines += ["", "## Known limits", ""]
    lines += [f"- Class {label} is found with a recall of {recall:.2f} only." for label, recall in missed.items()]
    warned = [line["text"] for section in audit["sections"].values() for line in section["lines"]
              if line["verdict"] in ("warn", "block")]  # fmt: skip
    lines += [f"- {_cell(text)}" for text in warned] or ["- The audit names none; it sees what it asks for."]
    return "\n".join(lines) + "\n"


def _training(report: Mapping[str, Any]) -> list[str]:
    rows = [("pairs held out", report.get("pairs")), ("blessed", report.get("blessed"))]
    if report.get("energy_kwh") is not None:
        rows.append(("training energy", f"{report['energy_kwh']:.6f} kWh ({report.get('energy_method')})"))
    return [f"| {key} | {_cell(value)} |" for key, value in rows if value is not None]


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
