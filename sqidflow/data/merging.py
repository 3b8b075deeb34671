"""Changes of a catalogue: products and judgements added to, replaced in and deleted from what is in ``data/``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from sqidflow.core.errors import DataError, SqidflowError
from sqidflow.data import attributes as attributes_
from sqidflow.data import feeds, formats, readers
from sqidflow.data.attributes import Attribute, AttributeRules
from sqidflow.data.columns import Place
from sqidflow.data.import_report import ImportReport
from sqidflow.data.import_texts import (
    Judged,
    QueryIds,
    check_products,
    fill_columns,
    import_products,
    product_keys,
    read_judgements,
    write_judgements,
)
from sqidflow.data.import_vectors import PRODUCTS, QUERIES, rewritten
from sqidflow.data.judgement_files import Grading
from sqidflow.data.query_numbers import by_text, ids_of_given, made_up_ids, numbers_after
from sqidflow.data.staging import keep_others, write_batches
from sqidflow.ranking.query_text import query_key

_KEY = ("query_id", "product_id", "product_locale")
_REPLACED = ("esci_label", "small_version", "large_version", "split", formats.TIMESTAMP, formats.QUERY_KIND)
"""What a new judgement of a pair replaces; what its file does not have stays."""
_HEADER = "product_id"


def ids_to_remove(text: str) -> tuple[str, ...]:
    """Ids of ``A,B,C`` or, for ``@FILE``, of the lines of a file, each once. Raises DataError, SqidflowError."""
    if text.startswith("@"):
        path = Path(text[1:])
        readers.check_file(path)
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise DataError("is not UTF-8", file=path, hint="save it as UTF-8, one product id a line") from error
        ids = [line.strip().strip('"') for line in lines]
        ids = ids[1:] if ids and ids[0] == _HEADER else ids
    else:
        ids = [part.strip() for part in text.split(",")]
    ids = list(dict.fromkeys(filter(None, ids)))
    if not ids:
        raise SqidflowError("names no product", where="--remove", hint="write --remove ID,ID or --remove @FILE")
    return tuple(ids)


@dataclass(frozen=True)
class KnownLocales:
    """The locale of a product where a file does not name it: that of the product in ``products_file``.

    A product that is not there is of the only locale of that file, or of "us" where it has several.
    """

    products_file: Path

    @cached_property
    def _pairs(self) -> pa.Table:
        """Each product with each of its locales."""
        batches = (
            batch.select(["product_id", "product_locale"]) for batch in readers.read_products(self.products_file)
        )
        return pa.Table.from_batches(batches)

    @cached_property
    def _usual(self) -> str:
        locales = pc.unique(self._pairs["product_locale"])
        return locales[0].as_py() or "us" if len(locales) == 1 else "us"

    def _of_ids(self, ids: pa.Array) -> dict[str, str | None]:
        """Locale of each of some products, None where it stands in several; without those that are not there."""
        known = self._pairs.filter(pc.is_in(self._pairs["product_id"], ids))
        of_id: dict[str, str | None] = {}
        for product, locale in zip(known["product_id"].to_pylist(), known["product_locale"].to_pylist(), strict=True):
            of_id[product] = locale if of_id.get(product, locale) == locale else None
        return of_id

    def fill(self, ids: pa.Array, locales: pa.Array, place: Place) -> pa.Array:
        if not locales.null_count:
            return locales
        filled = locales.to_pylist()
        of_id = self._of_ids(ids.filter(locales.is_null()))
        for at in np.flatnonzero(locales.is_null().to_numpy(zero_copy_only=False)):
            product = ids[int(at)].as_py()
            locale = of_id.get(product, self._usual)
            if locale is None:
                raise place.error(
                    f"product {product} stands in several locales and the row names none",
                    "add a column product_locale",
                    index=int(at),
                    column="product_locale",
                )
            filled[at] = locale
        return pa.array(filled, pa.string())


@dataclass
class _Changes:
    """What the merge of products means for everything that hangs on them."""

    removed: pa.Array
    retitled: list[str] = field(default_factory=list)
    addresses: pa.Table = field(default_factory=formats.IMAGE_URLS_SCHEMA.empty_table)


def merge(
    old: Path,
    folder: Path,
    examples: Path | None,
    products: Path | None,
    remove: Sequence[str],
    report: ImportReport,
    grading: Grading,
    rules: AttributeRules | None = None,
) -> QueryIds:
    """Writes into ``folder`` what is in ``old`` with the products and judgements of the files, without ``remove``.

    A product replaces the one of its id and locale, a judgement that of its query, product and locale; what a file has
    no column for stays as it is. Queries are told apart by text and locale, so that a known query keeps its id. With a
    product go its judgements, vectors, pictures and addresses of pictures; a query without judgements loses its vector.
    A text vector of unknown origin goes when the title of its product changes.

    Raises:
        DataError: there is nothing to merge into; an id to remove is no product, or also among the new ones; a judged
            product has no row; a query_id stands for another query already; an attribute is of another kind than in the
            data; what the readers raise.
    """
    if not (old / formats.PRODUCTS_FILE).exists():
        raise DataError("there are no products to merge into", file=old, hint="leave --merge out: the import is new")
    changes = _Changes(pa.array(remove, pa.string()))
    keys = _merge_products(old, folder, examples, products, changes, report, rules)
    ids = _merge_judgements(old, folder, examples, keys, changes, report, grading)
    keep_others(old, folder, {path.name for path in folder.iterdir()} | _left_out(folder, report))
    _drop_vectors(old, folder, changes, report)
    _drop_pictures(old, folder, changes.removed, report)
    _merge_addresses(old, folder, changes, report)
    return ids


def _left_out(folder: Path, report: ImportReport) -> set[str]:
    """Files about queries, once no judgement is left."""
    if report.judgements or not report.judgements_removed:
        return set()
    report.note("no judgements are left: search needs none, training does")
    return {formats.EXAMPLES_FILE, formats.QUERY_FEATURES_FILE}


# --- products ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Incoming:
    """The products of a file; ``columns`` are ours that the file has, ``attributes`` its others."""

    table: pa.Table
    columns: tuple[str, ...] = ()
    attributes: tuple[Attribute, ...] = ()


def _incoming_products(
    old: Path,
    folder: Path,
    examples: Path | None,
    products: Path | None,
    changes: _Changes,
    report: ImportReport,
    rules: AttributeRules | None,
    known: Sequence[Attribute],
) -> _Incoming | None:
    """The products of the file, or of joined judgements; None where there are none."""
    file = products or examples
    if file is None:
        return None
    with TemporaryDirectory(dir=folder) as scratch:
        place = Path(scratch)
        if products is None and "product_title" not in feeds.open_judgements(file, place, ImportReport()).columns:
            return None
        joined = products is None or (examples is not None and products.resolve() == examples.resolve())
        locales = KnownLocales(old / formats.PRODUCTS_FILE)
        imported = import_products(place, file, joined, report, locales, rules, known)
        names = [attribute.name for attribute in imported.attributes]
        table = pa.Table.from_batches(readers.read_products(place / formats.PRODUCTS_FILE, further=names))
        if (place / formats.IMAGE_URLS_FILE).exists():
            changes.addresses = pa.Table.from_batches(readers.read_image_urls(place / formats.IMAGE_URLS_FILE))
    return _Incoming(table, imported.columns, imported.attributes)


def _merge_products(
    old: Path,
    folder: Path,
    examples: Path | None,
    products: Path | None,
    changes: _Changes,
    report: ImportReport,
    rules: AttributeRules | None,
) -> pa.ChunkedArray:
    """Writes the merged products and returns their keys."""
    known = attributes_.attributes_of(old / formats.PRODUCTS_FILE)
    incoming = _incoming_products(old, folder, examples, products, changes, report, rules, known) or _Incoming(
        formats.PRODUCTS_SCHEMA.empty_table()
    )
    of_file = {attribute.name for attribute in incoming.attributes}
    attributes = attributes_.merged(known, incoming.attributes)
    schema = formats.PRODUCTS_SCHEMA
    for attribute in attributes:
        schema = schema.append(attribute.field)
    schema = schema.with_metadata(attributes_.metadata_of(attributes))
    table = _of_schema(incoming.table, schema)
    present_names = {*incoming.columns, *of_file}
    carried = [name for name in schema.names if name not in present_names]
    both = table.filter(pc.is_in(table["product_id"], changes.removed))
    if both.num_rows:
        raise SqidflowError(
            f"product {both['product_id'][0]} is to be removed and is among the products of the files",
            where="--remove",
            hint="name it in one of the two",
        )
    keys = product_keys(table["product_id"], table["product_locale"]).combine_chunks()
    seen = np.zeros(table.num_rows, bool)
    present: list[pa.Array] = []
    removed_ids: list[pa.Array] = []

    def batches() -> Iterator[pa.RecordBatch]:
        old_names = [attribute.name for attribute in known]
        for batch in readers.read_products(old / formats.PRODUCTS_FILE, further=old_names):
            batch = _of_schema(pa.Table.from_batches([batch]), schema).to_batches()[0]
            gone = pc.is_in(batch["product_id"], changes.removed)
            removed_ids.append(batch["product_id"].filter(gone))
            batch = batch.filter(pc.invert(gone))
            old_keys = product_keys(batch["product_id"], batch["product_locale"])
            position = pc.index_in(old_keys, keys)
            if position.null_count < len(position):
                batch = _replaced(batch, position, table, carried, changes, report)
                seen[position.drop_null().to_numpy()] = True
            present.append(old_keys)
            yield batch
        fresh = pa.array(~seen)
        report.products_added = int((~seen).sum())
        present.append(keys.filter(fresh))
        yield from table.filter(fresh).to_batches()

    report.products = write_batches(folder / formats.PRODUCTS_FILE, schema, batches())
    report.attributes = tuple(attribute.described for attribute in attributes)
    in_data = pc.unique(pa.chunked_array(removed_ids, pa.string()))
    unknown = changes.removed.filter(pc.invert(pc.is_in(changes.removed, in_data)))
    if len(unknown):
        more = f", like {len(unknown) - 1:,} more" if len(unknown) > 1 else ""
        raise SqidflowError(
            f"{unknown[0]} is no product of {old}{more}", where="--remove", hint="correct the id or leave it out"
        )
    if not report.products:
        raise SqidflowError("no product would be left", where="--remove", hint="import a new catalogue without --merge")
    report.products_removed = sum(len(part) for part in removed_ids)
    return pa.chunked_array(present, pa.string())


def _of_schema(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The columns of ``schema``, null where the table does not have them."""
    columns = [
        table[each.name].cast(each.type) if each.name in table.schema.names else pa.nulls(table.num_rows, each.type)
        for each in schema
    ]
    return pa.table(columns, schema=schema.remove_metadata()).combine_chunks()


