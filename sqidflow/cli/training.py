"""From raw data to a pushed model: features, run, evaluate, compare, tune; and the engines beyond this machine."""

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
    """Join, filter and write the pairs and feature sources, then apply and materialize the feature store."""
    from pipeline.features import make_features

    place, options = open_workdir(workdir, settings)
    with at_work(place, "features", 100_000_000):
        made = make_features(place, options)
    if as_json:
        print_json(made.as_dict())
        return
    say(table("features", ("step", "what came of it", "time"), made.table_rows(), right=(2,)))
    say(f"next: sqidflow {'run' if made.prepared.pairs else 'index'}")


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
    named = {"train.model": model, "beam.runner": runner}
    place, options = open_workdir(
        workdir, [*(settings or ()), *(f"{key}={name}" for key, name in named.items() if name)]
    )
    with _pipeline_at_work(place, "run") as display:
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


def _pipeline_bytes(place: Workdir) -> int:
    """Room the pipeline's files need: the joined and transformed vectors of every pair, and as much again."""
    from sqidflow.data.prepare import load_report

    try:
        report = load_report(place.artifacts)
    except SqidflowError:
        return 50_000_000  # not prepared: the runner says so
    return 3 * 4 * sum(report.dims.values()) * report.pairs + 50_000_000


@contextmanager
def _pipeline_at_work(place: Workdir, verb: str) -> Iterator[RunDisplay]:
    """``at_work`` for what runs components; yields what shows them to the user."""
    from sqidflow.cli.progress import RunDisplay

    with at_work(place, verb, _pipeline_bytes(place), log="run") as user, RunDisplay(user) as display:
        display.note("loading TensorFlow and TFX")
        yield display


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
    from sqidflow.cli.progress import show_evaluation, write_evaluation

    place, options = open_workdir(workdir, settings)
    if ablations:
        if baselines or swapped_gains:
            raise SqidflowError("goes alone", where="--ablations", hint="leave --baselines and --swapped-gains out")
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
        write_evaluation(result, place)
    if as_json:
        print_json(result.as_dict())
    else:
        show_evaluation(result, place, baselines=baselines)


def _evaluate_ablations(place: Workdir, options: Settings, as_json: bool) -> None:

    with at_work(place, "evaluate", _pipeline_bytes(place), log="run") as user:
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
    say(table(f"{options.train.model} on the held-out queries", columns, rows, right=range(1, 7)))


@app.command("compare")
def compare_verb(workdir: WorkdirOption = None, settings: SetOption = None, as_json: JsonOption = False) -> None:
    """Train every model that has no run on the present data, then show all side by side; the table goes to MLflow too.

    Nothing is pushed: a comparison is not a release.
    """

    place, options = open_workdir(workdir, settings)
    with _pipeline_at_work(place, "compare") as display:
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

    place, options = open_workdir(workdir, [*(settings or ()), *([f"train.model={model}"] if model else [])])
    with at_work(place, "tune", _pipeline_bytes(place)) as user:
        from pipeline.tuning import tune, write_settings

        def tell(line: str) -> None:
            user.write(line + "\n")
            user.flush()

        tell("loading TensorFlow and TFX, then Transform where it is not in the cache")
        result = tune(place, options, minutes, trials, tell)
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
    say(
        table(
            f"{result.model}: the best of {len(result.trials)} trials", ("trial", "validation NDCG", "settings"), rows
        )
    )
    if not result.best.settings:
        say("no trial beat the settings as they are")
    elif write:
        say(plain(f"written into {place.root / 'params.yaml'}; next: sqidflow run"))
    else:
        chosen = " ".join(
            "--set " + shlex.quote(f"train.{name}={json.dumps(value)}") for name, value in result.best.settings.items()
        )
        say(plain(f"to use them: sqidflow run {chosen}"))


@app.command("beam-worker")
def beam_worker_verb(
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port to listen at.")] = 50000,
) -> None:
    """Serve workers for the Beam runners portable, flink and spark until it is stopped. Run it from the checkout."""
    import os

    from sqidflow.core.quiet import KERAS_3, QUIET_LIBRARIES

    # The same libraries' settings as in `run`: what a worker computes must not depend on where it was started.
    for name, value in QUIET_LIBRARIES.items():
        os.environ.setdefault(name, value)
    os.environ.update(KERAS_3)
    from pipeline.beam_worker import serve

    try:
        serve(port, ready=lambda address: say(f"Beam workers at {address}; Ctrl-C ends them"))
    except OSError as error:
        raise SqidflowError(str(error), where=f"port {port}", hint="name a free port with --port") from error


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
    place, options = open_workdir(workdir, [*(settings or ()), *([f"kubeflow.image={image}"] if image else [])])
    with quiet(place.logs / "compile.log"):
        from pipeline.kubeflow_runner import compile_pipeline

        compiled = compile_pipeline(place, options, out)
    if as_json:
        print_json(compiled)
        return
    say(f"{out}: {len(compiled['nodes'])} steps of image {compiled['image']}")
    say("next: submit it, see docs/platform.md")
