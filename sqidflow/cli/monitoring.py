"""Watching what is searched: the report, and the log as files of UBI."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from sqidflow.cli.console import print_json, table
from sqidflow.cli.options import JsonOption, SetOption, WorkdirOption, open_workdir, plain, say
from sqidflow.core.errors import SqidflowError
from sqidflow.core.quiet import quiet

app = typer.Typer(
    help="Watch what is searched: a report with drift and alarms, and the log as UBI.", invoke_without_command=True
)
SinceOption = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help="From this time on, e.g. 2026-01-31 or 2026-01-31T08:00.")
]
UntilOption = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Before this time.")]


def _time(text: str | None, option: str) -> datetime | None:
    """UTC where no zone is named.

    Raises:
        SqidflowError: it is no time.
    """
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise SqidflowError(
            f"{text!r} is no time", where=option, hint="write 2026-01-31 or 2026-01-31T08:00"
        ) from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _show(title: str, rows: list[tuple[str, Any]]) -> None:
    say(table(title, ("", ""), rows, right=(1,)))


@app.callback()
def report_verb(
    context: typer.Context,
    since: SinceOption = None,
    until: UntilOption = None,
    to_mlflow: Annotated[bool, typer.Option("--mlflow", help="Log the report as an MLflow run too.")] = False,
    fail: Annotated[bool, typer.Option("--fail", help="Exit with 1 where there is an alarm.")] = False,
    workdir: WorkdirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Report on what was searched: volume, latency, results, clicks, drift from the training data, alarms.

    Without --since and --until: the last days that monitoring.days has set. Writes artifacts/monitoring/index.html,
    which opens offline, and report.json, from which the page /monitoring and Prometheus read. Each alarm says what to
    do, and docs/operations.md more of it. Next: open the page.

    Example: sqidflow monitor --since 2026-01-01
    """
    if context.invoked_subcommand is not None:
        return
    from sqidflow.monitoring.report import run_monitoring

    place, options = open_workdir(workdir, settings)
    times = _time(since, "--since"), _time(until, "--until")
    with quiet(place.logs / "monitor.log"):
        report = run_monitoring(place, options, *times)
        document = report.document
        if to_mlflow:
            from sqidflow.monitoring import mlflow_run

            document["mlflow_run_id"] = mlflow_run.to_mlflow(document, report.files["html"], place, options)
    if as_json:
        print_json({**document, "files": {name: str(file) for name, file in report.files.items()}})
    else:
        _show_report(document)
        say(plain(f"report in {report.files['html']} ({document['seconds']} s)"))
    if fail and document["alarms"]:
        raise typer.Exit(1)


def _show_report(document: dict[str, Any]) -> None:
    rows: list[tuple[str, Any]] = [
        ("searches", f"{document['searches']:,}"),
        *((f"  {name}", f"{count:,}") for name, count in document["outcomes"].items()),
        ("different queries", f"{document['different_queries']:,}"),
        ("from the cache", f"{document['cached_share']:.1%}"),
    ]
    if document["abandoned_share"] is not None:
        rows.append(("shown and left without a click", f"{document['abandoned_share']:.1%}"))
    rows += [
        (part.removesuffix("_ms"), f"p50 {each['p50']:.1f} ms, p99 {each['p99']:.1f} ms")
        for part, each in document["latency_ms"].items()
    ]
    rows += [(f"not read: {why}", f"{count:,}") for why, count in document["log"]["not_read"].items()]
    _show(f"searches from {document['since']} to {document['until']}", rows)
    measured = [check for check in document["drift"] if check["value"] is not None]
    if measured:
        cells = [
            (each["title"], f"{each['value']:.3f}", f"{each['threshold']:.3f}", "alarm" if each["alarm"] else "")
            for each in measured
        ]
        say(table("distance from the training data", ("", "distance", "by chance", ""), cells, right=(1, 2)))
    for note in dict.fromkeys([document["note"], *(check["note"] for check in document["drift"])]):
        if note:
            say(plain(note))
    for alarm in document["alarms"]:
        say(f"[yellow]alarm[/] {plain(alarm['text'])}")
        say(plain(f"      what to do: {alarm['hint']}"))


