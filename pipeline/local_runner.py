"""Runs the pipeline in this process, one component after the other, and collects its results."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import beam
from pipeline.nodes import HELD_OUT, LOOK_UP, NODES, SPLITS
from pipeline.record_counts import RecordCounts
from pipeline.splits import check_splits
from sqidflow.core import digests
from sqidflow.core.code import code_digest
from sqidflow.core.collector import no_collections
from sqidflow.core.errors import DataError, PipelineError, SettingsError, SqidflowError
from sqidflow.core.files import disk_full, write_atomically
from sqidflow.core.memory import PeakMemory
from sqidflow.core.model_files import MODEL_CARD, PUSHED_MARK
from sqidflow.core.pushes import newest_model, pinned_version, record_push
from sqidflow.core.settings import CHECKOUT, Settings, SplitSettings
from sqidflow.core.workdir import Workdir
from sqidflow.data import versions
from sqidflow.data.encoder_name import encoder_of
from sqidflow.evaluation.whole_catalogue import MEASURES
from sqidflow.indexing.fusion import prepared_fusion
from sqidflow.indexing.plan import known_encoder, synonyms_digest
from sqidflow.ranking import features
from sqidflow.ranking.languages import language_of
from sqidflow.ranking.retrieval import Fusion
from sqidflow.tracking.mlmd import (
    CACHED,
    artifacts_of,
    check_metadata,
    latest_execution,
    latest_output,
    newest_pipeline_run,
)
from sqidflow.tracking.runs import PROCESSES, RunContext, default_tracking_uri, end_killed_runs

if TYPE_CHECKING:
    from pipeline.graph import PipelineConfig
    from sqidflow.data.prepare import PrepareReport

_LOG = logging.getLogger(__name__)


ENTRY_MODULES = {
    "features": ("components.feature_join",),
    "schema": ("components.example_validator", "components.anomaly_gate"),
    "transform": ("modules.preprocessing", "components.transform"),
    "trainer": ("modules.trainer",),
    "report": (
        "components.ranking_report", "components.latest_blessed", "components.evaluator", "modules.tfma_metrics",
    ),
}  # fmt: skip
"""Component -> entry modules that TFX loads by dotted path. The digest of these and of all their imports is part of the
component's cache key."""
CURATED_SCHEMA = CHECKOUT / "schema" / "schema.pbtxt"


def component_code(component: str) -> str:
    """The digest of a component's code, including the curated schema if the component reads it."""
    return code_digest(ENTRY_MODULES[component], [CURATED_SCHEMA] if component == "schema" else [])


LEARNING_CURVES = "learning_curves.csv"
RUN_METRICS = "run.json"


@dataclass(frozen=True)
class ComponentRun:
    """One node of a run: wall time in seconds, whether its outputs came from the cache, and the peak resident memory of
    the process while it ran, which includes everything loaded before."""

    name: str
    seconds: float
    cached: bool
    peak_rss_mb: float


@dataclass(frozen=True)
class RunResult:
    """The result of a run. ``report`` is RankingReport's document, None if the run stopped before it."""

    model: str
    components: list[ComponentRun] = field(default_factory=list)
    report: dict[str, Any] | None = None
    pushed_model: Path | None = None
    pinned: str | None = None
    """The version that is served whatever was pushed; None where nothing is pinned."""

    def as_dict(self) -> dict[str, Any]:
        report = self.report or {}
        return {
            "model": self.model,
            "ndcg": report.get("ndcg"),
            "blessed": report.get("blessed"),
            "pushed_model": str(self.pushed_model) if self.pushed_model else None,
            "pinned": self.pinned,
            "blocked_by": report.get("blocked_by"),
            "ladder": report.get("ladder"),
            "search": report.get("search"),
            "mlflow_run_id": report.get("mlflow_run_id"),
            "energy_kwh": report.get("energy_kwh"),
            "energy_method": report.get("energy_method"),
            "data_hash": report.get("data_hash"),
            "queries": report.get("queries"),
            "queries_without_relevant": report.get("queries_without_relevant"),
            "queries_with_one_product": report.get("queries_with_one_product"),
            "components": [
                {
                    "name": part.name,
                    "seconds": round(part.seconds, 3),
                    "cached": part.cached,
                    "peak_rss_mb": round(part.peak_rss_mb),
                }
                for part in self.components
            ],
        }


Listener = Callable[[str, ComponentRun | None], None]
"""Called with a node's name when it starts (with None) and when it ends (with its ComponentRun)."""


