"""What a vector was made from, as the digest that stands beside it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from sqidflow.core.errors import DataError
from sqidflow.data import formats

_BLANKS = re.compile(r"[\s\x00-\x20\x7f\x85]+")


def text_digest(text: str) -> str:
    """SHA-256 of a text's UTF-8; each run of blanks counts as one space, those at the ends as none."""
    return hashlib.sha256(_BLANKS.sub(" ", text).strip().encode()).hexdigest()


def picture_digest(picture: bytes) -> str:
    """SHA-256 of a picture's bytes."""
    return hashlib.sha256(picture).hexdigest()


def vectors_of_other_titles(file: Path, titles: Iterable[tuple[str, str | None]]) -> int:
    """How many products have a vector of another title than theirs.

    Args:
        file: product vectors; those without the digest of their text are passed over.
        titles: id and title of the products in use; a product that is judged in two locales may have two.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        columns_there = pq.read_schema(file).names
    except (OSError, pa.ArrowInvalid):
        return 0  # its readers say what is wrong with it
    if formats.TEXT_DIGEST not in columns_there:
        return 0
    digests: dict[str, set[str]] = {}
    for product, title in set(titles):
        digests.setdefault(product, set()).add(text_digest(title or ""))
    # a row with a time is part of a history, in which titles change
    timed = formats.TIMESTAMP in columns_there
    columns = ["product_id", formats.TEXT_DIGEST, *([formats.TIMESTAMP] if timed else [])]
    other = 0
    for row in pq.read_table(file, columns=columns).to_pylist():
        made_from = row[formats.TEXT_DIGEST]
        if made_from is not None and row.get(formats.TIMESTAMP) is None:
            other += made_from not in digests.get(row["product_id"], {made_from})
    return other


def check_titles(file: Path, titles: Iterable[tuple[str, str | None]]) -> None:
    """Raises DataError where products have vectors of another title, in another locale or older than theirs."""
    other = vectors_of_other_titles(file, titles)
    if other:
        raise DataError(
            f"{other:,} judged products have vectors of another title than theirs in the locale in use",
            file=file,
            column=formats.TEXT_VECTOR,
            hint="run `sqidflow data encode` with the same data.locale (--set data.locale=...)",
        )
