"""Judged lists that are too long for the library that learns the trees, said before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.csv as pacsv

from sqidflow.core.errors import SqidflowError
from sqidflow.data.formats import MOST_JUDGED_PRODUCTS
from sqidflow.data.query_split import split_of
from sqidflow.ranking import features


def long_lists(pairs: Path) -> dict[int, int]:
    """query_id and number of judged products of the lists over LightGBM's bound; none without judgements."""
    if not pairs.is_file():
        return {}
    table = pacsv.read_csv(pairs, convert_options=pacsv.ConvertOptions(include_columns=[features.QUERY_ID]))
    counted = pc.value_counts(table[features.QUERY_ID]).to_pylist()
    return {item["values"]: item["counts"] for item in counted if item["counts"] > MOST_JUDGED_PRODUCTS}


def refuse_long_lists(
    pairs: Path,
    model: str,
    shares: Sequence[int],
    splits: Sequence[str],
    held_out: str,
    held_out_file: Path | None = None,
) -> None:
    """Raises SqidflowError where a list that a model with trees would learn from is over LightGBM's bound.

    ``held_out_file``: the pairs that are held out, where a hash of the query does not decide.
    """
    long_held_out = long_lists(held_out_file) if held_out_file is not None else {}
    for query_id, size in long_lists(pairs).items():
        split = splits[split_of(query_id, shares)] if held_out_file is None else splits[0]
        if query_id in long_held_out:
            split = held_out
        if split != held_out:
            raise SqidflowError(
                f"query {query_id} (split {split!r}) has {size:,} judged products: LightGBM, of which model {model!r} "
                f"has its trees, takes {MOST_JUDGED_PRODUCTS:,} a query",
                where=pairs,
                hint="run with --model pointwise, or judge fewer products of it",
            )