class _Progress:
    """Notifies a listener of each node that LocalDagRunner launches, and records what ran."""

    def __init__(self, metadata_path: Path, pipeline_name: str, pairs: int, listener: Listener) -> None:
        self.metadata_path, self.pipeline_name, self.listener = metadata_path, pipeline_name, listener
        self.records = RecordCounts(pairs, lambda node, kind: latest_output(metadata_path, pipeline_name, node, kind))
        self.running: str | None = None
        self.done: list[ComponentRun] = []

    @contextmanager
    def node(self, name: str) -> Iterator[None]:
        """Report one node: when it starts, and when it has ended without an error."""
        if name == LOOK_UP:
            yield
            return
        self.running, started = name, time.monotonic()
        self.listener(name, None)
        with PeakMemory() as memory:
            yield
            peak_rss_mb = memory.peak_rss_mb
        state = latest_execution(self.metadata_path, self.pipeline_name, name)
        cached = state is not None and state.last_known_state == CACHED
        self.records.check(name)
        self.done.append(ComponentRun(name, time.monotonic() - started, cached, peak_rss_mb))
        self.running = None
        self.listener(name, self.done[-1])


def pipeline_name(dims: Mapping[str, int], split: SplitSettings) -> str:
    """The pipeline name of a run in ML Metadata.

    The name contains the feature contract, the vector length and the split shares, so that the Evaluator never takes an
    incompatible model as the baseline: such a model cannot score the same pairs, or was trained on queries that are now
    held out.
    """
    shares = f"{split.train}-{split.eval}-{split.test}"
    if split.by == "esci":
        shares = f"esci-{split.train}-{split.eval}"
    return f"sqidflow-{features.FEATURE_SERVICE}-{features.contract()}-d{dims[features.QUERY_VEC]}-s{shares}"


def _check_nodes(*nodes: str | None) -> None:
    for node in nodes:
        if node is not None and node not in NODES:
            import difflib

            near = difflib.get_close_matches(node, NODES, 1, 0.4)
            raise SettingsError(
                f"no component {node!r}",
                where="--from, --to",
                hint=f"did you mean {near[0]}?" if near else f"choose one of {', '.join(NODES)}",
            )


def _check_order(from_node: str | None, to_node: str | None) -> None:
    if from_node and to_node and NODES.index(from_node) > NODES.index(to_node):
        raise SettingsError(
            f"{to_node} comes before {from_node}, so nothing would run",
            where="--from, --to",
            hint="swap --from and --to",
        )


def _pushes(workdir: Workdir) -> list[Path]:
    """The destinations of all pushes in the workdir, of every pipeline, newest last."""
    artifacts = artifacts_of(workdir.mlmd, None, "PushedModel")
    return [
        Path(artifact.custom_properties["pushed_destination"].string_value)
        for artifact in sorted(artifacts, key=lambda artifact: artifact.id)
        if artifact.custom_properties["pushed"].int_value
    ]


def _set_unfinished_pushes_aside(workdir: Workdir) -> None:
    """Rename incomplete pushes, so that nothing loads a half-copied model that a killed Pusher left.

    A push is complete if ML Metadata records it, or if the folder has the mark that a run writes last (it may come from
    ``dvc checkout``). Other folders are renamed, not deleted, because a person may have put them there.
    """
    finished = set(_pushes(workdir))
    for version in workdir.serving.glob("[!.]*"):
        if version.is_dir() and version not in finished and not (version / PUSHED_MARK).is_file():
            aside = version.with_name(f".unfinished-{version.name}")
            shutil.rmtree(aside, ignore_errors=True)
            version.rename(aside)


def pairs_to_train_on(workdir: Workdir, settings: Settings) -> PrepareReport:
    """What is prepared, after a look at the files.

    Raises:
        DataError: as :func:`sqidflow.data.versions.checked_preparation`, where no product is judged, and where the
            queries are too few for the splits.
    """
    prepared = versions.checked_preparation(workdir, settings)
    if not prepared.pairs:
        raise DataError(
            "no product is judged yet: there is nothing to train on",
            file=workdir.data,
            hint="bring judgements with `sqidflow data import --examples FILE`, or search without: `sqidflow index`",
        )
    if settings.split.by == "query":
        names = ("train", "eval", "test")
        check_splits(workdir.pairs, names, [getattr(settings.split, name) for name in names])
    return prepared


def trained_model(workdir: Workdir, settings: Settings) -> Path | None:
    """The folder of the model that the newest training in a workdir wrote or took from the cache; None without one."""
    from sqidflow.data.prepare import load_report

    name = pipeline_name(load_report(workdir.artifacts).dims, settings.split)
    artifact = latest_output(workdir.mlmd, name, "Trainer", "Model")
    return Path(artifact.uri) / "Format-Serving" if artifact is not None else None