def _replaced(
    batch: pa.RecordBatch,
    position: pa.Array,
    table: pa.Table,
    carried: Sequence[str],
    changes: _Changes,
    report: ImportReport,
) -> pa.RecordBatch:
    """The old batch with the rows of ``table`` at ``position``, but for the columns ``carried``."""
    of_both = position.is_valid()
    columns, differs = [], pa.array(np.zeros(batch.num_rows, bool))
    for name in batch.schema.names:
        if name in carried:
            columns.append(batch[name])
            continue
        new = pc.if_else(of_both, table[name].combine_chunks().take(position), batch[name])
        different = pc.or_(
            pc.fill_null(pc.not_equal(new, batch[name]), False), pc.xor(new.is_null(), batch[name].is_null())
        )
        if name == "product_title":
            changes.retitled += batch["product_id"].filter(different).to_pylist()
        differs = pc.or_(differs, different)
        columns.append(new)
    replaced = pc.sum(differs).as_py() or 0
    report.products_replaced += replaced
    report.products_unchanged += len(position) - position.null_count - replaced
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


# --- judgements -------------------------------------------------------------------------------------------------------


def _merge_judgements(
    old: Path,
    folder: Path,
    examples: Path | None,
    product_keys_now: pa.ChunkedArray,
    changes: _Changes,
    report: ImportReport,
    grading: Grading,
) -> QueryIds:
    file = old / formats.EXAMPLES_FILE
    before = readers.load_examples(file).table if file.exists() else None
    made_up = made_up_ids(file)
    if before is None:
        schema = formats.EXAMPLES_SCHEMA.append(pa.field(formats.TIMESTAMP, formats.TIMESTAMP_TYPE))
        before = schema.append(pa.field(formats.QUERY_KIND, pa.string())).empty_table()
    stays = before.filter(pc.invert(pc.is_in(before["product_id"], changes.removed)))
    report.judgements_removed = before.num_rows - stays.num_rows
    of_given: dict[int, list[int]] = {}
    if examples is not None:
        judged = read_judgements(folder, examples, report, grading, KnownLocales(folder / formats.PRODUCTS_FILE))
        check_products(judged.table, product_keys_now, judged.rows, examples, "the merged catalogue")
        new_ids, made_up = _query_ids(judged, before, made_up, old, examples, report)
        of_given = {
            given: [new_ids[number] for number in numbers] for given, numbers in ids_of_given(judged.queries).items()
        }
        stays = _joined_judgements(stays, judged, new_ids, before, examples, report)
    report.judgements = stays.num_rows
    report.queries = len(pc.unique(stays["query_id"]))
    if stays.num_rows and (examples is not None or report.judgements_removed):
        write_judgements(folder, stays, made_up)
    return QueryIds(of_given, made_up)


