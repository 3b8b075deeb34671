"""Rows of different lengths, taken run by run."""

from __future__ import annotations

import numpy as np


def taken(values: np.ndarray, offsets: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The values of n rows, one row after the other; row i is ``values[offsets[i]:offsets[i + 1]]``.

    Rows that follow one another are copied at once: of a catalogue in which little changed, nearly all do, and no
    position is computed for each value.
    """
    if not len(rows):
        return values[:0].copy()
    breaks = np.flatnonzero(np.diff(rows) != 1) + 1
    starts = offsets[rows[np.concatenate([[0], breaks])]].tolist()
    ends = offsets[rows[np.concatenate([breaks - 1, [len(rows) - 1]])] + 1].tolist()
    return np.concatenate([values[start:end] for start, end in zip(starts, ends)])