def _number_pushes(workdir: Workdir) -> None:
    """A run that was killed after its push gave it no number: ML Metadata has the order all the same."""
    for folder in _pushes(workdir):
        if folder.is_dir() and folder.parent == workdir.serving:
            record_push(folder)


def pipeline_config(
    workdir: Workdir,
    settings: Settings,
    prepared: PrepareReport,
    context_file: Path,
    *,
    enable_cache: bool = True,
    champion: Path | None = None,
) -> PipelineConfig:
    """The parameters of the graph for a workdir whose features are prepared.

    Args:
        champion: as :func:`run` takes it.

    Raises:
        SettingsError: an unknown model, or an incomplete Beam profile.
        FeatureStoreError: a source of the store is missing.
    """
    from components.feature_join.component import feature_config
    from modules.model import MODELS, hyperparameters
    from pipeline.graph import PipelineConfig

    if settings.train.model not in MODELS:
        raise SettingsError(
            f"no model {settings.train.model!r}", where="train.model", hint=f"choose one of {', '.join(MODELS)}"
        )
    return PipelineConfig(
        name=pipeline_name(prepared.dims, settings.split),
        root=str(workdir.tfx_root / "pipeline"),
        prepared_dir=str(workdir.prepared),
        serving_dir=str(workdir.serving),
        metadata_path=str(workdir.mlmd),
        curated_schema_dir=str(CURATED_SCHEMA.parent),
        context_file=str(context_file),
        feature_config=feature_config(
            workdir.artifacts,
            fusion=prepared_fusion(workdir, settings, prepared.dims[features.QUERY_VEC]),
            candidates=settings.search.candidates,
            language=language_of(settings.data.language, settings.data.locale),
        ),
        search_config={
            "encoder": known_encoder(workdir, settings),
            "search": settings.search.model_dump(
                mode="json", include={"candidates", "rewrite", "synonyms", "encoder_model"}
            ),
            "synonyms": synonyms_digest(settings.search.synonyms),
            "audit": settings.audit.model_dump(mode="json"),
            **(
                {"champion": {"folder": str(champion), "min_gain": settings.retrain.min_gain}}
                if champion is not None
                else {}
            ),
        },
        code={part: component_code(part) for part in ENTRY_MODULES},
        model=settings.train.model,
        hyperparameters=hyperparameters(settings.train.model, settings.train.overrides()).as_dict(),
        split_shares=(settings.split.train, settings.split.eval, settings.split.test),
        split_by=settings.split.by,
        min_lift=settings.evaluation.min_lift,
        max_loss=settings.evaluation.max_loss,
        slices=settings.evaluation.slices,
        beam_arguments=tuple(beam.beam_arguments(settings.beam)),
        enable_cache=enable_cache,
    )