def _query_ids(
    judged: Judged,
    before: pa.Table,
    made_up: tuple[int, int] | None,
    old: Path,
    examples: Path,
    report: ImportReport,
) -> tuple[dict[int, int], tuple[int, int] | None]:
    """The id in the merged judgements for each query_id of the file, and the range of all ids that were made up."""
    known: dict[tuple[str, str], int] = {}
    for number, text, locale in by_text(before):
        known.setdefault((query_key(text), locale), number)
    taken = {int(number) for number in pc.unique(before["query_id"]).to_pylist()}
    numbered = judged.queries.made_up
    new_ids: dict[int, int] = {}
    fresh = []
    for number, text, locale in by_text(judged.table):
        same = known.get((query_key(text), locale))
        if same is not None:
            new_ids[number] = same
        elif numbered and numbered[0] <= number <= numbered[1]:
            fresh.append(number)
        elif number not in taken:
            new_ids[number] = number
        elif made_up and made_up[0] <= number <= made_up[1]:
            fresh.append(number)
        else:
            row = int(judged.rows[pc.index(judged.table["query_id"], number).as_py()])
            other = before["query"][pc.index(before["query_id"], number).as_py()].as_py()
            raise DataError(
                f"query_id {number} is {text[:60]!r} here and {other[:60]!r} in {old}",
                file=examples,
                row=row + 1,
                column="query_id",
                hint="give the query an id of its own, or leave query_id out: queries are matched by their text",
            )
    used = [*taken, *new_ids.values(), *_ids_of_vectors(old)]
    numbers = numbers_after(np.array(used, np.int64), 1, len(fresh), examples, "query_id").tolist()
    new_ids |= dict(zip(fresh, numbers, strict=True))
    bounds = [*(made_up or ()), *numbers]
    report.queries_numbered = len(fresh)
    return new_ids, (min(bounds), max(bounds)) if bounds else None


