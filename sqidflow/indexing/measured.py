"""What recall was measured with: queries and the products that are really nearest to each, kept with an index.

When the index is updated, its exact answers follow the changed products instead of being searched for among all again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

NEAREST = 128
"""Products that are kept of each query. Recall is of the first hundred: the others step in for those that go."""
_FILES = ("queries", "rows", "scores")


@dataclass(frozen=True)
class Measured:
    """``queries`` float32 [q, d], unit vectors; ``rows`` int64 [q, k] the nearest products and ``scores`` float32
    [q, k] their products with the query, best first. Where fewer are known, rows are -1 and scores -inf at the end."""

    queries: np.ndarray
    rows: np.ndarray
    scores: np.ndarray

    def write(self, folder: Path) -> None:
        for name in _FILES:
            np.save(_file(folder, name), getattr(self, name), allow_pickle=False)

    @classmethod
    def read(cls, folder: Path) -> Measured | None:
        """None where the index has none."""
        try:
            return cls(*(np.load(_file(folder, name), allow_pickle=False) for name in _FILES))
        except FileNotFoundError:
            return None

    def followed(self, new_row: np.ndarray, changed: np.ndarray, vectors: np.ndarray) -> Measured:
        """The nearest in a catalogue that changed, as far as these tell: all that are at least as near as the last one
        that was kept. A query whose products went has fewer of them than before.

        Args:
            new_row: int64 [old products], where each stands now, -1 where it is gone or has another vector.
            changed: int64 [m], the rows now of new products and of those with another vector.
            vectors: float32 [m, d], theirs.
        """
        known = self.rows >= 0
        least = np.where(known, self.scores, np.inf).min(axis=1, initial=np.inf)
        # Of a catalogue whose every product was kept nothing is missing.
        least[known.sum(axis=1) >= len(new_row)] = -np.inf
        rows = np.where(known, new_row[self.rows], -1)
        fresh = self.queries @ vectors.T
        rows = np.concatenate([rows, np.broadcast_to(changed, fresh.shape)], axis=1)
        scores = np.concatenate([np.where(rows[:, : known.shape[1]] >= 0, self.scores, -np.inf), fresh], axis=1)
        scores[scores < least[:, None]] = -np.inf
        order = np.lexsort((rows, -scores), axis=1)[:, : known.shape[1]]
        scores = np.take_along_axis(scores, order, axis=1).astype(np.float32)
        rows = np.where(np.isneginf(scores), -1, np.take_along_axis(rows, order, axis=1))
        return Measured(self.queries, rows, scores)

    def with_rows(self, at: np.ndarray, rows: np.ndarray, scores: np.ndarray) -> Measured:
        """With other nearest products for the queries ``at``."""
        width = max(self.rows.shape[1], rows.shape[1])
        all_rows, all_scores = _padded(self.rows, width, -1), _padded(self.scores, width, -np.inf)
        all_rows[at], all_scores[at] = _padded(rows, width, -1), _padded(scores, width, -np.inf)
        return Measured(self.queries, all_rows, all_scores)

    def and_(self, other: Measured) -> Measured:
        """These queries and those of another."""
        width = max(self.rows.shape[1], other.rows.shape[1])
        return Measured(
            np.concatenate([self.queries, other.queries]),
            np.concatenate([_padded(each.rows, width, -1) for each in (self, other)]),
            np.concatenate([_padded(each.scores, width, -np.inf) for each in (self, other)]),
        )


def _padded(array: np.ndarray, width: int, value: float) -> np.ndarray:
    out = np.full((len(array), width), value, array.dtype)
    out[:, : array.shape[1]] = array
    return out


def _file(folder: Path, name: str) -> Path:
    return folder / f"measured_{name}.npy"