def run(
    workdir: Workdir,
    settings: Settings,
    *,
    from_node: str | None = None,
    to_node: str | None = None,
    use_cache: bool = True,
    champion: Path | None = None,
    listener: Listener = lambda name, part: None,
) -> RunResult:
    """Run the whole pipeline, or the part between two nodes, in this process.

    Args:
        champion: the folder of the served model; the trained one is then pushed only where its gain over that model on
            the held-out queries is surely above ``retrain.min_gain``. None leaves that rule out.

    Raises:
        SqidflowError: an error that the user can fix: anomalies, missing features, an unknown node or model.
        PipelineError: any other failure of a component; names the component.
    """
    from modules.model import MODELS
    from pipeline.long_lists import refuse_long_lists

    _check_nodes(from_node, to_node)
    _check_order(from_node, to_node)
    if settings.train.model not in MODELS:
        raise SettingsError(
            f"no model {settings.train.model!r}", where="train.model", hint=f"choose one of {', '.join(MODELS)}"
        )
    beam.beam_arguments(settings.beam)  # fails on invalid settings before anything is written
    silent = beam.unreachable(settings.beam)
    if silent:
        raise PipelineError(silent, hint=beam.hint_unreachable(settings.beam))
    prepared = pairs_to_train_on(workdir, settings)
    if MODELS[settings.train.model].trees:
        shares = (settings.split.train, settings.split.eval, settings.split.test)
        held_out_file = workdir.pairs_of_split(HELD_OUT) if settings.split.by == "esci" else None
        refuse_long_lists(workdir.pairs, settings.train.model, shares, SPLITS, HELD_OUT, held_out_file)

    # Imported after all that can be refused without them, because TensorFlow and TFX take seconds.
    with no_collections():
        from tfx.orchestration.pipeline import RunOptions

        from pipeline.graph import create_pipeline
        from pipeline.reporting_runner import ReportingDagRunner
    from sqidflow.feature_store import store

    name = pipeline_name(prepared.dims, settings.split)
    redis_url = settings.redis_url.get_secret_value() if settings.redis_url else None
    # Needed after a `dvc checkout`; does nothing if the store is up to date.
    store.apply(workdir.artifacts, redis_url=redis_url)
    for file in (workdir.pairs, *(map(workdir.pairs_of_split, SPLITS) if settings.split.by == "esci" else ())):
        versions.stamp_by_content(file)
    check_metadata(workdir.mlmd)
    pinned_version(workdir.serving)  # a damaged delivery record is said before anything is trained
    _set_unfinished_pushes_aside(workdir)
    _number_pushes(workdir)
    workdir.tfx_root.mkdir(parents=True, exist_ok=True)
    workdir.serving.mkdir(parents=True, exist_ok=True)
    data_version = versions.verified_data_hash(workdir)
    context_file = workdir.var / "run_context.json"
    context = run_context(workdir, settings, f"{settings.train.model} on {data_version[:8]}", data_version)
    context.write(context_file)
    end_killed_runs(context)

    config = pipeline_config(workdir, settings, prepared, context_file, enable_cache=use_cache, champion=champion)
    pipeline = create_pipeline(config)
    options = None
    if from_node or to_node:
        options = RunOptions(
            [from_node] if from_node else None,
            [to_node] if to_node else None,
            base_pipeline_run_id=newest_pipeline_run(workdir.mlmd, name),
        )

    progress = _Progress(workdir.mlmd, name, prepared.pairs, listener)
    try:
        with beam.watched(settings.beam):
            ReportingDagRunner(progress.node).run(pipeline, run_options=options)
    except SqidflowError:
        raise
    except Exception as error:
        if disk_full(error) is not None:
            raise
        if from_node and isinstance(error, LookupError):
            raise PipelineError(
                f"no finished run has the outputs that {from_node} needs",
                where=f"--from {from_node}",
                hint="run `sqidflow run` without --from first",
            ) from error
        known = _known_cause(error)
        if known is not None:
            raise known from error
        silent = beam.unreachable(settings.beam)
        if silent:
            raise PipelineError(
                f"{silent} any more",
                where=progress.running or "pipeline",
                hint=beam.hint_unreachable(settings.beam),
            ) from error
        raise PipelineError(
            f"{type(error).__name__}: {_first_line(error)}",
            where=progress.running or "pipeline",
            hint=f"see {workdir.logs}/run.log, then run again: finished components come from the cache",
        ) from error
    result = _collect(workdir, name, settings.train.model, progress.done)
    _register(workdir, settings, name, context, prepared, result)
    return result


def _register(
    workdir: Workdir,
    settings: Settings,
    name: str,
    context: RunContext,
    prepared: PrepareReport,
    result: RunResult,
) -> None:
    """Register a blessed model in MLflow's registry; the model pushed last becomes the champion."""
    report = result.report
    if report is None or not report["blessed"] or not report["mlflow_run_id"]:
        return
    from sqidflow.data.prepare import CATALOGUE_OUTPUT, PAIRS_OUTPUT, PRODUCTS_OUTPUT, QUERIES_OUTPUT
    from sqidflow.tracking import registry

    sources = {
        "pairs": PAIRS_OUTPUT, "queries": QUERIES_OUTPUT, "products": PRODUCTS_OUTPUT, "catalogue": CATALOGUE_OUTPUT,
    }  # fmt: skip
    config = registry.RankerConfig(
        dim=prepared.dims[features.QUERY_VEC],
        contract=features.contract(),
        **{key: str(workdir.artifacts / file) for key, file in sources.items()},
        **{f"{key}_sha256": prepared.outputs[file] for key, file in sources.items()},
        language=language_of(settings.data.language, settings.data.locale),
        candidates=settings.search.candidates,
        fusion=tuple(Fusion.read(report["fusion"]).as_json().values()),
    )
    tags = {
        "model": report["model"],
        "data_hash": report["data_hash"],
        "feature_service": report["feature_service"],
        "feature_contract": config.contract,
        "ndcg": round(report["ndcg"][report["model"]]["mean"], 6),
        "energy_kwh": report["energy_kwh"],
    }
    # Compare with the newest recorded push, as the service does: a cached push may be an old one, or one whose run was
    # killed right after it.
    # A pinned version stays the champion: it is what is served.
    served = workdir.serving / result.pinned if result.pinned else newest_model(workdir.serving)
    pushed = result.pushed_model is not None and result.pushed_model == served
    model_dir = Path(latest_output(workdir.mlmd, name, "Trainer", "Model").uri) / "Format-Serving"
    registry.register(context, report["mlflow_run_id"], model_dir, config, tags, pushed)


