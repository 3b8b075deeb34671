"""Brings the user's own or the published files into ``data/`` in the published form."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from sqidflow.core.errors import DataError
from sqidflow.data import formats, readers
from sqidflow.data.sample import is_sample
from sqidflow.data.staging import keep_others, staged_folder, write_batches

_PICTURES_AT_ONCE = 256
_PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")
_KEY_SEPARATOR = "\x1f"


@dataclass
class ImportReport:
    """Counts of what was brought in; ``notes`` say what was assumed or is still missing."""

    judgements: int = 0
    repeated_judgements_dropped: int = 0
    queries: int = 0
    queries_numbered: int = 0
    products: int = 0
    products_not_judged: int = 0
    repeated_products_dropped: int = 0
    differing_products_dropped: int = 0
    query_vectors: int = 0
    query_vectors_kept: int = 0
    query_vectors_not_judged: int = 0
    product_vectors: int = 0
    product_vectors_kept: int = 0
    product_vectors_of_no_product: int = 0
    products_without_picture_vector: int = 0
    image_urls: int = 0
    pictures: int = 0
    pictures_kept: int = 0
    pictures_of_no_product: int = 0
    notes: tuple[str, ...] = ()


def import_files(
    data_dir: Path,
    examples: Path | None = None,
    *,
    products: Path | None = None,
    query_features: Path | None = None,
    product_features: Path | None = None,
    image_urls: Path | None = None,
    supp_image_urls: Path | None = None,
    images_dir: Path | None = None,
) -> ImportReport:
    """Checks the files and makes them the new ``data_dir``; until all are checked and written the old one stays.

    With ``examples`` the whole folder is new: without ``products`` their columns are read from ``examples`` (a joined
    file), and without vectors there are none until `sqidflow data encode`. With ``products`` alone it is a new folder
    of a catalogue that nobody has judged yet. Without both, vectors and pictures
    are added to what is there: a vector or picture replaces an older one of its id, other ids are kept. A sample that
    something was added to is none any more, and its README is dropped.

    Missing columns of judgements are filled in: example_id is numbered, small_version and large_version 1, split
    "train", product_locale "us"; a missing query_id becomes that of the same text, or a new one above all others.

    Raises DataError for every fault that :mod:`sqidflow.data.readers` finds, a judged product without a row, an id with
    two
    vectors of one time; DiskFullError.
    """
    report = ImportReport()
    data_dir = Path(data_dir)
    if examples is None and products is not None:
        _refuse_to_drop_judgements(data_dir, Path(products))
    given = (examples, products, query_features, product_features, image_urls, supp_image_urls, images_dir)
    if all(source is None for source in given):
        raise DataError("nothing to import", file=data_dir, hint="name at least the products (--products)")
    with staged_folder(data_dir) as folder:
        old = None
        if examples is None and products is None:
            old = data_dir if data_dir.is_dir() else None
        elif examples is None:
            _import_products(folder, Path(products), report)
            _note(report, "no judgements yet: search needs none, training does")
        else:
            _import_texts(folder, Path(examples), Path(products or examples), products is None, report)
        replaced: set[str] = set()
        if query_features is not None:
            replaced.add(formats.QUERY_FEATURES_FILE)
            _import_vectors(folder, old, Path(query_features), _QUERIES, report)
        if product_features is not None:
            replaced.add(formats.PRODUCT_FEATURES_FILE)
            _import_vectors(folder, old, Path(product_features), _PRODUCTS, report)
        for file, name in ((image_urls, formats.IMAGE_URLS_FILE), (supp_image_urls, formats.SUPP_IMAGE_URLS_FILE)):
            if file is not None:
                replaced.add(name)
                report.image_urls += _import_urls(folder / name, Path(file))
        if images_dir is not None:
            replaced.add(formats.IMAGES_FILE)
            _import_pictures(folder, old, Path(images_dir), report)
        if old is not None:
            if is_sample(old):
                replaced.add(formats.README_FILE)
                _note(report, "the folder is no sample any more: its README was dropped")
            keep_others(old, folder, replaced)
        _count_gaps(folder, report)
    return report


def _refuse_to_drop_judgements(data_dir: Path, products: Path) -> None:
    if (data_dir / formats.EXAMPLES_FILE).exists():
        raise DataError(
            f"products alone would drop the judgements in {data_dir}",
            file=products,
            hint="name the judgements too (--examples), or another folder with --workdir",
        )


def _note(report: ImportReport, text: str) -> None:
    report.notes = (*report.notes, text)


# --- texts ------------------------------------------------------------------------------------------------------------


def _import_texts(folder: Path, examples: Path, products: Path, joined: bool, report: ImportReport) -> None:
    table = pa.Table.from_batches(readers.read_examples(examples, lenient=True))
    table = _number_queries(table, examples, report)
    readers.check_query_texts(table, examples)
    keep = readers.first_judgements(table, examples)
    report.repeated_judgements_dropped = int((~keep).sum())
    positions = np.flatnonzero(keep)
    table = _fill_columns(table.filter(pa.array(keep)), examples, report)
    report.judgements = table.num_rows
    report.queries = len(pc.unique(table["query_id"]))
    if joined and "product_title" not in readers.open_source(examples).columns:
        raise DataError(
            "there are no products: the judgements carry none",
            file=examples,
            column="product_title",
            hint="name the products file (--products)",
        )
    keys = _import_products(folder, products, report)
    judged = _keys(table["product_id"], table["product_locale"])
    missing = pc.invert(pc.is_in(judged, keys))
    if pc.any(missing).as_py():
        at = int(missing.to_numpy(zero_copy_only=False).argmax())
        count = len(pc.unique(judged.filter(missing)))
        raise DataError(
            f"product {table['product_id'][at]} (locale {table['product_locale'][at]}) is not among the products of "
            f"{products.name}" + (f", like {count - 1:,} more" if count > 1 else ""),
            file=examples,
            row=int(positions[at]) + 1,
            column="product_id",
            hint="add the product or remove its judgements",
        )
    names = [*formats.EXAMPLES_SCHEMA.names]
    schema = formats.EXAMPLES_SCHEMA
    if table[formats.TIMESTAMP].null_count < table.num_rows:
        names.append(formats.TIMESTAMP)
        schema = schema.append(pa.field(formats.TIMESTAMP, formats.TIMESTAMP_TYPE))
    write_batches(folder / formats.EXAMPLES_FILE, schema, table.select(names).cast(schema).to_batches(1 << 17))


def _numbers_after(ids: np.ndarray, lowest: int, count: int, file: Path, column: str) -> np.ndarray:
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


def _number_queries(table: pa.Table, file: Path, report: ImportReport) -> pa.Table:
    """Fills in missing query ids: that of the same text, else new ones above all others in order of appearance.

    Where ids are missing, the texts say which query it is: an id that stands for several texts stays with the first of
    them, the others are numbered anew. Where all ids are given they are left alone.
    """
    given = table["query_id"].is_valid().to_numpy()
    if given.all():
        return table
    ids = pc.fill_null(table["query_id"], 0).to_numpy().copy()
    texts = readers.codes(table["query"])
    rows = np.flatnonzero(given)
    _, first_of_id = np.unique(ids[rows], return_index=True)
    owner = np.zeros(len(ids), dtype=bool)
    owner[rows[first_of_id]] = True
    by_text = np.zeros(texts.max() + 1, dtype=np.int64)
    known = np.zeros(len(by_text), dtype=bool)
    # reversed, so that of several ids of one text the first stays
    by_text[texts[owner][::-1]] = ids[owner][::-1]
    known[texts[owner]] = True
    lost = np.unique(texts[given & ~known[texts]])
    new, first = np.unique(texts[~known[texts]], return_index=True)
    appearance = np.flatnonzero(~known[texts])[first]
    new = new[np.argsort(appearance, kind="stable")]
    by_text[new] = _numbers_after(ids[given], 1, len(new), file, "query_id")
    report.queries_numbered = len(new)
    _note(report, f"query_id is missing in {int((~given).sum()):,} rows: filled in by the query's text")
    if len(lost):
        _note(report, f"query_id of {len(lost):,} queries also stands for another text: they are numbered anew")
    return table.set_column(table.schema.get_field_index("query_id"), "query_id", pa.array(by_text[texts]))


def _fill_columns(table: pa.Table, file: Path, report: ImportReport) -> pa.Table:
    defaults = {"small_version": 1, "large_version": 1, "split": "train", "product_locale": "us"}
    for name, value in defaults.items():
        missing = table[name].null_count
        if missing:
            at = table.schema.get_field_index(name)
            table = table.set_column(at, name, pc.fill_null(table[name], value))
            _note(report, f"{name} is missing in {missing:,} rows: taken as {value}")
    ids = table["example_id"]
    if ids.null_count:
        _note(report, f"example_id is missing in {ids.null_count:,} rows: numbered")
        numbers = pc.fill_null(ids, 0).to_numpy().copy()
        gaps = ids.is_null().to_numpy()
        numbers[gaps] = _numbers_after(numbers[~gaps], 0, int(gaps.sum()), file, "example_id")
        table = table.set_column(table.schema.get_field_index("example_id"), "example_id", pa.array(numbers))
    return table


def _keys(ids: pa.ChunkedArray, locales: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.binary_join_element_wise(ids, locales, _KEY_SEPARATOR)


def _import_products(folder: Path, path: Path, report: ImportReport) -> pa.ChunkedArray:
    """Writes the products, the first row of each (id, locale); returns their keys.

    Two passes over the file, so that only ids are held.
    """
    chunks = [
        _keys(batch["product_id"], batch["product_locale"]) for batch in readers.read_products(path, lenient=True)
    ]
    keys = pa.chunked_array(chunks)
    codes = readers.codes(keys)
    _, first = np.unique(codes, return_index=True)
    keep = np.zeros(len(codes), dtype=bool)
    keep[first] = True
    repeated = np.bincount(codes)[codes] > 1
    seen: dict[int, dict[str, str | None]] = {}
    untitled = 0

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal untitled
        start = 0
        for batch in readers.read_products(path, lenient=True):
            span = slice(start, start + batch.num_rows)
            for at in np.flatnonzero(repeated[span]):
                row = batch.slice(at, 1).to_pylist()[0]
                if seen.setdefault(int(codes[start + at]), row) != row:
                    report.differing_products_dropped += 1
            kept = batch.filter(pa.array(keep[span]))
            untitled += pc.sum(pc.equal(kept["product_title"], "")).as_py() or 0
            yield kept
            start += batch.num_rows

    report.products = write_batches(folder / formats.PRODUCTS_FILE, formats.PRODUCTS_SCHEMA, batches())
    report.repeated_products_dropped = len(codes) - report.products
    if report.differing_products_dropped:
        _note(report, "products that stand more than once with different texts: the first row counts")
    if untitled:
        _note(report, f"{untitled:,} products have no title")
    return keys


# --- vectors ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Kind:
    """Where query and product vectors differ."""

    key: str
    file: str
    schema: pa.Schema
    read: Callable[[Path], Iterator[pa.RecordBatch]]
    count: str


_QUERIES = _Kind(
    "query_id", formats.QUERY_FEATURES_FILE, formats.QUERY_FEATURES_SCHEMA, readers.read_query_features, "query_vectors"
)
_PRODUCTS = _Kind(
    "product_id",
    formats.PRODUCT_FEATURES_FILE,
    formats.PRODUCT_FEATURES_SCHEMA,
    readers.read_product_features,
    "product_vectors",
)


def _import_vectors(folder: Path, old: Path | None, path: Path, kind: _Kind, report: ImportReport) -> None:
    before = old / kind.file if old is not None and (old / kind.file).exists() else None
    timed = any(formats.TIMESTAMP in readers.open_source(file).columns for file in (path, before) if file)
    schema = kind.schema
    if timed:
        schema = schema.append(pa.field(formats.TIMESTAMP, formats.TIMESTAMP_TYPE))
    ids, times = [], []
    dims: dict[str, int] = {}

    def fresh() -> Iterator[pa.RecordBatch]:
        for batch in kind.read(path):
            _remember_dims(batch, dims)
            ids.append(batch[kind.key])
            times.append(batch[formats.TIMESTAMP])
            yield batch

    def everything() -> Iterator[pa.RecordBatch]:
        yield from fresh()
        repeat = readers.first_repeat([pa.chunked_array(ids), pa.chunked_array(times)])
        if repeat:
            raise DataError(
                f"{pa.chunked_array(ids)[repeat[0]]} has a vector here and in row {repeat[1] + 1}, of the same time",
                file=path,
                row=repeat[0] + 1,
                column=kind.key,
                hint="keep one of the two",
            )
        if before is not None:
            new = pc.unique(pa.chunked_array(ids))
            for batch in kind.read(before):
                kept = batch.filter(pc.invert(pc.is_in(batch[kind.key], new)))
                if kept.num_rows:
                    _same_dims(kept, dims, path, before)
                    setattr(report, f"{kind.count}_kept", getattr(report, f"{kind.count}_kept") + kept.num_rows)
                    yield kept

    written = write_batches(
        folder / kind.file, schema, (_as_published(batch, schema) for batch in everything()), compression="none"
    )
    setattr(report, kind.count, written - getattr(report, f"{kind.count}_kept"))


def _as_published(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([batch[field.name].cast(field.type) for field in schema], schema=schema)


def _remember_dims(batch: pa.RecordBatch, dims: dict[str, int]) -> None:
    for name in (formats.TEXT_VECTOR, formats.IMAGE_VECTOR):
        if name in batch.schema.names and name not in dims:
            dim = pc.max(pc.list_value_length(batch[name])).as_py()
            if dim:
                dims[name] = dim


def _same_dims(batch: pa.RecordBatch, dims: dict[str, int], path: Path, before: Path) -> None:
    old: dict[str, int] = {}
    _remember_dims(batch, old)
    for name, dim in old.items():
        if name in dims and dims[name] != dim:
            raise DataError(
                f"vectors of {dims[name]} values, those kept of {before.name} have {dim}",
                file=path,
                column=name,
                hint="bring vectors of one encoder for all ids, or choose another --workdir",
            )


def _count_gaps(folder: Path, report: ImportReport) -> None:
    """Counts vectors without use, and notes what has no vector yet."""
    texts = folder / formats.EXAMPLES_FILE
    if texts.exists():
        table = pa.Table.from_batches(readers.read_examples(texts))
        queries, judged = pc.unique(table["query_id"]), pc.unique(table["product_id"])
    elif formats.has_no_judgements(folder):
        queries, judged = pa.array([], pa.int64()), pa.array([], pa.string())
    else:
        return
    products = pa.chunked_array(
        [batch["product_id"] for batch in readers.read_products(folder / formats.PRODUCTS_FILE)]
    )
    of_judged = pc.is_in(pc.unique(products), judged)
    report.products_not_judged = len(of_judged) - int(pc.sum(of_judged).as_py() or 0)
    for kind, wanted, extra in (
        (_QUERIES, queries, "query_vectors_not_judged"),
        (_PRODUCTS, pc.unique(products), "product_vectors_of_no_product"),
    ):
        file = folder / kind.file
        have = pa.array([], wanted.type)
        if file.exists():
            batches = list(_ids_and_pictures(kind.read(file), report, kind))
            have = pc.unique(pa.chunked_array(batches))
        setattr(report, extra, len(have) - int(pc.sum(pc.is_in(have, wanted)).as_py() or 0))
        without = len(wanted) - int(pc.sum(pc.is_in(wanted, have)).as_py() or 0)
        if without:
            what = "queries" if kind is _QUERIES else "products"
            _note(report, f"{without:,} of {len(wanted):,} {what} have no vector yet")


def _ids_and_pictures(batches: Iterator[pa.RecordBatch], report: ImportReport, kind: _Kind) -> Iterator[pa.Array]:
    for batch in batches:
        if kind is _PRODUCTS:
            report.products_without_picture_vector += batch[formats.IMAGE_VECTOR].null_count
        yield batch[kind.key]


# --- pictures ---------------------------------------------------------------------------------------------------------


def _import_urls(target: Path, path: Path) -> int:
    rows = 0
    with pacsv.CSVWriter(target, formats.IMAGE_URLS_SCHEMA) as writer:
        for batch in readers.read_image_urls(path):
            writer.write_batch(batch.filter(batch["image_url"].is_valid()))
            rows += batch.num_rows - batch["image_url"].null_count
    return rows


def _import_pictures(folder: Path, old: Path | None, images_dir: Path, report: ImportReport) -> None:
    """Packs ``<product_id>.png`` and ``.jpg`` files into one parquet; each must decode. Those of other ids are kept."""
    from sqidflow.encoders.offline import decode

    if not images_dir.is_dir():
        what = "is not a folder" if images_dir.exists() else "is not there"
        raise DataError(what, file=images_dir, hint="name a folder of <product_id>.png or .jpg files")
    products_file = next(
        (d / formats.PRODUCTS_FILE for d in (folder, old) if d and (d / formats.PRODUCTS_FILE).exists()), None
    )
    if products_file is None:
        raise DataError("there are no products yet", file=images_dir, hint="import judgements and products first")
    known = {key for batch in readers.read_products(products_file) for key in batch["product_id"].to_pylist()}
    files: dict[str, Path] = {}
    for path in sorted(images_dir.iterdir()):
        if path.suffix.lower() in _PICTURE_SUFFIXES and path.is_file():
            if path.stem in known:
                files.setdefault(path.stem, path)
            else:
                report.pictures_of_no_product += 1
    if not files:
        raise DataError(
            "holds no picture of a product", file=images_dir, hint="name the files <product_id>.png or .jpg"
        )

    def batches() -> Iterator[pa.RecordBatch]:
        names = list(files)
        for start in range(0, len(names), _PICTURES_AT_ONCE):
            part = names[start : start + _PICTURES_AT_ONCE]
            images = [files[name].read_bytes() for name in part]
            for name, image in zip(part, images, strict=True):
                try:
                    decode(image)
                except ValueError as error:
                    raise DataError(str(error), file=files[name], hint="replace or remove the file") from error
            yield pa.RecordBatch.from_arrays(
                [pa.array(part), pa.array(images, pa.binary())], schema=formats.IMAGES_SCHEMA
            )

        before = old / formats.IMAGES_FILE if old is not None else None
        if before is not None and before.exists():
            for batch in readers.read_images(before):
                kept = batch.filter(pc.invert(pc.is_in(batch["product_id"], pa.array(files))))
                report.pictures_kept += kept.num_rows
                yield kept

    written = write_batches(folder / formats.IMAGES_FILE, formats.IMAGES_SCHEMA, batches(), compression="none")
    report.pictures = written - report.pictures_kept
