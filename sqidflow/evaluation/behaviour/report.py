"""The audit's report: sections of verdict lines, tables and figures, as JSON and as one HTML file without links."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from sqidflow.ranking.metrics import Interval

Verdict = Literal["pass", "warn", "block", "note"]
Cell = Interval | float | int | str | None
_WORDS: Mapping[Verdict, str] = {"pass": "pass", "warn": "warning", "block": "blocks", "note": "note"}


@dataclass(frozen=True)
class Line:
    """A verdict on one thing that was measured. ``note``: nothing to judge, or too little to."""

    name: str
    verdict: Verdict
    text: str

    def as_dict(self) -> dict[str, str]:
        return {"name": self.name, "verdict": self.verdict, "text": self.text}


@dataclass(frozen=True)
class Table:
    """``columns`` name the cells of each row; intervals are shown as mean [low, high]."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    def as_dict(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "rows": [
                {name: cell.as_dict() if isinstance(cell, Interval) else cell for name, cell in zip(self.columns, row)}
                for row in self.rows
            ],
        }


@dataclass(frozen=True)
class Section:
    """``figures`` are SVG elements."""

    name: str
    title: str
    lines: Sequence[Line]
    tables: Sequence[Table] = ()
    figures: Sequence[str] = ()
    about: str = ""

    def as_dict(self) -> dict[str, Any]:
        return {
            "lines": [line.as_dict() for line in self.lines],
            "tables": [table.as_dict() for table in self.tables],
        }


@dataclass(frozen=True)
class Audit:
    """A whole audit. ``model`` says what was audited; ``facts`` are shown under the title."""

    model: Mapping[str, Any]
    sections: Sequence[Section]
    seconds: float = 0.0
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def blocking(self) -> list[str]:
        """Texts of the lines that block a blessing."""
        return [line.text for section in self.sections for line in section.lines if line.verdict == "block"]

    @property
    def verdict(self) -> Verdict:
        verdicts = {line.verdict for section in self.sections for line in section.lines}
        return "block" if "block" in verdicts else "warn" if "warn" in verdicts else "pass"

    def as_dict(self) -> dict[str, Any]:
        return {
            "model": dict(self.model),
            "verdict": self.verdict,
            "blocking": self.blocking,
            "settings": dict(self.settings),
            "seconds": round(self.seconds, 1),
            "sections": {section.name: section.as_dict() for section in self.sections},
        }


def as_text(cell: Cell) -> str:
    """A cell as it is shown."""
    if cell is None:
        return "-"
    if isinstance(cell, Interval):
        return f"{cell.mean:.3f} [{cell.low:.3f}, {cell.high:.3f}]"
    if isinstance(cell, (bool, str)):
        return str(cell)
    if isinstance(cell, (int, np.integer)):
        return f"{cell:,}"
    return f"{cell:.3f}"


# --- figures ----------------------------------------------------------------------------------------------------------


def interval_figure(title: str, rows: Sequence[tuple[str, Interval]], zero: bool = True) -> str:
    """Means with their intervals, a row each; a line at zero."""
    if not rows:
        return ""
    low = min([0.0] * zero + [row.low for _, row in rows])
    high = max([0.0] * zero + [row.high for _, row in rows])
    span = (high - low) or 1.0
    left, width, step = 210, 420, 22
    height = step * len(rows) + 40

    def x(value: float) -> float:
        return round(left + (value - low) / span * width, 1)

    parts = [f'<svg viewBox="0 0 {left + width + 80} {height}" role="img" aria-label="{html.escape(title)}">']
    if zero:
        parts.append(f'<line x1="{x(0)}" x2="{x(0)}" y1="4" y2="{height - 30}" class="zero"/>')
    for number, (name, row) in enumerate(rows):
        y = step * number + 16
        parts.append(f'<text x="{left - 10}" y="{y + 4}" text-anchor="end">{html.escape(name)}</text>')
        parts.append(f'<line x1="{x(row.low)}" x2="{x(row.high)}" y1="{y}" y2="{y}" class="range"/>')
        parts.append(f'<circle cx="{x(row.mean)}" cy="{y}" r="4" class="mean"/>')
        parts.append(f'<text x="{left + width + 8}" y="{y + 4}">{row.mean:+.3f}</text>')
    for value in (low, (low + high) / 2, high):
        parts.append(f'<text x="{x(value)}" y="{height - 10}" text-anchor="middle" class="tick">{value:.2f}</text>')
    return "".join([*parts, "</svg>"])


