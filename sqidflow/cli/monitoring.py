"""Watching what is searched: the report, and the log as files of UBI."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from sqidflow.cli.console import print_json, table
from sqidflow.cli.options import JsonOption, WorkdirOption, open_workdir, plain, say
from sqidflow.core.errors import SqidflowError

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
