"""BM25 over a catalogue's terms: one index for training, evaluation and search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sqidflow.ranking.exclusion import terms_to_index, terms_to_search
from sqidflow.ranking.languages import LANGUAGES
from sqidflow.ranking.runs import taken
from sqidflow.ranking.words import DEFAULT_LANGUAGE

LANGUAGE_FILE = "language.txt"
_K1, _B = 1.5, 0.75
_TERMS = "terms"


@dataclass(frozen=True)
class Terms:
    """The terms of n products, in order and with repeats: those of product i are the numbers
    ``values[offsets[i]:offsets[i + 1]]`` of ``distinct``, which has no term that no product has."""

    distinct: Sequence[str]
    values: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[Sequence[str]]) -> Terms:
        numbers: dict[str, int] = {}
        values = [numbers.setdefault(term, len(numbers)) for row in rows for term in row]
        offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows], dtype=np.int64)]).astype(np.int64)
        return cls(list(numbers), np.array(values, np.int32), offsets)

    def with_rows(self, rows: np.ndarray, fresh: Terms) -> Terms:
        """Those of other products: row ``rows[i]`` of these, or the next of ``fresh`` where that is -1."""
        both = [*self.distinct, *fresh.distinct]
        numbers: dict[str, int] = {}
        number_of = np.array([numbers.setdefault(term, len(numbers)) for term in both], np.int32)
        values = np.concatenate([number_of[self.values], number_of[len(self.distinct) + fresh.values]])
        offsets = np.concatenate([self.offsets, self.offsets[-1] + fresh.offsets[1:]])
        source = rows.copy()
        source[rows < 0] = len(self.offsets) - 1 + np.arange(int((rows < 0).sum()))
        ends = np.cumsum(offsets[source + 1] - offsets[source])
        in_order = taken(values, offsets, source)
        in_use = np.bincount(in_order, minlength=len(numbers)) > 0
        final = (np.cumsum(in_use) - 1).astype(np.int32)
        distinct = [term for term, used in zip(numbers, in_use.tolist()) if used]
        return Terms(distinct, final[in_order], np.concatenate([[0], ends]).astype(np.int64))

    def save(self, folder: Path) -> None:
        np.save(folder / f"{_TERMS}_values.npy", self.values, allow_pickle=False)
        np.save(folder / f"{_TERMS}_offsets.npy", self.offsets, allow_pickle=False)
        (folder / f"{_TERMS}.txt").write_text("\n".join(self.distinct), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Terms:
        """Raises FileNotFoundError where they were not saved."""
        values, offsets = (
            np.load(folder / f"{_TERMS}_{part}.npy", allow_pickle=False) for part in ("values", "offsets")
        )
        distinct = (folder / f"{_TERMS}.txt").read_text(encoding="utf-8").split("\n") if len(values) else []
        return cls(distinct, values, offsets)


def _scored(terms: Terms) -> Any:
    """bm25s' index of them. It counts in Python, a product at a time; its own scores come from sorted arrays here."""
    import bm25s

    products, count = len(terms.offsets) - 1, len(terms.distinct)
    lengths = np.diff(terms.offsets)
    place = np.sort(terms.values.astype(np.int64) * products + np.repeat(np.arange(products), lengths))
    first = np.flatnonzero(np.concatenate([[True], place[1:] != place[:-1]]))
    times = np.diff(np.concatenate([first, [len(place)]])).astype(np.float32)
    term, product = np.divmod(place[first], products)
    having = np.bincount(term, minlength=count)
    idf = np.log(1 + (products - having + 0.5) / (having + 0.5)).astype(np.float32)
    long = _K1 * ((1 - _B) + _B * lengths / lengths.mean())
    index = bm25s.BM25(method="lucene", k1=_K1, b=_B)
    index.scores = {
        "data": (idf[term] * (times / (long[product] + times))).astype(np.float32),
        "indices": product.astype(np.int32),
        "indptr": np.concatenate([[0], np.cumsum(having)]).astype(np.int64),
        "num_docs": products,
    }
    index.vocab_dict = {term: number for number, term in enumerate([*terms.distinct, ""])}
    index.unique_token_ids_set = set(index.vocab_dict.values())
    index.nonoccurrence_array = None
    return index


