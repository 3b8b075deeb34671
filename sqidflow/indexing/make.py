"""The verb `index`: plan, build, calibrate, publish. The index of a ranker, from the features that are prepared."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sqidflow.core.errors import SqidflowError
from sqidflow.core.settings import Settings
from sqidflow.core.workdir import Workdir
from sqidflow.indexing import calibrate, publish
from sqidflow.indexing.build import Catalogue, build
from sqidflow.indexing.catalogue import (
    is_synthetic,
    judgements_of,
    read_catalogue,
    read_pairs,
    read_pictures,
    read_queries,
)
from sqidflow.indexing.fusion import fusion_of
from sqidflow.indexing.plan import IndexPlan, plan_index
from sqidflow.ranking.languages import language_of
from sqidflow.ranking.retrieval import Fusion
from sqidflow.search.engine import SearchCore
from sqidflow.search.index import FACETS_FILE, FORMAT, Meta, ProductIndex, ask_for
from sqidflow.search.off_catalogue import OFF_CATALOGUE
from sqidflow.search.query_encoder import make_encoder
from sqidflow.search.rewrite import NoRewriter, local_rewriter

if TYPE_CHECKING:
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


def present_index(workdir: Workdir, plan: IndexPlan) -> IndexMade | None:
    """The index that was planned where it is there and whole, else None.

    It becomes the one that was asked for last: of several the service takes that, and it is not among the oldest, which
    are deleted.
    """
    target = workdir.index / plan.digest
    try:
        meta = publish.verify(target)
    except SqidflowError:
        return None
    ask_for(target)
    return IndexMade(target, meta, 0.0, True)


def make_index(
    workdir: Workdir, settings: Settings, *, version: str | None = None, say: Callable[[str], None] = lambda text: None
) -> IndexMade:
    """Build the index of a ranker, unless it is there.

    Args:
        version: as :func:`plan_index` takes it.

    Raises:
        SqidflowError: no model; no features, or not those of the data; another encoder than the data's.
    """
    started = time.monotonic()
    plan = plan_index(workdir, settings, version)
    present = present_index(workdir, plan)
    if present is not None:
        return replace(present, seconds=time.monotonic() - started)
    ranker = plan.ranker
    encoder = make_encoder(plan.encoder, settings.search.encoder_model, ranker.dim)
    say("reading the prepared products")
    catalogue = read_catalogue(workdir.artifacts)
    pairs = read_pairs(workdir.pairs)
    query_ids, query_vectors = read_queries(workdir.artifacts, ranker.dim)
    texts = dict(zip(pairs["query_id"].to_pylist(), pairs["query"].to_pylist()))
    if texts:
        asked = [at for at, query in enumerate(query_ids) if query in texts][:_CHECKED_TEXTS]
        _check_encoder(encoder, [texts[query_ids[at]] for at in asked], query_vectors[asked], "query")
    else:
        titled = [row for row, title in enumerate(catalogue.titles) if title][:_CHECKED_TEXTS]
        _check_encoder(encoder, [catalogue.titles[row] for row in titled], catalogue.text[titled], "product")
    language = language_of(settings.data.language, settings.data.locale)
    fusion = ranker.fusion or fusion_of(catalogue.titles, encoder, language)
    target = workdir.index / plan.digest
    with publish.beside(target) as folder:
        say(f"vectors, words and texts of {len(catalogue.product_ids):,} products")
        rows = {product: row for row, product in enumerate(catalogue.product_ids)}
        meta = build(
            folder,
            catalogue,
            judgements_of(pairs, catalogue),
            read_pictures(workdir.data, rows),
            query_vectors if len(query_vectors) else _products_as_queries(catalogue),
            ranker,
            _meta(plan, settings, encoder.name, catalogue, is_synthetic(workdir.data), fusion),
            language,
            encoder.encode_texts([query for queries in OFF_CATALOGUE.values() for query in queries]),
        )
        say("calibrating what is not answered")
        validation = calibrate.validation_queries(plan.model, pairs)
        _add_samples(folder, validation, catalogue)
        calibration = calibrate.calibrate(_core(folder, plan, encoder, settings, "hybrid"), validation, catalogue)
        meta = replace(
            meta,
            fit=calibration.fit,
            score_cutoff=calibration.score_cutoff,
            picture_cutoff=calibration.picture_cutoff,
            calibration=calibration.document,
        )
        meta.write(folder)  # known items are searched as the service does, with the cut-offs
        if plan.model is not None:
            scores = workdir.evaluations / ranker.name / "scores.parquet"
            core = _core(folder, plan, encoder, settings, settings.search.retrieval_a)
            meta = replace(meta, known_items=calibrate.known_items(core, scores))
        say("checking the files")
        meta = publish.publish(folder, target, meta)
    return IndexMade(target, meta, time.monotonic() - started, False)


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
