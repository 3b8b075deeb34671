"""What a worker holds open: the variants, and everything beside the search itself. Made once, at start."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sqidflow.core.errors import SqidflowError
from sqidflow.core.model_files import ZERO_SHOT_VERSION
from sqidflow.core.pushes import newest_model, pinned_version, pushed_models
from sqidflow.core.settings import Settings
from sqidflow.core.workdir import Workdir
from sqidflow.search import schemas
from sqidflow.search.cache import AnswerCache, open_cache
from sqidflow.search.engine import Request, SearchCore
from sqidflow.search.experiments import Experiments
from sqidflow.search.feature_lookup import FeatureLookup
from sqidflow.search.index import VOCABULARY_FILE, Meta, ProductIndex, index_folders
from sqidflow.search.query_encoder import make_encoder
from sqidflow.search.query_log import STORE_FILE, QueryLog
from sqidflow.search.ranker import load_ranker
from sqidflow.search.rewrite import GeminiRewriter, LocalRewriter, NoRewriter, Rewriter, local_rewriter
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


@dataclass(frozen=True)
class Opened:
    """What a variant was, as its identity says it."""

    variant: str
    index: str
    model: str


def opened_in(identities: str) -> list[Opened]:
    """The variants that identities name, which blanks part; what is none is left out."""
    parts = (each.split(":") for each in identities.split(" "))
    return [Opened(*each[:3]) for each in parts if len(each) > 3 and each[0] in ("a", "b")]


@dataclass(frozen=True)
class Choice:
    """What is to be opened: version and name of the index's folder each; ``canary`` and ``shadow`` None for none."""

    served: tuple[str, str]
    canary: tuple[str, str] | None = None
    shadow: tuple[str, str] | None = None

    @classmethod
    def of(cls, served: tuple[str, Path], canary: tuple[str, Path] | None, shadow: tuple[str, Path] | None) -> Choice:
        """From version and index each."""
        beside = ((each[0], each[1].name) if each else None for each in (canary, shadow))
        return cls((served[0], served[1].name), *beside)


@dataclass
class Service:
    """A worker's state. A request is answered by one of these from beginning to end, so that model, index and features
    are of one version.

    ``canary``: the same with another model, for a share of the clients; None without one. ``shadow`` searches beside
    the answers and is not shown. ``choice``: what was to be opened, also where that failed for canary or shadow.
    ``previous``: the model that was served before, still open: to go back to it takes no time.
    """

    settings: Settings
    workdir: Workdir
    variants: dict[str, Variant]
    cache: AnswerCache
    log: QueryLog
    experiments: Experiments
    features: FeatureLookup
    runs: Runs
    choice: Choice
    canary: Service | None = None
    shadow: Variant | None = None
    previous: dict[str, Variant] | None = None

    def for_client(self, client: str) -> Service:
        """The service that answers a client: the canary for a stable share of the ids."""
        if self.canary is None:
            return self
        # The version is hashed too: it is not always the same clients who try what is new.
        digest = hashlib.sha256(f"{self.canary.opened[0]}:{client}".encode("utf-8", "surrogatepass")).digest()
        drawn = (int.from_bytes(digest[:8], "big") >> 11) / 2**53
        return self.canary if drawn < self.settings.search.canary_share else self

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


def open_service(
    workdir: Workdir, settings: Settings, environment: dict[str, str], before: Service | None = None
) -> Service:
    """Open both variants, and canary and shadow where the settings ask for them.

    Args:
        before: what answers now. Its log, cache and stores are used on, and what it has open is not opened again.

    Raises:
        SqidflowError: no model, no index of it, or parts that do not belong together.
    """
    version, index = choose(workdir, settings)
    if before is None:
        note = not_served(workdir, version)
        if note:
            _LOG.warning(note)
    beside = chosen_beside(workdir, settings, version)
    choice = Choice.of((version, index), *beside)
    opener = _Opener(workdir, settings, environment, before)
    variants = opener.variants(version, index)
    service = (
        replace(before, variants=variants, choice=choice) if before else _first(workdir, settings, variants, choice)
    )
    if before is not None and before.opened[0] != version:
        service.previous = before.variants
    canary, shadow = beside
    service.canary = service.shadow = None
    try:
        if canary is not None:
            service.canary = replace(service, variants=opener.variants(*canary))
    except SqidflowError as error:
        _LOG.warning("no canary: %s", error.message)
    try:
        if shadow is not None:
            service.shadow = opener.variants(*shadow)["a"]
            if service.canary is not None:
                service.canary.shadow = service.shadow
    except SqidflowError as error:
        _LOG.warning("no shadow: %s", error.message)
    return service


def _first(workdir: Workdir, settings: Settings, variants: dict[str, Variant], choice: Choice) -> Service:
    folder = workdir.var / "search"
    return Service(
        settings,
        workdir,
        variants,
        open_cache(settings),
        QueryLog(folder, settings.search, folder / STORE_FILE),
        Experiments(folder / STORE_FILE),
        FeatureLookup(workdir.artifacts, settings.redis_url),
        Runs(settings.tracking.uri, workdir.mlflow, settings.tracking.experiment, settings.search.mlflow_url),
        choice,
    )