def _known_cause(error: BaseException) -> SqidflowError | None:
    """The error that a component raised, unwrapped from the exceptions of Beam and TFX; None if there is none."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, SqidflowError):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0][:400] if lines else "no message"


def run_context(workdir: Workdir, settings: Settings, run_name: str, data_version: str) -> RunContext:
    """The tracking store and versions that an MLflow run of this workdir records."""
    return RunContext(
        tracking_uri=settings.tracking.uri or default_tracking_uri(workdir),
        artifact_root=(workdir.mlflow / "artifacts").as_uri(),
        experiment=settings.tracking.experiment,
        run_name=run_name,
        git_commit=digests.git_commit(),
        data_hash=data_version,
        feature_service=features.FEATURE_SERVICE,
        encoder=encoder_of(workdir.data),
        country_iso_code=settings.energy.country_iso_code,
        processes=str(workdir.mlflow / PROCESSES),
    )


def _collect(workdir: Workdir, name: str, model: str, components: list[ComponentRun]) -> RunResult:
    ran = {part.name for part in components}
    report = pushed = None
    if "RankingReport" in ran:
        folder = Path(latest_output(workdir.mlmd, name, "RankingReport", "Metrics").uri)
        report = json.loads((folder / "report.json").read_text())
        _keep(workdir, folder, report)
        _write_metrics(workdir, name, report)
    if "Pusher" in ran:
        artifact = latest_output(workdir.mlmd, name, "Pusher", "PushedModel")
        if artifact is not None and artifact.custom_properties["pushed"].int_value:
            pushed = Path(artifact.custom_properties["pushed_destination"].string_value)
            if not (pushed / "saved_model.pb").is_file() or not (pushed / MODEL_CARD).is_file():
                # ML Metadata records the push, but its folder was deleted or is of another data version: restore it.
                pushed.parent.mkdir(parents=True, exist_ok=True)
                temporary = pushed.with_name(f".{pushed.name}")
                shutil.rmtree(temporary, ignore_errors=True)
                shutil.copytree(artifact.uri, temporary)
                shutil.rmtree(pushed, ignore_errors=True)
                temporary.rename(pushed)
            record_push(pushed)
    pinned = pinned_version(workdir.serving)
    return RunResult(model=model, components=components, report=report, pushed_model=pushed, pinned=pinned)


def _keep(workdir: Workdir, folder: Path, report: dict[str, Any]) -> None:
    """Copy a model's held-out scores to where `evaluate` and `compare` read them."""
    target = workdir.evaluations / report["model"]
    temporary = target.with_name(f".{report['model']}")
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(folder, temporary)
    (temporary / "report.json").touch()  # `evaluate` uses the data version of the newest report
    shutil.rmtree(target, ignore_errors=True)
    temporary.rename(target)


def _small_search(search: dict[str, Any] | None) -> dict[str, Any] | None:
    if search is None:
        return None
    return {row["method"]: {name: round(row[name]["mean"], 6) for name in MEASURES} for row in search["rows"]}


def _write_metrics(workdir: Workdir, name: str, report: dict[str, Any]) -> None:
    """Write the small files that git versions and DVC compares and plots."""
    small = {
        "model": report["model"],
        "blessed": report["blessed"],
        "queries": report["queries"],
        "queries_without_relevant": report["queries_without_relevant"],
        "ndcg": {method: round(interval["mean"], 6) for method, interval in report["ndcg"].items()},
        "accuracy": round(report["classes"]["accuracy"], 6) if "accuracy" in report["classes"] else None,
        "macro_f1": round(report["classes"]["macro avg"]["f1-score"], 6),
        "rung": (report["ladder"] or {}).get("rung"),
        "search": _small_search(report["search"]),
        "best_epoch": report["best_epoch"],
        "energy_kwh": report["energy_kwh"],
    }
    write_atomically(workdir.metrics / RUN_METRICS, json.dumps(small, indent=2) + "\n")
    model_run = latest_output(workdir.mlmd, name, "Trainer", "ModelRun")
    if model_run is not None:
        write_atomically(workdir.metrics / LEARNING_CURVES, (Path(model_run.uri) / "history.csv").read_text())
