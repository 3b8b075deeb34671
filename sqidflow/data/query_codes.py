"""Queries told apart by the one form that decides what one query is (``sqidflow.ranking.query_text``)."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from sqidflow.ranking.query_text import query_key


def query_codes(texts: pa.ChunkedArray) -> np.ndarray:
    """int64 [n]: equal numbers for texts that are one query."""
    encoded = texts.combine_chunks().dictionary_encode()
    keys = pa.array([query_key(text) for text in encoded.dictionary.to_pylist()], pa.string())
    of_key = keys.dictionary_encode().indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return of_key[encoded.indices.to_numpy(zero_copy_only=False)]
