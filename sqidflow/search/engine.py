"""The search core, without HTTP: a query in, ranked, explained products out; the offline evaluation calls it too."""

from __future__ import annotations

import re
import threading
import time
import unicodedata
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from sqidflow.core.errors import SqidflowError
from sqidflow.encoders.base import Encoder
from sqidflow.ranking import features
from sqidflow.ranking.rankers import Candidates, Ranker
from sqidflow.ranking.retrieval import PICTURE_ALONE, candidate_rows
from sqidflow.search import fitness
from sqidflow.search.explain import Part, explain
from sqidflow.search.index import ProductIndex
from sqidflow.search.rewrite import Rewriter, Rewriting

Retrieval = Literal["hybrid", "vectors"]
_GAINS = features.CLASS_GAINS.astype(np.float32)
_SOMETHING_SAID = re.compile(r"[^\W_]")


class PictureError(ValueError):
    """An upload that is no picture, or more than the encoder takes."""


@dataclass(frozen=True)
class Request:
    """What is asked. ``image``: the bytes of a picture. ``threshold`` None takes the calibrated cut-off."""

    query: str = ""
    image: bytes | None = None
    k: int = 10
    threshold: float | None = None
    brands: tuple[str, ...] = ()
    colors: tuple[str, ...] = ()
    with_picture: bool = False
    explain: bool = False


@dataclass(frozen=True)
class Hit:
    """One product: ``row`` in the index, expected gain, class probabilities in the order of ``features.CLASSES``."""

    row: int
    product_id: str
    score: float
    probabilities: tuple[float, ...]
    explanation: tuple[Part, ...] | None = None


@dataclass(frozen=True)
class Refusal:
    """Why nothing is answered."""

    code: Literal["nothing_fits", "no_words", "filtered_out", "below_threshold"]
    message: str


@dataclass(frozen=True)
class Outcome:
    """An answer. ``similarity_z``: how far the top-k similarity stands out of the candidates', in their deviations."""

    rewritten: str
    hits: tuple[Hit, ...] = ()
    refusal: Refusal | None = None
    uncertain: bool = False
    cutoff: float = 0.0
    candidates: int = 0
    similarity_z: float = 0.0
    candidate_ids: tuple[str, ...] = ()
    candidate_scores: tuple[float, ...] = ()
    timings: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    """BM25 of every product for a query, float32 [products], None where no product has a word of it; and its most."""

    bm25: np.ndarray | None
    total_idf: float


@dataclass(frozen=True)
class Retrieved:
    """A query's candidates before they are ranked: rows in the index, zero-shot cosines, and what the ranker reads.

    The first ``unfiltered`` of them are those of the whole catalogue, whatever the filters; ``bm25_top`` is of it too.
    """

    rows: np.ndarray
    similarity: np.ndarray
    candidates: Candidates
    bm25_top: float
    unfiltered: int

    @property
    def signals(self) -> np.ndarray:
        """See ``sqidflow.search.fitness``: what the catalogue has for the query, not what a filter leaves of it."""
        whole = slice(self.unfiltered)
        return fitness.signals(self.similarity[whole], self.candidates.lexical[whole], self.bm25_top)


NOTHING_FITS = Refusal("nothing_fits", "No product of the catalogue fits this query.")
NO_WORDS = Refusal("no_words", "The query has no letter and no digit to search by.")
FILTERED_OUT = Refusal("filtered_out", "No product passes the filters.")
NONE_LEFT = Refusal("filtered_out", "No product that passes the filters fits this query.")
BELOW_THRESHOLD = Refusal("below_threshold", "No product reaches the threshold that was asked for.")


