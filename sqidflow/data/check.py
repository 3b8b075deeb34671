"""Validates everything in ``data/``: each file by itself, and that they fit together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sqidflow.core.errors import DataError
from sqidflow.data import formats, readers, vector_audit
from sqidflow.data.attributes import Kind, declared_otherwise
from sqidflow.data.digests import check_titles
from sqidflow.data.encoder_name import check_one_encoder
from sqidflow.data.formats import MOST_JUDGED_PRODUCTS
from sqidflow.data.query_codes import query_codes


@dataclass
class FileReport:
    """What one file holds. ``rows`` and ``dim`` (of its vectors) are None where there are none or they cannot be read;
    ``problems`` are one line each, empty when all is well; ``notes`` say what may surprise later."""

    file: str
    rows: int | None = None
    columns: list[str] = field(default_factory=list)
    dim: int | None = None
    bytes: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class _Known:
    """What the files say about each other; ``titles`` are those that vectors of judged products should be of."""

    judged: pa.Table | None = None
    titles: pa.Table | None = None
    product_ids: pa.ChunkedArray | None = None
    query_dim: int | None = None


def check_folder(
    data_dir: Path,
    *,
    locale: str | None = "us",
    small_version: bool = True,
    large_version: bool = False,
    splits: Sequence[str] = (),
    attributes: Mapping[str, Kind] | None = None,
) -> list[FileReport]:
    """Reports on every known file of ``data_dir``, first faults included; raises nothing for a bad file.

    A catalogue without judgements needs no files about queries.

    That judged products and queries have rows and vectors is asked of the judgements which ``locale`` (None: all),
    ``small_version``, ``large_version`` (True: only those in it) and ``splits`` (empty: all) leave, as
    `sqidflow features` does: the published judgements go far beyond the published vectors. ``attributes`` are the kinds
    that the settings declare.

    Memory: the judgements, the ids of all files and one batch of vectors.
    """
    data_dir = Path(data_dir)
    known = _Known()
    judged = not formats.has_no_judgements(data_dir)

    def judgements(path: Path, report: FileReport) -> None:
        _examples(path, report, known)
        known.judged = _in_scope(known.judged, locale, small_version, large_version, splits)
        report.counts["judgements in use"] = known.judged.num_rows
        if not known.judged.num_rows:
            raise DataError(
                "no judgement is left by the settings for locale, version and split",
                file=path,
                hint="change `data` in params.yaml",
            )
        _same_texts(path, report, known.judged)
        _long_lists(report, known.judged)
        _times(report, known.judged)

    steps: list[tuple[str, bool, Callable[[Path, FileReport], None]]] = [
        (formats.EXAMPLES_FILE, judged, judgements),
        (formats.PRODUCTS_FILE, True, lambda path, report: _products(path, report, known, attributes or {})),
        (formats.QUERY_FEATURES_FILE, judged, lambda path, report: _query_features(path, report, known)),
        (formats.PRODUCT_FEATURES_FILE, True, lambda path, report: _product_features(path, report, known)),
        (formats.IMAGE_URLS_FILE, False, _image_urls),
        (formats.SUPP_IMAGE_URLS_FILE, False, _image_urls),
        (formats.IMAGES_FILE, False, lambda path, report: _images(path, report, known)),
        (formats.ORACLE_FILE, False, _oracle),
    ]
    reports = []
    for name, required, check in steps:
        path = data_dir / name
        if not required and not path.exists():
            continue
        report = FileReport(name, bytes=path.stat().st_size if path.is_file() else 0)
        try:
            _require(path, data_dir)
            report.columns = list(readers.open_source(path).columns)
            check(path, report)
        except DataError as error:
            report.problems.append(error.message)
        reports.append(report)
    _audit_vectors(data_dir, reports)
    return reports


def _audit_vectors(data_dir: Path, reports: list[FileReport]) -> None:
    """What the vectors say of themselves, where a file does not name their encoder and can be read."""
    if any(report.problems for report in reports) or not vector_audit.worth_a_look(data_dir):
        return
    found = [f"{finding}; {vector_audit.HINT}" for finding in vector_audit.findings(data_dir)]
    for report in reports:
        if report.file == formats.PRODUCT_FEATURES_FILE:
            report.notes += found


def _same_texts(path: Path, report: FileReport, judged: pa.Table) -> None:
    """One text under two ids would be in training and held out."""
    queries = judged.group_by(["query_id", "query", "product_locale"]).aggregate([]).combine_chunks()
    texts = query_codes(queries["query"])
    locales = readers.codes(queries["product_locale"])
    ids = readers.codes(queries["query_id"])
    keys = texts * (int(locales.max(initial=0)) + 1) + locales
    pairs = np.unique(np.stack([keys, ids]), axis=1)
    repeated = pairs.shape[1] - len(np.unique(keys))
    if not repeated:
        return
    at = int(np.flatnonzero(keys == pairs[0][np.flatnonzero(np.diff(pairs[0]) == 0)[0]])[0])
    text = queries["query"][at].as_py()[:60]
    what = (
        f"{repeated:,} query_ids have the text and locale of another one, such as {text!r}: blanks, case and invisible"
    )
    hint = "import the file: `sqidflow data import` makes them one query"
    report.problems.append(DataError(f"{what} characters aside", file=path, column="query_id", hint=hint).message)


def _long_lists(report: FileReport, judged: pa.Table) -> None:
    sizes = pc.value_counts(judged["query_id"])
    counts = sizes.field("counts").to_numpy()
    long = int((counts > MOST_JUDGED_PRODUCTS).sum())
    if long:
        first = sizes.field("values")[int(counts.argmax())]
        report.counts["lists too long for trees"] = long
        report.notes.append(
            f"query {first} has {counts.max():,} judged products: LightGBM takes {MOST_JUDGED_PRODUCTS:,} a query, so "
            "that models with trees cannot be trained on it; `sqidflow run --model pointwise` can, or judge fewer"
        )


def _times(report: FileReport, judged: pa.Table) -> None:
    earliest = pc.min(judged[formats.TIMESTAMP]).as_py()
    if earliest is not None:
        report.notes.append(
            f"judgements have times from {earliest:%Y-%m-%d %H:%M} on: vectors without a time count as known at all of "
            "them"
        )


def _require(path: Path, data_dir: Path) -> None:
    if not path.exists():
        vectors = path.name in (formats.QUERY_FEATURES_FILE, formats.PRODUCT_FEATURES_FILE)
        filled = data_dir.is_dir() and (data_dir / formats.EXAMPLES_FILE).exists()
        hint = "run `sqidflow data encode`" if vectors and filled else "run `sqidflow data sample` or `data import`"
        raise DataError("does not exist", file=path, hint=hint)


def _examples(path: Path, report: FileReport, known: _Known) -> None:
    examples = readers.load_examples(path)
    table = examples.table
    report.rows = examples.rows
    report.counts = {"queries": len(pc.unique(table["query_id"])), "products": len(pc.unique(table["product_id"]))}
    counted = {item["values"]: item["counts"] for item in pc.value_counts(table["esci_label"]).to_pylist()}
    report.counts |= {label: counted.get(label, 0) for label in formats.LABELS}
    if examples.duplicates:
        report.counts["repeated rows dropped"] = examples.duplicates
    known.judged = table


def _in_scope(table: pa.Table, locale: str | None, small: bool, large: bool, splits: Sequence[str]) -> pa.Table:
    """The judgements in use."""
    mask = pa.chunked_array([pa.repeat(True, table.num_rows)])
    if locale is not None:
        mask = pc.and_(mask, pc.equal(table["product_locale"], locale))
    if small:
        mask = pc.and_(mask, pc.equal(table["small_version"], 1))
    if large:
        mask = pc.and_(mask, pc.equal(table["large_version"], 1))
    if splits:
        mask = pc.and_(mask, pc.is_in(table["split"], pa.array(splits)))
    return table.filter(mask)


def _uncovered(
    known: _Known, column: str, have: pa.ChunkedArray | pa.Array, report: FileReport, what: str, hint: str, path: Path
) -> None:
    """Adds a problem naming the first judged id that ``have`` lacks."""
    if known.judged is None:
        return
    judged = known.judged[column]
    missing = pc.unique(judged.filter(pc.invert(pc.is_in(judged, pc.unique(have)))))
    if len(missing):
        more = f" (and {len(missing) - 1:,} more)" if len(missing) > 1 else ""
        what = f"judged {column.removesuffix('_id')} {missing[0]}{more} {what}"
        report.problems.append(DataError(what, file=path, column=column, hint=hint).message)


def _repeat(path: Path, columns: Sequence[pa.ChunkedArray], column: str, hint: str) -> None:
    repeat = readers.first_repeat(columns)
    if repeat:
        raise DataError(
            f"{columns[0][repeat[0]]} stands here and in row {repeat[1] + 1}",
            file=path,
            row=repeat[0] + 1,
            column=column,
            hint=hint,
        )


def _products(path: Path, report: FileReport, known: _Known, declared: Mapping[str, Kind]) -> None:
    ids, locales, titles = [], [], []
    untitled = branded = coloured = 0
    for batch in readers.read_products(path):
        ids.append(batch["product_id"])
        locales.append(batch["product_locale"])
        titles.append(batch["product_title"])
        untitled += pc.sum(pc.equal(batch["product_title"], "")).as_py()
        branded += batch.num_rows - batch["product_brand"].null_count
        coloured += batch.num_rows - batch["product_color"].null_count
    product_ids = pa.chunked_array(ids)
    report.rows = len(product_ids)
    report.counts = {"with brand": branded, "with colour": coloured, "without title": untitled}
    known.product_ids = product_ids
    names = ["product_id", "product_locale", "product_title"]
    known.titles = pa.table([product_ids, pa.chunked_array(locales), pa.chunked_array(titles)], names=names)
    if known.judged is not None:
        report.counts["not judged"] = _not_among(product_ids, known.judged["product_id"])
    otherwise = declared_otherwise(path, declared) if declared else None
    report.notes += [otherwise] if otherwise else []
    _repeat(
        path, [product_ids, pa.chunked_array(locales)], "product_id", "import the file: repeated products are merged"
    )
    _uncovered(known, "product_id", product_ids, report, "has no row", "add it to the products file and import", path)


def _outdated_texts(path: Path, report: FileReport, known: _Known) -> None:
    """Vectors of judged products that were made of another title than the one in the locale in use, and those of other
    products that were made of none of their titles."""
    if known.titles is None:
        return
    titles, judged = known.titles, known.judged
    rest = titles
    if judged is not None:
        keys = ["product_id", "product_locale"]
        rest = titles.filter(pc.invert(pc.is_in(titles["product_id"], pc.unique(judged["product_id"]))))
        titles = titles.join(judged.group_by(keys).aggregate([]), keys=keys, join_type="inner")
    for table, are_judged in ((titles, True), (rest, False)):
        if are_judged and judged is None:
            continue
        pairs = zip(table["product_id"].to_pylist(), table["product_title"].to_pylist(), strict=True)
        try:
            check_titles(path, pairs, judged=are_judged)
        except DataError as error:
            report.problems.append(error.message)


def _vector_file(
    path: Path, report: FileReport, batches: Iterable[pa.RecordBatch]
) -> tuple[pa.ChunkedArray, dict[str, int | None]]:
    """Ids of a vector file and the dimension of each of its vectors; fills in the report."""
    ids, times = [], []
    dims: dict[str, int | None] = {}
    pictures = 0
    key = ""
    for batch in batches:
        key = batch.schema.names[0]
        ids.append(batch.column(0))
        times.append(batch[formats.TIMESTAMP])
        for name in batch.schema.names[1:-1]:
            if dims.get(name) is None:
                dims[name] = pc.max(pc.list_value_length(batch[name])).as_py()
        if formats.IMAGE_VECTOR in dims:
            pictures += batch.num_rows - batch[formats.IMAGE_VECTOR].null_count
    found = pa.chunked_array(ids)
    report.rows = len(found)
    report.dim = dims[formats.TEXT_VECTOR]
    if formats.IMAGE_VECTOR in dims:
        report.counts["without picture"] = report.rows - pictures
    stamped = pa.chunked_array(times)
    if stamped.null_count < len(stamped):
        report.counts["with their own time"] = len(stamped) - stamped.null_count
    _repeat(path, [found, stamped], key, "keep one of the two")
    return found, dims


def _query_features(path: Path, report: FileReport, known: _Known) -> None:
    ids, dims = _vector_file(path, report, readers.read_query_features(path))
    known.query_dim = dims[formats.TEXT_VECTOR]
    if known.judged is not None:
        report.counts["not judged"] = len(pc.unique(ids.filter(pc.invert(pc.is_in(ids, known.judged["query_id"])))))
    _uncovered(known, "query_id", ids, report, "has no vector", "run `sqidflow data encode`", path)


def _product_features(path: Path, report: FileReport, known: _Known) -> None:
    ids, dims = _vector_file(path, report, readers.read_product_features(path))
    for name, dim in dims.items():
        if dim is not None and known.query_dim is not None and dim != known.query_dim:
            what = f"vectors of {dim} values, those of the queries have {known.query_dim}"
            hint = "use vectors of one encoder, or run `sqidflow data encode --force`"
            report.problems.append(DataError(what, file=path, column=name, hint=hint).message)
    try:
        check_one_encoder(path.parent)
    except DataError as error:
        report.problems.append(error.message)
    _uncovered(known, "product_id", ids, report, "has no vector", "run `sqidflow data encode`", path)
    _outdated_texts(path, report, known)
    if known.product_ids is not None:
        report.counts["products without vector"] = _not_among(known.product_ids, ids)


def _not_among(ids: pa.ChunkedArray, known: pa.ChunkedArray) -> int:
    """How many distinct ids are not among the known ones."""
    distinct = pc.unique(ids)
    return len(distinct) - int(pc.sum(pc.is_in(distinct, pc.unique(known))).as_py() or 0)


def _image_urls(path: Path, report: FileReport) -> None:
    rows = blank = 0
    for batch in readers.read_image_urls(path):
        rows += batch.num_rows
        blank += batch["image_url"].null_count
    report.rows = rows
    if blank:
        report.counts["without address"] = blank


def _images(path: Path, report: FileReport, known: _Known) -> None:
    ids = pa.chunked_array([batch["product_id"] for batch in readers.read_images(path)])
    report.rows = len(ids)
    _repeat(path, [ids], "product_id", "keep one picture of a product")
    if known.product_ids is not None:
        strangers = pc.invert(pc.is_in(ids, pc.unique(known.product_ids)))
        report.counts["of no product"] = pc.sum(strangers).as_py()


def _oracle(path: Path, report: FileReport) -> None:
    report.rows = pq.read_metadata(path).num_rows
