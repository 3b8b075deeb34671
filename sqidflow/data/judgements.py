"""What lies across the rows of judgements: which repeat one another, which contradict each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sqidflow.core.errors import DataError


def codes(column: pa.ChunkedArray) -> np.ndarray:
    """int64 [n]: equal values, nulls too, get equal numbers."""
    encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)


def first_judgements(table: pa.Table, path: Path, rows: np.ndarray | None = None) -> np.ndarray:
    """bool [n]: False on rows that repeat an earlier row's query_id, product_id, product_locale and label.

    ``rows`` int64 [n] are the rows of the file, from 0, where some were left out. Raises DataError where a pair of one
    locale has two labels. Rows without a query_id must have been numbered before.
    """
    locales = codes(table["product_locale"])
    products = codes(table["product_id"]) * (int(locales.max(initial=0)) + 1) + locales
    pairs = np.stack([codes(table["query_id"]), products])
    order = np.lexsort(pairs[::-1])
    ordered = pairs[:, order]
    again = np.concatenate([[False], (ordered[:, 1:] == ordered[:, :-1]).all(axis=0)])
    labels = codes(table["esci_label"])
    # lexsort is stable: within a pair the rows stand in the file's order
    odd = np.flatnonzero(again & np.concatenate([[False], labels[order][1:] != labels[order][:-1]]))
    if odd.size:
        rows = np.arange(table.num_rows) if rows is None else rows
        second = int(order[odd].min())
        first = int(order[np.flatnonzero(order == second)[0] - 1])
        label = table["esci_label"]
        more = f", like {odd.size - 1:,} more" if odd.size > 1 else ""
        raise DataError(
            f"query {table['query_id'][second]} and product {table['product_id'][second]} are judged {label[second]} "
            f"here and {label[first]} in row {rows[first] + 1}{more}",
            file=path,
            row=int(rows[second]) + 1,
            column="esci_label",
            hint="keep one of the two judgements",
        )
    keep = np.ones(table.num_rows, dtype=bool)
    keep[order[again]] = False
    return keep


def check_query_texts(table: pa.Table, path: Path) -> None:
    """Raises DataError where one query_id has two texts. Null ids are left alone."""
    ids = codes(pc.fill_null(table["query_id"], -(2**63)))
    texts = codes(table["query"])
    order = np.argsort(ids, kind="stable")
    same = (ids[order][1:] == ids[order][:-1]) & (texts[order][1:] != texts[order][:-1])
    odd = [int(i) for i in order[1:][same] if table["query_id"][int(i)].is_valid]
    if odd:
        row = min(odd)
        first = int(order[ids[order] == ids[row]][0])
        raise DataError(
            f"query_id {table['query_id'][row]} is {table['query'][row].as_py()[:60]!r} here and "
            f"{table['query'][first].as_py()[:60]!r} in row {first + 1}",
            file=path,
            row=row + 1,
            column="query_id",
            hint="give each query text its own id",
        )


def first_repeat(columns: Sequence[pa.ChunkedArray]) -> tuple[int, int] | None:
    """Positions (second, first) of the earliest row that repeats all ``columns`` of an earlier one, or None."""
    keys = np.stack([codes(column) for column in columns])
    order = np.lexsort(keys[::-1])
    again = (keys[:, order][:, 1:] == keys[:, order][:, :-1]).all(axis=0)
    if not again.any():
        return None
    at = int(order[1:][again].min())
    return at, int(order[(keys[:, order] == keys[:, [at]]).all(axis=0)].min())
