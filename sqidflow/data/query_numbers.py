"""Which judgements are of one query: ids by text and locale, whoever gave them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sqidflow.core.errors import DataError
from sqidflow.data import formats
from sqidflow.data.judgements import codes
from sqidflow.data.query_codes import query_codes


@dataclass
class NumberedQueries:
    """Judgements with a ``query_id`` for each row, and how the ids were assigned.

    ``given`` int64 [n] are the ids of the file (``was_given`` bool [n]), ``spelling`` the texts as they stood there.
    ``made_up`` are the first and the last of the assigned ids, None if the file had them all.
    """

    table: pa.Table
    given: np.ndarray
    was_given: np.ndarray
    spelling: pa.ChunkedArray
    numbered: int = 0
    merged_ids: int = 0
    merged_spellings: int = 0
    made_up: tuple[int, int] | None = None
    notes: list[str] = field(default_factory=list)


def numbers_after(ids: np.ndarray, lowest: int, count: int, file: Path, column: str) -> np.ndarray:
    """int64 [count]: new ids above all of ``ids``, from ``lowest`` on. Raises DataError where there are not so many."""
    largest = max(lowest - 1, int(ids.max(initial=-1)))
    if largest + count > 2**63 - 1:
        raise DataError(
            f"{largest} leaves no room above it for the {count:,} that are missing",
            file=file,
            column=column,
            hint="give every row its id, or smaller ones",
        )
    return largest + np.arange(1, count + 1)


def number_queries(table: pa.Table, file: Path) -> NumberedQueries:
    """Gives the judgements of each (text, locale) one query_id and one spelling, those of its first row.

    An id that stands for several texts where others are missing, or for several locales, stays with the first of them;
    the others, and texts that have no id, are numbered above all others in order of appearance.

    Raises:
        DataError: all ids are given and one has two texts; no number is left.
    """
    texts = query_codes(table["query"])
    locales = codes(table["product_locale"])
    _, first_row, query = np.unique(
        texts * (int(locales.max(initial=0)) + 1) + locales, return_index=True, return_inverse=True
    )
    was_given = table["query_id"].is_valid().to_numpy()
    given = pc.fill_null(table["query_id"], 0).to_numpy().copy()
    result = NumberedQueries(table, given, was_given, table["query"])
    if was_given.all():
        _check_one_text(table, given, texts, file)

    # the query that owns each given id is that of its first row; of several ids of a query its first one counts
    rows = np.flatnonzero(was_given)
    owned_ids, first_of_id = np.unique(given[rows], return_index=True)
    owner_rows = rows[first_of_id]
    number = np.zeros(len(first_row), np.int64)
    known = np.zeros(len(first_row), bool)
    for row in owner_rows[np.argsort(-owner_rows)]:  # the earliest row last, so that it stays
        number[query[row]], known[query[row]] = given[row], True
    result.merged_ids = len(owned_ids) - int(known.sum())
    new = np.flatnonzero(~known)
    new = new[np.argsort(first_row[new], kind="stable")]
    number[new] = numbers_after(given[was_given], 1, len(new), file, "query_id")
    result.numbered = len(new)
    if len(new):
        result.made_up = int(number[new[0]]), int(number[new[-1]])

    ids = number[query]
    spelling = table["query"].take(pa.array(first_row[query]))
    result.merged_spellings = len(pc.unique(table["query"])) - len(np.unique(texts))
    result.notes = _notes(result, query, known)
    named = table.schema.get_field_index
    table = table.set_column(named("query_id"), "query_id", pa.array(ids))
    result.table = table.set_column(named("query"), "query", spelling)
    return result


def _check_one_text(table: pa.Table, given: np.ndarray, texts: np.ndarray, file: Path) -> None:
    order = np.argsort(given, kind="stable")
    differs = (given[order][1:] == given[order][:-1]) & (texts[order][1:] != texts[order][:-1])
    if not differs.any():
        return
    row = int(order[1:][differs].min())
    first = int(np.flatnonzero(given == given[row])[0])
    raise DataError(
        f"query_id {given[row]} is {table['query'][row].as_py()[:60]!r} here and "
        f"{table['query'][first].as_py()[:60]!r} in row {first + 1}",
        file=file,
        row=row + 1,
        column="query_id",
        hint="give each query text its own id",
    )


def _notes(result: NumberedQueries, query: np.ndarray, known: np.ndarray) -> list[str]:
    notes = []
    missing = int((~result.was_given).sum())
    if missing:
        notes.append(f"query_id is missing in {missing:,} rows: filled in by the query's text and locale")
    lost = len(np.unique(query[result.was_given & ~known[query]]))
    if lost:
        notes.append(f"query_id of {lost:,} queries also stands for another text or locale: they are numbered anew")
    if result.merged_ids:
        notes.append(
            f"{result.merged_ids:,} query_ids have the text and locale of another one (blanks, case and invisible "
            "characters aside): they are one query now, with the first id"
        )
    if result.merged_spellings:
        notes.append(
            f"{result.merged_spellings:,} spellings differ from another one in blanks, case or invisible characters "
            "alone: one query has the spelling that comes first"
        )
    return notes


def made_up_ids(examples: Path) -> tuple[int, int] | None:
    """The first and last query_id that an import made up; None where all were given."""
    if not examples.is_file():
        return None
    try:
        metadata = pq.read_schema(examples).metadata or {}
    except (OSError, pa.ArrowInvalid):
        return None
    value = metadata.get(formats.NUMBERED_KEY.encode())
    return tuple(json.loads(value)) if value else None


def drop_conflicts_of_merged_ids(queries: NumberedQueries) -> tuple[np.ndarray, int | None]:
    """bool [n]: False on judgements of a merged id that contradict an earlier one of another id; the first such row.

    Who gave two ids to one text may have asked two people. That is no slip of a row, as two labels under one id are.
    """
    table = queries.table
    keep = np.ones(table.num_rows, bool)
    if not queries.merged_ids:
        return keep, None
    pair = np.stack([codes(table[name]) for name in ("query_id", "product_id", "product_locale")])
    labels = codes(table["esci_label"])
    order = np.lexsort(pair[::-1])
    starts = np.concatenate([[True], (pair[:, order][:, 1:] != pair[:, order][:, :-1]).any(axis=0)])
    first = order[np.maximum.accumulate(np.where(starts, np.arange(len(order)), 0))]
    both = queries.was_given[order] & queries.was_given[first]
    odd = both & (labels[order] != labels[first]) & (queries.given[order] != queries.given[first])
    keep[order[odd]] = False
    return keep, int(order[odd].min()) if odd.any() else None


def ids_of_given(queries: NumberedQueries) -> dict[int, list[int]]:
    """The query_ids that stand now for each id of the file, the one that kept it first."""
    rows = queries.was_given
    ids = queries.table["query_id"].to_numpy()
    pairs = np.unique(np.stack([queries.given[rows], ids[rows]]), axis=1).T.tolist()
    places: dict[int, list[int]] = {}
    for old, new in pairs:
        places.setdefault(old, []).append(new)
    return {old: [*(n for n in new if n == old), *sorted(n for n in new if n != old)] for old, new in places.items()}


def by_text(examples: pa.Table) -> Iterator[tuple[int, str, str]]:
    """query_id, text and locale of each query of the judgements."""
    _, first = np.unique(codes(examples["query_id"]), return_index=True)
    rows = examples.select(["query_id", "query", "product_locale"]).take(pa.array(np.sort(first)))
    for row in rows.to_pylist():
        yield row["query_id"], row["query"], row["product_locale"]
