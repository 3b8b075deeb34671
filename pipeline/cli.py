"""The command line. Imports of the training side stand inside the verbs, so that ``--help`` answers at once."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.errors import SqidflowError

if TYPE_CHECKING:
    from pipeline.bench_pipeline import Size
    from pipeline.settings import Settings
    from pipeline.workdir import Workdir

app = typer.Typer(
    name="sqidflow",
    help="From raw SQID and ESCI data to a product-search ranker that is trained, evaluated and pushed.",
    epilog="First time here? `sqidflow data sample`, `sqidflow features`, `sqidflow run`, or all at once: `make run`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(help="Bring raw data into data/, check it, fill in vectors.", no_args_is_help=True)
app.add_typer(data_app, name="data")
bench_app = typer.Typer(help="Measure this machine with the project's own benches.", no_args_is_help=True)
app.add_typer(bench_app, name="bench")

WorkdirOption = Annotated[
    Path | None,
    typer.Option(
        "--workdir",
        envvar="SQIDFLOW_WORKDIR",
        help="Folder of data/, artifacts/, metrics/, var/.",
        show_default="the checkout",
        file_okay=False,
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, e.g. train.epochs=5. Repeatable."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else there.")]


@app.callback()
def _main_options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    global _debug
    _debug = debug


_debug = False


def _open(workdir: Path | None, overrides: list[str] | None) -> tuple[Workdir, Settings]:
    from pipeline.settings import CHECKOUT, load_settings
    from pipeline.workdir import Workdir

    root = (workdir or CHECKOUT).expanduser().absolute()
    return Workdir(root), load_settings(root, overrides or ())


def _say(text: Any) -> None:
    from pipeline.console import console

    console().print(text)


def _plain(text: str) -> str:
    """Text that may hold square brackets, for rich to print as it is."""
    from rich.markup import escape

    return escape(text)


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def _show_counts(title: str, report: dict[str, Any]) -> None:
    """A report's counts that are not 0 as a table, then its notes."""
    from pipeline.console import table

    rows = [
        (name.replace("_", " "), f"{count:,}") for name, count in report.items() if isinstance(count, int) and count
    ]
    _say(table(title, ("what", "count"), rows, right=(1,)))
    for note in report.get("notes", ()):
        _say(_plain(f"note: {note}"))


def _data_is_there(title: str, report: dict[str, Any], version: str | None, following: str, as_json: bool) -> None:
    """How a verb ends that has changed ``data/``."""
    from pipeline.console import print_json

    if as_json:
        print_json({**report, "data_hash": version})
        return
    _show_counts(title, report)
    _say(f"next: {following}")


# --- data -------------------------------------------------------------------------------------------------------------


