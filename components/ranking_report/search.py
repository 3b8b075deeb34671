"""Search in the whole catalogue with a candidate model, on held-out queries, through the core that the service runs."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from sqidflow.core.errors import SqidflowError
from sqidflow.core.settings import SearchSettings
from sqidflow.encoders.base import Encoder
from sqidflow.evaluation.whole_catalogue import DECIDING, Searched, measure_query
from sqidflow.indexing.build import Catalogue, Judgements, build
from sqidflow.indexing.catalogue import read_catalogue, read_queries
from sqidflow.indexing.kept_words import words_of
from sqidflow.indexing.publish import seal
from sqidflow.ranking import features
from sqidflow.ranking.rankers import Ranker, ZeroShotRanker
from sqidflow.ranking.retrieval import Fusion, best_rows
from sqidflow.ranking.served import ReadWords
from sqidflow.search.engine import Request, SearchCore, clean
from sqidflow.search.index import FORMAT, Meta, ProductIndex
from sqidflow.search.query_encoder import make_encoder
from sqidflow.search.ranker import OnnxRanker
from sqidflow.search.rewrite import NoRewriter, local_rewriter

MOST_QUERIES = 400
"""Held-out queries that are searched; a service's second of answers, and intervals of a few hundredths."""
BM25, COSINE, FUSION = "bm25", "cosine", "fusion"
UNTRAINED = (BM25, COSINE, FUSION)
_DEPTH = 100
_UNKNOWN_ENCODER = "unknown"