def _ids_of_vectors(old: Path) -> list[int]:
    """Ids of query vectors: a new query must not get the vector of one that is judged no more."""
    file = old / QUERIES.file
    if not file.exists():
        return []
    batches = readers.read_vector_lengths(file, of_products=False)
    return [number for batch in batches for number in batch["query_id"].to_pylist()]


def _joined_judgements(
    stays: pa.Table,
    judged: Judged,
    new_ids: dict[int, int],
    before: pa.Table,
    examples: Path,
    report: ImportReport,
) -> pa.Table:
    """The judgements that stay, with the new ones of their pairs in their place and the others behind them."""
    numbers = pa.array([new_ids[number] for number in judged.table["query_id"].to_pylist()], pa.int64())
    new = judged.table.set_column(judged.table.schema.get_field_index("query_id"), "query_id", numbers)
    first = pc.index_in(new["query_id"], before["query_id"].combine_chunks())
    texts = pc.coalesce(before["query"].combine_chunks().take(first.combine_chunks()), new["query"].combine_chunks())
    new = new.set_column(new.schema.get_field_index("query"), "query", texts).select(stays.schema.names)
    position = pc.index_in(_pair_keys(stays), _pair_keys(new))
    again = position.is_valid()
    table, differs = stays, pa.array(np.zeros(stays.num_rows, bool))
    for name in _REPLACED:
        values = pc.coalesce(new[name].combine_chunks().take(position), stays[name].combine_chunks())
        old_values = stays[name].combine_chunks()
        different = pc.or_(
            pc.fill_null(pc.not_equal(values, old_values), False), pc.xor(values.is_null(), old_values.is_null())
        )
        differs = pc.or_(differs, different)
        table = table.set_column(table.schema.get_field_index(name), table.schema.field(name), values)
    report.judgements_replaced = pc.sum(differs).as_py() or 0
    report.judgements_unchanged = (pc.sum(again).as_py() or 0) - report.judgements_replaced
    fresh = np.ones(new.num_rows, bool)
    fresh[position.drop_null().to_numpy()] = False
    report.judgements_added = int(fresh.sum())
    taken = before["example_id"].to_numpy()
    added = fill_columns(new.filter(pa.array(fresh)), examples, report, taken)
    return pa.concat_tables([table, added.cast(table.schema)]).combine_chunks()


def _pair_keys(table: pa.Table) -> pa.Array:
    columns = [table[name].cast(pa.string()).combine_chunks() for name in _KEY]
    return pc.binary_join_element_wise(*columns, "\x1f")


# --- vectors and pictures ---------------------------------------------------------------------------------------------


