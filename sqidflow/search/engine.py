"""The search core, without HTTP: a query in, ranked, explained products out; the offline evaluation calls it too.

A request is understood, its candidates are retrieved, whether any of them fits is decided, and only then they are
ranked and explained.
"""

from __future__ import annotations

import re
import threading
import time
import unicodedata
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from sqidflow.core.errors import SqidflowError
from sqidflow.encoders import appearance
from sqidflow.encoders.base import Encoder
from sqidflow.ranking import features
from sqidflow.ranking.exclusion import Asked as Read
from sqidflow.ranking.exclusion import asked_attributes, denied_term, read_query
from sqidflow.ranking.languages import LANGUAGES
from sqidflow.ranking.lexical import lexical_features_of, unmet_wishes, violates
from sqidflow.ranking.rankers import Candidates, Ranker
from sqidflow.ranking.retrieval import PICTURE_ALONE, best_rows, candidate_rows
from sqidflow.ranking.words import named_noun, qualities, words
from sqidflow.search import by_picture, fitness
from sqidflow.search.attributes import AttributeFilter, FacetCounts, UnfitRequest, sort_of
from sqidflow.search.explain import DEMOTED, Explanation, Part, explain
from sqidflow.search.index import ProductIndex
from sqidflow.search.rewrite import Rewriter, Rewriting

Retrieval = Literal["hybrid", "vectors"]
UnmetKind = Literal["color", "material", "audience", "brand", "number", "words"]
_GAINS = features.CLASS_GAINS.astype(np.float32)
_IRRELEVANT = features.CLASS_IDS["I"]
_SOMETHING_SAID = re.compile(r"[^\W_]")
_LOGGED = 20
RELEVANCE = "relevance"
_SORTED_SHARE = 0.5
"""Of the best score: what another order than by relevance takes at least where no cut-off is calibrated. The candidates
are as many as there may be, and the cheapest of them is seldom what was asked for."""
_THING, _TOKENS = (features.LEXICAL_NAMES.index(name) for name in ("head_noun_match", "token_overlap"))
_CORRECTED_THING = 0.7


class PictureError(ValueError):
    """An upload that is no picture, or more than the encoder takes."""


@dataclass(frozen=True)
class Request:
    """What is asked. ``image``: the bytes of a picture. ``threshold`` None takes the calibrated cut-off. ``verbatim``:
    the words are searched as they are, nothing is corrected. ``filters`` on attributes; ``brands`` and ``colors`` are
    short for two of them. ``sort``: ``relevance`` or an attribute with its direction, ``price:asc``. ``offset``: how
    many of the products that fit are passed over. ``facets``: whether their attributes are counted."""

    query: str = ""
    image: bytes | None = None
    k: int = 10
    threshold: float | None = None
    brands: tuple[str, ...] = ()
    colors: tuple[str, ...] = ()
    with_picture: bool = False
    explain: bool = False
    verbatim: bool = False
    filters: tuple[AttributeFilter, ...] = ()
    sort: str = RELEVANCE
    offset: int = 0
    facets: bool = False

    @property
    def all_filters(self) -> tuple[AttributeFilter, ...]:
        """Those on attributes, brand and colour among them."""
        named = (("brand", self.brands), ("color", self.colors))
        return (*(AttributeFilter(name, tuple(values)) for name, values in named if values), *self.filters)


@dataclass(frozen=True)
class Hit:
    """One product: ``row`` in the index, expected gain, class probabilities in the order of ``features.CLASSES``."""

    row: int
    product_id: str
    score: float
    probabilities: tuple[float, ...]
    explanation: Explanation | None = None


@dataclass(frozen=True)
class Refusal:
    """Why nothing is answered."""

    code: Literal["nothing_fits", "no_words", "filtered_out", "below_threshold", "blank_picture", "noise_picture"]
    message: str


@dataclass(frozen=True)
class Unmet:
    """A wish, as it was typed, that no candidate meets; ``words``: nothing has any of them."""

    wish: str
    kind: UnmetKind


