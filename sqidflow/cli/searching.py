"""The search service: its index, itself, what was asked of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqidflow.core.workdir import Workdir
    from sqidflow.indexing.make import IndexMade
    from sqidflow.search.index import Meta


from typing import Annotated

import typer

from sqidflow.cli.console import print_json, table
from sqidflow.cli.options import JsonOption, SetOption, WorkdirOption, at_work, open_workdir, plain, say
from sqidflow.core.errors import SqidflowError
from sqidflow.core.model_files import ZERO_SHOT_VERSION
from sqidflow.core.pushes import newest_model, pinned_version

app = typer.Typer()


@app.command("quickstart")
def quickstart_verb(
    context: typer.Context,
    products: Annotated[
        Path,
        typer.Option(
            "--products",
            help="CSV or parquet with the columns product_id and product_title; product_brand, product_color, "
            "product_description, product_bullet_point and product_locale if you have them.",
        ),
    ],
    images: Annotated[
        Path | None, typer.Option("--images", help="Folder of pictures named <product_id>.png or .jpg.")
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve/--no-serve", help="Start the service when the index is built.")
    ] = True,
    host: Annotated[str | None, typer.Option("--host", show_default="search.host")] = None,
    port: Annotated[int | None, typer.Option("--port", min=0, max=65535, show_default="search.port")] = None,
    workdir: WorkdirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """From a products file to a search in the browser: import, encode, index, serve. No judgements, no training.

    Products are ranked by the similarity of texts and by their words; the page calls that "zero-shot, not trained".
    With --workdir DIR everything is written there. What comes next: [bold]sqidflow data import --examples FILE
    --products FILE[/] brings judgements, [bold]sqidflow features[/] and [bold]sqidflow run[/] train a ranker on them.

    Example: [bold]sqidflow quickstart --products products.csv --workdir shop[/]
    """
    given = {"host": host, "port": port}
    overrides = [*(settings or ()), *(f"search.{name}={value}" for name, value in given.items() if value is not None)]
    place, options = open_workdir(workdir, overrides)
    from sqidflow.cli.quickstart import make_searchable

    if as_json and serve:
        raise SqidflowError("--json is about the index, and the service prints its address", hint="add --no-serve")
    started = make_searchable(
        place, options, products, images, (lambda text: None) if as_json else lambda text: say(plain(text))
    )
    if as_json:
        print_json(started.as_dict())
        return
    _show_index(started.index, say)
    if serve:
        from sqidflow.cli.serving import serve as start

        start(place, options, overrides, say=say, temporary=context.obj)


@app.command("index")
def index_verb(
    version: Annotated[
        str | None,
        typer.Option(
            "--version",
            help="A pushed model's version, or zero-shot: the ranker that needs no training.",
            show_default="the pinned version, else the newest push; zero-shot where no product is judged",
        ),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Build nothing: read every file of the indexes that are there.")
    ] = False,
    full: Annotated[bool, typer.Option("--full", help="Build all of it, however little changed.")] = False,
    workdir: WorkdirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Build the product index of a ranker, measure its recall, calibrate when nothing fits.

    Where no more than the share search.update_share of the products changed, the newest index is updated: the lists of
    vectors and the cut-offs stay. All is built where recall would fall too low.

    Every product that has a vector is in it, judged or not. The same data, features, model and settings give the index
    that is there, after every byte of it was compared; anything else builds a new one beside the old.
    """
    place, options = open_workdir(workdir, settings)
    if verify:
        _verify(place, as_json)
        return
    with at_work(place, "index", 100_000_000) as user:
        from sqidflow.indexing.make import make_index

        made = make_index(place, options, version=version, full=full, say=lambda text: user.write(f"{text}\n"))
    note = _newer_than(place, made.meta.model_version)
    if as_json:
        print_json({**made.as_dict(), "not_served": note})
        return
    _show_index(made, say)
    if note:
        say(plain(note))


def _newer_than(place: Workdir, version: str) -> str | None:
    """Why this index, or the newest push, is not served; None where nothing is pinned."""
    pinned = pinned_version(place.serving)
    if pinned is None:
        return None
    if version != pinned:
        return f"model {pinned} is pinned and answers; `sqidflow rollback {version}` serves this index"
    newest = newest_model(place.serving)
    if newest is None or newest.name == pinned:
        return None
    return (
        f"model {pinned} is pinned: this is its index; {newest.name} is newer, `sqidflow index --version "
        f"{newest.name}` prepares its release"
    )


def _verify(place: Workdir, as_json: bool) -> None:
    from sqidflow.indexing.publish import verify
    from sqidflow.search.index import index_folders

    folders = index_folders(place.index)
    if not folders:
        raise SqidflowError("there is no product index", where=place.index, hint="run `sqidflow index`")
    whole = {folder.name: sum(file.size_bytes for file in verify(folder).files.values()) for folder in folders}
    if as_json:
        print_json({"whole": whole})
        return
    for name, size_bytes in whole.items():
        say(plain(f"{place.index / name}: whole, {size_bytes / 1e6:,.1f} MB"))


@app.command("serve")
def serve_verb(
    context: typer.Context,
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
    from sqidflow.cli.serving import serve

    serve(place, options, overrides, say=say, temporary=context.obj)


def _calibrated_by(meta: Meta) -> str:
    source, queries = meta.calibration.get("source"), meta.calibration.get("queries", 0)
    if not meta.fit.weights:
        return f"not calibrated: {queries} titles are too few to say what fits, no query is refused"
    return f"{queries:,} {source}"


def _show_index(made: IndexMade, say: Callable[[Any], None]) -> None:
    """What was built, how much of exact search it finds, and how often the cut-off is wrong."""
    meta = made.meta
    rows = [
        ("products", f"{meta.products:,} ({meta.with_picture:,} with a picture)"),
        ("  judged, not judged", f"{meta.products - meta.not_judged:,}, {meta.not_judged:,}"),
    ]
    if meta.without_vector:
        rows.append(("  not in it", f"{meta.without_vector:,} without a vector; run `sqidflow data encode`"))
    if meta.updated_from:
        changed = f"{meta.changed_since_build:,} products changed since all of it was built"
        rows.append(("updated from", f"{meta.updated_from}; {changed}"))
    rows += [
        ("vectors", f"{meta.dim} values, encoder {meta.encoder}, {meta.kind}"),
        ("recall@10, @100", f"{meta.recall_at_10:.3f}, {meta.recall_at_100:.3f} of exact search"),
        ("ranker", meta.model if meta.model_version == ZERO_SHOT_VERSION else f"{meta.model} {meta.model_version}"),
        ("nothing fits, calibrated by", _calibrated_by(meta)),
    ]
    measured = meta.calibration.get("measured", {})
    for kind, what in (("false_rejects", "refused though it fits"), ("false_accepts", "answered though nothing fits")):
        for name, share in meta.calibration.get(kind, {}).items():
            rows.append((what, f"{share:.1%} of {measured.get(name, 0)} {name.replace('_', ' ')}"))
    if meta.known_items:
        rows.append(
            (
                "known items, held-out queries",
                f"recall@10 {meta.known_items['recall_at_10']:.3f}, MRR {meta.known_items['mrr']:.3f}",
            )
        )
    say(table("index", ("", ""), rows))
    say(f"{made.folder} ({'unchanged' if made.cached else f'{made.seconds:.1f} s'}); next: sqidflow serve")