def _drop_vectors(old: Path, folder: Path, changes: _Changes, report: ImportReport) -> None:
    retitled = pa.array(changes.retitled, pa.string())

    def gone(batch: pa.RecordBatch) -> pa.Array:
        return pc.is_in(batch["product_id"], changes.removed)

    def outdated(batch: pa.RecordBatch) -> pa.Array:
        unproven = pc.and_(batch[formats.TEXT_DIGEST].is_null(), batch[formats.TEXT_VECTOR].is_valid())
        untimed = batch[formats.TIMESTAMP].is_null()
        return pc.and_(pc.is_in(batch["product_id"], retitled), pc.and_(unproven, untimed))

    def stays(batch: pa.RecordBatch) -> pa.Array:
        return pc.invert(gone(batch))

    def without_outdated(batch: pa.RecordBatch) -> pa.RecordBatch:
        dropped = outdated(batch)
        if not pc.any(dropped).as_py():
            return batch
        column = pc.if_else(dropped, pa.scalar(None, formats.VECTOR_TYPE), batch[formats.TEXT_VECTOR])
        return batch.set_column(batch.schema.get_field_index(formats.TEXT_VECTOR), formats.TEXT_VECTOR, column)

    vectors = old / PRODUCTS.file
    if vectors.exists() and (len(changes.removed) or len(retitled)):
        for batch in readers.read_vector_lengths(vectors, of_products=True):
            removed = gone(batch)
            report.product_vectors_removed += pc.sum(removed).as_py() or 0
            report.text_vectors_dropped += pc.sum(pc.and_not(outdated(batch), removed)).as_py() or 0
        # half a gigabyte is not read and written for a change of texts
        if report.product_vectors_removed or report.text_vectors_dropped:
            rewritten(PRODUCTS, vectors, folder / PRODUCTS.file, without_outdated, stays)
    if report.text_vectors_dropped:
        report.note(
            f"{report.text_vectors_dropped:,} text vectors of other titles, of unknown origin, were dropped: "
            "`sqidflow data encode` or new --product-features replace them"
        )
    vectors = old / QUERIES.file
    judged = old / formats.EXAMPLES_FILE
    if not vectors.exists() or not judged.exists() or not report.judgements_removed or not report.judgements:
        return
    now = _judged_queries(folder / formats.EXAMPLES_FILE)
    then = _judged_queries(judged)
    orphans = then.filter(pc.invert(pc.is_in(then, now)))

    def without_queries(batch: pa.RecordBatch) -> pa.RecordBatch:
        gone = pc.is_in(batch["query_id"], orphans)
        report.query_vectors_removed += pc.sum(gone).as_py() or 0
        return batch.filter(pc.invert(gone))

    if len(orphans):
        rewritten(QUERIES, vectors, folder / QUERIES.file, without_queries)


def _judged_queries(file: Path) -> pa.Array:
    return pc.unique(pa.chunked_array([batch["query_id"] for batch in readers.read_examples(file)]))


def _drop_pictures(old: Path, folder: Path, removed: pa.Array, report: ImportReport) -> None:
    if not len(removed):
        return

    def kept(batch: pa.RecordBatch) -> pa.RecordBatch:
        return batch.filter(pc.invert(pc.is_in(batch["product_id"], removed)))

    pictures = old / formats.IMAGES_FILE
    if pictures.exists():
        count = 0

        def batches() -> Iterator[pa.RecordBatch]:
            nonlocal count
            for batch in readers.read_images(pictures):
                count += batch.num_rows
                yield kept(batch)

        target = folder / f".{formats.IMAGES_FILE}.part"
        written = write_batches(target, formats.IMAGES_SCHEMA, batches(), compression="none")
        report.pictures_removed = count - written
        if written:
            target.replace(folder / formats.IMAGES_FILE)
        else:
            target.unlink()
            (folder / formats.IMAGES_FILE).unlink()


def _merge_addresses(old: Path, folder: Path, changes: _Changes, report: ImportReport) -> None:
    """Addresses of pictures: without those of removed products, with those of the new products in their place."""
    for name, new in ((formats.IMAGE_URLS_FILE, changes.addresses), (formats.SUPP_IMAGE_URLS_FILE, None)):
        is_there = (old / name).exists()
        if not (new.num_rows if new is not None else 0) and not (is_there and len(changes.removed)):
            continue
        target = folder / f".{name}.part"
        with pacsv.CSVWriter(target, formats.IMAGE_URLS_SCHEMA) as writer:
            for batch in readers.read_image_urls(old / name) if is_there else ():
                stay = batch.filter(pc.invert(pc.is_in(batch["product_id"], changes.removed)))
                report.image_urls_removed += batch.num_rows - stay.num_rows
                if new is not None:
                    stay = stay.filter(pc.invert(pc.is_in(stay["product_id"], new["product_id"].combine_chunks())))
                writer.write_batch(stay)
            if new is not None:
                writer.write_table(new)
        target.replace(folder / name)
