"""An audit of the model that answers: reads what a run has kept, asks the service's core, writes the report."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from sqidflow.core.errors import SqidflowError
from sqidflow.core.files import write_atomically
from sqidflow.core.model_files import MODEL_CARD, ZERO_SHOT_VERSION
from sqidflow.core.pushes import newest_model
from sqidflow.core.settings import Settings
from sqidflow.core.workdir import Workdir
from sqidflow.evaluation.behaviour.asking import CoreAsker, chosen_queries, judged_queries
from sqidflow.evaluation.behaviour.explanations import explanations
from sqidflow.evaluation.behaviour.groups import Pairs, groups_section
from sqidflow.evaluation.behaviour.model_card import model_card
from sqidflow.evaluation.behaviour.report import Audit, as_html
from sqidflow.evaluation.behaviour.robustness import robustness
from sqidflow.evaluation.behaviour.unseen import unseen
from sqidflow.monitoring.log import Reading, read_queries
from sqidflow.ranking import features
from sqidflow.search.ranker import OnnxRanker, model_folder
from sqidflow.search.state import choose, find_index, open_core

_LEAST_FREQUENCY_LINES = 100


def kept_scores(workdir: Workdir, version: str) -> tuple[dict[str, Any], pa.Table]:
    """The report and the held-out scores that a run kept of a pushed model.

    Raises:
        SqidflowError: there are none, or they are of another model.
    """
    card_file = workdir.serving / version / MODEL_CARD
    try:
        card = json.loads(card_file.read_text(encoding="utf-8"))
        folder = workdir.evaluations / card["model"]
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        scores = pq.read_table(folder / "scores.parquet")
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise SqidflowError(
            f"model {version} has no held-out scores that can be read ({type(error).__name__})",
            where=workdir.evaluations,
            hint="score it again: `sqidflow run`",
        ) from error
    same = ("feature_contract", "data_hash", "mlflow_run_id")
    if any(report.get(name) != card.get(name) for name in same):
        raise SqidflowError(
            f"the held-out scores are of another training than model {version}",
            where=folder,
            hint="audit the model of the last run, or run again: `sqidflow run`",
        )
    return report, scores


def run_audit(workdir: Workdir, settings: Settings, version: str | None = None) -> tuple[Audit, dict[str, Any]]:
    """Audit a pushed model, the one that answers where ``version`` is None; the audit and the report of its run.

    Raises:
        SqidflowError: no pushed model, no index of it, a model of another feature contract, or no held-out scores.
    """
    started = time.monotonic()
    if find_spec("sklearn") is None:
        raise SqidflowError("scikit-learn is not installed", where="audit", hint="install the extra: sqidflow[audit]")
    version = version or _answering(workdir, settings)
    if version == ZERO_SHOT_VERSION:
        raise SqidflowError(
            "there is no trained model to audit", where=workdir.serving, hint="train and push one: `sqidflow run`"
        )
    _check_model(workdir, version)
    index = find_index(workdir, settings, version)
    core = open_core(workdir, version, index, settings, settings.search.retrieval_a, dict(os.environ))
    report, scores = kept_scores(workdir, version)
    options = settings.audit
    queries = judged_queries(scores)
    asked = chosen_queries(queries, options.queries, options.seed)
    asker = CoreAsker(core)
    pairs_file = _prepared(workdir)
    seen, times = _seen(pairs_file, scores)
    sections = [
        unseen(asker, scores, asked, seen, times),
        robustness(asker, asked, options.seed, options.rate, "typing" in options.block),
        groups_section(
            asker,
            Pairs.of(scores, report.get("class_rule", features.PLAIN_RULE), _brands(pairs_file)),
            queries,
            query_counts(workdir),
            options.disparity,
            options.least_group,
            options.block,
        ),
        explanations(core, asked, options.seed),
    ]
    model = {
        "version": version,
        "form": report["model"],
        "feature_contract": report["feature_contract"],
        "encoder": core.index.meta.encoder,
        "index": core.index.meta.digest,
        "data_hash": report.get("data_hash"),
        "git_commit": report.get("git_commit"),
        "mlflow_run_id": report.get("mlflow_run_id"),
        "held_out_queries": len(queries),
        "queries_asked": len(asked),
    }
    return Audit(model, sections, time.monotonic() - started, options.model_dump(mode="json")), report


def _answering(workdir: Workdir, settings: Settings) -> str:
    """The version of the model that answers; where none does, what is wrong with the newest is said first."""
    try:
        return choose(workdir, settings)[0]
    except SqidflowError:
        newest = newest_model(workdir.serving)
        if newest is not None:
            _check_model(workdir, newest.name)
        raise


def _check_model(workdir: Workdir, version: str) -> None:
    """Raises SqidflowError where a model is not there, or reads features that this code does not compute: an index of
    it could not be built either."""
    OnnxRanker(model_folder(workdir.serving, version))


def write_audit(workdir: Workdir, audit: Audit, report: Mapping[str, Any]) -> dict[str, Path]:
    """Write the page, the JSON and the model card, each whole or not at all; where each is."""
    document = audit.as_dict()
    card = model_card(report, document)
    texts = {
        "html": (workdir.artifacts / "audit" / "index.html", as_html(audit)),
        "json": (workdir.metrics / "audit.json", json.dumps(document, indent=2) + "\n"),
        "model_card": (workdir.artifacts / "audit" / "model_card.md", card),
        "pushed_model_card": (workdir.serving / audit.model["version"] / "model_card.md", card),
    }
    for file, text in texts.values():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, text)
    return {name: file for name, (file, _) in texts.items()}


def _prepared(workdir: Workdir) -> pa.Table:
    columns = [features.QUERY_ID, features.PRODUCT_ID, features.BRAND, features.EVENT_TIMESTAMP]
    types = {features.QUERY_ID: pa.int64(), features.PRODUCT_ID: pa.string(), features.BRAND: pa.string()}
    if not workdir.pairs.is_file():
        raise SqidflowError("the prepared pairs are not there", where=workdir.pairs, hint="run `sqidflow features`")
    return pacsv.read_csv(
        workdir.pairs, convert_options=pacsv.ConvertOptions(include_columns=columns, column_types=types)
    )


def _seen(pairs: pa.Table, scores: pa.Table) -> tuple[set[str], list | None]:
    """Products of pairs that are not held out, and the time of each held-out pair; None where the data have none."""
    held_out = set(scores[features.QUERY_ID].to_pylist())
    ids = zip(pairs[features.QUERY_ID].to_pylist(), pairs[features.PRODUCT_ID].to_pylist())
    time_of: dict[tuple[int, str], Any] = {}
    seen = set()
    for (query, product), moment in zip(ids, pairs[features.EVENT_TIMESTAMP].to_pylist()):
        if query in held_out:
            time_of[query, product] = moment
        else:
            seen.add(product)
    wanted = zip(scores[features.QUERY_ID].to_pylist(), scores[features.PRODUCT_ID].to_pylist())
    times = [time_of.get(pair) for pair in wanted]
    return seen, None if None in times or len(set(times)) < 2 else times


def _brands(pairs: pa.Table) -> dict[str, str]:
    return {
        product: brand or ""
        for product, brand in zip(pairs[features.PRODUCT_ID].to_pylist(), pairs[features.BRAND].to_pylist())
    }


def query_counts(workdir: Workdir) -> dict[str, int]:
    """How often each query was searched, in lower case, by the query log; none where it has too few lines."""
    searches = read_queries(workdir.var / "search", datetime.now(UTC), Reading())
    counts = Counter(search.user_query.lower().strip() for search in searches)
    return dict(counts) if counts.total() >= _LEAST_FREQUENCY_LINES else {}
