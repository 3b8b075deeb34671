"""ESCI's own split of the judgements (setting ``split.by: esci``): the file's rows marked ``test`` are held out, those
marked ``train`` are parted by query into training and validation."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sqidflow.core.errors import DataError
from sqidflow.data import catalogue
from sqidflow.ranking import features
from sqidflow.ranking.query_text import query_key

COLUMN = "split"
TRAIN, VALIDATION, HELD_OUT = "train", "eval", "test"
SPLITS = (TRAIN, VALIDATION, HELD_OUT)
_MARK = re.compile(r"\s*(train|test)\s*(\(.*\))?\s*", re.IGNORECASE)
"""The KDD Cup files write ``train(KDD-cup v0.2)``."""
_HINT = "mark its rows train or test in the file, or set split.by to query"


def held_out_rows(table: pa.Table, file: Path) -> np.ndarray:
    """bool [n]: which judgements the file marks as test; ``row`` has their rows in the file.

    Raises:
        DataError: a mark is neither train nor test, or one of the two is not among the rows.
    """
    marks = table[COLUMN].to_pylist()
    held_out = np.zeros(len(marks), bool)
    for at, mark in enumerate(marks):
        read = _MARK.fullmatch(mark or "")
        if read is None:
            raise DataError(
                f"is {mark!r}; split.by esci knows train and test",
                file=file,
                row=table["row"][at].as_py(),
                column=COLUMN,
                hint=_HINT,
            )
        held_out[at] = read[1].lower() == HELD_OUT
    for value, any_row in ((TRAIN, not held_out.all()), (HELD_OUT, held_out.any())):
        if not any_row:
            raise DataError(
                f"no judgement is marked {value}, which split.by esci needs", file=file, column=COLUMN, hint=_HINT
            )
    return held_out


def leaking_rows(table: pa.Table, held_out: np.ndarray) -> np.ndarray:
    """bool [n]: the rows for training of a query that is held out too, under whatever id and spelling."""
    keys = {text: query_key(text) for text in set(table[features.QUERY].to_pylist())}
    queries = list(zip((keys[text] for text in table[features.QUERY].to_pylist()), table[catalogue.LOCALE].to_pylist()))
    ids = table[features.QUERY_ID].to_pylist()
    held_out_queries = {query for query, out in zip(queries, held_out) if out}
    held_out_ids = {query_id for query_id, out in zip(ids, held_out) if out}
    leaks = [query in held_out_queries or query_id in held_out_ids for query, query_id in zip(queries, ids)]
    return np.array(leaks, bool) & ~held_out


def parted(pairs: pa.Table, shares: tuple[int, int]) -> dict[str, pa.Table]:
    """The pairs of each split. A hash of the query's id parts those for training from those for validation.

    Args:
        pairs: with ``split`` as the file has it. shares: of training and of validation, whole numbers.
    """
    marks = pairs[COLUMN].to_pylist()
    of_pair = []
    of_query: dict[int, str] = {}
    for query_id, mark in zip(pairs[features.QUERY_ID].to_pylist(), marks):
        if is_test(mark):
            of_pair.append(HELD_OUT)
            continue
        if query_id not in of_query:
            of_query[query_id] = TRAIN if is_for_training(query_id, shares) else VALIDATION
        of_pair.append(of_query[query_id])
    which = pa.array(of_pair)
    return {name: pairs.filter(pc.equal(which, name)) for name in SPLITS}


def is_test(mark: str | None) -> bool:
    """Whether the file's mark holds a judgement out; False for a mark that is none."""
    read = _MARK.fullmatch(mark or "")
    return read is not None and read[1].lower() == HELD_OUT


def is_for_training(query_id: int, shares: tuple[int, int]) -> bool:
    """Whether a query that is not held out is for training and not for validation."""
    return int(hashlib.sha256(str(query_id).encode()).hexdigest(), 16) % sum(shares) < shares[0]