def heat_figure(title: str, rows: Sequence[str], columns: Sequence[str], values: np.ndarray) -> str:
    """A matrix as shades; float [rows, columns], each cell with its number."""
    cell_width, cell_height, left, top = 46, 24, 230, 120
    low, high = float(values.min()), float(values.max())
    span = (high - low) or 1.0
    width, height = left + cell_width * len(columns) + 10, top + cell_height * len(rows) + 10
    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{html.escape(title)}">']
    for number, name in enumerate(columns):
        x = left + cell_width * number + cell_width / 2
        label = html.escape(_short(name, 18))
        parts.append(f'<text transform="translate({x},{top - 6}) rotate(-50)">{label}</text>')
    for row, name in enumerate(rows):
        y = top + cell_height * row
        label = html.escape(_short(name, 32))
        parts.append(f'<text x="{left - 8}" y="{y + 16}" text-anchor="end">{label}</text>')
        for column in range(len(columns)):
            value = float(values[row, column])
            strength = (value - low) / span
            shade = f"rgb({round(247 - 214 * strength)},{round(251 - 170 * strength)},{round(255 - 110 * strength)})"
            ink = "#fff" if strength > 0.55 else "#1b2733"
            x = left + cell_width * column
            parts.append(f'<rect x="{x}" y="{y}" width="{cell_width - 2}" height="{cell_height - 2}" fill="{shade}"/>')
            parts.append(
                f'<text x="{x + cell_width / 2 - 1}" y="{y + 15}" text-anchor="middle" fill="{ink}" '
                f'class="tick">{value:.2f}</text>'
            )
    return "".join([*parts, "</svg>"])


def scatter_figure(title: str, points: np.ndarray, kinds: Sequence[str], names: Sequence[str]) -> str:
    """Points float [n, 2] in the plane, a colour a kind; a point's name shows when it is pointed at."""
    size, margin = 460, 14
    low, span = points.min(axis=0), np.ptp(points, axis=0)
    places = margin + (points - low) / np.where(span > 0, span, 1) * (size - 2 * margin)
    order = sorted(set(kinds))
    parts = [f'<svg viewBox="0 0 {size + 150} {size}" role="img" aria-label="{html.escape(title)}">']
    for (x, y), kind, name in zip(places, kinds, names):
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.2" class="kind{order.index(kind)}">'
            f"<title>{html.escape(name)}</title></circle>"
        )
    for number, kind in enumerate(order):
        y = 22 + 20 * number
        parts.append(f'<circle cx="{size + 12}" cy="{y}" r="5" class="kind{number}"/>')
        parts.append(f'<text x="{size + 24}" y="{y + 4}">{html.escape(kind)}</text>')
    return "".join([*parts, "</svg>"])


def bars_figure(title: str, names: Sequence[str], series: Mapping[str, Sequence[float]], unit: str = "") -> str:
    """Bars side by side for each name, a colour a series; values from 0 on, shown at the bars."""
    most = max((value for values in series.values() for value in values), default=0) or 1.0
    bar, gap, left, width = 13, 10, 210, 420
    step = bar * len(series) + gap
    height = step * len(names) + 34
    parts = [f'<svg viewBox="0 0 {left + width + 80} {height}" role="img" aria-label="{html.escape(title)}">']
    for number, label in enumerate(series):
        x = left + 150 * number
        parts.append(f'<rect x="{x}" y="4" width="10" height="10" class="kind{number}"/>')
        parts.append(f'<text x="{x + 16}" y="13">{html.escape(label)}</text>')
    for row, name in enumerate(names):
        y = 26 + step * row
        middle = y + bar * len(series) / 2 + 4
        parts.append(f'<text x="{left - 10}" y="{middle}" text-anchor="end">{html.escape(_short(name, 30))}</text>')
        for number, values in enumerate(series.values()):
            top, length = y + bar * number, round(values[row] / most * width, 1)
            parts.append(f'<rect x="{left}" y="{top}" width="{length}" height="{bar - 2}" class="kind{number}"/>')
            shown = f"{values[row]:.1%}" if unit == "%" else f"{values[row]:,.0f}{unit}"
            parts.append(f'<text x="{left + length + 6}" y="{top + 10}" class="tick">{html.escape(shown)}</text>')
    return "".join([*parts, "</svg>"])


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "\u2026"


# --- HTML -------------------------------------------------------------------------------------------------------------

