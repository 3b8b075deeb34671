"""Judgements that people gave on the page, as rows of an examples file that `data import --examples` takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from sqidflow.core.errors import SqidflowError
from sqidflow.core.files import may_write
from sqidflow.ranking.query_text import query_key
from sqidflow.search.experiments import Judgement

COLUMNS = ("query", "product_id", "esci_label", "product_locale")
SUFFIXES = (".csv", ".parquet")


@dataclass
class Export:
    """``rows`` in the order of ``COLUMNS``, and what of the judgements they were made from.

    ``conflicts``: pairs of query and product on which clients disagree; the label of most stands, and without one the
    pair is left out (``conflicts_left_out``).
    """

    rows: list[tuple[str, str, str, str]] = field(default_factory=list)
    judgements: int = 0
    clients: int = 0
    conflicts: int = 0
    conflicts_left_out: int = 0
    picture_queries_left_out: int = 0
    empty_queries_left_out: int = 0
    deleted_products_left_out: int = 0


def export(
    judgements: Iterable[Judgement], locale_of: Callable[[str], str], known: Container[str] | None = None
) -> Export:
    """Rows from the newest judgement of each client; ``locale_of`` a product where the judgement names none.

    Judgements of products that are not ``known`` are left out: they were deleted since, and no import takes them.
    """
    result = Export()
    clients = set()
    labels: dict[tuple[str, str, str], Counter[str]] = {}
    texts: dict[tuple[str, str, str], str] = {}
    for each in judgements:
        result.judgements += 1
        clients.add(each.client)
        if each.picture:
            result.picture_queries_left_out += 1
            continue
        if known is not None and each.product_id not in known:
            result.deleted_products_left_out += 1
            continue
        text = " ".join(each.query.split())
        if not text:
            result.empty_queries_left_out += 1
            continue
        key = query_key(text), each.product_id, each.locale or locale_of(each.product_id)
        labels.setdefault(key, Counter())[each.label] += 1
        texts.setdefault(key, text)
    result.clients = len(clients)
    # One query is written one way, or it would be two.
    spelling: dict[str, str] = {}
    for key in sorted(labels):
        (label, most), *others = labels[key].most_common()
        if others:
            result.conflicts += 1
            if others[0][1] == most:
                result.conflicts_left_out += 1
                continue
        query, product, locale = key
        result.rows.append((spelling.setdefault(query, texts[key]), product, label, locale))
    return result


def write(rows: list[tuple[str, str, str, str]], file: Path) -> None:
    """Write an examples file, CSV or parquet by its name's end; nothing half-written is left.

    Raises:
        SqidflowError: there is no row, or the name ends otherwise.
    """
    import pyarrow as pa

    if file.suffix.lower() not in SUFFIXES:
        raise SqidflowError(
            "judgements are written as .csv or .parquet", where=file, hint="name the file that way, e.g. judgements.csv"
        )
    if not rows:
        raise SqidflowError(
            "there is no judgement to export", where=file, hint="judge products on the page first: E, S, C or I"
        )
    table = pa.table({name: pa.array([row[at] for row in rows], pa.string()) for at, name in enumerate(COLUMNS)})
    beside = file.with_name(f".{file.name}.part")
    try:
        with may_write(file.parent):
            if file.suffix.lower() == ".csv":
                import pyarrow.csv as pacsv

                pacsv.write_csv(table, beside)
            else:
                import pyarrow.parquet as pq

                pq.write_table(table, beside)
            beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)
