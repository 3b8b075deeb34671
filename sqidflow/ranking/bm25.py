"""BM25 over a catalogue's terms: one index for training, evaluation and search."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sqidflow.ranking.exclusion import terms_to_index, terms_to_search
from sqidflow.ranking.languages import LANGUAGES
from sqidflow.ranking.words import DEFAULT_LANGUAGE

LANGUAGE_FILE = "language.txt"
_K1, _B = 1.5, 0.75


class WordIndex:
    """Lucene's BM25 (k1 1.5, b 0.75; Kamphuis et al. 2020), in which a term gives a product at most its idf."""

    def __init__(self, scores: Any, language: str, products: int) -> None:
        """``scores``: bm25s' index, None where no product has a word."""
        self._scores, self.language, self._products = scores, language, products

    @classmethod
    def of(cls, texts: Sequence[str], language: str = DEFAULT_LANGUAGE) -> WordIndex:
        """Of n products' texts, see :func:`product_text`."""
        import bm25s

        terms = [terms_to_index(text, language) for text in texts]
        if not any(terms):
            return cls(None, language, len(texts))
        scores = bm25s.BM25(method="lucene", k1=_K1, b=_B)
        scores.index(terms, show_progress=False)
        return cls(scores, language, len(texts))

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / LANGUAGE_FILE).write_text(self.language, encoding="utf-8")
        if self._scores is not None:
            self._scores.save(folder, show_progress=False)

    @classmethod
    def load(cls, folder: Path, products: int) -> WordIndex:
        """Map what :meth:`save` wrote.

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
        return cls(scores, language, products)

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
        return unknown + float(np.log1p((self._products - counts + 0.5) / (counts + 0.5)).sum())

    def coverage(self, terms: Sequence[str], rows: np.ndarray) -> np.ndarray:
        """Share of the terms' idf that each of some products has, float64 [n]; 0 where there are no terms."""
        out = np.zeros(len(rows))
        total = self.total_idf(terms)
        if not total:
            return out
        for term in self._known(terms):
            having = self._having(term)  # ascending, as bm25s keeps them
            place = np.minimum(np.searchsorted(having, rows), len(having) - 1)
            out += self.total_idf([term]) * (having[place] == rows)
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