@app.command("import-ubi")
def import_verb(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help=".ndjson, .jsonl, .json or .csv, or one of these with .gz.")
    ],
    workdir: WorkdirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read queries and events of User Behavior Insights, as another search engine wrote them, into the query log.

    Takes lines of JSON with or without OpenSearch's bulk lines, an array of JSON, or CSV. What cannot be used goes to
    var/search/quarantine.jsonl with its reason; what the log has already is left out. Addresses, users, browsers and
    messages are not stored. Next: sqidflow monitor --since TIME.

    Example: sqidflow monitor import-ubi ubi_queries_events.ndjson.gz
    """
    from sqidflow.monitoring.ubi_files import import_ubi

    place, _ = open_workdir(workdir, None)
    result = import_ubi(file, place.var / "search", datetime.now(UTC))
    document = result.as_dict()
    if as_json:
        print_json({"file": str(file), **document})
        return
    rows: list[tuple[str, Any]] = [("queries", f"{result.queries:,}"), ("events", f"{result.events:,}")]
    rows += [(f"  {plain(name)}", f"{count:,}") for name, count in result.actions.most_common()]
    rows += [("in the log already", f"{result.duplicates:,}"), ("set aside", f"{result.refused.total():,}")]
    rows += [(f"  {plain(reason)}", f"{count:,}") for reason, count in result.refused.most_common()]
    rows += [(f"{name} left out", f"{count:,}") for name, count in result.not_stored.most_common()]
    if result.renamed_clients:
        rows.append(("ids of clients replaced by digests", f"{result.renamed_clients:,}"))
    _show(f"imported from {file.name}", rows)
    if result.ranks_from_zero:
        say(plain(f"{', '.join(result.ranks_from_zero)} counts ranks from 0: moved by one"))
    if result.first is not None:
        say(f"next: sqidflow monitor --since {result.first.date()}")


@app.command("export-ubi")
def export_verb(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="To be written: .ndjson or .ndjson.gz.")],
    since: SinceOption = None,
    until: UntilOption = None,
    workdir: WorkdirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the query log as queries and events of User Behavior Insights, which OpenSearch's bulk request takes.

    An impression is written for each product of an answer that was shown, as other tools count them.

    Example: sqidflow monitor export-ubi ubi.ndjson.gz --since 2026-01-01
    """
    from sqidflow.monitoring.ubi_files import export_ubi

    place, _ = open_workdir(workdir, None)
    now = datetime.now(UTC)
    result = export_ubi(place.var / "search", file, _time(since, "--since"), _time(until, "--until"), now)
    if as_json:
        print_json({"file": str(file), "queries": result.queries, "events": result.events, "left_out": result.left_out})
        return
    rows = [("queries", f"{result.queries:,}"), ("events", f"{result.events:,}")]
    _show(f"written to {file}", [*rows, *((plain(why), f"{count:,}") for why, count in result.left_out.items())])


@app.command("forget")
def forget_verb(
    client: Annotated[str, typer.Option("--client", metavar="ID", help="The browser's random id.")],
    workdir: WorkdirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete all that a browser left: its searches, events and judgements, in the log's files and in the store.

    The id is in the browser's local storage as sqidflow.client. May run while the service does. Spans of pairs that
    were made from judgements before have no ids of clients and stay.

    Example: sqidflow monitor forget --client 5e3b2a1c8b7d4f2ea3d4c9b2e1f3a4b5
    """
    from sqidflow.monitoring.privacy import forget

    place, _ = open_workdir(workdir, None)
    result = forget(place.var / "search", client)
    if as_json:
        print_json({"client": client, "lines": result.lines, "rows": result.rows, "total": result.total})
        return
    for name, count in (*result.lines.items(), *result.rows.items()):
        if count:
            say(plain(f"{name}: {count:,} deleted"))
    say(plain(f"{result.total:,} lines and rows of client {client} deleted"))