@data_app.command("sample")
def data_sample(
    if_missing: Annotated[bool, typer.Option("--if-missing", help="Do nothing where data/ holds data.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace data that is no sample.")] = False,
    workdir: WorkdirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the [bold]synthetic[/] sample into data/: queries, judged pairs, products with pictures and vectors."""
    from dataclasses import asdict

    place, options = _open(workdir, settings)
    from pipeline.console import print_json
    from pipeline.versioning import allow_no_git, record_data

    allow_no_git(place.root)
    if if_missing and place.data.is_dir() and any(place.data.iterdir()):
        _say(_plain(f"data: {place.data} is there"))
        if as_json:
            print_json({"folder": str(place.data), "written": False})
        return
    from pipeline.workdir import disk_guard
    from sqid.sample import SampleSpec, write_sample

    try:
        spec = SampleSpec(**options.sample.model_dump())
    except ValueError as error:
        raise SqidflowError(str(error), where="section sample", mend="raise the numbers that are too small") from error
    with place.locked("data sample"), disk_guard(place.root, 200_000_000):
        report = write_sample(place.data, spec, replace=force)
        version = record_data(place)
    if as_json:
        print_json({**asdict(report), "data_hash": version})
        return
    _say(
        f"synthetic sample in {place.data}: {report.queries:,} queries, {report.pairs:,} judged pairs, "
        f"{report.products:,} products ({report.products_without_picture:,} without a picture), "
        f"vectors of {report.dim}" + (f"; version {version}" if version else "")
    )
    _say("next: sqidflow features")


@data_app.command("fetch")
def data_fetch(
    from_dir: Annotated[
        Path | None,
        typer.Option("--from", metavar="DIR", help="Take the published files from this folder; no network."),
    ] = None,
    workdir: WorkdirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring the [bold]published[/] SQID and ESCI files into data/ (2.1 GB): resumed, checked by SHA-256."""
    from dataclasses import asdict

    from pipeline.progress import DownloadDisplay
    from pipeline.versioning import record_data
    from pipeline.workdir import disk_guard
    from sqid import fetch, formats
    from sqid.importing import import_files

    place, options = _open(workdir, settings)
    downloads, between = place.var / "downloads", place.var / "fetched"
    with place.locked("data fetch"), disk_guard(place.root, 0 if from_dir else fetch.room_bytes(downloads)):
        if from_dir is not None:
            found, report = fetch.from_folder(from_dir)
        else:
            limits = fetch.Limits(attempts=options.fetch.attempts, timeout_s=options.fetch.timeout_s)
            with DownloadDisplay() as display:
                found, report = fetch.fetch(
                    downloads, mirror=options.fetch.mirror, limits=limits, watch=display.progress
                )
        try:
            files = fetch.cut_to_sqid(found, between, report)
            imported = import_files(
                place.data,
                files[formats.EXAMPLES_FILE],
                products=files[formats.PRODUCTS_FILE],
                query_features=files[formats.QUERY_FEATURES_FILE],
                product_features=files[formats.PRODUCT_FEATURES_FILE],
                image_urls=files.get(formats.IMAGE_URLS_FILE),
                supp_image_urls=files.get(formats.SUPP_IMAGE_URLS_FILE),
            )
        finally:
            fetch.forget(between)
        version = record_data(place)
    if not as_json:
        for name in (*report.downloaded, *report.there):
            _say(_plain(f"{'fetched' if name in report.downloaded else 'there'}: {name}"))
        for name, why in report.missing.items():
            _say(_plain(f"missing: {name} ({why})"))
    title = f"{report.judgements:,} of {report.judgements_published:,} judgements, now in {place.data}"
    document = {**asdict(imported), "fetched": asdict(report)} if as_json else asdict(imported)
    _data_is_there(title, document, version, "sqidflow features", as_json)


@data_app.command("import")
def data_import(
    examples: Annotated[
        Path | None, typer.Option("--examples", help="Judgements: the ESCI examples file, parquet or CSV.")
    ] = None,
    products: Annotated[
        Path | None,
        typer.Option("--products", help="Products; not needed where the judgements carry the products' texts."),
    ] = None,
    query_features: Annotated[
        Path | None, typer.Option("--query-features", help="Query vectors: parquet lists or flat f0..fN, .csv[.gz].")
    ] = None,
    product_features: Annotated[
        Path | None, typer.Option("--product-features", help="Product vectors, text and picture.")
    ] = None,
    image_urls: Annotated[Path | None, typer.Option("--image-urls", help="CSV of product_id, image_url.")] = None,
    supp_image_urls: Annotated[
        Path | None, typer.Option("--supp-image-urls", help="SQID's second CSV of product_id, image_url.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option("--images", help="Folder of pictures named <product_id>.png or .jpg.")
    ] = None,
    workdir: WorkdirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring your own or the published files into data/. Everything is checked before anything there is replaced."""
    from dataclasses import asdict

    from pipeline.versioning import record_data
    from pipeline.workdir import disk_guard
    from sqid.importing import import_files

    if examples is None and query_features is None and product_features is None:
        raise SqidflowError("nothing to import", mend="name at least --examples FILE (see --help)")
    place, _ = _open(workdir, None)
    sources = (examples, products, query_features, product_features, image_urls, supp_image_urls)
    needed = sum(file.stat().st_size for file in sources if file and file.is_file()) * 3
    with place.locked("data import"), disk_guard(place.root, needed):
        report = import_files(
            place.data,
            examples,
            products=products,
            query_features=query_features,
            product_features=product_features,
            image_urls=image_urls,
            supp_image_urls=supp_image_urls,
            images_dir=images,
        )
        version = record_data(place)
    following = "sqidflow data encode (fills in missing vectors), then sqidflow features"
    _data_is_there(f"imported into {place.data}", asdict(report), version, following, as_json)


@data_app.command("encode")
def data_encode(
    encoder: Annotated[
        str, typer.Option("--encoder", help="Which: offline (no download), clip, sentence-transformers (texts alone).")
    ] = "offline",
    model: Annotated[
        str | None,
        typer.Option("--model", help="Folder or hub name of the encoder's model.", show_default="the encoder's own"),
    ] = None,
    dim: Annotated[
        int | None, typer.Option("--dim", min=8, help="Length of the offline encoder's vectors.", show_default="768")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace vectors that are there.")] = False,
    workdir: WorkdirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fill in missing vectors from texts and pictures, so that a catalogue with judgements is all one needs."""
    from dataclasses import asdict

    from encoders.registry import get_encoder
    from pipeline.versioning import record_data
    from pipeline.workdir import disk_guard
    from sqid.encode import encode_missing

    place, _ = _open(workdir, None)
    try:
        chosen = {"dim": dim, "model": model}
        made = get_encoder(encoder, **{name: value for name, value in chosen.items() if value is not None})
    except ValueError as error:
        raise SqidflowError(str(error), where="--encoder", mend="see `sqidflow data encode --help`") from error
    with place.locked("data encode"), disk_guard(place.root, 50_000_000):
        report = encode_missing(place.data, made, images=made.sees_pictures, force=force)
        version = record_data(place)
    _data_is_there(f"encoded with {made.name}", asdict(report), version, "sqidflow features", as_json)


@data_app.command("check")
def data_check(workdir: WorkdirOption = None, settings: SetOption = None, as_json: JsonOption = False) -> None:
    """Validate everything in data/ and print a table; exit code 2 where something is wrong."""
    from dataclasses import asdict

    from pipeline.console import print_json, table
    from sqid.check import check_folder

    place, options = _open(workdir, settings)
    reports = check_folder(place.data, **options.data.model_dump())
    problems = [problem for report in reports for problem in report.problems]
    if as_json:
        print_json({"files": [asdict(report) for report in reports], "ok": not problems})
    else:
        rows = [
            (
                report.file,
                f"{report.rows:,}" if report.rows is not None else "",
                _size(report.bytes),
                ", ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in report.counts.items()),
                "[red]wrong[/]" if report.problems else "[green]ok[/]",
            )
            for report in reports
        ]
        _say(table(f"data in {place.data}", ("file", "rows", "size", "what is in it", ""), rows, right=(1, 2)))
        for problem in problems:
            _say("[red]wrong[/]: " + _plain(problem))
    if problems:
        raise typer.Exit(2)


# --- features ---------------------------------------------------------------------------------------------------------


@app.command("features")
def features_verb(workdir: WorkdirOption = None, settings: SetOption = None, as_json: JsonOption = False) -> None:
    """Join, filter and write the pairs and feature sources, then apply and materialize the feature store."""
    from pipeline.console import print_json, quiet, table
    from pipeline.features import make_features
    from pipeline.workdir import disk_guard

    place, options = _open(workdir, settings)
    with place.locked("features"), quiet(place.logs / "features.log"), disk_guard(place.root, 100_000_000):
        made = make_features(place, options)
    if as_json:
        print_json(made.as_dict())
        return
    _say(table("features", ("step", "what came of it", "time"), made.table_rows(), right=(2,)))
    _say("next: sqidflow run")


# --- run --------------------------------------------------------------------------------------------------------------


@app.command("run")
def run_verb(
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="The ranker: ensemble, pointwise, listwise, lambdamart, cosine, query_mlp.",
            show_default="train.model",
        ),
    ] = None,
    from_node: Annotated[str | None, typer.Option("--from", metavar="NODE", help="Start at this component.")] = None,
    to_node: Annotated[str | None, typer.Option("--to", metavar="NODE", help="Stop after this component.")] = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Run every component anew.")] = False,
    runner: Annotated[
        str | None,
        typer.Option(
            "--runner",
            metavar="PROFILE",
            help="Beam's runner: local, portable, flink, spark, dataflow.",
            show_default="beam.runner",
        ),
    ] = None,
    workdir: WorkdirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run the pipeline: from the prepared pairs to a model that is evaluated and, where it is better, pushed."""
    from pipeline.console import print_json, quiet
    from pipeline.workdir import disk_guard

    named = {"train.model": model, "beam.runner": runner}
    place, options = _open(workdir, [*(settings or ()), *(f"{key}={name}" for key, name in named.items() if name)])
    with place.locked("run"), quiet(place.logs / "run.log") as user:
        from pipeline.progress import RunDisplay

        display = RunDisplay(user)
        display.note("loading TensorFlow and TFX")
        with display, disk_guard(place.root, _pipeline_bytes(place)):
            from pipeline.local_runner import run

            result = run(
                place,
                options,
                from_node=from_node,
                to_node=to_node,
                use_cache=not no_cache,
                listener=display.component,
            )
    if as_json:
        print_json(result.as_dict())
        return
    from pipeline.progress import show_result

    show_result(result, place)


def _pipeline_bytes(place: Workdir) -> int:
    """Room the pipeline's files need: the joined and transformed vectors of every pair, and as much again."""
    from sqid.prepare import load_report

    try:
        report = load_report(place.artifacts)
    except SqidflowError:
        return 50_000_000  # not prepared: the runner says so
    return 3 * 4 * sum(report.dims.values()) * report.pairs + 50_000_000


@app.command("evaluate")
def evaluate_verb(
    baselines: Annotated[
        bool,
        typer.Option("--baselines", help="Only what needs no training, on every query of data/ that the filters keep."),
    ] = False,
    swapped_gains: Annotated[
        bool,
        typer.Option("--swapped-gains", help="C pays 0.1 and S 0.01, as in ESCI's own ranking script."),
    ] = False,
    ablations: Annotated[
        bool, typer.Option("--ablations", help="Train the ranker of train.model without each group of features.")
    ] = False,
    workdir: WorkdirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Every trained model beside the baselines, on the held-out queries, with 95 % intervals."""
    from pipeline.console import print_json
    from pipeline.progress import show_evaluation, write_evaluation

    place, options = _open(workdir, settings)
    if ablations:
        if baselines or swapped_gains:
            raise SqidflowError("goes alone", where="--ablations", mend="leave --baselines and --swapped-gains out")
        _evaluate_ablations(place, options, as_json)
        return
    if baselines:
        from pipeline.zero_shot import baselines as evaluate_baselines

        result = evaluate_baselines(place, options, swapped_gains=swapped_gains)
    else:
        from evaluation.held_out import evaluate

        result = evaluate(place.evaluations, place.data, place.pairs, swapped_gains=swapped_gains)
    if not (baselines or swapped_gains):
        write_evaluation(result, place)
    if as_json:
        print_json(result.as_dict())
    else:
        show_evaluation(result, place, baselines=baselines)


def _evaluate_ablations(place: Workdir, options: Settings, as_json: bool) -> None:
    from pipeline.console import interval_text, print_json, quiet, table
    from pipeline.workdir import disk_guard

    room = disk_guard(place.root, _pipeline_bytes(place))
    with place.locked("evaluate"), quiet(place.logs / "run.log") as user, room:
        from pipeline.ablations import ablations

        found = ablations(place, options, lambda line: user.write(line + "\n"))
    if as_json:
        print_json({"model": options.train.model, "rows": [row.as_dict() for row in found]})
        return
    rows = [
        (
            row.left_out,
            str(row.columns),
            interval_text(row.ndcg.as_dict()) if row.ndcg else "-",
            "{mean:+.4f} [{low:+.4f}, {high:+.4f}]".format(**row.difference.as_dict()) if row.difference else "",
            *(f"{value:.3f}" for value in (row.classes.micro_f1, row.classes.macro_f1, row.classes.ece)),
        )
        for row in found
    ]
    columns = ("features", "left out", "NDCG", "difference, paired", "micro F1", "macro F1", "ECE")
    _say(table(f"{options.train.model} on the held-out queries", columns, rows, right=range(1, 7)))


@app.command("compare")
def compare_verb(workdir: WorkdirOption = None, settings: SetOption = None, as_json: JsonOption = False) -> None:
    """Train every model that has no run on the present data, then show all side by side; the table goes to MLflow too.

    Nothing is pushed: a comparison is not a release.
    """
    from pipeline.console import print_json, quiet
    from pipeline.workdir import disk_guard

    place, options = _open(workdir, settings)
    with place.locked("compare"), quiet(place.logs / "run.log") as user:
        from pipeline.progress import RunDisplay

        display = RunDisplay(user)
        display.note("loading TensorFlow and TFX")
        with display, disk_guard(place.root, _pipeline_bytes(place)):
            from pipeline.comparison import compare

            result = compare(place, options, display)
    from evaluation.held_out import comparison_document
    from pipeline.progress import show_evaluation, write_evaluation

    write_evaluation(result, place)
    if as_json:
        print_json(comparison_document(result))
    else:
        show_evaluation(result, place)


@app.command("tune")
def tune_verb(
    model: Annotated[str | None, typer.Option("--model", help="The ranker.", show_default="train.model")] = None,
    minutes: Annotated[float, typer.Option("--minutes", min=0.1, help="Begin no trial after so many minutes.")] = 10.0,
    trials: Annotated[int, typer.Option("--trials", min=1, help="Trials at most, in this call.")] = 50,
    write: Annotated[bool, typer.Option("--write", help="Put the settings found into params.yaml.")] = False,
    workdir: WorkdirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Search better settings of a ranker by the validation queries; an earlier search on this data goes on."""
    import json
    import shlex

    from pipeline.console import print_json, quiet, table
    from pipeline.workdir import disk_guard

    place, options = _open(workdir, [*(settings or ()), *([f"train.model={model}"] if model else [])])
    with place.locked("tune"), quiet(place.logs / "tune.log") as user, disk_guard(place.root, _pipeline_bytes(place)):
        from pipeline.tuning import tune, write_settings

        def say(line: str) -> None:
            user.write(line + "\n")
            user.flush()

        say("loading TensorFlow and TFX, then Transform where it is not in the cache")
        result = tune(place, options, minutes, trials, say)
        if write and result.best.settings:
            write_settings(place.root, result.best.settings)
    if as_json:
        print_json(result.as_dict())
        return
    best = sorted(result.trials, key=lambda trial: -trial.ndcg)[:5]
    rows = [
        (str(t.number), f"{t.ndcg:.4f}", ", ".join(f"{k} {v}" for k, v in t.settings.items()) or "as they are")
        for t in best
    ]
    _say(
        table(
            f"{result.model}: the best of {len(result.trials)} trials", ("trial", "validation NDCG", "settings"), rows
        )
    )
    if not result.best.settings:
        _say("no trial beat the settings as they are")
    elif write:
        _say(_plain(f"written into {place.root / 'params.yaml'}; next: sqidflow run"))
    else:
        chosen = " ".join(
            "--set " + shlex.quote(f"train.{name}={json.dumps(value)}") for name, value in result.best.settings.items()
        )
        _say(_plain(f"to use them: sqidflow run {chosen}"))


@app.command("beam-worker")
def beam_worker_verb(
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port to listen at.")] = 50000,
) -> None:
    """Serve workers for the Beam runners portable, flink and spark until it is stopped. Run it from the checkout."""
    import os

    from pipeline.console import KERAS_3, QUIET_LIBRARIES

    # The same libraries' settings as in `run`: what a worker computes must not depend on where it was started.
    for name, value in QUIET_LIBRARIES.items():
        os.environ.setdefault(name, value)
    os.environ.update(KERAS_3)
    from pipeline.beam_worker import serve

    try:
        serve(port, ready=lambda address: _say(f"Beam workers at {address}; Ctrl-C ends them"))
    except OSError as error:
        raise SqidflowError(str(error), where=f"port {port}", mend="name a free port with --port") from error


@app.command("compile")
def compile_verb(
    out: Annotated[Path, typer.Option("--out", help="File to write, .yaml or .json.")] = Path("pipeline.yaml"),
    image: Annotated[
        str | None, typer.Option("--image", help="Container image of every step.", show_default="kubeflow.image")
    ] = None,
    workdir: WorkdirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the graph that `run` runs as a Kubeflow Pipelines v2 specification. Runs nothing."""
    from pipeline.console import print_json, quiet

    place, options = _open(workdir, [*(settings or ()), *([f"kubeflow.image={image}"] if image else [])])
    with quiet(place.logs / "compile.log"):
        from pipeline.kubeflow_runner import compile_pipeline

        compiled = compile_pipeline(place, options, out)
    if as_json:
        print_json(compiled)
        return
    _say(f"{out}: {len(compiled['nodes'])} steps of image {compiled['image']}")
    _say("next: submit it, see docs/platform.md")


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
    from pipeline.console import print_json, quiet
    from pipeline.workdir import disk_guard

    place, options = _open(workdir, settings)
    with place.locked("index"), quiet(place.logs / "index.log") as user, disk_guard(place.root, 100_000_000):
        from pipeline.index import make_index

        made = make_index(place, options, version=version, say=lambda text: user.write(f"{text}\n"))
    if as_json:
        print_json(made.as_dict())
        return
    from pipeline.index import show_index

    show_index(made, _say)


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
    place, options = _open(workdir, overrides)
    from pipeline.serve import serve

    serve(place, options, overrides, say=_say)


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
    from pipeline.console import print_json, quiet, table

    place, options = _open(workdir, settings)
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
    _say(table(f"searches of {days} days", ("", ""), rows))
    for query, count in summary["queries_without_result"]:
        _say(_plain(f"no result ({count}): {query}"))


@app.command("doctor")
def doctor_verb(workdir: WorkdirOption = None, as_json: JsonOption = False) -> None:
    """What this machine has: Python, glibc, packages, disk, memory, optional parts, and how to mend what is missing."""
    from pipeline.console import print_json
    from pipeline.doctor import examine, show

    place, _ = _open(workdir, None)
    findings = examine(place)
    if as_json:
        print_json({"findings": [finding.as_dict() for finding in findings], "ok": all(f.ok for f in findings)})
    else:
        show(findings)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(2)


# --- bench ------------------------------------------------------------------------------------------------------------


@bench_app.command("layout")
def bench_layout(
    pairs: Annotated[int, typer.Option("--pairs", min=50, help="Pairs of the small size.")] = 2000,
    dim: Annotated[int, typer.Option("--dim", min=8, help="Length of each vector.")] = 768,
    as_json: JsonOption = False,
) -> None:
    """One vector spread over columns against one vector feature: the marginal cost of a pair, CSV to examples."""
    from pipeline.bench_layout import bench
    from pipeline.console import print_json, table

    document = bench(pairs=pairs, dim=dim, say=_say)
    if as_json:
        print_json(document)
        return
    rows = [
        (
            row["step"],
            f"{row['pairs']:,}",
            f"{row['seconds']:.1f}",
            f"{row['rows_per_second']:.0f}",
            f"{row['peak_rss_mb']:.0f}",
        )
        for row in document["rows"]
    ]
    _say(table("layout", ("layout", "pairs", "s", "pairs/s", "peak MB"), rows, right=(1, 2, 3, 4)))
    _say(f"a further pair costs {document['ratio']:.1f} times as much as {dim} columns as it does as one vector")


@contextmanager
def _bench_folder(
    queries: int, products: int, pairs: int, dim: int, workdir: Path | None
) -> Iterator[tuple[Size, Path]]:
    """The size that was asked for, and where to work: in ``workdir``, which is kept, or in a temporary folder."""
    import tempfile

    from pipeline.bench_pipeline import Size

    try:
        size = Size(queries=queries, products=products, pairs=pairs, dim=dim)
    except ValueError as error:
        raise SqidflowError(str(error), where="bench", mend="ask for more pairs or fewer queries") from error
    if workdir is not None and (workdir / "data").exists():
        raise SqidflowError("there is data already", where=workdir / "data", mend="name a new folder with --workdir")
    with nullcontext(workdir) if workdir else tempfile.TemporaryDirectory(prefix="sqidflow-bench-") as folder:
        yield size, Path(folder)


@bench_app.command("pipeline")
def bench_pipeline(
    queries: Annotated[int, typer.Option("--queries", min=10, help="Queries.")] = 900,
    products: Annotated[int, typer.Option("--products", min=100, help="Products.")] = 16_000,
    pairs: Annotated[int, typer.Option("--pairs", min=100, help="Judged pairs.")] = 18_000,
    dim: Annotated[int, typer.Option("--dim", min=8, help="Length of each vector.")] = 768,
    workdir: WorkdirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Raw data of any size in the published formats, then every step to the pushed model: time and memory of each.

    The published size is --queries 8956 --products 164900 --pairs 181701. Works in a temporary folder, or in
    --workdir, which is kept.
    """
    from pipeline.bench_pipeline import bench
    from pipeline.console import print_json, table

    with _bench_folder(queries, products, pairs, dim, workdir) as (size, folder):
        document = bench(size, folder, say=_say)
    if as_json:
        print_json(document)
        return
    rows = [
        (row["step"], f"{row['seconds']:.1f}", row["rows_per_second"] or "", f"{row['peak_rss_mb']:,}")
        for row in document["rows"]
    ]
    _say(table("pipeline", ("step", "s", "pairs/s", "peak MB"), rows, right=(1, 2, 3)))
    _say(f"raw files to the model: {document['total_seconds']} s, at most {document['peak_rss_mb']:,} MB resident")


@bench_app.command("features")
def bench_features(
    queries: Annotated[int, typer.Option("--queries", min=10, help="Queries.")] = 900,
    products: Annotated[int, typer.Option("--products", min=100, help="Products.")] = 16_000,
    pairs: Annotated[int, typer.Option("--pairs", min=100, help="Judged pairs.")] = 18_000,
    dim: Annotated[int, typer.Option("--dim", min=8, help="Length of each vector.")] = 768,
    workdir: WorkdirOption = None,
    as_json: JsonOption = False,
) -> None:
    """The feature store alone: materialization, look-ups online, the point-in-time join; Redis where its URL is set."""
    from pipeline.console import print_json, quiet, table

    with _bench_folder(queries, products, pairs, dim, workdir) as (size, folder):
        place, options = _open(folder, None)
        redis_url = options.redis_url.get_secret_value() if options.redis_url else None
        with quiet(place.logs / "bench.log") as user:
            from pipeline.bench_features import bench
            from pipeline.console import console

            document = bench(size, place, console(user).print, redis_url)
    if as_json:
        print_json(document)
        return
    rows = [
        (row["step"], f"{row['seconds']:.1f}", f"{row['rows_per_second']:,}", f"{row['peak_rss_mb']:,}")
        for row in document["rows"]
    ]
    _say(table("features", ("step", "s", "rows/s", "peak MB"), rows, right=(1, 2, 3)))


@bench_app.command("search")
def bench_search(
    products: Annotated[int, typer.Option("--products", min=2000, help="Products in the index.")] = 164_900,
    dim: Annotated[int, typer.Option("--dim", min=16, help="Length of each vector.")] = 768,
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="Seconds of each load.")] = 20.0,
    workdir: WorkdirOption = None,
    as_json: JsonOption = False,
) -> None:
    """The service at full size over HTTP: one client, eight clients, memory, recall, beside a naive scan.

    Works in a temporary folder, or in --workdir, which is kept.
    """
    import tempfile
    from contextlib import nullcontext

    from pipeline.bench_search import Size, bench
    from pipeline.console import print_json, table

    with nullcontext(workdir) if workdir else tempfile.TemporaryDirectory(prefix="sqidflow-bench-") as folder:
        document = bench(Size(products, dim, seconds), Path(folder), say=_say)
    if as_json:
        print_json(document)
        return
    rows = [
        (row["step"], row["answers"], *(f"{row[name]:.1f}" for name in ("p50_ms", "p99_ms", "answers_per_second")))
        for row in document["rows"]
    ]
    _say(table("search", ("load", "answers", "p50 ms", "p99 ms", "answers/s"), rows, right=(1, 2, 3, 4)))
    _say(
        f"{document['times_faster_at_p50']} times as fast at p50 as the scan with vectors as columns, "
        f"{document['times_faster_than_matrix_at_p50']} as with a matrix; recall@10 {document['recall_at_10']}, "
        f"@100 {document['recall_at_100']} ({document['index']['kind']}, nprobe {document['index']['nprobe']})"
    )
    _say(
        f"ready after {document['ready_seconds']} s; first worker {document['resident_mb']} MB resident, a second adds "
        f"{document['second_worker_mb']} MB ({document['second_worker_share']:.2f} of the first)"
    )


@bench_app.command("run")
def bench_run(as_json: JsonOption = False) -> None:
    """Seconds and peak memory of each verb of `make run` on the sample, the first time and from the cache."""
    from pipeline.bench_run import bench
    from pipeline.console import print_json, table

    document = bench(say=_say)
    if as_json:
        print_json(document)
        return
    rows = [(row["step"], f"{row['seconds']:.1f}", f"{row['peak_rss_mb']:,}") for row in document["rows"]]
    _say(table("run", ("verb", "s", "peak MB"), rows, right=(1, 2)))
    _say(f"sample to pushed model {document['first_seconds']} s, again {document['again_seconds']} s")


def main() -> None:
    """The console script: errors a user can mend are one line, exit code 2; usage errors are typer's own, 2 as well."""
    try:
        app()
    except SqidflowError as error:
        if _debug:
            raise
        sys.stderr.write(f"sqidflow: {error.message}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
