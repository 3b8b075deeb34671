"""What a worker holds open: the variants, and everything beside the search itself. Made once, at start."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqidflow.core.errors import SqidflowError
from sqidflow.core.model_files import ZERO_SHOT_VERSION
from sqidflow.core.pushes import newest_model, pushed_models
from sqidflow.core.settings import Settings
from sqidflow.core.workdir import Workdir
from sqidflow.search import schemas
from sqidflow.search.cache import AnswerCache, open_cache
from sqidflow.search.engine import Request, SearchCore
from sqidflow.search.experiments import Experiments
from sqidflow.search.feature_lookup import FeatureLookup
from sqidflow.search.index import Meta, ProductIndex, index_folders
from sqidflow.search.query_encoder import make_encoder
from sqidflow.search.query_log import STORE_FILE, QueryLog
from sqidflow.search.ranker import load_ranker
from sqidflow.search.rewrite import GeminiRewriter, NoRewriter, Rewriter, local_rewriter
from sqidflow.search.runs import Runs

_LOG = logging.getLogger(__name__)
MONITORING_REPORT, MONITORING_PAGE = "monitoring/report.json", "monitoring/index.html"
"""Below the workdir's artifacts: what `sqidflow monitor` writes and the service shows."""
GEMINI_KEYS = ("GEMINI_API_KEY", "GOOGLE_API_KEY")


@dataclass
class Variant:
    """One of the two that are compared."""

    name: schemas.VariantName
    core: SearchCore
    versions: schemas.Versions

    @property
    def identity(self) -> str:
        """Changes with all that decides an answer."""
        meta = self.core.index.meta
        core = self.core
        parts = (self.name, meta.digest, meta.model_version, core.retrieval, core.rewriter.name, core.count)
        return ":".join(map(str, parts))


@dataclass
class Service:
    """A worker's state."""

    settings: Settings
    workdir: Workdir
    variants: dict[str, Variant]
    cache: AnswerCache
    log: QueryLog
    experiments: Experiments
    features: FeatureLookup
    runs: Runs

    @property
    def a(self) -> Variant:
        return self.variants["a"]

    @property
    def pair(self) -> str:
        """Both variants' identities."""
        return " ".join(variant.identity for variant in self.variants.values())

    @property
    def opened(self) -> tuple[str, str]:
        """Version of variant a's ranker, name of its index's folder."""
        return self.a.core.ranker.version, self.a.core.index.folder.name

    def close(self) -> None:
        self.log.close()
        self.cache.close()
        self.experiments.close()
        self.features.close()


def open_service(workdir: Workdir, settings: Settings, environment: dict[str, str]) -> Service:
    """Open both variants.

    Raises:
        SqidflowError: no model, no index of it, or parts that do not belong together.
    """
    version, index = choose(workdir, settings)
    newest = newest_model(workdir.serving)
    if newest is not None and newest.name != version:
        _LOG.warning("model %s answers: %s has no index yet", version, newest.name)
    core_a = open_core(workdir, version, index, settings, settings.search.retrieval_a, environment)
    version_b = settings.search.model_b or version
    if version_b == version:
        core_b = SearchCore(
            core_a.index, core_a.ranker, core_a.encoder, core_a.rewriter, settings.search.retrieval_b, core_a.count,
            core_a.encoding,
        )  # fmt: skip
    else:
        index_b = find_index(workdir, settings, version_b)
        core_b = open_core(workdir, version_b, index_b, settings, settings.search.retrieval_b, environment)
    for core in (core_a, core_b):
        core.search(Request("warm up"))  # what is imported and mapped on first use is so before the first client
    variants = {"a": Variant("a", core_a, _versions(core_a)), "b": Variant("b", core_b, _versions(core_b))}
    place = workdir.var / "search"
    return Service(
        settings,
        workdir,
        variants,
        open_cache(settings),
        QueryLog(place, settings.search, place / STORE_FILE),
        Experiments(place / STORE_FILE),
        FeatureLookup(workdir.artifacts, settings.redis_url),
        Runs(settings.tracking.uri, workdir.mlflow, settings.tracking.experiment, settings.search.mlflow_url),
    )