class WordIndex:
    """Lucene's BM25 (k1 1.5, b 0.75; Kamphuis et al. 2020), in which a term gives a product at most its idf."""

    def __init__(self, scores: Any, language: str, products: int, terms: Terms | None = None) -> None:
        """``scores``: bm25s' index, None where no product has a word; ``terms``: what it was made of, where known."""
        self._scores, self.language, self._products, self._terms = scores, language, products, terms

    @classmethod
    def of(cls, texts: Sequence[str], language: str = DEFAULT_LANGUAGE) -> WordIndex:
        """Of n products' texts, see :func:`product_text`."""
        return cls._of_terms(Terms.of([terms_to_index(text, language) for text in texts]), language)

    @classmethod
    def _of_terms(cls, terms: Terms, language: str) -> WordIndex:
        products = len(terms.offsets) - 1
        return cls(_scored(terms) if len(terms.values) else None, language, products, terms)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / LANGUAGE_FILE).write_text(self.language, encoding="utf-8")
        if self._terms is not None:
            self._terms.save(folder)
        if self._scores is not None:
            self._scores.save(folder, show_progress=False)

    @classmethod
    def updated(cls, folder: Path, rows: np.ndarray, texts: Sequence[str], language: str) -> WordIndex:
        """The index of another catalogue, equal to :meth:`of` its texts; only those that are new are read.

        Args:
            folder: what :meth:`save` wrote for the old catalogue.
            rows: int64 [n], for each product the row of the old catalogue that has its text, -1 where none has.
            texts: of the products whose row is -1, in their order.
        """
        fresh = Terms.of([terms_to_index(text, language) for text in texts])
        return cls._of_terms(Terms.load(folder).with_rows(rows, fresh), language)

    @classmethod
    def load(cls, folder: Path, products: int, *, with_terms: bool = False) -> WordIndex:
        """Map what :meth:`save` wrote.

        Args:
            with_terms: also what it was made of, so that it can be saved again.

        Raises:
            ValueError: its words are of a language that is not known.
        """
        language = (folder / LANGUAGE_FILE).read_text(encoding="utf-8").strip()
        if language not in LANGUAGES:
            raise ValueError(f"its words are of an unknown language {language[:40]!r}")
        scores: Any = None
        if (folder / "vocab.index.json").is_file():
            import bm25s

            scores = bm25s.BM25.load(folder, mmap=True, show_progress=False)
            # Plain arrays over the maps: numpy's own memmap class costs time in each operation.
            scores.scores = {
                name: np.asarray(value) if isinstance(value, np.ndarray) else value
                for name, value in scores.scores.items()
            }
        return cls(scores, language, products, Terms.load(folder) if with_terms else None)

    def terms(self, query: str) -> tuple[str, ...]:
        """What of a query is searched for, see ``exclusion.terms_to_search``."""
        return tuple(terms_to_search(query, self.language))

    def scores(self, terms: Sequence[str]) -> np.ndarray | None:
        """BM25 of every product for some terms, float32 [n]; None where no product has any of them."""
        known = self._known(terms)
        return self._scores.get_scores(known) if known else None

    def total_idf(self, terms: Sequence[str]) -> float:
        """The most that BM25 can give for the distinct terms; one that no product has counts as the rarest."""
        distinct = len(dict.fromkeys(terms))
        known = self._known(terms)
        unknown = (distinct - len(known)) * float(np.log1p((self._products + 0.5) / 0.5))
        if not known:
            return unknown
        starts = self._scores.scores["indptr"]
        numbers = np.array([self._scores.vocab_dict[term] for term in known])
        counts = (starts[numbers + 1] - starts[numbers]).astype(np.float64)
        return unknown + float(self._idf(counts).sum())

    def _idf(self, counts: Any) -> Any:
        """Of terms that so many products have, float64 of the counts' shape."""
        return np.log1p((self._products - counts + 0.5) / (counts + 0.5))

    def coverage(self, terms: Sequence[str], rows: np.ndarray) -> np.ndarray:
        """Share of the terms' idf that each of some products has, float64 [n]; 0 where there are no terms."""
        out = np.zeros(len(rows))
        total = self.total_idf(terms)
        if not total:
            return out
        for term in self._known(terms):
            having = self._having(term)  # ascending, as bm25s keeps them
            place = np.minimum(np.searchsorted(having, rows), len(having) - 1)
            out += self._idf(np.float64(len(having))) * (having[place] == rows)
        return out / total

    def having(self, terms: Sequence[str]) -> np.ndarray:
        """Rows of the products that have all of the terms, int64; none where there are no terms."""
        if not terms or len(self._known(terms)) < len(set(terms)):
            return np.zeros(0, np.int64)
        rows = self._having(terms[0])
        for term in terms[1:]:
            rows = np.intersect1d(rows, self._having(term), assume_unique=True)
        return rows.astype(np.int64)

    def count(self, term: str) -> int:
        """How many products have a term."""
        return len(self._having(term)) if self._known([term]) else 0

    def _having(self, term: str) -> np.ndarray:
        matrix, number = self._scores.scores, self._scores.vocab_dict[term]
        return np.asarray(matrix["indices"][matrix["indptr"][number] : matrix["indptr"][number + 1]])

    def _known(self, terms: Sequence[str]) -> list[str]:
        if self._scores is None:
            return []
        return [term for term in dict.fromkeys(terms) if term in self._scores.vocab_dict]


def product_text(title: str | None, brand: str | None, color: str | None) -> str:
    """What of a product is indexed."""
    return f"{title or ''}\n{brand or ''}\n{color or ''}"
