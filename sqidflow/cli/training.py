"""Verbs from raw data to a pushed model: features, run, evaluate, compare, tune, beam-worker, compile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sqidflow.cli.console import interval_text, print_json, table
from sqidflow.cli.options import JsonOption, SetOption, WorkdirOption, at_work, open_workdir, plain, say
from sqidflow.core.errors import SqidflowError
from sqidflow.core.quiet import quiet

if TYPE_CHECKING:
    from sqidflow.cli.progress import RunDisplay
    from sqidflow.core.settings import Settings
    from sqidflow.core.workdir import Workdir

app = typer.Typer()


@app.command("features")
def features_verb(workdir: WorkdirOption = None, settings: SetOption = None, as_json: JsonOption = False) -> None:
    """Prepare the judged pairs and the feature sources from data/, then apply and materialize the feature store.

    Writes artifacts/prepared, artifacts/features and artifacts/feast. A step whose inputs have not changed is skipped.
    Reads the settings data.*. Next: sqidflow run.

    Example: sqidflow features --set data.locale=es
    """
    from pipeline.features import make_features

    place, options = open_workdir(workdir, settings)
    with at_work(place, "features", 100_000_000):
        report = make_features(place, options)
    if as_json:
        print_json(report.as_dict())
        return
    say(table("features", ("step", "result", "time"), report.table_rows(), right=(2,)))
    say(f"next: sqidflow {'run' if report.prepared.pairs else 'index'}")


@app.command("run")
def run_verb(
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="The ranker: ladder, linear, ensemble, pointwise, listwise, lambdamart, cosine, query_mlp.",
            show_default="train.model",
        ),
    ] = None,
    from_node: Annotated[
        str | None,
        typer.Option("--from", metavar="NODE", help="Start at this component; reuse earlier outputs of the last run."),
    ] = None,
    to_node: Annotated[str | None, typer.Option("--to", metavar="NODE", help="Stop after this component.")] = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Run every component, ignoring the cache.")] = False,
    runner: Annotated[
        str | None,
        typer.Option(
            "--runner",
            metavar="PROFILE",
            help="Beam runner profile: local, portable, flink, spark, dataflow.",
            show_default="beam.runner",
        ),
    ] = None,
    workdir: WorkdirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run the TFX pipeline: train a ranker on the prepared pairs, evaluate it, and push it if it is better.

    Reads what `sqidflow features` wrote. Writes artifacts/tfx, metrics/ and, for a blessed model, artifacts/serving.
    Unchanged components come from the cache. Next: sqidflow evaluate, or sqidflow index.

    Example: sqidflow run --model pointwise --set train.epochs=5
    """
    named = {"train.model": model, "beam.runner": runner}
    place, options = open_workdir(
        workdir, [*(settings or ()), *(f"{key}={name}" for key, name in named.items() if name)]
    )
    with pipeline_at_work(place, "run") as display:
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
    from sqidflow.cli.progress import show_result

    show_result(result, place, options.evaluation.min_lift)


def pipeline_bytes(place: Workdir) -> int:
    """Disk space that a run needs: the joined and transformed vectors of every pair, with a margin."""
    from sqidflow.data.prepare import load_report

    try:
        report = load_report(place.artifacts)
    except SqidflowError:
        return 50_000_000  # nothing is prepared; the runner reports that
    return 3 * 4 * sum(report.dims.values()) * report.pairs + 50_000_000


@contextmanager
def pipeline_at_work(place: Workdir, verb: str, note: str = "loading TensorFlow and TFX") -> Iterator[RunDisplay]:
    """``at_work`` for verbs that run components; yields the display of their progress."""
    from sqidflow.cli.progress import RunDisplay

    with at_work(place, verb, pipeline_bytes(place), log="run") as user, RunDisplay(user) as display:
        display.note(note)
        yield display


