"""Whether each split gets a query, said before a run: a hash decides, and few queries may all miss one split."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

from sqidflow.core.errors import DataError
from sqidflow.data.query_split import split_of
from sqidflow.ranking import features

_LARGEST_SHARE = 12


def empty_splits(query_ids: Iterable[int], shares: Sequence[int]) -> list[int]:
    """Places of the splits that no query falls into."""
    used = {split_of(query, shares) for query in query_ids}
    return [place for place in range(len(shares)) if place not in used]


def shares_that_fill(query_ids: Sequence[int], shares: Sequence[int]) -> tuple[int, ...] | None:
    """The nearest shares, as parts of the whole, that leave no split empty; None where there are none up to twelve."""
    total = sum(shares)

    def distance(other: Sequence[int]) -> float:
        return sum(abs(new / sum(other) - old / total) for new, old in zip(other, shares, strict=True))

    every = itertools.product(range(1, _LARGEST_SHARE + 1), repeat=len(shares))
    return next((each for each in sorted(every, key=distance) if not empty_splits(query_ids, each)), None)


def check_splits(pairs_file: Path, names: Sequence[str], shares: Sequence[int]) -> None:
    """Raises DataError where a split would have no query; the hint names shares that fill all of them."""
    import pyarrow.compute as pc
    import pyarrow.csv as pacsv

    options = pacsv.ConvertOptions(include_columns=[features.QUERY_ID])
    parse = pacsv.ParseOptions(newlines_in_values=True)
    table = pacsv.read_csv(pairs_file, convert_options=options, parse_options=parse)
    query_ids = pc.unique(table[features.QUERY_ID]).to_pylist()
    empty = empty_splits(query_ids, shares)
    if not empty:
        return
    hint = "judge more queries"
    other = shares_that_fill(query_ids, shares) if len(query_ids) >= len(shares) else None
    if other is not None:
        asked = " ".join(f"--set split.{name}={share}" for name, share in zip(names, other, strict=True))
        hint += f", or share them out otherwise: {asked}"
    count = f"{len(query_ids)} {'query' if len(query_ids) == 1 else 'queries'}"
    raise DataError(f"none of {count} falls into the split {names[empty[0]]!r}", file=pairs_file, hint=hint)
