"""The verb `index`: plan, build or update, calibrate, publish. The index of a ranker, from the prepared features."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sqidflow.core import feature_files
from sqidflow.core.errors import SqidflowError
from sqidflow.core.pushes import versions_to_keep
from sqidflow.core.settings import Settings
from sqidflow.core.workdir import Workdir
from sqidflow.data.attributes import declared_otherwise
from sqidflow.indexing import calibrate, publish
from sqidflow.indexing.build import EXACT, Catalogue, RecallError, Reuse, build
from sqidflow.indexing.catalogue import (
    Prepared,
    is_synthetic,
    judgements_of,
    open_catalogue,
    read_pairs,
    read_pictures,
    read_queries,
)
from sqidflow.indexing.changes import Changes, changes_since, newest_of, prints_of_index, why_not
from sqidflow.indexing.fusion import fusion_of
from sqidflow.indexing.kept_words import kept_words_of
from sqidflow.indexing.plan import IndexPlan, plan_index, short_digest
from sqidflow.ranking.languages import language_of
from sqidflow.ranking.retrieval import Fusion
from sqidflow.search.engine import SearchCore
from sqidflow.search.index import FACETS_FILE, FORMAT, Meta, ProductIndex, ask_for, index_folders
from sqidflow.search.off_catalogue import OFF_CATALOGUE
from sqidflow.search.query_encoder import make_encoder
from sqidflow.search.rewrite import NoRewriter, local_rewriter

if TYPE_CHECKING:
    import pyarrow as pa

    from sqidflow.encoders.base import Encoder

_CHECKED_TEXTS = 50
_LEAST_COSINE = 0.98
_MEASURED_QUERIES = 400
_SAMPLES = 8


@dataclass(frozen=True)
class IndexMade:
    """The result of `sqidflow index`. ``cached``: this very index existed already, unchanged in every byte."""

    folder: Path
    meta: Meta
    seconds: float
    cached: bool

    def as_dict(self) -> dict[str, Any]:
        return {
            "folder": str(self.folder),
            "cached": self.cached,
            "seconds": round(self.seconds, 2),
            **{k: v for k, v in asdict(self.meta).items() if k not in ("fit", "files")},
        }


def present_index(workdir: Workdir, plan: IndexPlan, *, updated: bool = True) -> IndexMade | None:
    """The index that was planned where it is there and whole, else None.

    It becomes the one that was asked for last: of several the service takes that, and it is not among the oldest, which
    are deleted.

    Args:
        updated: whether one will do that was not built whole but updated.
    """
    for folder in (workdir.index / plan.digest, *(index_folders(workdir.index) if updated else ())):
        with suppress(SqidflowError):
            if folder.name == plan.digest or Meta.read(folder).planned == plan.digest:
                meta = publish.verify(folder)
                ask_for(folder)
                return IndexMade(folder, meta, 0.0, True)
    return None


def make_index(
    workdir: Workdir,
    settings: Settings,
    *,
    version: str | None = None,
    full: bool = False,
    say: Callable[[str], object] = lambda text: None,
) -> IndexMade:
    """Build the index of a ranker, unless it is there; or update an older one of the same ranker, encoder, settings and
    code, where no more than ``search.update_share`` of its products changed.

    An update keeps the lists of vectors and the cut-offs; all the rest is as a full build gives. Recall is measured
    again, and all is built where it is too low.

    Args:
        version: as :func:`plan_index` takes it.
        full: do not update.

    Raises:
        SqidflowError: no model; no features, or not those of the data; another encoder than the data's.
    """
    started = time.monotonic()
    plan = plan_index(workdir, settings, version)
    otherwise = declared_otherwise(workdir.artifacts / feature_files.CATALOGUE, settings.data.attributes)
    if otherwise:
        say(f"note: {otherwise}")
    present = present_index(workdir, plan, updated=not full)
    if present is not None:
        return replace(present, seconds=time.monotonic() - started)
    ranker = plan.ranker
    encoder = make_encoder(plan.encoder, settings.search.encoder_model, ranker.dim)
    say("reading the prepared products")
    prepared = open_catalogue(workdir.artifacts)
    pairs = read_pairs(workdir.pairs)
    query_ids, query_vectors = read_queries(workdir.artifacts, ranker.dim)
    texts = dict(zip(pairs["query_id"].to_pylist(), pairs["query"].to_pylist()))
    if texts:
        asked = [at for at, query in enumerate(query_ids) if query in texts][:_CHECKED_TEXTS]
        _check_encoder(encoder, [texts[query_ids[at]] for at in asked], query_vectors[asked], "query")
    else:
        rows = prepared.first_of_file(_CHECKED_TEXTS)
        some = prepared.with_vectors(rows)
        _check_encoder(encoder, [some.titles[row] for row in rows], some.text[rows], "product")
    content = _Content(workdir, settings, plan, encoder, prepared, pairs, query_vectors)
    made = None if full else _updated(content, say)
    folder, meta = made or _built(content, say)
    return IndexMade(folder, meta, time.monotonic() - started, False)


@dataclass(frozen=True)
class _Content:
    """All that an index is made of, read."""

    workdir: Workdir
    settings: Settings
    plan: IndexPlan
    encoder: Encoder
    prepared: Prepared
    pairs: pa.Table
    query_vectors: np.ndarray

    @property
    def language(self) -> str:
        return language_of(self.settings.data.language, self.settings.data.locale)

    def write(self, folder: Path, catalogue: Catalogue, fusion: Fusion, reuse: Reuse | None = None) -> Meta:
        """Everything but the calibration.

        Args:
            catalogue: with the vectors that :func:`build` needs.
        """
        rows = {product: row for row, product in enumerate(catalogue.product_ids)}
        return build(
            folder,
            catalogue,
            judgements_of(self.pairs, catalogue),
            read_pictures(self.workdir.data, rows),
            self.query_vectors if len(self.query_vectors) else _products_as_queries(catalogue),
            self.plan.ranker,
            _meta(self.plan, self.settings, self.encoder.name, catalogue, is_synthetic(self.workdir.data), fusion),
            self.language,
            self.encoder.encode_texts([query for queries in OFF_CATALOGUE.values() for query in queries]),
            reuse,
            self.prepared.prints,
            kept_words_of(self.workdir.artifacts, catalogue, self.language) if reuse is None else None,
        )


def _built(content: _Content, say: Callable[[str], object]) -> tuple[Path, Meta]:
    workdir, settings, plan, encoder = content.workdir, content.settings, content.plan, content.encoder
    catalogue, ranker = content.prepared.with_vectors(), plan.ranker
    fusion = ranker.fusion or fusion_of(catalogue.titles, encoder, content.language)
    target = workdir.index / plan.digest
    with publish.beside(target) as folder:
        say(f"vectors, words and texts of {len(catalogue.product_ids):,} products")
        meta = content.write(folder, catalogue, fusion)
        say("calibrating what is not answered")
        validation = calibrate.validation_queries(plan.model, content.pairs)
        _add_samples(folder, validation, catalogue)
        calibration = calibrate.calibrate(_core(folder, plan, encoder, settings, "hybrid"), validation, catalogue)
        meta = replace(
            meta,
            fit=calibration.fit,
            score_cutoff=calibration.score_cutoff,
            picture_cutoff=calibration.picture_cutoff,
            calibration=calibration.document,
            built_products=meta.products,
            built_recall_at_10=meta.recall_at_10,
            built_recall_at_100=meta.recall_at_100,
        )
        meta.write(folder)  # known items are searched as the service does, with the cut-offs
        if plan.model is not None:
            scores = workdir.evaluations / ranker.name / "scores.parquet"
            core = _core(folder, plan, encoder, settings, settings.search.retrieval_a)
            meta = replace(meta, known_items=calibrate.known_items(core, scores))
        say("checking the files")
        return target, publish.publish(folder, target, meta, _models_to_keep(content))


def _updated(content: _Content, say: Callable[[str], object]) -> tuple[Path, Meta] | None:
    """Update the newest index that can be, else None."""
    workdir, plan = content.workdir, content.plan
    old = newest_of(workdir.index, plan.basis)
    if old is None:
        return None
    reuse, changes, catalogue = _changed(content.prepared, old)
    reason = why_not(old.meta, len(catalogue.product_ids), changes, content.settings.search.update_share)
    if reason is not None:
        say(f"building all of it: {reason}")
        return None
    say(
        f"updating index {old.meta.digest}: {changes.added:,} products added, {changes.changed:,} changed, "
        f"{changes.deleted:,} deleted"
    )
    before = old.meta
    target = workdir.index / short_digest([plan.digest, before.digest])
    with publish.beside(target) as folder:
        try:
            meta = content.write(folder, catalogue, before.fusion, reuse)
        except RecallError as error:
            say(f"building all of it: {error.message}")
            return None
        _add_samples(folder, calibrate.validation_queries(plan.model, content.pairs), catalogue)
        meta = replace(
            meta,
            digest=target.name,
            fit=before.fit,
            score_cutoff=before.score_cutoff,
            picture_cutoff=before.picture_cutoff,
            calibration=before.calibration,
            updated_from=before.digest,
            built_products=before.built_products,
            built_recall_at_10=before.built_recall_at_10,
            built_recall_at_100=before.built_recall_at_100,
            changed_since_build=before.changed_since_build + changes.count,
        )
        say("checking the files")
        return target, publish.publish(folder, target, meta, _models_to_keep(content))


def _changed(prepared: Prepared, old: ProductIndex) -> tuple[Reuse, Changes, Catalogue]:
    """What an index has of the products, how many are others, and the catalogue with the vectors that an update needs:
    those of the others alone, where prints tell which they are."""
    catalogue = prepared.without_vectors
    if prepared.prints is None or prints_of_index(old) is None:
        catalogue = prepared.with_vectors()
    reuse, changes = changes_since(old, catalogue, prepared.prints)
    if catalogue is prepared.without_vectors:
        few = old.meta.kind != EXACT and reuse.measured is not None
        catalogue = prepared.with_vectors(np.flatnonzero(reuse.vector_row < 0) if few else None)
    return reuse, changes, catalogue


def _models_to_keep(content: _Content) -> set[str]:
    search = content.settings.search
    named = (search.model_b, search.canary_model, search.shadow_model)
    return versions_to_keep(content.workdir.serving) | {version for version in named if version}


def _meta(
    plan: IndexPlan, settings: Settings, encoder: str, catalogue: Catalogue, synthetic: bool, fusion: Fusion
) -> Meta:
    ranker, made_of = plan.ranker, plan.ranker.provenance
    return Meta(
        digest=plan.digest, format=FORMAT, products=len(catalogue.product_ids),
        with_picture=int(catalogue.has_image.sum()), dim=ranker.dim, encoder=encoder,
        encoder_model=settings.search.encoder_model, model_version=ranker.version, model=ranker.name,
        feature_contract=made_of.feature_contract, feature_service=made_of.feature_service,
        data_hash=plan.data_hash, git_commit=made_of.git_commit, mlflow_run_id=made_of.mlflow_run_id,
        synthetic=synthetic, kind="", nprobe=None, recall_at_10=0.0, recall_at_100=0.0,
        candidates=settings.search.candidates, rewrite=settings.search.rewrite != "none",
        not_judged=len(catalogue.product_ids) - plan.prepared.products_judged,
        without_vector=plan.prepared.products_without_vector, model_data_hash=made_of.data_hash, fusion=fusion,
        planned=plan.digest, basis=plan.basis,
    )  # fmt: skip


def _core(folder: Path, plan: IndexPlan, encoder: Encoder, settings: Settings, retrieval: Any) -> SearchCore:
    index = ProductIndex(folder)
    # The model behind gemini answers differently every day: what it falls back to is what is calibrated.
    rewriter = NoRewriter() if settings.search.rewrite == "none" else local_rewriter(index, settings.search)
    return SearchCore(index, plan.ranker, encoder, rewriter, retrieval, settings.search.candidates)


def _check_encoder(encoder: Encoder, texts: list[str], vectors: np.ndarray, whose: str) -> None:
    """The data's texts, encoded anew, must be the vectors that are there.

    Args:
        vectors: float32 [n, d] of the n ``texts``.

    Raises:
        SqidflowError: they are another encoder's.
    """
    hint = "set search.encoder to the one that made the data's vectors"
    if encoder.dim != vectors.shape[1]:
        raise SqidflowError(
            f"it makes vectors of {encoder.dim}, the features have {vectors.shape[1]}",
            where=f"encoder {encoder.name}",
            hint=hint,
        )
    if not texts:
        return
    anew = encoder.encode_texts(texts)
    lengths = np.linalg.norm(anew, axis=1) * np.linalg.norm(vectors, axis=1)
    cosine = float(np.median((anew * vectors).sum(1) / np.maximum(lengths, 1e-12)))
    if cosine < _LEAST_COSINE:
        raise SqidflowError(
            f"the data's {whose} vectors are not its own (median cosine {cosine:.2f})",
            where=f"encoder {encoder.name}",
            hint=hint,
        )


def _products_as_queries(catalogue: Catalogue) -> np.ndarray:
    """What recall is measured with where there are no queries: vectors of products' texts."""
    rows = np.random.default_rng(0).permutation(len(catalogue.text))[:_MEASURED_QUERIES]
    return catalogue.text[np.sort(rows)]


def _add_samples(folder: Path, validation: calibrate.ValidationQueries, catalogue: Catalogue) -> None:
    """Leave some queries and products with pictures for the page to begin with."""
    queries = sorted(set(validation.texts), key=lambda text: hashlib.md5(text.encode()).digest())
    if not queries:
        queries = calibrate.sample_queries(catalogue.titles, _SAMPLES)
    pictured = np.flatnonzero(np.diff(np.load(folder / "pictures_offsets.npy")))
    chosen = pictured[np.linspace(0, len(pictured) - 1, min(_SAMPLES, len(pictured))).astype(int)]
    file = folder / FACETS_FILE
    facets = json.loads(file.read_text(encoding="utf-8"))
    facets["sample_queries"] = queries[:_SAMPLES]
    facets["sample_pictures"] = [catalogue.product_ids[row] for row in chosen]
    file.write_text(json.dumps(facets), encoding="utf-8")
