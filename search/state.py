"""What a worker holds open: the variants, and everything beside the search itself. Made once, at start."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encoders.registry import kind_of
from pipeline.errors import SqidflowError
from pipeline.settings import Settings
from pipeline.workdir import Workdir
from search import schemas
from search.cache import AnswerCache, open_cache
from search.engine import Request, SearchCore
from search.experiments import Experiments
from search.feature_lookup import FeatureLookup
from search.index import Meta, ProductIndex, index_folders
from search.query_encoder import make_encoder
from search.query_log import QueryLog
from search.ranker import Ranker, newest_model
from search.rewrite import GeminiRewriter, LocalRewriter, NoRewriter, Rewriter
from search.runs import Runs

_LOG = logging.getLogger(__name__)
GEMINI_KEYS = ("GEMINI_API_KEY", "GOOGLE_API_KEY")


@dataclass
class Variant:
    """One of the two that are compared."""

    name: schemas.VariantName
    core: SearchCore
    versions: schemas.Versions

    @property
    def cache_key(self) -> str:
        """Changes with all that decides an answer."""
        meta = self.core.index.meta
        return f"{self.name}:{meta.digest}:{meta.model_version}:{self.core.retrieval}:{self.core.rewriter.name}"


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

    def close(self) -> None:
        self.log.close()
        self.cache.close()


def open_service(workdir: Workdir, settings: Settings, environment: dict[str, str]) -> Service:
    """Open both variants.

    Raises:
        SqidflowError: no model, no index of it, or parts that do not belong together.
    """
    folder = newest_model(workdir.serving)
    if folder is None:
        raise SqidflowError(
            "there is no pushed model", where=workdir.serving, mend="train and push one: `sqidflow run`"
        )
    core_a = _core(workdir, settings, folder, settings.search.retrieval_a, environment, None)
    folder_b = workdir.serving / settings.search.model_b if settings.search.model_b else folder
    core_b = _core(workdir, settings, folder_b, settings.search.retrieval_b, environment, core_a)
    for core in (core_a, core_b):
        core.search(Request("warm up"))  # what is imported and mapped on first use is so before the first client
    variants = {"a": Variant("a", core_a, _versions(core_a)), "b": Variant("b", core_b, _versions(core_b))}
    place = workdir.var / "search"
    return Service(
        settings,
        workdir,
        variants,
        open_cache(settings),
        QueryLog(place, settings.search, place / "experiments.db"),
        Experiments(place / "experiments.db"),
        FeatureLookup(workdir.artifacts, settings.redis_url),
        Runs(settings.tracking.uri, workdir.mlflow, settings.tracking.experiment, settings.search.mlflow_url),
    )


def _core(
    workdir: Workdir,
    settings: Settings,
    folder: Path,
    retrieval: Any,
    environment: dict[str, str],
    other: SearchCore | None,
) -> SearchCore:
    if other is not None and other.ranker.version == folder.name:
        return SearchCore(
            other.index,
            other.ranker,
            other.encoder,
            other.rewriter,
            retrieval,
            settings.search.candidates,
            other.encoding,
        )
    ranker = Ranker(folder)
    index = ProductIndex(find_index(workdir, settings, ranker.version))
    meta, model = index.meta, settings.search.encoder_model or index.meta.encoder_model
    name = settings.search.encoder or meta.encoder
    encoder = make_encoder(name, model, meta.dim)
    return SearchCore(
        index, ranker, encoder, _rewriter(settings, index, environment), retrieval, settings.search.candidates
    )


def find_index(workdir: Workdir, settings: Settings, version: str) -> Path:
    """The newest whole index of a model. Raises SqidflowError where there is none."""
    for folder in index_folders(workdir.index):
        try:
            meta = Meta.read(folder)
        except SqidflowError:
            continue
        wanted = settings.search.encoder
        if meta.model_version == version and (wanted is None or kind_of(wanted) == kind_of(meta.encoder)):
            return folder
    raise SqidflowError(f"no product index of model {version}", where=workdir.index, mend="run `sqidflow index`")


def _rewriter(settings: Settings, index: ProductIndex, environment: dict[str, str]) -> Rewriter:
    if settings.search.rewrite == "none":
        return NoRewriter()
    local = LocalRewriter(index.document_counts)
    if settings.search.rewrite == "local":
        return local
    key = next((environment[name] for name in GEMINI_KEYS if environment.get(name)), None)
    if key is None:
        _LOG.warning("search.rewrite is gemini and %s is not set: spelling is mended locally", GEMINI_KEYS[0])
        return local
    try:
        return GeminiRewriter(
            key, settings.search.gemini_model, local, settings.search.gemini_timeout_s, settings.search.gemini_url
        )
    except ImportError as error:
        raise SqidflowError(
            "google-genai is not installed", where="search.rewrite", mend="install the extra: sqidflow[gemini]"
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