_STYLE = """
:root { color-scheme: light dark; --ink: #1b2733; --soft: #5b6875; --paper: #fbfbf9; --panel: #fff; --line: #d8dee4;
  --pass: #1a6b3c; --warn: #8a5a00; --block: #a3212b; --note: #4a5560; --mark: #1d5fa8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e9ee; --soft: #a3afba; --paper: #14181c; --panel: #1b2126;
  --line: #38424b; --pass: #6fcf97; --warn: #f0b54a; --block: #ff8a8f; --note: #a9b4bf; --mark: #7db4f0; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 26px; line-height: 1.2; margin: 0 0 4px; } h2 { font-size: 19px; margin: 44px 0 6px; }
h3 { font-size: 14px; margin: 22px 0 6px; color: var(--soft); font-weight: 600; }
p { max-width: 78ch; margin: 6px 0; } .soft { color: var(--soft); } dl { display: grid; grid-template-columns: auto 1fr;
  gap: 2px 18px; margin: 12px 0; } dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
.lines { list-style: none; padding: 0; margin: 14px 0; background: var(--panel); border: 1px solid var(--line);
  border-radius: 8px; } .lines li { display: grid; grid-template-columns: 76px 1fr; gap: 10px; padding: 9px 14px; }
.lines li + li { border-top: 1px solid var(--line); } .verdict { font-weight: 700; }
.pass .verdict { color: var(--pass); } .warn .verdict { color: var(--warn); } .block .verdict { color: var(--block); }
.note .verdict { color: var(--note); } .scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14px; min-width: 50%; }
th, td { text-align: left; padding: 5px 14px 5px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 600; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
svg { width: 100%; min-width: 560px; max-width: 760px; height: auto;
  display: block; margin: 10px 0; font: 12px system-ui, sans-serif; }
svg text:not([fill]) { fill: var(--ink); } .zero { stroke: var(--soft); stroke-dasharray: 3 3; }
.range { stroke: var(--mark); stroke-width: 3; } .mean { fill: var(--mark); } .tick { font-size: 11px; }
.kind0 { fill: #1d5fa8; } .kind1 { fill: #d1732b; } .kind2 { fill: #3b8f5a; } .kind3 { fill: #8857a8; }
"""


def as_html(audit: Audit) -> str:
    """The report as one file: no script, nothing that is loaded."""
    outcome = {"pass": "Nothing stands out.", "warn": "There are warnings.", "block": "This model is blocked."}
    return page(
        f"Audit of model {audit.model.get('version', '')}",
        outcome[audit.verdict],
        "Intervals are 95 % bootstrap intervals over queries.",
        _facts(audit),
        audit.sections,
    )


def page(
    title: str,
    outcome: str,
    about: str,
    facts: Sequence[tuple[str, Any]],
    sections: Sequence[Section],
    words: Mapping[Verdict, str] = _WORDS,
) -> str:
    """A report as one file: no script, nothing that is loaded. ``words``: how its verdicts are called."""
    pairs = ((html.escape(str(key)), html.escape(str(value))) for key, value in facts)
    listed = "".join(f"<dt>{key}</dt><dd>{value}</dd>" for key, value in pairs)
    top = "".join(_verdict_of(section, words) for section in sections)
    body = "".join(_section(section, words) for section in sections)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body><main><h1>{html.escape(title)}</h1>"
        f"<p><strong>{html.escape(outcome)}</strong> {html.escape(about)}</p>"
        f'<dl>{listed}</dl><ul class="lines">{top}</ul>{body}</main></body></html>\n'
    )


def _facts(audit: Audit) -> list[tuple[str, Any]]:
    facts = [(key.replace("_", " "), value) for key, value in audit.model.items() if value is not None]
    return [*facts, ("took", f"{audit.seconds:.1f} s")]


def _worst(section: Section) -> Verdict:
    order: Sequence[Verdict] = ("block", "warn", "pass", "note")
    verdicts = {line.verdict for line in section.lines}
    return next((verdict for verdict in order if verdict in verdicts), "note")


def _verdict_of(section: Section, words: Mapping[Verdict, str]) -> str:
    worst = _worst(section)
    telling = next((line.text for line in section.lines if line.verdict == worst), "nothing was measured")
    return (
        f'<li class="{worst}"><span class="verdict">{words[worst]}</span>'
        f'<span><a href="#{section.name}">{html.escape(section.title)}</a>: {html.escape(telling)}</span></li>'
    )


def _section(section: Section, words: Mapping[Verdict, str]) -> str:
    lines = "".join(
        f'<li class="{line.verdict}"><span class="verdict">{words[line.verdict]}</span>'
        f"<span>{html.escape(line.text)}</span></li>"
        for line in section.lines
    )
    about = f'<p class="soft">{html.escape(section.about)}</p>' if section.about else ""
    return (
        f'<section id="{section.name}"><h2>{html.escape(section.title)}</h2>{about}<ul class="lines">{lines}</ul>'
        + "".join(_table(table) for table in section.tables)
        + "".join(map(_scrolled, section.figures))
        + "</section>"
    )


def _scrolled(figure: str) -> str:
    """A figure that scrolls where the page is too narrow to read it; a heading stays as it is."""
    return f'<div class="scroll" tabindex="0">{figure}</div>' if "<svg" in figure else figure


def _table(table: Table) -> str:
    numeric = [all(not isinstance(row[at], str) for row in table.rows) for at in range(len(table.columns))]

    def cells(tag: str, values: Sequence[str]) -> str:
        return "".join(
            f'<{tag} class="number">{html.escape(value)}</{tag}>' if number else f"<{tag}>{html.escape(value)}</{tag}>"
            for value, number in zip(values, numeric)
        )

    rows = "".join(f"<tr>{cells('td', [as_text(cell) for cell in row])}</tr>" for row in table.rows)
    return (
        f'<h3>{html.escape(table.title)}</h3><div class="scroll" tabindex="0"><table>'
        f"<thead><tr>{cells('th', table.columns)}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
