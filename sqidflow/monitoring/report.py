"""The monitoring's report: one document, from which come the HTML file, the page, the gauges and the MLflow run."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from sqidflow.core.errors import DataError, SqidflowError
from sqidflow.core.files import may_write, write_atomically
from sqidflow.core.settings import Settings
from sqidflow.core.workdir import Workdir
from sqidflow.evaluation.behaviour.report import Line, Section, Table, Verdict, bars_figure, page
from sqidflow.monitoring import log
from sqidflow.monitoring.drift import Alarm, Compared, alarms_of, compare
from sqidflow.monitoring.window import NO_RESULT, NOTHING_FITS, PARTS, UNKNOWN_OUTCOME, Window
from sqidflow.search.state import MONITORING_PAGE, MONITORING_REPORT

_SHOWN = 20
_MOST_BARS = 28
_UNREADABLE_SHARE = 0.01
_POINTS = (50, 90, 99)
_WORDS: Mapping[Verdict, str] = {"pass": "as usual", "warn": "alarm", "block": "alarm", "note": "note"}


@dataclass(frozen=True)
class Report:
    """``document`` as JSON; ``files``: where it was written."""

    document: dict[str, Any]
    files: dict[str, Path]


def run_monitoring(
    workdir: Workdir, settings: Settings, since: datetime | None, until: datetime | None, now: datetime | None = None
) -> Report:
    """Report on the log of a time, of the last ``monitoring.days`` where none is named; writes it, and sets lines aside
    that cannot be read.

    Raises:
        DataError: nothing was searched in that time; names the time of which there are searches.
        SqidflowError: the report cannot be written.
    """
    started = time.monotonic()
    now = now or datetime.now(UTC)
    if since is None and until is None:
        since = now - timedelta(days=settings.monitoring.days)
    compared = compare(workdir, settings, since, until, now)
    window = compared.window
    folder = workdir.var / "search"
    log.quarantine(folder, window.reading.set_aside, now)
    log.retain_quarantine(folder, now - timedelta(days=settings.search.query_log_days))
    if not window.searches:
        raise _nothing_searched(workdir, window, since, until)
    document = document_of(compared, settings, folder, now)
    document["seconds"] = round(time.monotonic() - started, 2)
    files = {"html": workdir.artifacts / MONITORING_PAGE, "json": workdir.artifacts / MONITORING_REPORT}
    with may_write(files["json"].parent):
        write_atomically(files["html"], as_html(document))
        write_atomically(files["json"], json.dumps(document, indent=1) + "\n")
    return Report(document, files)


def _nothing_searched(
    workdir: Workdir, window: Window, since: datetime | None, until: datetime | None
) -> SqidflowError:
    between = " ".join(
        f"{word} {_minute(time)}" for word, time in (("from", since), ("before", until)) if time is not None
    )
    if window.log_first is None or window.log_last is None:
        hint = "search first with `sqidflow serve` and search.query_log true, or `sqidflow monitor import-ubi FILE`"
    else:
        hint = (
            f"the log has searches from {_minute(window.log_first)} to {_minute(window.log_last)}: name them by --since"
        )
    return DataError(f"nothing was searched {between}".rstrip(), file=workdir.var / "search", hint=hint)


def _minute(time: datetime) -> str:
    return time.strftime("%Y-%m-%d %H:%M")


def document_of(compared: Compared, settings: Settings, folder: Path, now: datetime) -> dict[str, Any]:
    """The report as JSON."""
    window = compared.window
    known = window.searches - window.outcomes[UNKNOWN_OUTCOME]
    unknown_words = compared.unknown_words
    alarms = [*alarms_of(compared.checks), *_service_alarms(window, settings)]
    lengths = [len(query.split()) for query in window.queries.values()]
    read = window.searches + window.actions.total()
    reasons = window.reading.counts
    return {
        "created": now.isoformat(timespec="seconds"),
        "since": _iso(window.since or window.first),
        "until": _iso(window.until or window.last),
        "model": compared.model,
        "index": compared.index,
        "searches": window.searches,
        "different_queries": len(window.queries),
        "clients": len(window.clients),
        "volume": _volume(window.by_hour),
        "outcomes": dict(window.outcomes.most_common()),
        "nothing_fits_share": window.outcomes[NOTHING_FITS] / known if known else None,
        "without_result_share": _without_result(window) / known if known else None,
        "cached_share": window.cached / window.searches,
        "variants": dict(window.strategies.most_common()),
        "models": dict(window.models.most_common()),
        "latency_ms": {
            name: {f"p{point}": round(float(np.percentile(window.times[name], point)), 2) for point in _POINTS}
            for name in PARTS
            if window.times[name]
        },
        "classes": _in_order(window.classes),
        "query_words": {
            "mean": float(np.mean(lengths)) if lengths else None,
            "p50": float(np.percentile(lengths, 50)) if lengths else None,
            "p99": float(np.percentile(lengths, 99)) if lengths else None,
        },
        "unknown_words": [] if unknown_words is None else _listed(unknown_words),
        "queries_without_result": _listed(window.empty, window.queries),
        "frequent_queries": _listed(window.counts, window.queries),
        "actions": dict(window.actions.most_common()),
        "positions": [
            {
                "position": position,
                "shown": window.shown_at[position],
                "clicks": window.clicked_at[position],
                "rate": window.clicked_at[position] / window.shown_at[position] if window.shown_at[position] else None,
            }
            for position in sorted(window.shown_at.keys() | window.clicked_at.keys())
        ],
        "answers_shown": window.answers_shown,
        "abandoned_share": window.answers_abandoned / window.answers_shown if window.answers_shown else None,
        "log": {
            "read": read,
            "before_ubi": reasons[log.BEFORE_UBI],
            "duplicates": reasons[log.DUPLICATE],
            "clock_went_back": reasons[log.WENT_BACK],
            "unknown_answers": window.unknown_answers,
            "not_read": {
                reason: count
                for reason, count in reasons.most_common()
                if reason not in (log.BEFORE_UBI, log.DUPLICATE, log.WENT_BACK)
            },
        },
        "quarantine": dict(Counter(str(row.get("reason")) for row in log.quarantined(folder)).most_common()),
        "drift": [check.as_dict() for check in compared.checks],
        "note": compared.note,
        "alarms": [alarm.as_dict() for alarm in alarms],
        "settings": settings.monitoring.model_dump(mode="json"),
    }


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat(timespec="seconds")


def _without_result(window: Window) -> int:
    told = {NO_RESULT, NOTHING_FITS, "no_words", "filtered_out", "below_threshold", "blank_picture", "noise_picture"}
    return sum(count for outcome, count in window.outcomes.items() if outcome in told)


def _in_order(classes: Counter[str]) -> dict[str, int]:
    return {name: classes[name] for name in ("E", "S", "C", "I") if classes[name]}


def _listed(counts: Counter[str], names: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    return [{"text": (names or {}).get(key, key), "searches": count} for key, count in counts.most_common(_SHOWN)]


def _volume(by_hour: Counter[int]) -> list[dict[str, Any]]:
    """Searches an hour, or of more hours where the time is long; without gaps."""
    first, last = min(by_hour), max(by_hour)
    steps = (1, 2, 3, 6, 12, 24, 48, 168, 720, 8760)
    step = next((each for each in steps if (last - first) // each < _MOST_BARS), steps[-1])
    bars: Counter[int] = Counter()
    for hour, count in by_hour.items():
        bars[hour // step] += count
    return [
        {"from": datetime.fromtimestamp(bar * step * 3600, UTC).isoformat(), "hours": step, "searches": bars[bar]}
        for bar in range(first // step, last // step + 1)
    ]


def _service_alarms(window: Window, settings: Settings) -> list[Alarm]:
    """Alarms that no training data is needed for."""
    alarms = []
    most = settings.monitoring.latency_p99_ms
    if window.times["total_ms"]:
        p99 = float(np.percentile(window.times["total_ms"], 99))
        if p99 > most:
            text = f"the slowest hundredth of answers takes {p99:,.0f} ms and more, {most:,.0f} ms are allowed"
            hint = "see which part of an answer is slow; more search.workers, or fewer search.candidates"
            alarms.append(Alarm("latency", p99, most, text, hint))
    counts = window.reading.counts
    refused = counts.total() - counts[log.BEFORE_UBI] - counts[log.DUPLICATE] - counts[log.WENT_BACK]
    share = refused / max(1, refused + window.searches + window.actions.total())
    if share > _UNREADABLE_SHARE:
        text = f"{refused:,} lines of the log ({share:.1%}) cannot be used: {', '.join(counts)}"
        hint = f"see var/search/{log.QUARANTINE_FILE}; a full disk, a wrong clock, or invented answers are usual"
        alarms.append(Alarm("unreadable", share, _UNREADABLE_SHARE, text, hint))
    return alarms


# --- HTML -------------------------------------------------------------------------------------------------------------


def as_html(document: Mapping[str, Any]) -> str:
    """The report as one file that opens offline."""
    alarms = document["alarms"]
    outcome = "No alarm." if not alarms else f"{len(alarms)} alarm{'' if len(alarms) == 1 else 's'}."
    facts = [
        ("from", document["since"]),
        ("to", document["until"]),
        ("searches", f"{document['searches']:,}"),
        ("different queries", f"{document['different_queries']:,}"),
        ("clients", f"{document['clients']:,}"),
        ("model", document["model"] or "none"),
        ("index", document["index"] or "none"),
        ("written", document["created"]),
    ]
    false_alarms = document["settings"]["false_alarms"]
    about = (
        f"Thresholds come from samples of the training queries; of reports without drift at most {false_alarms:.0%} "
        "raise an alarm."
    )
    sections = [
        _alarms(document),
        _drift(document),
        _use(document),
        _answers(document),
        _clicks(document),
        _log(document),
    ]
    return page("Monitoring of searches", outcome, about, facts, sections, _WORDS)


def _alarms(document: Mapping[str, Any]) -> Section:
    lines = [Line(each["name"], "warn", f"{each['text']}. What to do: {each['hint']}.") for each in document["alarms"]]
    return Section("alarms", "Alarms", lines or [Line("none", "pass", "No measure is beyond its threshold.")])


def _drift(document: Mapping[str, Any]) -> Section:
    lines, figures, rows = [], [], []
    for check in document["drift"]:
        if check["value"] is None:
            lines.append(Line(check["name"], "note", f"{check['title']}: {check['note']}"))
            continue
        text = f"{check['title']}: {check['statistic']} {check['value']:.3f}, by chance up to {check['threshold']:.3f}"
        lines.append(Line(check["name"], "warn" if check["alarm"] else "pass", text))
        rows.append((check["title"], check["statistic"], check["value"], check["threshold"], check["window_size"]))
        shares = check["shares"][:12]
        if shares:
            series = {name: [each[name] for each in shares] for name in ("training", "log")}
            figures.append(f"<h3>{check['title']}</h3>")
            figures.append(bars_figure(check["title"], [each["name"] for each in shares], series, "%"))
    if not lines:
        lines = [Line("none", "note", document["note"] or "nothing is compared")]
    columns = ("measure", "distance", "value", "threshold", "queries")
    return Section(
        "drift", "Drift from the training data", lines, [Table("Distances", columns, rows)] if rows else [], figures,
        "Each query counts once, however often it was searched.",
    )  # fmt: skip


def _use(document: Mapping[str, Any]) -> Section:
    volume = document["volume"]
    names = [each["from"][:16].replace("T", " ") for each in volume]
    figure = bars_figure("Searches over time", names, {"searches": [each["searches"] for each in volume]})
    words = document["query_words"]
    text = f"{document['searches']:,} searches for {document['different_queries']:,} queries"
    if words["mean"] is not None:
        text += f", {words['mean']:.1f} words each, 99 of 100 have at most {words['p99']:.0f}"
    tables = [_counted("Most frequent queries", "query", document["frequent_queries"])]
    if document["unknown_words"]:
        tables.append(_counted("Words that the catalogue does not know", "word", document["unknown_words"]))
    return Section("use", "What is searched", [Line("volume", "note", text)], tables, [figure])


def _counted(title: str, what: str, rows: list[dict[str, Any]]) -> Table:
    return Table(title, (what, "searches"), [(each["text"], each["searches"]) for each in rows])


def _answers(document: Mapping[str, Any]) -> Section:
    lines = []
    if document["nothing_fits_share"] is None:
        lines.append(Line("results", "note", "the log does not tell what came of the searches"))
    else:
        text = (
            f"nothing fits {document['nothing_fits_share']:.1%} of the searches, {document['without_result_share']:.1%}"
        )
        lines.append(
            Line("results", "note", f"{text} have no result; {document['cached_share']:.1%} came from the cache")
        )
    outcomes = [(name, count) for name, count in document["outcomes"].items()]
    tables = [Table("Outcomes", ("outcome", "searches"), outcomes)]
    if document["latency_ms"]:
        rows = [
            (name.removesuffix("_ms"), *(each[f"p{point}"] for point in _POINTS))
            for name, each in document["latency_ms"].items()
        ]
        tables.append(Table("Milliseconds of answers that were not cached", ("part", "p50", "p90", "p99"), rows))
    if document["classes"]:
        total = sum(document["classes"].values())
        classes = [(name, count, count / total) for name, count in document["classes"].items()]
        tables.append(Table("Predicted classes of all products shown", ("class", "products", "share"), classes))
    if document["queries_without_result"]:
        tables.append(_counted("Queries without a result", "query", document["queries_without_result"]))
    return Section("answers", "What is answered", lines, tables)


def _clicks(document: Mapping[str, Any]) -> Section:
    shown, positions = document["answers_shown"], document["positions"]
    if document["abandoned_share"] is None:
        text = "the log has no answer that somebody was shown"
    else:
        text = f"of {shown:,} answers that were shown, {document['abandoned_share']:.1%} were left without a click"
    tables, figures = [Table("Actions", ("action", "events"), list(document["actions"].items()))], []
    if positions:
        rows = [(each["position"], each["shown"], each["clicks"], each["rate"]) for each in positions]
        tables.append(Table("Clicks by position", ("position", "shown", "clicks", "rate"), rows))
        rates = {"clicks of those shown": [each["rate"] or 0.0 for each in positions]}
        figures.append(bars_figure("Clicks by position", [f"{each['position']}" for each in positions], rates, "%"))
    return Section("clicks", "What is done with answers", [Line("abandoned", "note", text)], tables, figures)


def _log(document: Mapping[str, Any]) -> Section:
    kept = document["log"]
    text = f"{kept['read']:,} searches and events were read"
    lines = [Line("read", "note", text)]
    counted = (
        ("lines of before UBI, read as they are", kept["before_ubi"]),
        ("delivered again, counted once", kept["duplicates"]),
        ("lines at which the clock went back", kept["clock_went_back"]),
        ("events of unknown answers", kept["unknown_answers"]),
        *((f"not read: {reason}", count) for reason, count in kept["not_read"].items()),
    )
    tables = [Table("The log", ("what", "lines"), [(name, count) for name, count in counted])]
    if document["quarantine"]:
        tables.append(Table("Set aside so far", ("reason", "lines"), list(document["quarantine"].items())))
    return Section("log", "The log itself", lines, tables)