def choose(workdir: Workdir, settings: Settings) -> tuple[str, Path]:
    """The version of the newest ranker that has an index, and the index: a pushed model, else the untrained one.

    A model that was pushed a moment ago and is not indexed yet must not keep a worker from starting.

    Raises:
        SqidflowError: no index of any.
    """
    pushed = [folder.name for folder in pushed_models(workdir.serving)]
    for version in (*pushed, ZERO_SHOT_VERSION):
        with suppress(SqidflowError):
            return version, find_index(workdir, settings, version)
    if pushed:
        return pushed[0], find_index(workdir, settings, pushed[0])
    raise SqidflowError(
        "there is no pushed model and no index",
        where=workdir.serving,
        hint="train and push one: `sqidflow run`, or search without: `sqidflow quickstart --products FILE`",
    )


def is_newer(workdir: Workdir, version: str, than: str) -> bool:
    """Whether a ranker came after another, by the order of pushes; the untrained one stands before all."""
    order = [folder.name for folder in pushed_models(workdir.serving)]

    def place(of: str) -> int:
        return order.index(of) if of in order else len(order)

    return place(version) < place(than)


def open_core(
    workdir: Workdir, version: str, index_folder: Path, settings: Settings, retrieval: Any, environment: dict[str, str]
) -> SearchCore:
    """What searches one index with one pushed model; ``environment`` may have the keys of Gemini.

    Raises:
        SqidflowError: the index or the model cannot be read, or they do not belong together.
    """
    index = ProductIndex(index_folder)
    meta, model = index.meta, settings.search.encoder_model or index.meta.encoder_model
    ranker = load_ranker(workdir.serving, version, meta.dim)
    name = settings.search.encoder or meta.encoder
    encoder = make_encoder(name, model, meta.dim)
    return SearchCore(
        index, ranker, encoder, _rewriter(settings, index, environment), retrieval, settings.search.candidates
    )


def find_index(workdir: Workdir, settings: Settings, version: str) -> Path:
    """The index of a model that was built with these settings; of several the one that was asked for last.

    Raises:
        SqidflowError: there is none.
    """
    for folder in index_folders(workdir.index):
        with suppress(SqidflowError):
            if Meta.read(folder).serves(version, settings.search):
                return folder
    raise SqidflowError(f"no product index of model {version}", where=workdir.index, hint="run `sqidflow index`")


def _rewriter(settings: Settings, index: ProductIndex, environment: dict[str, str]) -> Rewriter:
    if settings.search.rewrite == "none":
        return NoRewriter()
    local = local_rewriter(index, settings.search)
    if settings.search.rewrite == "local":
        return local
    key = next((environment[name] for name in GEMINI_KEYS if environment.get(name)), None)
    if key is None:
        _LOG.warning("search.rewrite is gemini and %s is not set: spelling is corrected locally", GEMINI_KEYS[0])
        return local
    try:
        return GeminiRewriter(
            key, settings.search.gemini_model, local, settings.search.gemini_timeout_s, settings.search.gemini_url
        )
    except ImportError as error:
        raise SqidflowError(
            "google-genai is not installed", where="search.rewrite", hint="install the extra: sqidflow[gemini]"
        ) from error


def _versions(core: SearchCore) -> schemas.Versions:
    meta = core.index.meta
    return schemas.Versions(
        model=meta.model_version,
        model_name=meta.model,
        mlflow_run_id=meta.mlflow_run_id,
        feature_service=meta.feature_service,
        feature_contract=meta.feature_contract,
        data_hash=meta.data_hash,
        git_commit=meta.git_commit,
        encoder=meta.encoder,
        index=meta.digest,
    )
