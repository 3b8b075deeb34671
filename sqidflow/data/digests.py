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
    # of what can be printed, the space is the only blank; splitting there takes a fifth of the expression's time
    form = " ".join(text.split()) if text.isprintable() else _BLANKS.sub(" ", text).strip()
    return hashlib.sha256(form.encode()).hexdigest()


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
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        columns_there = pq.read_schema(file).names
    except (OSError, pa.ArrowInvalid):
        return 0  # its readers say what is wrong with it
    in_use = list(dict.fromkeys(titles))
    if formats.TEXT_DIGEST not in columns_there or not in_use:
        return 0
    # a row with a time is part of a history, in which titles change
    timed = formats.TIMESTAMP in columns_there
    columns = ["product_id", formats.TEXT_DIGEST, *([formats.TIMESTAMP] if timed else [])]
    rows = pq.read_table(file, columns=columns)
    rows = rows.filter(rows[formats.TEXT_DIGEST].is_valid())
    if timed:
        rows = rows.filter(rows[formats.TIMESTAMP].is_null())
    ids = pa.array([product for product, _ in in_use], pa.string())
    digests = pa.array([text_digest(title or "") for _, title in in_use], pa.string())
    made_from = pc.binary_join_element_wise(
        rows["product_id"].cast(pa.string()), rows[formats.TEXT_DIGEST].cast(pa.string()), "\x1f"
    )
    other = pc.and_not(
        pc.is_in(rows["product_id"].cast(pa.string()), ids),
        pc.is_in(made_from, pc.binary_join_element_wise(ids, digests, "\x1f")),
    )
    return int(pc.sum(other).as_py() or 0)


def check_titles(file: Path, titles: Iterable[tuple[str, str | None]], *, judged: bool = True) -> None:
    """Raises DataError where products have vectors of another title, in another locale or older than theirs.

    Args:
        judged: whether the ``titles`` are of judged products, in the locale in use.
    """
    other = vectors_of_other_titles(file, titles)
    if not other:
        return
    if judged:
        what = f"{other:,} judged products have vectors of another title than theirs in the locale in use"
    elif other == 1:
        what = "1 product has a vector of another title than its own"
    else:
        what = f"{other:,} products have vectors of other titles than their own"
    raise DataError(
        what,
        file=file,
        column=formats.TEXT_VECTOR,
        hint="run `sqidflow data encode` with the same data.locale (--set data.locale=...)",
    )
