"""The search service: its index, itself, what was asked of it."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.cli.options import JsonOption, SetOption, WorkdirOption, at_work, open_workdir, plain, say
from pipeline.console import print_json, quiet, table

app = typer.Typer()


@app.command("index")
def index_verb(
    version: Annotated[
        str | None, typer.Option("--version", help="The pushed model's version.", show_default="the newest")
    ] = None,
    workdir: WorkdirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Build the product index of the pushed model, measure its recall, calibrate when nothing fits."""
    place, options = open_workdir(workdir, settings)
    with at_work(place, "index", 100_000_000) as user:
        from pipeline.index import make_index, show_index

        made = make_index(place, options, version=version, say=lambda text: user.write(f"{text}\n"))
    if as_json:
        print_json(made.as_dict())
        return
    show_index(made, say)


@app.command("serve")
def serve_verb(
    host: Annotated[str | None, typer.Option("--host", show_default="search.host")] = None,
    port: Annotated[int | None, typer.Option("--port", min=0, max=65535, show_default="search.port")] = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, show_default="search.workers")] = None,
    workdir: WorkdirOption = None,
    settings: SetOption = None,
) -> None:
    """Start the search service; builds the index first where it is missing or stale. Ctrl-C ends it."""
    given = {"host": host, "port": port, "workers": workers}
    overrides = [*(settings or ()), *(f"search.{name}={value}" for name, value in given.items() if value is not None)]
    place, options = open_workdir(workdir, overrides)
    from pipeline.serve import serve

    serve(place, options, overrides, say=say)


@app.command("queries")
def queries_verb(
    days: Annotated[int, typer.Option("--days", min=1, help="Searches of the last so many days.")] = 7,
    to_mlflow: Annotated[bool, typer.Option("--mlflow", help="Log the summary as an MLflow run too.")] = False,
    workdir: WorkdirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """What was searched: how it ended, how long it took, what found nothing. From the service's query log."""
    from pipeline import queries

    place, options = open_workdir(workdir, settings)
    summary = queries.summarise(place.var / "search", days)
    if to_mlflow:
        with quiet(place.logs / "queries.log"):
            summary["mlflow_run_id"] = queries.to_mlflow(summary, place, options)
    if as_json:
        print_json(summary)
        return
    rows = [("searches", f"{summary['searches']:,}"), *((f"  {k}", f"{v:,}") for k, v in summary["outcomes"].items())]
    rows += [(f"  by {name}", f"{count:,}") for name, count in summary["variants"].items()]
    rows += [("from the cache", f"{summary['cached_share']:.1%}")]
    rows += [
        (part.removesuffix("_ms"), f"p50 {each['p50']:.1f} ms, p99 {each['p99']:.1f} ms")
        for part, each in summary["milliseconds"].items()
    ]
    say(table(f"searches of {days} days", ("", ""), rows))
    for query, count in summary["queries_without_result"]:
        say(plain(f"no result ({count}): {query}"))