class StoredQueries:
    """An encoder that has the vectors of known queries; what it does not know, another one encodes."""

    sees_pictures = False

    def __init__(self, name: str, vectors: Mapping[str, np.ndarray], dim: int, other: Encoder | None) -> None:
        self.name, self.dim, self._vectors, self._other = name, dim, vectors, other

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [n, dim]; zeros for a text without a vector."""
        out = np.zeros((len(texts), self.dim), np.float32)
        for row, text in enumerate(texts):
            if text in self._vectors:
                out[row] = self._vectors[text]
            elif self._other is not None:
                out[row] = self._other.encode_texts([text])[0]
        return out

    def encode_images(self, images: Sequence[bytes]) -> np.ndarray:
        """Raises ValueError: there are texts alone."""
        raise ValueError("no pictures are encoded here")


@dataclass(frozen=True)
class HeldOut:
    """A query: its text, its vector float32 [d], and class ids by product id, one Exact at least."""

    text: str
    vector: np.ndarray
    judged: Mapping[str, int]


def held_out_queries(scores: pa.Table, artifacts_dir: Path, dim: int) -> list[HeldOut]:
    """At most ``MOST_QUERIES`` of those with an Exact product, the same ones each time; ``scores`` as of
    ``component.score_split``."""
    judged: dict[int, dict[str, int]] = {}
    texts: dict[int, str] = {}
    columns = (features.QUERY_ID, features.QUERY, features.PRODUCT_ID, features.RATING)
    for query, text, product, rating in zip(*(scores[name].to_pylist() for name in columns)):
        judged.setdefault(query, {})[product] = rating
        texts[query] = text
    exact = [query for query, labels in judged.items() if features.CLASS_IDS["E"] in labels.values()]
    chosen = sorted(exact, key=lambda query: hashlib.md5(str(query).encode()).digest())[:MOST_QUERIES]
    ids, vectors = read_queries(artifacts_dir, dim)
    row_of = {query: row for row, query in enumerate(ids)}
    return [HeldOut(texts[query], vectors[row_of[query]], judged[query]) for query in sorted(chosen)]


def measure_search(
    model_dir: Path,
    model: str,
    config: Mapping[str, Any],
    scores: pa.Table,
    audit: Callable[[SearchCore], None] | None = None,
) -> Searched | None:
    """Search each held-out query with the candidate and with what needs no training; None where no query has an Exact.

    Args:
        config: as FeatureJoin is told of the catalogue, with the ``encoder``, None where nobody knows whose the vectors
            are, and settings of search in ``search``.
        audit: as :func:`search_with` takes it.
    """
    artifacts_dir = Path(config["artifacts_dir"])
    ranker = OnnxRanker(model_dir)
    queries = held_out_queries(scores, artifacts_dir, ranker.dim)
    if not queries:
        return None
    catalogue = read_catalogue(artifacts_dir)
    read = words_of(artifacts_dir, catalogue, config["language"])
    with tempfile.TemporaryDirectory(prefix="sqidflow-report-") as folder:
        return search_with(Path(folder), ranker, model, config, catalogue, queries, audit, read)


def search_with(
    folder: Path,
    ranker: Ranker,
    model: str,
    config: Mapping[str, Any],
    catalogue: Catalogue,
    queries: Sequence[HeldOut],
    audit: Callable[[SearchCore], None] | None = None,
    read: ReadWords | None = None,
) -> Searched:
    """Search with a ranker, called ``model`` in the result, and with the methods without training.

    Args:
        folder: an index is built there. config: as of :func:`measure_search`. audit: called with the ranker's core,
            where there is an encoder for any text. read: the catalogue's words, where they have been read already.
    """
    search = SearchSettings(**config["search"])
    name, vectors = config["encoder"], {clean(query.text): query.vector for query in queries}
    other: Encoder | None = None
    if name is not None:
        with suppress(SqidflowError):  # the vectors of the queries as they are typed are known
            other = make_encoder(name, search.encoder_model, ranker.dim)
    encoder = StoredQueries(other.name if other else name or _UNKNOWN_ENCODER, vectors, ranker.dim, other)
    nothing = Judgements(np.zeros(0, np.int64), np.zeros(0, np.int64), (), ())
    asked = np.array([query.vector for query in queries])
    made_of = _meta(config, ranker, encoder, len(catalogue.product_ids))
    meta = build(folder, catalogue, nothing, (), asked, ranker, made_of, config["language"], read=read)

    def core(of: Ranker) -> SearchCore:
        seal(folder, replace(meta, model_version=of.version, model=of.name))
        index = ProductIndex(folder)
        rewriter = local_rewriter(index, search) if other is not None and search.rewrite != "none" else NoRewriter()
        return SearchCore(index, of, encoder, rewriter, "hybrid", config["candidates"])

    cores = {model: core(ranker), FUSION: core(ZeroShotRanker(ranker.dim))}
    index = cores[FUSION].index
    if audit is not None and other is not None:
        audit(cores[model])

    def answer(method: str, query: HeldOut) -> list[str]:
        if method in cores:
            found = cores[method].search(Request(query.text, k=_DEPTH, threshold=0.0))
            return [hit.product_id for hit in found.hits]
        if method == COSINE:
            return index.product_ids(cores[FUSION].nearest(features.unit(query.vector), _DEPTH))
        bm25 = index.words.scores(index.words.terms(query.text))
        return [] if bm25 is None else index.product_ids(best_rows(bm25, _DEPTH))

    return Searched(
        {
            method: np.array([measure_query(answer(method, query), query.judged) for query in queries])
            for method in (*UNTRAINED, model)
        },
        UNTRAINED,
    )


def _meta(config: Mapping[str, Any], ranker: Ranker, encoder: Encoder, products: int) -> Meta:
    made_of = ranker.provenance
    return Meta(
        digest="report", format=FORMAT, products=products, with_picture=0, dim=ranker.dim, encoder=encoder.name,
        encoder_model=None, model_version=ranker.version, model=ranker.name,
        feature_contract=made_of.feature_contract, feature_service=made_of.feature_service,
        data_hash=made_of.data_hash, git_commit=made_of.git_commit, mlflow_run_id=made_of.mlflow_run_id,
        synthetic=False, kind="", nprobe=None, recall_at_10=0.0, recall_at_100=0.0, candidates=config["candidates"],
        fusion=ranker.fusion or Fusion.read(config["fusion"]),
    )  # fmt: skip


def blocking_line(searched: Searched | None, model: str) -> str | None:
    """Why the model may not be blessed by its search; None where it may."""
    if searched is None or not searched.is_worse(model):
        return None
    best, difference = searched.best_untrained, searched.difference(model)
    values = {name: searched.of(name, DECIDING).mean() for name in (model, best)}
    return (
        f"in whole-catalogue search its MRR {values[model]:.3f} is below the {values[best]:.3f} of {best}, which needs "
        f"no training ({difference.mean:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}], "
        f"{searched.queries} held-out queries)"
    )
