"""The lists that search would rank, computed for many queries at once: what training and evaluation read.

A list has what retrieval finds in the whole catalogue for a query, best first, and after it the products that were
judged and not found. Its features come from the function that search calls, of vectors rounded as the index keeps them.
Retrieval is exact here; the index of a large catalogue approximates it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from sqidflow.ranking import features
from sqidflow.ranking.bm25 import WordIndex, product_text
from sqidflow.ranking.lexical import EncodedTexts
from sqidflow.ranking.retrieval import Fusion, best_rows, candidate_rows

DEFAULT_CANDIDATES = 100
_QUERIES_AT_ONCE = 128
_ROWS_AT_ONCE = 16_384


class Products(Protocol):
    """n products in the order of an index's rows, texts None or empty where there is none.

    Vectors are float32 [n, d] as the encoder made them, zeros without a picture; ``has_image`` bool [n].
    """

    @property
    def product_ids(self) -> Sequence[str]: ...
    @property
    def titles(self) -> Sequence[str]: ...
    @property
    def brands(self) -> Sequence[str | None]: ...
    @property
    def colors(self) -> Sequence[str | None]: ...
    @property
    def text(self) -> np.ndarray: ...
    @property
    def image(self) -> np.ndarray: ...
    @property
    def has_image(self) -> np.ndarray: ...


@dataclass(frozen=True)
class OwnVectors:
    """Vectors of some rows of a list that are not the catalogue's newest: as of the judgement.

    ``rows`` int64 [m] in the catalogue; ``text``, ``image`` float32 [m, d] as the encoder made them; ``has_image`` [m].
    """

    rows: np.ndarray
    text: np.ndarray
    image: np.ndarray
    has_image: np.ndarray


@dataclass(frozen=True)
class ServedList:
    """A query's list of n products: ``rows`` int64 [n] in the catalogue, the first ``retrieved`` as retrieval found
    them; ``features`` as of :func:`sqidflow.ranking.features.candidate_features_of`; ``text`` and ``image`` unit
    vectors float32 [n, d], ``has_image`` float32 [n]."""

    rows: np.ndarray
    retrieved: int
    features: dict[str, np.ndarray]
    text: np.ndarray
    image: np.ndarray
    has_image: np.ndarray

    def places_of(self, rows: np.ndarray) -> np.ndarray:
        """Where some of its rows stand in it, int64."""
        order = np.argsort(self.rows, kind="stable")
        return order[np.searchsorted(self.rows, rows, sorter=order)]


@dataclass(frozen=True)
class ReadWords:
    """Of n products, in their order: ``texts`` for the features, ``words`` for BM25."""

    texts: EncodedTexts
    words: WordIndex

    @classmethod
    def of(cls, products: Products, language: str) -> ReadWords:
        columns = (products.titles, products.brands, products.colors)
        return cls(
            EncodedTexts.of(*columns, language), WordIndex.of([product_text(*each) for each in zip(*columns)], language)
        )


class ServedCatalogue:
    """A catalogue that lists are retrieved from; n products in the order of an index's rows."""

    def __init__(
        self,
        catalogue: Products,
        fusion: Fusion,
        candidates: int,
        language: str,
        read: ReadWords | None = None,
    ) -> None:
        """``read``: the products' words, where they have been read already."""
        self.product_ids, self.fusion, self.candidates = list(catalogue.product_ids), fusion, candidates
        self.has_image = np.asarray(catalogue.has_image, bool)
        self._row_of = {product: row for row, product in enumerate(self.product_ids)}
        shape = catalogue.text.shape
        self.text: np.ndarray = np.empty(shape, np.float16)
        self.image: np.ndarray = np.empty(shape, np.float16)
        # One inner product with a blend is the zero-shot cosine.
        self._blend = np.empty(shape, np.float32)
        for start in range(0, len(self), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            text, image = features.unit(catalogue.text[part]), features.unit(catalogue.image[part])
            self.text[part], self.image[part] = text, image
            self._blend[part] = (text + np.where(self.has_image[part, None], image, text)) / 2
        read = ReadWords.of(catalogue, language) if read is None else read
        self.texts, self.words = read.texts, read.words

    def __len__(self) -> int:
        return len(self.product_ids)

    def rows_of(self, product_ids: Sequence[str]) -> np.ndarray:
        """int64 [m].

        Raises:
            ValueError: a product is not in the catalogue; names it.
        """
        try:
            return np.array([self._row_of[product] for product in product_ids], np.int64)
        except KeyError as error:
            raise ValueError(f"product_id {error.args[0]!r} is judged and not in the prepared catalogue") from error

    def lists(
        self,
        queries: Sequence[str],
        vectors: np.ndarray,
        added: Sequence[np.ndarray],
        own: Sequence[OwnVectors | None] | None = None,
    ) -> Iterator[ServedList]:
        """The list of each of m queries, in their order.

        Args:
            queries: texts. vectors: float32 [m, d], as the encoder made them.
            added: rows of each query, distinct, that are to stand in its list whether retrieval finds them or not.
            own: vectors of rows that are to be used instead of the catalogue's.
        """
        for start in range(0, len(queries), _QUERIES_AT_ONCE):
            part = range(start, min(start + _QUERIES_AT_ONCE, len(queries)))
            units = np.array([features.unit(vectors[at]) for at in part])
            for at, vector, near in zip(part, units, self._nearest(units)):
                yield self._list(queries[at], vector, near, added[at], own[at] if own is not None else None)

    def _nearest(self, units: np.ndarray) -> np.ndarray:
        """Rows of the highest cosines of each of q vectors, int64 [q, at most ``candidates``], best first."""
        return np.array([best_rows(cosines, self.candidates, -np.inf) for cosines in units @ self._blend.T])

    def _list(
        self, query: str, vector: np.ndarray, near: np.ndarray, added: np.ndarray, own: OwnVectors | None
    ) -> ServedList:
        asked = self.words.terms(query)
        bm25 = self.words.scores(asked)
        found = candidate_rows(near, bm25, self.candidates)
        rows = np.concatenate([found, np.setdiff1d(added, found)])
        text, image = features.single(self.text[rows]), features.single(self.image[rows])
        has_image = self.has_image[rows].astype(np.float32)
        if own is not None:
            places = np.argsort(rows, kind="stable")
            places = places[np.searchsorted(rows, own.rows, sorter=places)]
            has_image[places] = own.has_image
            text[places] = _as_kept(own.text)
            image[places] = np.where(own.has_image[:, None] > 0, _as_kept(own.image), 0)
        of_rows = np.zeros(len(rows), np.float32) if bm25 is None else bm25[rows].astype(np.float32)
        retrieved = features.Retrieved(of_rows, self.words.total_idf(asked), self.fusion, len(found))
        computed = features.candidate_features_of(query, self.texts, rows, vector, text, image, has_image, retrieved)
        return ServedList(rows, len(found), computed, text, image, has_image)


def _as_kept(vectors: np.ndarray) -> np.ndarray:
    """Unit vectors rounded as the index keeps them, float32 [m, d]."""
    return features.unit(vectors).astype(np.float16).astype(np.float32)