def clean(query: str) -> str:
    """The query without control characters, spaces run together; NFKC is left to who reads words."""
    printable = "".join(" " if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") else c for c in query)
    return " ".join(printable.split())


class SearchCore:
    """One variant: encoder, index, ranker and way of retrieval. For use by many threads."""

    def __init__(
        self,
        index: ProductIndex,
        ranker: Ranker,
        encoder: Encoder,
        rewriter: Rewriter,
        retrieval: Retrieval = "hybrid",
        candidates: int = 100,
        encoding: threading.Lock | None = None,
    ) -> None:
        """``encoding``: the lock of a core that shares the encoder, which not every encoder says it can do without.

        Raises:
            SqidflowError: encoder, index and ranker are not of one dimension and feature version.
        """
        parts = {"encoder": encoder.dim, "index": index.meta.dim, "ranker": ranker.dim}
        made_for = index.meta.model_version
        if len(set(parts.values())) > 1 or made_for != ranker.version or encoder.name != index.meta.encoder:
            raise SqidflowError(
                f"these do not belong together: encoder {encoder.name} (dimension {encoder.dim}), index "
                f"{index.meta.digest} (dimension {index.meta.dim}, encoder {index.meta.encoder}, features "
                f"{index.meta.feature_contract}, model {made_for}), ranker {ranker.version} (dimension {ranker.dim}, "
                f"features {ranker.provenance.feature_contract})",
                where="search",
                hint="run `sqidflow index`, or set search.encoder to the index's",
            )
        self.index, self.ranker, self.encoder, self.rewriter = index, ranker, encoder, rewriter
        self.retrieval, self.count = retrieval, candidates
        self.encoding = encoding or threading.Lock()

    @property
    def description(self) -> str:
        return f"{self.ranker.name}, {'hybrid retrieval' if self.retrieval == 'hybrid' else 'vectors only'}"

    def search(self, request: Request) -> Outcome:
        """Answer a request.

        Raises:
            PictureError: the upload cannot be used as a picture.
        """
        started = time.perf_counter()
        timings = {"rewrite_ms": 0.0, "encode_ms": 0.0, "retrieve_ms": 0.0, "rank_ms": 0.0}

        def lap(name: str) -> None:
            nonlocal started
            now = time.perf_counter()
            timings[name] += (now - started) * 1000
            started = now

        query = clean(request.query)
        cutoff = self.index.meta.score_cutoff if request.threshold is None else request.threshold
        if request.image is not None and request.threshold is None:
            cutoff = 0.0
        said = bool(_SOMETHING_SAID.search(query))
        rewriting = self.rewriter.rewriting(query) if said else Rewriting(query, query)
        rewritten = rewriting.text
        lap("rewrite_ms")

        def refuse(refusal: Refusal, candidates: int = 0) -> Outcome:
            return Outcome(rewritten, refusal=refusal, cutoff=cutoff, candidates=candidates, timings=timings)

        if not said and request.image is None:
            return refuse(NO_WORDS)
        allowed = self.index.allowed(list(request.brands), list(request.colors), request.with_picture)
        if allowed is not None and not allowed.any():
            return refuse(FILTERED_OUT)
        vector = self.encode(rewritten if said else "", request.image)
        lap("encode_ms")
        found = self.retrieve(rewritten if said else "", vector, allowed, rewriting.also)
        lap("retrieve_ms")
        passing = np.arange(len(found.rows)) if allowed is None else np.flatnonzero(allowed[found.rows])
        if not len(passing):
            return refuse(NOTHING_FITS if allowed is None else NONE_LEFT)
        probabilities = self.ranker.probabilities(found.candidates)
        score = probabilities @ _GAINS
        fits, uncertain = True, False
        if request.threshold is None:  # who names a threshold has decided what is good enough
            fits, uncertain = self._fits(found, said, request.image is not None)
        # By score, ties by row, which is by product id.
        order = passing[np.lexsort((found.rows[passing], -score[passing]))]
        top = min(request.k, len(order))
        spread = float(found.similarity.std())
        nearest = np.sort(found.similarity[passing])[::-1][:top]
        base = Outcome(
            rewritten,
            cutoff=cutoff,
            candidates=len(order),
            similarity_z=float((nearest.mean() - found.similarity.mean()) / spread) if spread > 0 else 0.0,
            candidate_ids=tuple(self.index.product_ids(found.rows[order[:20]])),
            candidate_scores=tuple(round(float(value), 4) for value in score[order[:20]]),
            timings=timings,
        )
        kept = order[score[order] >= cutoff][: request.k]
        if not fits:
            lap("rank_ms")
            return replace(base, refusal=NOTHING_FITS)
        if not len(kept):
            lap("rank_ms")
            if request.threshold is not None:
                return replace(base, refusal=BELOW_THRESHOLD)
            return replace(base, refusal=NOTHING_FITS if allowed is None else NONE_LEFT)
        parts: list[tuple[Part, ...] | None] = [None] * len(kept)
        if request.explain:
            fusion = self.index.meta.fusion if said else PICTURE_ALONE
            parts = explain(self.ranker, found.candidates, kept, score, fusion)
        hits = tuple(
            Hit(int(found.rows[at]), product, float(score[at]), tuple(probabilities[at].tolist()), part)
            for at, product, part in zip(kept, self.index.product_ids(found.rows[kept]), parts)
        )
        lap("rank_ms")
        return replace(base, hits=hits, uncertain=uncertain)

    def encode(self, query: str, image: bytes | None) -> np.ndarray:
        """The unit vector of a text, a picture, or the middle of both, float32 [d]."""
        vectors = []
        with nullcontext() if getattr(self.encoder, "for_threads", False) else self.encoding:
            if query:
                vectors.append(features.unit(self.encoder.encode_texts([query])[0]))
            if image is not None:
                try:
                    vectors.append(features.unit(self.encoder.encode_images([image])[0]))
                except ValueError as error:
                    raise PictureError(str(error).removeprefix("picture 0: ")) from error
        return vectors[0] if len(vectors) == 1 else features.unit(vectors[0] + vectors[1])

    def retrieve(
        self, query: str, vector: np.ndarray, allowed: np.ndarray | None = None, also: Sequence[str] = ()
    ) -> Retrieved:
        """The candidates of a query: nearest by vector and, where hybrid, best by words, fused by their ranks.

        ``allowed`` (bool [n]) adds the best of those that pass and takes none away: whether anything fits, and how a
        product stands among the candidates, is calibrated on lists of the whole catalogue. ``also``: terms that BM25
        looks for too, see ``rewrite.Rewriting``.
        """
        asked = self.asked(query, also)
        rows = self._rows(vector, asked.bm25, None)
        unfiltered = len(rows)
        if allowed is not None:
            bm25 = None if asked.bm25 is None else np.where(allowed, asked.bm25, np.float32(0))
            rows = np.concatenate([rows, np.setdiff1d(self._rows(vector, bm25, allowed), rows)])
        candidates, similarity = self.candidates(query, vector, rows, asked, unfiltered)
        bm25_top = 0.0 if asked.bm25 is None else float(asked.bm25.max())
        return Retrieved(rows, similarity, candidates, bm25_top, unfiltered)

    def _rows(self, vector: np.ndarray, bm25: np.ndarray | None, allowed: np.ndarray | None) -> np.ndarray:
        near = self.nearest(vector, self.count, allowed)
        return candidate_rows(near, bm25 if self.retrieval == "hybrid" else None, self.count)

    def nearest(self, vector: np.ndarray, count: int, allowed: np.ndarray | None = None) -> np.ndarray:
        """Rows of the products with the highest zero-shot cosine, int64, best first."""
        import faiss

        parameters = None
        if allowed is not None:
            selector = faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
            if self.index.meta.nprobe:
                share = max(float(allowed.mean()), 1e-6)
                lists = self.index.vectors.nlist
                # What is left of a list after the filter is little: look into more of them.
                nprobe = int(min(lists, np.ceil(self.index.meta.nprobe / min(1.0, 4 * share))))
                parameters = faiss.SearchParametersIVF(sel=selector, nprobe=nprobe)
            else:
                parameters = faiss.SearchParameters(sel=selector)
        _, found = self.index.vectors.search(vector[None, :], min(count, len(self.index)), params=parameters)
        return found[0][found[0] >= 0]

    def asked(self, query: str, also: Sequence[str] = ()) -> Asked:
        """What the index's words say about a query; ``also``: further terms."""
        if not query:
            return Asked(None, 0.0)
        words = self.index.words
        terms = (*words.terms(query), *also)
        return Asked(words.scores(terms), words.total_idf(terms))

    def candidates(
        self, query: str, vector: np.ndarray, rows: np.ndarray, asked: Asked, retrieved: int
    ) -> tuple[Candidates, np.ndarray]:
        """What a ranker reads of some products, computed by the functions that training calls, and their zero-shot
        cosines [n]; the first ``retrieved`` of them are what retrieval found."""
        index = self.index
        text, image = index.text[rows].astype(np.float32), index.image[rows].astype(np.float32)
        has_image = index.has_image[rows].astype(np.float32)
        bm25 = np.zeros(len(rows), np.float32) if asked.bm25 is None else asked.bm25[rows].astype(np.float32)
        fusion = index.meta.fusion if query else PICTURE_ALONE
        computed = features.candidate_features_of(
            query, index.texts, rows, vector, text, image, has_image,
            features.Retrieved(bm25, asked.total_idf, fusion, retrieved),
        )  # fmt: skip
        found = Candidates(
            vector, text, image, has_image, index.mapped_norm[rows],
            computed[features.LEXICAL], computed[features.RELATIVE], computed[features.RETRIEVAL],
        )  # fmt: skip
        return found, computed[features.COSINES][:, features.COSINE_NAMES.index("cosine")]

    def similar(self, row: int, count: int) -> list[tuple[int, float]]:
        """The neighbours of a product by the cosine of both vectors' blend, itself left out: (row, cosine)."""
        own = features.unit(self._blends(np.array([row]))[0])
        rows = self.nearest(own, count + 50)
        rows = rows[rows != row]
        blends = self._blends(rows)
        cosine = blends @ own / np.maximum(np.linalg.norm(blends, axis=1), 1e-12)
        order = np.lexsort((rows, -cosine))[:count]
        return [(int(rows[at]), float(np.clip(cosine[at], -1, 1))) for at in order]

    def _blends(self, rows: np.ndarray) -> np.ndarray:
        text, image = self.index.text[rows].astype(np.float32), self.index.image[rows].astype(np.float32)
        return (text + np.where(self.index.has_image[rows][:, None], image, text)) / 2

    def _fits(self, found: Retrieved, said: bool, pictured: bool) -> tuple[bool, bool]:
        """Whether anything fits, and whether that is uncertain."""
        meta = self.index.meta
        fits, uncertain = True, False
        if pictured:
            fits = bool(found.similarity[: found.unfiltered].max() >= meta.picture_cutoff)
        elif said:
            value = fitness.fitness(meta.fit, found.signals)
            fits, uncertain = value >= meta.fit.cutoff, value < meta.fit.uncertain_below
        return fits, uncertain

    def scores_of(self, query: str, product_ids: Sequence[str]) -> np.ndarray:
        """Scores of the given products among the candidates that a text query brings, float32 [m]."""
        rewriting = self.rewriter.rewriting(clean(query))
        query = rewriting.text
        vector = self.encode(query, None)
        own = np.array([row for row in map(self.index.row_of, product_ids) if row is not None], np.int64)
        found = self.retrieve(query, vector, also=rewriting.also).rows
        rows = np.concatenate([found, np.setdiff1d(own, found)])
        candidates, _ = self.candidates(query, vector, rows, self.asked(query, rewriting.also), len(found))
        score = self.ranker.probabilities(candidates) @ _GAINS
        return score[[int(np.flatnonzero(rows == row)[0]) for row in own]]

    def signals(self, query: str) -> np.ndarray | None:
        """A text query's signals for calibration, see ``sqidflow.search.fitness``; None where it says nothing."""
        query = clean(query)
        if not _SOMETHING_SAID.search(query):
            return None
        rewriting = self.rewriter.rewriting(query)
        return self.retrieve(rewriting.text, self.encode(rewriting.text, None), also=rewriting.also).signals