class _Opener:
    """Opens what searches; nothing twice."""

    def __init__(
        self, workdir: Workdir, settings: Settings, environment: dict[str, str], before: Service | None
    ) -> None:
        self._workdir, self._settings, self._environment = workdir, settings, environment
        self._open: dict[tuple[str, str], SearchCore] = {}
        self._spellers: dict[tuple[str, str], LocalRewriter] = {}
        if before is None:
            return
        beside = [before.shadow] if before.shadow else []
        served = [before.previous or {}, before.canary.variants if before.canary else {}, before.variants]
        for variant in (*beside, *(variant for variants in served for variant in variants.values())):
            self._keep(variant.core)

    def variants(self, version: str, index: Path) -> dict[str, Variant]:
        search = self._settings.search
        version_b = search.model_b or version
        index_b = index if version_b == version else find_index(self._workdir, self._settings, version_b)
        core_a = self._core(version, index, search.retrieval_a)
        core_b = self._core(version_b, index_b, search.retrieval_b)
        for core in (core_a, core_b):
            core.search(Request("warm up"))  # what is imported and mapped on first use is so before the first client
        return {"a": Variant("a", core_a, _versions(core_a)), "b": Variant("b", core_b, _versions(core_b))}

    def _core(self, version: str, index: Path, retrieval: Any) -> SearchCore:
        core = self._open.get((version, index.name))
        if core is None or core.index.meta != Meta.read(index):  # it may have been built anew under the same name
            core = open_core(
                self._workdir, version, index, self._settings, retrieval, self._environment, self._spellers
            )
            self._keep(core)
        if core.retrieval == retrieval:
            return core
        return SearchCore(core.index, core.ranker, core.encoder, core.rewriter, retrieval, core.count, core.encoding)

    def _keep(self, core: SearchCore) -> None:
        self._open[core.ranker.version, core.index.folder.name] = core
        # A file of synonyms may have changed since; without one nothing but the vocabulary decides.
        if isinstance(core.rewriter, LocalRewriter) and not self._settings.search.synonyms:
            self._spellers[vocabulary_of(core.index)] = core.rewriter


def choose(workdir: Workdir, settings: Settings) -> tuple[str, Path]:
    """The version that is to be served, and its index: the pinned one; else the newest ranker that has an index, which
    is a pushed model or the untrained one.

    A model that was pushed a moment ago and is not indexed yet must not keep a worker from starting. A pinned one that
    has no index does: another would undo the rollback.

    Raises:
        SqidflowError: no index of any, or of the pinned one; the delivery record is damaged.
    """
    pinned = pinned_version(workdir.serving)
    if pinned is not None:
        try:
            return pinned, find_index(workdir, settings, pinned)
        except SqidflowError as error:
            raise SqidflowError(
                f"model {pinned} is pinned and has no product index",
                where=workdir.index,
                hint=f"build it: `sqidflow index --version {pinned}`, or lift the pin: `sqidflow rollback --release`",
            ) from error
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


def chosen_beside(
    workdir: Workdir, settings: Settings, served: str
) -> tuple[tuple[str, Path] | None, tuple[str, Path] | None]:
    """Version and index of the canary and of the shadow; None for what is off, has no index, or is served anyway."""
    search = settings.search
    canary = shadow = None
    if search.canary_share > 0:
        pushed = [folder.name for folder in pushed_models(workdir.serving)]
        for version in (search.canary_model,) if search.canary_model else pushed:
            with suppress(SqidflowError):
                canary = version, find_index(workdir, settings, version)
                break
    if search.shadow_model:
        with suppress(SqidflowError):
            shadow = search.shadow_model, find_index(workdir, settings, search.shadow_model)
    return (canary if canary and canary[0] != served else None), (shadow if shadow and shadow[0] != served else None)


def not_served(workdir: Workdir, version: str) -> str | None:
    """Why the newest push is not what is served, in a sentence; None where it is."""
    newest = newest_model(workdir.serving)
    if newest is None or newest.name == version:
        return None
    if pinned_version(workdir.serving) == version:
        return f"model {version} answers, it is pinned: {newest.name} is newer; `sqidflow rollback --release` serves it"
    return f"model {version} answers: {newest.name} has no index yet"


def is_newer(workdir: Workdir, version: str, than: str) -> bool:
    """Whether a ranker came after another, by the order of pushes; the untrained one stands before all."""
    order = [folder.name for folder in pushed_models(workdir.serving)]

    def place(of: str) -> int:
        return order.index(of) if of in order else len(order)

    return place(version) < place(than)


def open_core(
    workdir: Workdir,
    version: str,
    index_folder: Path,
    settings: Settings,
    retrieval: Any,
    environment: dict[str, str],
    spellers: Mapping[tuple[str, str], LocalRewriter] = MappingProxyType({}),
) -> SearchCore:
    """What searches one index with one pushed model.

    Args:
        environment: may have the keys of Gemini.
        spellers: that are open already, by :func:`vocabulary_of` their index.

    Raises:
        SqidflowError: the index or the model cannot be read, or they do not belong together.
    """
    index = ProductIndex(index_folder)
    meta, model = index.meta, settings.search.encoder_model or index.meta.encoder_model
    ranker = load_ranker(workdir.serving, version, meta.dim)
    name = settings.search.encoder or meta.encoder
    encoder = make_encoder(name, model, meta.dim)
    return SearchCore(
        index, ranker, encoder, _rewriter(settings, index, environment, spellers), retrieval, settings.search.candidates
    )


def vocabulary_of(index: ProductIndex) -> tuple[str, str]:
    """Two indexes that agree in it have one speller: that depends on the vocabulary and the language."""
    file = index.meta.files.get(VOCABULARY_FILE)
    return (file.sha256 if file is not None else str(index.folder)), index.words.language


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


def _rewriter(
    settings: Settings,
    index: ProductIndex,
    environment: dict[str, str],
    spellers: Mapping[tuple[str, str], LocalRewriter],
) -> Rewriter:
    if settings.search.rewrite == "none":
        return NoRewriter()
    local = spellers.get(vocabulary_of(index)) or local_rewriter(index, settings.search)
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