@dataclass(frozen=True)
class Outcome:
    """An answer. ``cutoff`` is the lowest score that was answered, None where there is none; ``calibrated`` whether
    it was decided that anything fits at all. ``similarity_z``: how far the top-k similarity stands out of the
    candidates', in their deviations. ``total``: how many products fit and pass the filters, of which ``hits`` is a
    part; ``facets`` what those have of each attribute, in the order of the attributes."""

    rewriting: Rewriting
    hits: tuple[Hit, ...] = ()
    refusal: Refusal | None = None
    uncertain: bool = False
    cutoff: float | None = None
    calibrated: bool = True
    unmet: tuple[Unmet, ...] = ()
    total: int = 0
    facets: tuple[FacetCounts, ...] = ()
    candidates: int = 0
    similarity_z: float = 0.0
    candidate_ids: tuple[str, ...] = ()
    candidate_scores: tuple[float, ...] = ()
    timings: dict[str, float] = field(default_factory=dict)

    @property
    def rewritten(self) -> str:
        return self.rewriting.text


@dataclass(frozen=True)
class Understood:
    """A query's words: cleaned, rewritten, and what of the latter is asked for and excluded. No words are ``""``."""

    typed: str
    rewriting: Rewriting
    read: Read

    @property
    def text(self) -> str:
        return self.rewriting.text if self.has_words else ""

    @property
    def has_words(self) -> bool:
        return bool(_SOMETHING_SAID.search(self.typed))


@dataclass(frozen=True)
class Asked:
    """BM25 of every product for a query, float32 [products], None where no product has a word of it; and its most."""

    bm25: np.ndarray | None
    total_idf: float


@dataclass(frozen=True)
class Retrieved:
    """A query's candidates before they are ranked: rows in the index, zero-shot cosines, and what the ranker reads.

    The first ``unfiltered`` of them are those of the whole catalogue, whatever the filters; ``total_idf`` is the most
    that BM25 could be.
    """

    rows: np.ndarray
    similarity: np.ndarray
    candidates: Candidates
    total_idf: float
    unfiltered: int


@dataclass(frozen=True)
class Ranked:
    """Candidates with their scores, for n rows; ``order`` has the positions of those that may be answered, best first.

    ``met``: how far each is what the words beside a picture ask for, None without both. ``excluded``: which have what
    the query excludes.
    """

    rows: np.ndarray
    similarity: np.ndarray
    probabilities: np.ndarray
    score: np.ndarray
    order: np.ndarray
    excluded: np.ndarray
    met: np.ndarray | None = None


NOTHING_FITS = Refusal("nothing_fits", "No product of the catalogue fits this query.")
NO_WORDS = Refusal("no_words", "The query has no letter and no digit to search by.")
FILTERED_OUT = Refusal("filtered_out", "No product passes the filters.")
NONE_LEFT = Refusal("filtered_out", "No product that passes the filters fits this query.")
BELOW_THRESHOLD = Refusal("below_threshold", "No product reaches the threshold that was asked for.")
FLAWS = {
    "blank": Refusal("blank_picture", "The picture is blank: it is one colour, or wholly transparent."),
    "noise": Refusal("noise_picture", "The picture shows noise and no thing to search by."),
}


