"""Brings the user's own or the published files into ``data/`` in the published form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.compute as pc

from sqidflow.core.errors import DataError
from sqidflow.data import formats, readers, vector_audit
from sqidflow.data.attributes import AttributeRules
from sqidflow.data.encoder_name import check_import, encoder_in
from sqidflow.data.import_pictures import import_pictures, import_urls
from sqidflow.data.import_report import ImportReport
from sqidflow.data.import_texts import QueryIds, import_products, import_texts
from sqidflow.data.import_vectors import (
    PRODUCTS,
    QUERIES,
    Kind,
    import_vectors,
    product_vectors,
    query_vectors,
)
from sqidflow.data.judgement_files import Grading
from sqidflow.data.merging import merge as merge_texts
from sqidflow.data.query_numbers import made_up_ids
from sqidflow.data.sample import is_sample
from sqidflow.data.staging import keep_others, staged_folder

__all__ = ("ImportReport", "import_files")


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
    encoder: str | None = None,
    merge: bool = False,
    remove: Sequence[str] = (),
    grading: Grading | None = None,
    rules: AttributeRules | None = None,
) -> ImportReport:
    """Checks the files and makes them the new ``data_dir``; until all are checked and written the old one stays.

    With ``examples`` the whole folder is new: without ``products`` their columns are read from ``examples`` (a joined
    file), and without vectors there are none until `sqidflow data encode`. With ``products`` alone it is a new folder
    of a catalogue without judgements. Without both, vectors and pictures are added to what is there: a vector
    or picture replaces the one of its id (and time), others are kept. A sample that something was added to is none any
    more, and its README is dropped.

    Missing columns of judgements are filled in: example_id is numbered, small_version and large_version 1, split
    "train", product_locale "us"; queries are told apart by text and locale (:mod:`sqidflow.data.query_numbers`).

    With ``merge`` products and judgements are added to those that are there or replace them, and the products
    ``remove`` are deleted with all that is theirs (:mod:`sqidflow.data.merging`).

    Args:
        encoder: who made the imported vectors, where their files do not say so.
        grading: how grades of TREC qrels and Quepid's CSV become labels.
        rules: how further columns of products are read; None infers them.

    Raises DataError for every fault that :mod:`sqidflow.data.readers` finds, a judged product without a row, an id with
    two vectors of one time, vectors of two encoders; DiskFullError.
    """
    report = ImportReport()
    data_dir = Path(data_dir)
    if examples is None and products is not None and not merge:
        _refuse_to_drop_judgements(data_dir, Path(products))
    given = (examples, products, query_features, product_features, image_urls, supp_image_urls, images_dir)
    if all(source is None for source in given) and not remove:
        raise DataError("nothing to import", file=data_dir, hint="name at least the products (--products)")
    if remove and not merge:
        raise DataError("products can only be removed from existing data", file=data_dir, hint="add --merge")
    changes_texts = merge and (examples is not None or products is not None or bool(remove))
    with ExitStack() as stack:
        folder = stack.enter_context(staged_folder(data_dir))
        ids: QueryIds | None
        old = None
        if changes_texts:
            old = Path(stack.enter_context(TemporaryDirectory(dir=folder)))
            ids = merge_texts(data_dir, old, examples, products, remove, report, grading or Grading(), rules)
        elif examples is None and products is None:
            old = data_dir if data_dir.is_dir() else None
            ids = QueryIds({}, made_up_ids(data_dir / formats.EXAMPLES_FILE))
        elif examples is None:
            assert products is not None
            ids = None
            import_products(folder, Path(products), False, report, rules=rules)
            report.note("no judgements yet: search needs none, training does")
        else:
            ids = import_texts(folder, Path(examples), Path(products or examples), report, grading or Grading(), rules)
        texts = old if old is not None else folder
        replaced: set[str] = set()
        imported: list[tuple[Kind, Path]] = []
        for kind, path in ((QUERIES, query_features), (PRODUCTS, product_features)):
            if path is None:
                continue
            source = readers.open_source(Path(path))
            incoming = (
                query_vectors(source, ids, texts / formats.EXAMPLES_FILE, report)
                if kind is QUERIES
                else product_vectors(source)
            )
            import_vectors(folder, old, source, kind, incoming, _encoder(source.path, encoder), report)
            replaced.add(kind.file)
            imported.append((kind, source.path))
        for file, name in ((image_urls, formats.IMAGE_URLS_FILE), (supp_image_urls, formats.SUPP_IMAGE_URLS_FILE)):
            if file is not None:
                replaced.add(name)
                if name == formats.IMAGE_URLS_FILE:
                    report.image_urls = 0  # those of a feed of products give way
                report.image_urls += import_urls(folder / name, Path(file))
        if images_dir is not None:
            replaced.add(formats.IMAGES_FILE)
            if import_pictures(folder, old, Path(images_dir), report):
                replaced.add(formats.PRODUCT_FEATURES_FILE)
        if old is not None:
            if is_sample(old):
                replaced.add(formats.README_FILE)
                report.note("the folder is no sample any more: its README was dropped")
            keep_others(old, folder, replaced)
        for kind, path in imported:
            other = PRODUCTS if kind is QUERIES else QUERIES
            if (folder / other.file).exists():
                what = f"{other.plural} there"
                check_import(path, encoder_in(folder / kind.file), {what: encoder_in(folder / other.file)})
        _count_gaps(folder, report)
        if imported and (encoder is not None or vector_audit.worth_a_look(folder)):
            _audit_vectors(folder, imported, encoder, report)
        _note_untimed(folder, report)
    return report


def _refuse_to_drop_judgements(data_dir: Path, products: Path) -> None:
    if (data_dir / formats.EXAMPLES_FILE).exists():
        raise DataError(
            f"products alone would drop the judgements in {data_dir}",
            file=products,
            hint="name the judgements too (--examples), or another folder with --workdir",
        )


def _encoder(path: Path, named: str | None) -> str | None:
    """Who made the vectors of a file: as it says itself, or as the user says."""
    own = encoder_in(path)
    if own and named and own != named:
        raise DataError(f"its vectors are by {own}, not by {named}", file=path, hint="leave --encoder out")
    return own or named


def _audit_vectors(folder: Path, imported: list[tuple[Kind, Path]], encoder: str | None, report: ImportReport) -> None:
    """Says where vectors do not look like those of one encoder and of their texts.

    Raises:
        DataError: they were said to be by the encoder of the vectors that they join.
    """
    names = {kind.file for kind, _ in imported}
    joins_others = any((folder / kind.file).exists() and kind.file not in names for kind in (QUERIES, PRODUCTS))
    for finding in vector_audit.findings(folder):
        if encoder is not None and joins_others:
            hint = f"--encoder {encoder} is not who made them, or their ids are wrong"
            raise DataError(finding, file=imported[-1][1], hint=hint)
        report.note(f"{finding}; {vector_audit.HINT}")


def _note_untimed(folder: Path, report: ImportReport) -> None:
    """Says since when vectors without a time count as known, where judgements have times."""
    examples = folder / formats.EXAMPLES_FILE
    if not examples.exists() or formats.TIMESTAMP not in readers.open_source(examples).columns:
        return
    times = [pc.min(batch[formats.TIMESTAMP]) for batch in readers.read_examples(examples)]
    earliest = min((time.as_py() for time in times if time.is_valid), default=None)
    if earliest is not None:
        report.note(
            f"judgements have times from {earliest:%Y-%m-%d} on: vectors without a time count as known at all of them"
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
    for kind, needed, extra in (
        (QUERIES, queries, "query_vectors_not_judged"),
        (PRODUCTS, pc.unique(products), "product_vectors_of_no_product"),
    ):
        file = folder / kind.file
        have = pa.array([], needed.type)
        if file.exists():
            lengths = readers.read_vector_lengths(file, of_products=kind is PRODUCTS)
            have = pc.unique(pa.chunked_array(list(_ids_and_pictures(lengths, report, kind))))
        setattr(report, extra, len(have) - int(pc.sum(pc.is_in(have, needed)).as_py() or 0))
        without = len(needed) - int(pc.sum(pc.is_in(needed, have)).as_py() or 0)
        if without:
            what = "queries" if kind is QUERIES else "products"
            report.note(f"{without:,} of {len(needed):,} {what} have no vector yet")


def _ids_and_pictures(batches: Iterator[pa.RecordBatch], report: ImportReport, kind: Kind) -> Iterator[pa.Array]:
    for batch in batches:
        if kind is PRODUCTS:
            report.products_without_picture_vector += batch[formats.IMAGE_VECTOR].null_count
        yield batch[kind.key].filter(batch[formats.TEXT_VECTOR].is_valid())