@app.command("evaluate")
def evaluate_verb(
    baselines: Annotated[
        bool,
        typer.Option(
            "--baselines", help="Only baselines without training, on every query of data/ that passes data.*."
        ),
    ] = False,
    swapped_gains: Annotated[
        bool,
        typer.Option("--swapped-gains", help="Gains C 0.1 and S 0.01, as in ESCI's own ranking script."),
    ] = False,
    ablations: Annotated[
        bool, typer.Option("--ablations", help="Retrain train.model on judged lists, without each group of features.")
    ] = False,
    workdir: WorkdirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare every trained model with the baselines on the held-out queries, with 95 % intervals.

    Reads the scores that runs saved in artifacts/evaluations, without TensorFlow; writes metrics/evaluation.json and
    .csv. Next: sqidflow compare, to train the missing models.

    Example: sqidflow evaluate --baselines --set data.small_version=false
    """
    from sqidflow.cli.progress import show_evaluation, write_evaluation

    place, options = open_workdir(workdir, settings)
    if ablations:
        if baselines or swapped_gains:
            raise SqidflowError(
                "cannot be combined with --baselines or --swapped-gains",
                where="--ablations",
                hint="leave the other options out",
            )
        _evaluate_ablations(place, options, as_json)
        return
    if baselines:
        from sqidflow.evaluation.zero_shot import baselines as evaluate_baselines

        result = evaluate_baselines(place, options, swapped_gains=swapped_gains)
    else:
        from sqidflow.evaluation.held_out import evaluate
        from sqidflow.ranking.languages import language_of

        language = language_of(options.data.language, options.data.locale)
        result = evaluate(place.evaluations, place.data, place.pairs, swapped_gains=swapped_gains, language=language)
    if not (baselines or swapped_gains):
        try:
            write_evaluation(result, place)
        except OSError as error:
            why = f"{place.metrics} cannot be written ({error.strerror})"
            say(plain(f"note: the numbers are shown and not kept: {why}"))
    if as_json:
        print_json(result.as_dict())
    else:
        show_evaluation(result, place, baselines=baselines)


def _evaluate_ablations(place: Workdir, options: Settings, as_json: bool) -> None:
    with at_work(place, "evaluate", pipeline_bytes(place), log="run") as user:
        from pipeline.ablations import ablations

        results = ablations(place, options, lambda line: user.write(line + "\n"))
    if as_json:
        print_json({"model": options.train.model, "rows": [row.as_dict() for row in results]})
        return
    rows = [
        (
            row.left_out,
            str(row.columns),
            interval_text(row.ndcg.as_dict()) if row.ndcg else "-",
            "{mean:+.4f} [{low:+.4f}, {high:+.4f}]".format(**row.difference.as_dict()) if row.difference else "",
            *(f"{value:.3f}" for value in (row.classes.micro_f1, row.classes.macro_f1, row.classes.ece)),
        )
        for row in results
    ]
    columns = ("features", "left out", "NDCG", "difference, paired", "micro F1", "macro F1", "ECE")
    say(table(f"{options.train.model} on the held-out queries", columns, rows, right=range(1, 7)))


@app.command("compare")
def compare_verb(workdir: WorkdirOption = None, settings: SetOption = None, as_json: JsonOption = False) -> None:
    """Train every model that has no run on the current data and settings, then compare all models with the baselines.

    Logs the table to MLflow and writes metrics/evaluation.json and .csv. Nothing is pushed. Needs `sqidflow features`.
    """
    place, options = open_workdir(workdir, settings)
    with pipeline_at_work(place, "compare") as display:
        from pipeline.comparison import compare

        result = compare(place, options, display.heading, display.component)
    from sqidflow.cli.progress import show_evaluation, write_evaluation
    from sqidflow.evaluation.held_out import comparison_document

    write_evaluation(result, place)
    if as_json:
        print_json(comparison_document(result))
    else:
        show_evaluation(result, place)


@app.command("tune")
def tune_verb(
    model: Annotated[str | None, typer.Option("--model", help="The ranker.", show_default="train.model")] = None,
    minutes: Annotated[
        float, typer.Option("--minutes", min=0.1, help="Start no trial after this many minutes.")
    ] = 10.0,
    trials: Annotated[int, typer.Option("--trials", min=1, help="Maximum number of trials in this call.")] = 50,
    write: Annotated[bool, typer.Option("--write", help="Write the best settings into params.yaml.")] = False,
    workdir: WorkdirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Search hyper-parameters of a ranker by NDCG on the validation queries.

    Continues an earlier search on the same data. Logs every trial to MLflow and keeps no model. Next: sqidflow run with
    the settings that it prints.

    Example: sqidflow tune --model pointwise --minutes 5 --write
    """
    import json
    import shlex

    place, options = open_workdir(workdir, [*(settings or ()), *([f"train.model={model}"] if model else [])])
    with at_work(place, "tune", pipeline_bytes(place)) as user:
        from pipeline.tuning import tune, write_settings

        def tell(line: str) -> None:
            user.write(line + "\n")
            user.flush()

        tell("loading TensorFlow and TFX, then running Transform unless it is cached")
        result = tune(place, options, minutes, trials, tell)
        if write and result.best.settings:
            write_settings(place.root, result.best.settings)
    if as_json:
        print_json(result.as_dict())
        return
    best = sorted(result.trials, key=lambda trial: -trial.ndcg)[:5]
    rows = [
        (str(t.number), f"{t.ndcg:.4f}", ", ".join(f"{k} {v}" for k, v in t.settings.items()) or "current settings")
        for t in best
    ]
    say(table(f"{result.model}: best of {len(result.trials)} trials", ("trial", "validation NDCG", "settings"), rows))
    if not result.best.settings:
        say("no trial beat the current settings")
    elif write:
        say(plain(f"written to {place.root / 'params.yaml'}; next: sqidflow run"))
    else:
        chosen = " ".join(
            "--set " + shlex.quote(f"train.{name}={json.dumps(value)}") for name, value in result.best.settings.items()
        )
        say(plain(f"to use them: sqidflow run {chosen}"))


@app.command("beam-worker")
def beam_worker_verb(
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port to listen on.")] = 50000,
) -> None:
    """Serve Beam workers for the runners portable, flink and spark until stopped with Ctrl-C.

    Start it from the checkout, and set beam.environment_config to its host:port. See docs/platform.md.
    """
    import os

    from sqidflow.core.quiet import KERAS_3, QUIET_LIBRARIES

    # The same library settings as in `run`, so that a worker computes the same numbers.
    for name, value in QUIET_LIBRARIES.items():
        os.environ.setdefault(name, value)
    os.environ.update(KERAS_3)
    from pipeline.beam_worker import serve

    try:
        serve(port, ready=lambda address: say(f"Beam workers at {address}; Ctrl-C ends them"))
    except OSError as error:
        raise SqidflowError(str(error), where=f"port {port}", hint="choose a free port with --port") from error


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
    """Write the pipeline of `run` as a Kubeflow Pipelines v2 specification. Runs and submits nothing.

    Needs `sqidflow features`. Next: submit the file, see docs/platform.md.

    Example: sqidflow compile --out pipeline.yaml --image registry.example/sqidflow:1
    """
    place, options = open_workdir(workdir, [*(settings or ()), *([f"kubeflow.image={image}"] if image else [])])
    with quiet(place.logs / "compile.log"):
        from pipeline.kubeflow_runner import compile_pipeline

        compiled = compile_pipeline(place, options, out)
    if as_json:
        print_json(compiled)
        return
    say(f"{out}: {len(compiled['nodes'])} steps, image {compiled['image']}")
    say("next: submit it, see docs/platform.md")