def clean(query: str) -> str:
    """The query without control characters, spaces run together; NFKC is left to who reads words."""
    printable = "".join(" " if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") else c for c in query)
    return " ".join(printable.split())


class _Laps:
    """Milliseconds of each part of a search."""

    def __init__(self) -> None:
        self.timings = {"rewrite_ms": 0.0, "encode_ms": 0.0, "retrieve_ms": 0.0, "rank_ms": 0.0}
        self._started = time.perf_counter()

    def __call__(self, name: str) -> None:
        now = time.perf_counter()
        self.timings[name] += (now - self._started) * 1000
        self._started = now


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
        self.language = index.words.language

    @property
    def description(self) -> str:
        return f"{self.ranker.name}, {'hybrid retrieval' if self.retrieval == 'hybrid' else 'vectors only'}"

    def search(self, request: Request) -> Outcome:
        """Answer a request.

        Raises:
            PictureError: the upload cannot be used as a picture.
            UnfitRequest: an unknown attribute, a value or an order that is not of its kind, an offset beyond the
                candidates.
        """
        lap = _Laps()
        if request.offset >= self.count:
            what = f"{request.offset} is beyond the {self.count} candidates that a search ranks (search.candidates)"
            raise UnfitRequest("offset", what)
        self._in_order(request, np.zeros(0, np.int64), None)  # an order that cannot be is refused before all work
        asked = self.understand(request.query, request.verbatim)
        lap("rewrite_ms")
        meta = self.index.meta
        cutoff = request.threshold
        if cutoff is None and request.image is None:
            cutoff = meta.score_cutoff
        calibrated = meta.picture_cutoff is not None if request.image is not None else bool(meta.fit.weights)
        base = Outcome(asked.rewriting, cutoff=cutoff, calibrated=calibrated, timings=lap.timings)
        if not asked.has_words and request.image is None:
            return replace(base, refusal=NO_WORDS)
        allowed = self.index.allowed(request.brands, request.colors, request.with_picture, request.filters)
        if allowed is not None and not allowed.any() and not request.facets:
            return replace(base, refusal=FILTERED_OUT)
        if request.image is not None:
            return self._search_by_picture(request, asked, allowed, base, lap)
        return self._search_by_words(request, asked, allowed, base, lap)

    def understand(self, query: str, verbatim: bool = False) -> Understood:
        """Clean, rewrite and read a query."""
        typed = clean(query)
        says_something = bool(_SOMETHING_SAID.search(typed)) and not verbatim
        rewriting = self.rewriter.rewriting(typed) if says_something else Rewriting(typed, typed)
        return Understood(typed, rewriting, read_query(rewriting.text, self.language, self.index.is_brand))

    def _search_by_words(
        self, request: Request, asked: Understood, allowed: np.ndarray | None, base: Outcome, lap: _Laps
    ) -> Outcome:
        vector, nearer = self._vectors(asked)
        lap("encode_ms")
        found = self.retrieve(asked.text, vector, allowed, asked.rewriting.also, nearer)
        passing = np.arange(len(found.rows)) if allowed is None else np.flatnonzero(allowed[found.rows])
        fits, uncertain = True, False
        if len(passing) and request.threshold is None:  # who names a threshold has decided what is good enough
            fits, uncertain = self._fits(asked, vector, found)

        def fitting_rows(also_allowed: np.ndarray | None) -> np.ndarray:
            more = self.retrieve(asked.text, vector, also_allowed, asked.rewriting.also, nearer)
            may = np.arange(len(more.rows)) if also_allowed is None else np.flatnonzero(also_allowed[more.rows])
            again = self.rank(asked, more, may)
            rows: np.ndarray = again.rows[self._fitting(again, base.cutoff)]
            return rows

        lap("retrieve_ms")
        if not len(passing):
            refusal = NOTHING_FITS if allowed is None else NONE_LEFT if allowed.any() else FILTERED_OUT
            counted = self._facets(request, np.zeros(0, np.int64), fitting_rows)
            return replace(base, refusal=refusal, facets=counted)
        if not fits:
            f0 = found.candidates.retrieval[:, features.RETRIEVAL_NAMES.index("f0")]
            order = passing[np.lexsort((found.rows[passing], -f0[passing]))]
            return replace(self._logged(base, found.rows, found.similarity, f0, order, request.k), refusal=NOTHING_FITS)
        ranked = self.rank(asked, found, passing)
        base = self._logged(base, ranked.rows, ranked.similarity, ranked.score, ranked.order, request.k)
        base = replace(base, cutoff=_lowest(request, ranked, base.cutoff))
        fitting = self._fitting(ranked, base.cutoff)
        base = replace(base, total=len(fitting), facets=self._facets(request, ranked.rows[fitting], fitting_rows))
        if not len(fitting):
            lap("rank_ms")
            return replace(base, refusal=_none_kept(request, allowed))
        kept = self._page(request, fitting, ranked)
        parts: Sequence[Explanation | None] = [None] * len(kept)
        if request.explain and len(kept):
            parts = explain(self.ranker, found.candidates, kept, ranked.score, self.index.meta.fusion)
        unmet = self._unmet(asked, found.rows[passing], found.candidates.lexical[passing])
        lap("rank_ms")
        return replace(base, hits=self._hits(ranked, kept, parts), uncertain=uncertain, unmet=unmet)

    def _search_by_picture(
        self, request: Request, asked: Understood, allowed: np.ndarray | None, base: Outcome, lap: _Laps
    ) -> Outcome:
        assert request.image is not None
        look = _look_at(request.image)
        same = self.index.rows_with_picture(look.file, look.pixels)
        if look.flaw is not None and not len(same):
            return replace(base, refusal=FLAWS[look.flaw])
        vector = self.encode("", request.image)
        lap("encode_ms")
        ranked = self.rank_by_picture(vector, look, asked, allowed)

        def fitting_rows(also_allowed: np.ndarray | None) -> np.ndarray:
            again = self.rank_by_picture(vector, look, asked, also_allowed)
            rows: np.ndarray = again.rows[self._fitting(again, base.cutoff)]
            return rows

        lap("retrieve_ms")
        if not len(ranked.order):
            refusal = NOTHING_FITS if allowed is None else NONE_LEFT if allowed.any() else FILTERED_OUT
            counted = self._facets(request, np.zeros(0, np.int64), fitting_rows)
            return replace(base, refusal=refusal, facets=counted)
        base = self._logged(base, ranked.rows, ranked.similarity, ranked.score, ranked.order, request.k)
        least = self.index.meta.picture_cutoff
        if request.threshold is None and least is not None and ranked.similarity.max() < least:
            return replace(base, refusal=NOTHING_FITS)
        base = replace(base, cutoff=_lowest(request, ranked, base.cutoff))
        fitting = self._fitting(ranked, base.cutoff)
        base = replace(base, total=len(fitting), facets=self._facets(request, ranked.rows[fitting], fitting_rows))
        if not len(fitting):
            return replace(base, refusal=_none_kept(request, allowed))
        kept = self._page(request, fitting, ranked)
        parts: list[Explanation | None] = [None] * len(kept)
        if request.explain:
            parts = [_explained_by_picture(ranked, int(at)) for at in kept]
        unmet: tuple[Unmet, ...] = ()
        if ranked.met is not None:
            nothing_has_them = not ranked.met.any()
            unmet = (
                (Unmet(asked.typed, "words"),)
                if nothing_has_them
                else self._unmet(asked, ranked.rows, lexical_features_of(asked.text, self.index.texts, ranked.rows))
            )
        lap("rank_ms")
        return replace(base, hits=self._hits(ranked, kept, parts), unmet=unmet)

    def explain(self, request: Request, product_id: str) -> Explanation | None:
        """Why a product scores as it does in the answer to a request; None where it is not among the candidates.

        Raises:
            PictureError: the upload cannot be used as a picture.
        """
        asked = self.understand(request.query, request.verbatim)
        row = self.index.row_of(product_id)
        allowed = self.index.allowed(request.brands, request.colors, request.with_picture, request.filters)
        if row is None or not (asked.has_words or request.image) or (allowed is not None and not allowed[row]):
            return None
        if request.image is not None:
            look = _look_at(request.image)
            ranked = self.rank_by_picture(self.encode("", request.image), look, asked, allowed)
            at = np.flatnonzero(ranked.rows == row)
            return _explained_by_picture(ranked, int(at[0])) if len(at) else None
        vector, nearer = self._vectors(asked)
        found = self.retrieve(asked.text, vector, allowed, asked.rewriting.also, nearer)
        at = np.flatnonzero(found.rows == row)
        if not len(at):
            return None
        passing = np.arange(len(found.rows)) if allowed is None else np.flatnonzero(allowed[found.rows])
        score = self.rank(asked, found, passing).score
        return explain(self.ranker, found.candidates, at, score, self.index.meta.fusion)[0]

    def _vectors(self, asked: Understood) -> tuple[np.ndarray, np.ndarray | None]:
        """The query's vector, and that of what is left without what it excludes, whose nearest are candidates too."""
        rest = _without_excluded(asked, self.language)
        return self.encode(asked.text, None), self.encode(rest, None) if rest else None

    def _fitting(self, ranked: Ranked, cutoff: float | None) -> np.ndarray:
        """Positions of the products that fit, best first, at most as many as there are candidates."""
        order = ranked.order
        return (order if cutoff is None else order[ranked.score[order] >= cutoff])[: self.count]

    def _page(self, request: Request, fitting: np.ndarray, ranked: Ranked) -> np.ndarray:
        """Positions of what is answered, in the order that was asked for."""
        ordered = self._in_order(request, fitting, ranked)
        return ordered[request.offset : request.offset + request.k]

    def _in_order(self, request: Request, fitting: np.ndarray, ranked: Ranked | None) -> np.ndarray:
        """Positions in the order of the request; those that have what the query excludes stay behind all others."""
        if request.sort == RELEVANCE:
            return fitting
        rows = fitting if ranked is None else ranked.rows[fitting]
        ordered: np.ndarray = fitting[self.index.attributes.sorted(*sort_of(request.sort), rows)]
        if ranked is not None:
            ordered = ordered[np.argsort(ranked.excluded[ordered], kind="stable")]
        return ordered

    def _facets(
        self, request: Request, rows: np.ndarray, fitting_rows: Callable[[np.ndarray | None], np.ndarray]
    ) -> tuple[FacetCounts, ...]:
        """What the products that fit have of each attribute; of one that is filtered by, those that would fit without
        this filter, so that another value of it can be chosen.

        ``fitting_rows``: what fits under other filters.
        """
        if not request.facets:
            return ()
        filters = request.all_filters
        filtered = {each.name for each in filters}
        counted = []
        for column in self.index.attributes.columns.values():
            own = [each for each in filters if each.name == column.name]
            if not column.facet and not own:
                continue
            of_it = rows
            if column.name in filtered:
                others = [each for each in filters if each.name != column.name]
                of_it = self._rows_under(self.index.allowed((), (), request.with_picture, others), fitting_rows)
            counted.append(column.counted(of_it, own))
        return tuple(counted)

    def _rows_under(
        self, allowed: np.ndarray | None, fitting_rows: Callable[[np.ndarray | None], np.ndarray]
    ) -> np.ndarray:
        return np.zeros(0, np.int64) if allowed is not None and not allowed.any() else fitting_rows(allowed)

    def _hits(self, ranked: Ranked, kept: np.ndarray, parts: Sequence[Explanation | None]) -> tuple[Hit, ...]:
        rows = ranked.rows[kept]
        return tuple(
            Hit(int(row), product, float(ranked.score[at]), tuple(ranked.probabilities[at].tolist()), part)
            for at, row, product, part in zip(kept, rows, self.index.product_ids(rows), parts)
        )

    def _logged(
        self, base: Outcome, rows: np.ndarray, similarity: np.ndarray, score: np.ndarray, order: np.ndarray, k: int
    ) -> Outcome:
        """The outcome with what the query log keeps of the candidates."""
        spread = float(similarity.std())
        nearest = np.sort(similarity[order])[::-1][:k]
        first = order[:_LOGGED]
        return replace(
            base,
            candidates=len(order),
            similarity_z=float((nearest.mean() - similarity.mean()) / spread) if spread > 0 else 0.0,
            candidate_ids=tuple(self.index.product_ids(rows[first])),
            candidate_scores=tuple(round(float(value), 4) for value in score[first]),
        )

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
        self,
        query: str,
        vector: np.ndarray,
        allowed: np.ndarray | None = None,
        also: Sequence[str] = (),
        nearer: np.ndarray | None = None,
    ) -> Retrieved:
        """The candidates of a query: nearest by vector and, where hybrid, best by words, fused by their ranks.

        ``allowed`` (bool [n]) adds the best of those that pass and takes none away: whether anything fits, and how a
        product stands among the candidates, is calibrated on lists of the whole catalogue. ``also``: terms that BM25
        looks for too, see ``rewrite.Rewriting``. ``nearer``: a vector whose nearest products are added too.
        """
        asked = self.asked(query, also)
        rows = self._rows(vector, asked.bm25, None)
        unfiltered = len(rows)
        if allowed is not None:
            bm25 = None if asked.bm25 is None else np.where(allowed, asked.bm25, np.float32(0))
            rows = np.concatenate([rows, np.setdiff1d(self._rows(vector, bm25, allowed), rows)])
        if nearer is not None:
            rows = np.concatenate([rows, np.setdiff1d(self.nearest(nearer, self.count, allowed), rows)])
        candidates, similarity = self.candidates(query, vector, rows, asked, unfiltered)
        return Retrieved(rows, similarity, candidates, asked.total_idf, unfiltered)

    def _rows(self, vector: np.ndarray, bm25: np.ndarray | None, allowed: np.ndarray | None) -> np.ndarray:
        near = self.nearest(vector, self.count, allowed)
        return candidate_rows(near, bm25 if self.retrieval == "hybrid" else None, self.count)

    def nearest(self, vector: np.ndarray, count: int, allowed: np.ndarray | None = None) -> np.ndarray:
        """Rows of the products with the highest zero-shot cosine, int64, best first."""
        import faiss

        parameters: Any = None
        if allowed is not None:
            # FAISS's stubs describe the C++ constructors; from Python these take an array and keywords.
            library: Any = faiss
            selector = library.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
            if self.index.meta.nprobe:
                share = max(float(allowed.mean()), 1e-6)
                lists = self.index.vectors.nlist
                # What is left of a list after the filter is little: look into more of them.
                nprobe = int(min(lists, np.ceil(self.index.meta.nprobe / min(1.0, 4 * share))))
                parameters = library.SearchParametersIVF(sel=selector, nprobe=nprobe)
            else:
                parameters = library.SearchParameters(sel=selector)
        _, found = self.index.vectors.search(vector[None, :], min(count, len(self.index)), params=parameters)
        rows: np.ndarray = found[0][found[0] >= 0]
        return rows

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
        text, image = features.single(index.text[rows]), features.single(index.image[rows])
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

    def rank(self, asked: Understood, found: Retrieved, passing: np.ndarray) -> Ranked:
        """Candidates by the ranker's score, those that have what is excluded after all others; ties by row, which is
        by product id. ``passing``: positions of those that may be answered."""
        probabilities = self.ranker.probabilities(found.candidates)
        score = probabilities @ _GAINS
        excluded = np.zeros(len(found.rows), bool)
        if asked.read.excluded:
            excluded = violates(asked.text, self.index.texts, found.rows, self.index.is_brand)
        order = passing[np.lexsort((found.rows[passing], -score[passing], excluded[passing]))]
        probabilities = _demoted(probabilities, score, excluded, passing)
        return Ranked(found.rows, found.similarity, probabilities, probabilities @ _GAINS, order, excluded)

    def rank_by_picture(
        self,
        vector: np.ndarray,
        look: appearance.Look,
        asked: Understood,
        allowed: np.ndarray | None = None,
        without: int | None = None,
    ) -> Ranked:
        """Candidates by their likeness to a picture and, where there are words, by what those ask for.

        Args:
            vector: the picture's, float32 [d]. without: a row that is left out, as if the catalogue had it not.
        """
        index = self.index
        seen = index.with_appearance
        distance = np.full(len(index), np.inf, np.float32)
        distance[seen] = appearance.distances(look, index.appearances[seen])
        same = np.zeros(len(index), bool)
        same[index.rows_with_picture(look.file, look.pixels)] = True
        wished: tuple[str, ...] = ()
        if asked.has_words:
            wished = fitness.content_terms(asked.read.asked, self.language)
        rows = self._rows_by_picture(vector, distance, same, wished, asked, None)
        if allowed is not None:
            rows = np.union1d(rows, self._rows_by_picture(vector, distance, same, wished, asked, allowed))
        if without is not None:
            rows = rows[rows != without]
        image, has_image = features.single(index.image[rows]), index.has_image[rows]
        similarity = by_picture.alike(
            by_picture.encoder_similarity(features.single(index.text[rows]) @ vector, image @ vector, has_image),
            appearance.likeness(distance[rows]),
            seen[rows],
            same[rows],
        )
        met, score, excluded = None, similarity, np.zeros(len(rows), bool)
        if asked.has_words:
            lexical = lexical_features_of(asked.text, index.texts, rows)
            met = by_picture.words_met(index.words.coverage(wished, rows), lexical)
            score = by_picture.with_words(similarity, met)
            if asked.read.excluded:
                excluded = violates(asked.text, index.texts, rows, index.is_brand)
        passing = np.arange(len(rows)) if allowed is None else np.flatnonzero(allowed[rows])
        order = passing[np.lexsort((rows[passing], -score[passing], excluded[passing]))]
        probabilities = _demoted(by_picture.probabilities(score), score, excluded, passing)
        return Ranked(rows, similarity, probabilities, probabilities @ _GAINS, order, excluded, met)

    def _rows_by_picture(
        self,
        vector: np.ndarray,
        distance: np.ndarray,
        same: np.ndarray,
        wished: tuple[str, ...],
        asked: Understood,
        allowed: np.ndarray | None,
    ) -> np.ndarray:
        """Rows that are near the picture by vector or by appearance, and of those that the words ask for, ascending."""
        may = np.ones(len(self.index), bool) if allowed is None else allowed
        closeness = np.where(may, appearance.likeness(distance), np.float32(0))
        parts = [
            np.flatnonzero(same & may),
            self.nearest(vector, self.count, allowed),
            best_rows(closeness, self.count // 2),
        ]
        if wished:
            having = np.zeros(len(self.index), bool)
            having[self.index.words.having(wished)] = True
            having &= may
            if having.any():
                parts.append(self.nearest(vector, self.count, having))
            bm25 = self.index.words.scores((*wished, *asked.rewriting.also))
            if bm25 is not None:
                parts.append(best_rows(np.where(may, bm25, np.float32(0)), self.count // 2))
        return np.unique(np.concatenate(parts))

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
        text, image = features.single(self.index.text[rows]), features.single(self.index.image[rows])
        shares: np.ndarray = (text + np.where(self.index.has_image[rows][:, None], image, text)) / 2
        return shares

    def observe(
        self, asked: Understood, vector: np.ndarray, found: Retrieved, without: int | None = None
    ) -> fitness.Observed:
        """A text query's signals: what the whole catalogue has for it, not what a filter leaves.

        What people say around a wish ("where can i buy ... please") is left out; how usual its letters are is asked of
        the query as it was typed, before anything was corrected. A colour, material, audience or number that the
        catalogue has nowhere is no sign that nothing fits: the answer says that it is not met. ``without``: a row that
        is left out, as if the catalogue had it not.
        """
        whole = np.arange(found.unfiltered)
        if without is not None and found.unfiltered > 1:
            whole = whole[found.rows[whole] != without]
        rows, lexical, similarity = found.rows[whole], found.candidates.lexical[whole], found.similarity[whole]
        unheard = self._unheard(asked)
        content = fitness.content_of(asked.text, self.language, unheard)
        if content != asked.text:
            lexical = lexical_features_of(content, self.index.texts, rows)
            vector = self.encode(content, None)
            similarity = self._blends(rows) @ vector
        terms = (*fitness.content_terms(asked.read.asked, self.language, unheard), *self._denied_as_asked(asked))
        most = self.index.words.total_idf(terms)
        bm25 = found.candidates.retrieval[whole, features.RETRIEVAL_NAMES.index("bm25_share")].max() * found.total_idf
        return fitness.observed(
            asked.typed,
            similarity,
            self._coverage(asked, terms, unheard, rows),
            float(min(bm25 / most, 1.0)) if most else 0.0,
            lexical,
            self._thing_found(asked, lexical),
            self.index.letters.usual(asked.typed),
            self.index.off_catalogue(vector),
        )

    def _denied_as_asked(self, asked: Understood) -> tuple[str, ...]:
        """What the query excludes, as products that say they are without it have it: "-overflow" of a drain."""
        denied = (denied_term(term) for term in asked.read.excluded_terms)
        return tuple(term for term in denied if self.index.words.count(term))

    def _coverage(
        self, asked: Understood, terms: tuple[str, ...], unheard: frozenset[str], rows: np.ndarray
    ) -> np.ndarray:
        """Share of the content words that each row has; of a corrected query the mean with that of what was typed."""
        coverage = self.index.words.coverage(terms, rows)
        if asked.typed == asked.text:
            return coverage
        typed = read_query(asked.typed, self.language, self.index.is_brand).asked
        typed_terms = fitness.content_terms(typed, self.language, unheard)
        shares: np.ndarray = (coverage + self.index.words.coverage(typed_terms, rows)) / 2
        return shares

    def _thing_found(self, asked: Understood, lexical: np.ndarray) -> float:
        """Whether a candidate's title names the thing that the query names, less where it had to be corrected.

        Where it names none, as "waterproof" does, the share of its words that a candidate has.
        """
        terms = asked.read.asked
        brands = {term for term in terms if self.index.is_brand(term)}
        if named_noun(terms, self.language, brands, qualities(asked.text, self.language)) is None:
            return float(lexical[:, _TOKENS].max())
        corrected = any(change.kind == "spelling" for change in asked.rewriting.changes)
        return float(lexical[:, _THING].max()) * (_CORRECTED_THING if corrected else 1.0)

    def _unheard(self, asked: Understood) -> frozenset[str]:
        """Terms of attributes that no product has, where some product has another of the query's terms."""
        count = self.index.words.count
        wishes = asked_attributes(asked.text, self.language)
        unheard = frozenset(wish.term for wish in wishes if wish.kind != "number" and not count(wish.term))
        rest = fitness.content_terms(asked.read.asked, self.language, unheard) if unheard else ()
        return unheard if any(map(count, rest)) else frozenset()

    def signals(self, query: str) -> fitness.Observed | None:
        """A text query's signals for calibration, see ``sqidflow.search.fitness``; None where it says nothing."""
        signals = self.signals_without(query, None)
        return signals[0] if signals else None

    def signals_without(self, query: str, row: int | None) -> tuple[fitness.Observed, fitness.Observed] | None:
        """A text query's signals as the catalogue is, and as it were without a product."""
        asked = self.understand(query)
        if not asked.has_words:
            return None
        vector = self.encode(asked.text, None)
        found = self.retrieve(asked.text, vector, also=asked.rewriting.also)
        whole = self.observe(asked, vector, found)
        return whole, whole if row is None else self.observe(asked, vector, found, row)

    def _fits(self, asked: Understood, vector: np.ndarray, found: Retrieved) -> tuple[bool, bool]:
        """Whether anything is good enough, and whether hardly."""
        fit = self.index.meta.fit
        if not fit.weights:
            return True, False
        value = fitness.fitness(fit, self.observe(asked, vector, found).values())
        return value >= fit.cutoff, value < fit.uncertain_below

    def _unmet(self, asked: Understood, rows: np.ndarray, lexical: np.ndarray) -> tuple[Unmet, ...]:
        """The wishes that none of n candidates meets, as they were typed; lexical features [n, k]."""
        wishes = asked_attributes(asked.text, self.language, self.index.is_brand)
        if not wishes:
            return ()
        missing = set(unmet_wishes(asked.text, self.index.texts, rows, self.index.is_brand))
        if not _has_color(lexical):
            missing |= {wish for wish in wishes if wish.kind == "color"}
        typed: dict[str, str] = {}
        for word in asked.text.split():
            for term in words(word, self.language):
                typed.setdefault(term, word.strip(",.;:!?\"'()"))
        return tuple(Unmet(typed.get(wish.term, wish.term), wish.kind) for wish in wishes if wish in missing)

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


def _look_at(image: bytes) -> appearance.Look:
    try:
        return appearance.look_at(image)
    except ValueError as error:
        raise PictureError(str(error)) from error


def _explained_by_picture(ranked: Ranked, at: int) -> Explanation:
    """The score of a candidate that a picture found is the sum of its parts; the baseline is 0: nothing is alike."""
    met = None if ranked.met is None else float(ranked.met[at])
    parts = [Part(*each) for each in by_picture.parts_of(float(ranked.similarity[at]), met)]
    score = float(ranked.score[at])
    lost = score - sum(part.contribution for part in parts)
    if abs(lost) > 1e-6:
        parts.append(Part(DEMOTED, "has what was excluded: ranked after all others", 1.0, lost))
        parts.sort(key=lambda part: -abs(part.contribution))
    return Explanation(score, score - sum(part.contribution for part in parts), tuple(parts))


def _has_color(lexical: np.ndarray) -> bool:
    """Whether a candidate with the query's noun has its colour, and is not said to be of another: a title may name
    the colours that a thing comes in too."""
    columns = ("noun_in_title", "color_match", "color_conflict")
    noun, match, conflict = (lexical[:, features.LEXICAL_NAMES.index(name)] for name in columns)
    of_kind = noun > 0 if (noun > 0).any() else np.ones(len(lexical), bool)
    return bool((of_kind & (match > 0) & (conflict == 0)).any())


def _lowest(request: Request, ranked: Ranked, cutoff: float | None) -> float | None:
    """The lowest score that is answered, None for any."""
    if cutoff is not None or request.sort == RELEVANCE or not len(ranked.order):
        return cutoff
    return float(ranked.score[ranked.order].max()) * _SORTED_SHARE


def _none_kept(request: Request, allowed: np.ndarray | None) -> Refusal:
    if request.threshold is not None:
        return BELOW_THRESHOLD
    return NOTHING_FITS if allowed is None else NONE_LEFT


def _demoted(probabilities: np.ndarray, score: np.ndarray, excluded: np.ndarray, passing: np.ndarray) -> np.ndarray:
    """Chances of n products; those that have what the query excludes get the score of the last of the others at most,
    what they lose is the chance that they are irrelevant."""
    others = passing[~excluded[passing]]
    if not excluded.any() or not len(others):
        return probabilities
    out = probabilities.copy()
    share = np.minimum(1.0, score[others].min() / np.maximum(score[excluded], 1e-9))[:, None]
    out[excluded] *= share
    out[excluded, _IRRELEVANT] = 0
    out[excluded, _IRRELEVANT] = 1 - out[excluded].sum(axis=1)
    return out.astype(np.float32)


def _without_excluded(asked: Understood, language: str) -> str:
    """The text without what it excludes, empty where it excludes nothing or nothing is left."""
    if not asked.read.excluded:
        return ""
    dropped = {*asked.read.excluded_terms, *LANGUAGES[language].negations}
    kept = [word for word in asked.text.split() if not set(words(word, language)) <= dropped]
    return " ".join(kept) if _SOMETHING_SAID.search(" ".join(kept)) else ""
