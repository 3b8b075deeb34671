"""From the raw files to what everything after reads: judged pairs, the catalogue, and the sources of the feature store.

``artifacts/prepared/pairs.csv`` has a line a judged pair and no vectors; ``artifacts/prepared/products.parquet`` has
the texts of every product, judged or not; ``artifacts/features/*.parquet`` have the vectors of the judged queries and
of every product. ``artifacts/prepared/report.json`` is written last: without it, or where it names other digests than
the files have, nothing was prepared.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from sqidflow.core import feature_files
from sqidflow.core.digests import FileDigests
from sqidflow.core.errors import DataError
from sqidflow.core.settings import SpanRules
from sqidflow.data import catalogue, esci_split, formats, readers, staging
from sqidflow.data import spans as span_module
from sqidflow.data.catalogue import text_form
from sqidflow.data.digests import check_titles
from sqidflow.data.encoder_name import check_one_encoder
from sqidflow.data.lookups import Places
from sqidflow.data.prints import PRINT, prints_of
from sqidflow.ranking import features
from sqidflow.ranking.query_text import query_key

FEATURE_EPOCH = datetime(2024, 1, 1, tzinfo=UTC)
"""The timestamp of vectors that came without one, unless judgements are older; a constant, so that the same data gives
the same features."""

PAIR_COLUMNS = (
    features.QUERY_ID,
    features.PRODUCT_ID,
    features.LABEL,
    features.QUERY,
    features.TITLE,
    features.BRAND,
    features.COLOR,
    features.EVENT_TIMESTAMP,
)
EsciShares = tuple[int, int]
"""Shares of training and validation among the judgements that ESCI's own split leaves for training."""
INPUT_FILES = (
    formats.EXAMPLES_FILE,
    formats.PRODUCTS_FILE,
    formats.QUERY_FEATURES_FILE,
    formats.PRODUCT_FEATURES_FILE,
)
_FILES_OF_PRODUCTS = (formats.PRODUCTS_FILE, formats.PRODUCT_FEATURES_FILE)
PAIRS_OUTPUT = feature_files.PAIRS
QUERIES_OUTPUT = f"{feature_files.FOLDER}/{feature_files.QUERIES}"
PRODUCTS_OUTPUT = f"{feature_files.FOLDER}/{feature_files.PRODUCTS}"
CATALOGUE_OUTPUT = feature_files.CATALOGUE
OUTPUTS = (PAIRS_OUTPUT, CATALOGUE_OUTPUT, QUERIES_OUTPUT, PRODUCTS_OUTPUT)
SPLIT_OUTPUTS = {name: feature_files.PAIRS_OF_SPLIT.format(split=name) for name in esci_split.SPLITS}
"""The pairs of each split, written where ESCI's own split decides."""
REPORT = "prepared/report.json"

_VERSION = 4
"""Raise it when the same inputs are to give other outputs: reports of another version are prepared anew."""
_ROWS_PER_GROUP = 8192
_TEXTS_PART = "texts.parquet"
_QUERIES_SCHEMA = pa.schema(
    [
        (features.QUERY_ID, pa.int64()),
        (features.QUERY_VEC, formats.VECTOR_TYPE),
        (features.EVENT_TIMESTAMP, formats.TIMESTAMP_TYPE),
    ]
)
_PRODUCTS_SCHEMA = pa.schema(
    [
        (features.PRODUCT_ID, pa.string()),
        (features.TEXT_VEC, formats.VECTOR_TYPE),
        (features.IMAGE_VEC, formats.VECTOR_TYPE),
        (features.HAS_IMAGE, pa.int64()),
        (PRINT, pa.uint64()),
        (features.EVENT_TIMESTAMP, formats.TIMESTAMP_TYPE),
    ]
)


@dataclass(frozen=True)
class PrepareReport:
    """What was read, left out and written.

    ``judgements`` were read; ``filtered`` says how many were left out, by reason, in the order of the filters;
    ``pairs`` = ``judgements`` - the sum of ``filtered`` + ``feedback["added"]``. ``queries`` are the judged ones,
    ``merged_queries`` how many
    ids had a text that another id had too. ``products`` is the catalogue; of it ``products_judged`` are judged,
    ``products_in_several_locales`` in more than one, ``products_without_vector`` cannot be searched, and of those with
    a vector ``products_without_picture`` have none of a picture. ``dims`` is the length of each vector. ``outputs``
    maps each file, relative to artifacts/, to its SHA-256; ``pairs_of_split`` counts the pairs of each split where
    ESCI's own split decides, and is empty elsewhere. ``cached``: everything existed already and nothing was
    written.
    """

    judgements: int
    filtered: Mapping[str, int]
    pairs: int
    labels: Mapping[str, int]
    queries: int
    merged_queries: int
    products: int
    products_judged: int
    products_in_several_locales: int
    products_without_vector: int
    products_without_picture: int
    dims: Mapping[str, int]
    feature_service: str
    latest_feature: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    pairs_of_split: Mapping[str, int] = field(default_factory=dict)
    feedback: Mapping[str, int] = field(default_factory=dict)
    """What became of the judgements of ``data/feedback``; empty without a span."""
    seconds: float = 0.0
    cached: bool = False

    @property
    def products_not_judged(self) -> int:
        return self.products - self.products_judged


def prepare(
    data_dir: Path,
    artifacts_dir: Path,
    *,
    locale: str | None = "us",
    small_version: bool = True,
    large_version: bool = False,
    splits: Sequence[str] = (),
    esci: EsciShares | None = None,
    spans: SpanRules | None = None,
    digests: FileDigests | None = None,
) -> PrepareReport:
    """Join, filter and check the raw files, and write pairs, catalogue and feature sources, all or nothing.

    A folder without judgements gives no pairs and no queries. Memory is bounded by the judgements, the texts that are
    judged, the products' ids and one batch of vectors. Files whose bytes would not change are left alone, their
    modification time too (CsvExampleGen's cache goes by it).

    Args:
        data_dir: the raw files in the published formats.
        artifacts_dir: where ``prepared/`` and ``features/`` are written.
        locale: the ``product_locale`` to keep, of judgements and products; None keeps all.
        small_version, large_version: keep only judgements of that version of ESCI.
        splits: keep only judgements of these ESCI splits; empty keeps all.
        esci: hold out what the file marks as test; the shares of training and validation among the rest. Rows marked
            as train of a query that is held out too are left out.
        spans: how judgements of ``data/feedback`` join the original ones; None leaves them out.
        digests: SHA-256 of files that were read before; those of this call's files are added.

    Raises:
        DataError: a raw file is missing or wrong; nothing is left after the filters; a judged product has no row, a
            judged query or product no vector; a judgement is older than its vectors; vectors that must agree differ in
            length or in encoder.
        DiskFullError: no space for the outputs; the earlier files are unchanged.
    """
    started = time.monotonic()
    rules = spans if spans is not None and _span_files(data_dir) else None
    arguments = _arguments(locale, small_version, large_version, splits, esci, rules)
    digests = digests or FileDigests(_sha256)
    read = _input_files(data_dir, rules)
    inputs = {name: digests.of(_input(data_dir, name), f"{data_dir.name}/{name}") for name in read}
    check_one_encoder(data_dir)
    done = _load_report(artifacts_dir)
    if done is not None and done["arguments"] == arguments and done["report"]["inputs"] == inputs:
        outputs = done["report"]["outputs"]
        if all(_digest_if_there(artifacts_dir, name, digests) == digest for name, digest in outputs.items()):
            return PrepareReport(**{**done["report"], "seconds": time.monotonic() - started, "cached": True})

    examples_file, products_file = data_dir / formats.EXAMPLES_FILE, data_dir / formats.PRODUCTS_FILE
    chosen = _judgements(data_dir, locale, small_version, large_version, splits, esci)
    placed = span_module.Placed(chosen.judged)
    if rules is not None:
        placed = span_module.place(data_dir, chosen.judged, rules, locale, esci is not None)
    names = (*OUTPUTS, *(SPLIT_OUTPUTS.values() if esci else ()))

    staged = artifacts_dir / ".prepare.part"
    with staging.disk_errors(artifacts_dir):
        shutil.rmtree(staged, ignore_errors=True)
        try:
            for name in names:
                (staged / name).parent.mkdir(parents=True, exist_ok=True)
            texts = catalogue.write_texts(products_file, staged / _TEXTS_PART, placed.judged, locale)
            judged = _with_products(placed.judged, texts.judged, products_file, examples_file)
            titles = zip(judged[features.PRODUCT_ID].to_pylist(), judged[features.TITLE].to_pylist(), strict=True)
            check_titles(data_dir / formats.PRODUCT_FEATURES_FILE, titles)
            _check_not_judged(data_dir / formats.PRODUCT_FEATURES_FILE, texts, judged[features.PRODUCT_ID])
            judged_products = pc.unique(judged[features.PRODUCT_ID])
            original = chosen.judged
            queries = _write_features(
                data_dir / formats.QUERY_FEATURES_FILE,
                lambda file: chain(readers.read_query_features(file), placed.vector_batches()),
                staged / QUERIES_OUTPUT,
                _QUERIES_SCHEMA,
                pc.unique(judged[features.QUERY_ID]),
                pc.unique(judged[features.QUERY_ID]),
                pc.unique(original[features.QUERY_ID]),
                known_since(judged),
            )
            products = _write_features(
                data_dir / formats.PRODUCT_FEATURES_FILE,
                readers.read_product_features,
                staged / PRODUCTS_OUTPUT,
                _PRODUCTS_SCHEMA,
                texts.ids,
                judged_products,
                pc.unique(original[features.PRODUCT_ID]),
                known_since(judged),
            )
            dims = _agreeing_dims({**queries.dims, **products.dims}, data_dir)
            catalogue.add_flags(
                staged / _TEXTS_PART, staged / CATALOGUE_OUTPUT, judged_products, products.ids, products.pictured
            )
            # As of what the originally judged know: a newer vector of an unjudged product changes no pair, and feedback
            # changes no other pair.
            latest = max(filter(None, (queries.latest, products.latest)))
            newest = max(filter(None, (latest, queries.newest, products.newest)))
            pairs = _stamped(judged, latest, newest, queries, products, examples_file)
            _write_pairs(pairs, staged / PAIRS_OUTPUT)
            of_split = _split_pairs(pairs, esci, examples_file) if esci and pairs.num_rows else {}
            for name, part in of_split.items():
                _write_pairs(part, staged / SPLIT_OUTPUTS[name])
            outputs = _put_in_place(staged, artifacts_dir, names, digests)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
    labels = {entry["values"]: entry["counts"] for entry in pc.value_counts(judged[features.LABEL]).to_pylist()}
    report = PrepareReport(
        judgements=chosen.read,
        filtered=chosen.filtered,
        pairs=judged.num_rows,
        labels={label: labels.get(label, 0) for label in formats.LABELS},
        queries=len(queries.ids),
        merged_queries=chosen.merged_queries,
        products=len(texts.ids),
        products_judged=len(judged_products),
        products_in_several_locales=catalogue.judged_in_several_locales(judged),
        products_without_vector=len(texts.ids) - len(products.ids),
        products_without_picture=len(products.ids) - len(products.pictured),
        dims=dims,
        feature_service=features.FEATURE_SERVICE,
        latest_feature=_iso(latest),
        inputs=inputs,
        outputs=outputs,
        pairs_of_split={name: part.num_rows for name, part in of_split.items()},
        feedback=dict(placed.counts),
    )
    content = {"arguments": arguments, "report": asdict(report)}
    for fleeting in ("seconds", "cached"):
        del content["report"][fleeting]
    with staging.staged_file(artifacts_dir / REPORT) as part:
        part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return PrepareReport(**{**content["report"], "seconds": time.monotonic() - started})


def judged_pairs(
    data_dir: Path,
    *,
    locale: str | None = "us",
    small_version: bool = True,
    large_version: bool = False,
    splits: Sequence[str] = (),
) -> pa.Table:
    """The judgements that :func:`prepare` would keep, with title, brand and colour of their products; writes nothing.

    Raises:
        DataError: as :func:`prepare`, for judgements and products; there are no judgements.
    """
    examples_file = _input(data_dir, formats.EXAMPLES_FILE)
    judged = _judgements(data_dir, locale, small_version, large_version, splits).judged
    products_file = _input(data_dir, formats.PRODUCTS_FILE)
    texts = catalogue.write_texts(products_file, None, judged, locale)
    return _with_products(judged, texts.judged, products_file, examples_file)


def load_report(
    artifacts_dir: Path, data_dir: Path | None = None, *, digest: Callable[[Path], str] | None = None, **filters: Any
) -> PrepareReport:
    """The report of what is prepared; with ``data_dir`` after a look whether it is still true.

    Args:
        digest: a file's SHA-256, from a caller that may remember it. filters: as :func:`prepare` would be given.

    Raises:
        DataError: nothing is prepared; a raw file or a prepared one is not what the report names; other filters.
    """
    hint = "run `sqidflow features`"
    done = _load_report(artifacts_dir)
    if done is None:
        raise DataError("nothing is prepared", file=artifacts_dir / REPORT, hint=hint)
    if data_dir is not None:
        digest = digest or _sha256
        rules = filters.pop("spans", None)
        if not _span_files(data_dir):
            rules = None
        for name in (formats.EXAMPLES_FILE, *(_span_files(data_dir) if rules is not None else ())):
            if (data_dir / name).is_file() and name not in done["report"]["inputs"]:
                raise DataError("is newer than the features", file=data_dir / name, hint=hint)
        named = {data_dir / name: sha for name, sha in done["report"]["inputs"].items()}
        named |= {artifacts_dir / name: sha for name, sha in done["report"]["outputs"].items()}
        for file, expected in named.items():
            if not file.is_file():
                raise DataError("no longer exists", file=file, hint=hint)
            if digest(file) != expected:
                raise DataError("is not the file that the features were made with", file=file, hint=hint)
        if done["arguments"] != _arguments(**filters, spans=rules):
            raise DataError(
                "the pairs were prepared with other filters (sections data, split and feedback)",
                file=artifacts_dir,
                hint=hint,
            )
    return PrepareReport(**done["report"], cached=True)


def _arguments(
    locale: str | None = "us",
    small_version: bool = True,
    large_version: bool = False,
    splits: Sequence[str] = (),
    esci: EsciShares | None = None,
    spans: SpanRules | None = None,
) -> dict[str, Any]:
    """What decides, beside the files, which pairs there are; ``report.json`` names it."""
    return {
        "locale": locale,
        "small_version": small_version,
        "large_version": large_version,
        "splits": sorted(splits),
        "version": _VERSION,
        **({"esci": list(esci)} if esci else {}),
        **({"feedback": [list(spans.shares), spans.overrule_clients]} if spans else {}),
    }


# --- judgements and texts ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Chosen:
    """The judgements that pass the filters, with their ``row`` in the file; how many were read; the rest by reason."""

    judged: pa.Table
    read: int
    filtered: dict[str, int]
    merged_queries: int


def _judgements(
    data_dir: Path,
    locale: str | None,
    small_version: bool,
    large_version: bool,
    splits: Sequence[str],
    esci: EsciShares | None = None,
) -> _Chosen:
    file = data_dir / formats.EXAMPLES_FILE
    if formats.has_no_judgements(data_dir):
        schema = formats.EXAMPLES_SCHEMA.append(pa.field(formats.TIMESTAMP, formats.TIMESTAMP_TYPE))
        schema = schema.append(pa.field(formats.QUERY_KIND, pa.string()))
        return _Chosen(schema.append(pa.field("row", pa.int64())).empty_table(), 0, {}, 0)
    table = pa.Table.from_batches(readers.read_examples(file))
    readers.check_query_texts(table, file)
    first = readers.first_judgements(table, file)
    read = table.num_rows
    table = table.append_column("row", pa.array(np.arange(1, read + 1)))
    if esci is None:
        table = table.filter(pa.array(first))
    filtered = {"repeated": read - table.num_rows}
    conditions: list[tuple[str, str, Sequence[Any]]] = []
    if locale is not None:
        conditions.append(("locale", "product_locale", [locale]))
    if small_version:
        conditions.append(("small_version", "small_version", [1]))
    if large_version:
        conditions.append(("large_version", "large_version", [1]))
    if splits:
        conditions.append(("splits", "split", sorted(splits)))
    for reason, column, kept in conditions:
        passing = table.filter(pc.is_in(table[column], pa.array(kept, table[column].type)))
        if not passing.num_rows:
            there = ", ".join(str(value) for value in pc.unique(table[column]).to_pylist()[:8])
            raise DataError(
                f"no judgement is left: {reason} keeps {', '.join(map(str, kept))}, the file has {there}",
                file=file,
                column=column,
                hint=f"set data.{reason} to what the file has",
            )
        filtered[reason] = table.num_rows - passing.num_rows
        table = passing
    if esci is not None:
        table, counted = _held_out_by_esci(table, file)
        filtered |= counted
    one_id, merged_queries = _one_id_per_query(table)
    if merged_queries:
        keep = _first_of_each_pair(one_id)
        filtered["another id, same query"] = int((~keep).sum())
        one_id = one_id.filter(pa.array(keep))
    texts = text_form(one_id[features.QUERY])
    one_id = one_id.set_column(one_id.schema.get_field_index(features.QUERY), features.QUERY, texts)
    return _Chosen(one_id, read, filtered, merged_queries)


def _held_out_by_esci(table: pa.Table, file: Path) -> tuple[pa.Table, dict[str, int]]:
    """The judgements without those for training of queries that are held out, and without repeated ones; both counted.

    Repeats are dropped after that: of a judgement that is marked both ways, the one marked as test stays.
    """
    held_out = esci_split.held_out_rows(table, file)
    leaks = esci_split.leaking_rows(table, held_out)
    table = table.filter(pa.array(~leaks))
    first = readers.first_judgements(table, file, table["row"].to_numpy() - 1)
    counted = {"train row of a held-out query": int(leaks.sum()), "repeated": int((~first).sum())}
    return table.filter(pa.array(first)), counted


def _one_id_per_query(table: pa.Table) -> tuple[pa.Table, int]:
    """The judgements with one query_id, and one text, for each normal form and locale: those of its first row.

    Two ids of one query would put it into two splits. Returns how many ids gave way too.
    """
    ids, texts = table[features.QUERY_ID].to_pylist(), table[features.QUERY].to_pylist()
    key_of = {text: query_key(text) for text in set(texts)}
    first: dict[tuple[str, str], int] = {}
    rows = [
        first.setdefault((key_of[text], locale), row)
        for row, (text, locale) in enumerate(zip(texts, table[catalogue.LOCALE].to_pylist()))
    ]
    replaced = {ids[row] for row, source in enumerate(rows) if ids[source] != ids[row]}
    if not replaced:
        return table, 0
    source = pa.array(rows)
    for name in (features.QUERY_ID, features.QUERY):
        table = table.set_column(table.schema.get_field_index(name), name, table[name].take(source))
    return table, len(replaced)


def _first_of_each_pair(table: pa.Table) -> np.ndarray:
    """bool [n]: the first judgement of each query, product and locale."""
    pairs = [readers.codes(table[name]) for name in (features.QUERY_ID, features.PRODUCT_ID, catalogue.LOCALE)]
    _, first = np.unique(np.stack(pairs), axis=1, return_index=True)
    keep = np.zeros(table.num_rows, bool)
    keep[first] = True
    return keep


def _with_products(judged: pa.Table, products: pa.Table, products_file: Path, examples_file: Path) -> pa.Table:
    """The judgements with title, brand and colour of their product in their locale."""
    joined = judged.join(products, keys=[features.PRODUCT_ID, catalogue.LOCALE], join_type="left outer")
    joined = joined.combine_chunks()
    lonely = joined.filter(pc.is_null(joined["product_row"])).sort_by("row")
    if lonely.num_rows:
        raise DataError(
            f"product {lonely[features.PRODUCT_ID][0]} ({lonely['product_locale'][0]}) is judged but is not in "
            f"{products_file.name} ({lonely.num_rows} such judgements)",
            file=examples_file,
            row=lonely["row"][0].as_py(),
            column=features.PRODUCT_ID,
            hint=f"add it to {products_file.name} or remove the judgement",
        )
    return joined


def _check_not_judged(file: Path, texts: catalogue.ProductTexts, judged: pa.ChunkedArray) -> None:
    """Raises DataError where products that nobody judged have a vector of none of their titles.

    Which of a product's locales its vector is of may be settled elsewhere; a title that it no longer has is wrong.
    """
    rest = texts.titles.filter(pc.invert(pc.is_in(texts.titles[features.PRODUCT_ID], pc.unique(judged))))
    titles = zip(rest[features.PRODUCT_ID].to_pylist(), rest[features.TITLE].to_pylist(), strict=True)
    check_titles(file, titles, judged=False)


# --- vectors ----------------------------------------------------------------------------------------------------------


def known_since(judged: pa.Table) -> datetime:
    """Since when vectors without a timestamp count as known: at every judgement, and not later than FEATURE_EPOCH."""
    earliest = pc.min(judged[formats.TIMESTAMP]).as_py()
    return FEATURE_EPOCH if earliest is None else min(FEATURE_EPOCH, earliest)


@dataclass(frozen=True)
class _Written:
    """What went into one feature source: each id once with its earliest timestamp, the ids that have a picture, and the
    latest timestamp of those that are originally judged, of all where none is; None where nothing was written.
    ``newest``: the latest timestamp of all that are judged."""

    ids: pa.Array
    earliest: pa.Array
    latest: datetime | None
    dims: dict[str, int]
    pictured: pa.Array
    newest: datetime | None = None


def _write_features(
    file: Path,
    read: Callable[[Path], Iterator[pa.RecordBatch]],
    target: Path,
    schema: pa.Schema,
    wanted: pa.Array,
    judged: pa.Array,
    original: pa.Array,
    since: datetime,
) -> _Written:
    """Stream the vectors of the ``wanted`` ids into a feature source; those without a timestamp are of ``since``.

    Raises:
        DataError: one of ``judged`` has no vector, or none of ``wanted``.
    """
    key = schema.names[0]
    epoch = pa.scalar(since, formats.TIMESTAMP_TYPE)
    with_picture = features.IMAGE_VEC in schema.names
    seen: list[pa.Table] = []
    held: list[pa.RecordBatch] = []
    start = 0
    dims: dict[str, int] = {}
    writer = pq.ParquetWriter(
        target, schema, compression="none", use_dictionary=[features.EVENT_TIMESTAMP], write_statistics=[key]
    )
    with writer:
        places = Places(wanted)
        for batch in read(file) if len(wanted) else ():
            rows = np.arange(start + 1, start + 1 + batch.num_rows)
            start += batch.num_rows
            inside = places.has(batch[key])
            if not pc.any(inside).as_py():
                continue
            rows = pa.array(rows)
            if not pc.all(inside).as_py():
                batch, rows = batch.filter(inside), rows.filter(inside)
            stamps = pc.fill_null(batch[formats.TIMESTAMP], epoch)
            columns = [batch[key], batch[formats.TEXT_VECTOR]]
            pictures = pa.array(np.zeros(batch.num_rows, np.int64))
            if with_picture:
                pictures = batch[formats.IMAGE_VECTOR].is_valid().cast(pa.int64())
                vectors = [batch[formats.TEXT_VECTOR], batch[formats.IMAGE_VECTOR]]
                columns = [batch[key], *vectors, pictures, pa.array(prints_of(vectors))]
            part = pa.RecordBatch.from_arrays([*columns, stamps], schema=schema)
            _note_dims(dims, part)
            seen.append(pa.table([batch[key], stamps, rows, pictures], names=["id", "stamp", "row", "picture"]))
            held.append(part)
            if sum(piece.num_rows for piece in held) >= _ROWS_PER_GROUP:
                held = _write_groups(writer, held, _ROWS_PER_GROUP)
        _write_groups(writer, held, 1)
    if not seen and not len(wanted):
        return _Written(wanted, pa.array([], formats.TIMESTAMP_TYPE), None, dims, wanted)
    index = pa.concat_tables(seen) if seen else pa.table({"id": wanted[:0]})
    needed = judged if len(judged) or seen else wanted
    missing = needed.filter(pc.invert(pc.is_in(needed, pc.unique(index["id"]))))
    if len(missing):
        kind = "judged id" if len(judged) else "product"
        what = f"{len(missing)} {kind}s have" if len(missing) > 1 else f"a {kind} has"
        raise DataError(
            f"{what} no vector, the first is {missing[0]}", file=file, column=key, hint="run `sqidflow data encode`"
        )
    _check_history(index, file, key)
    spans = index.group_by("id").aggregate([("stamp", "min"), ("stamp", "max"), ("picture", "max")])
    latest = spans.filter(pc.is_in(spans["id"], original))["stamp_max"] if len(original) else spans["stamp_max"]
    newest = spans.filter(pc.is_in(spans["id"], judged))["stamp_max"]
    return _Written(
        spans["id"].combine_chunks(),
        spans["stamp_min"].combine_chunks(),
        pc.max(latest).as_py(),
        dims,
        spans.filter(pc.greater(spans["picture_max"], 0))["id"].combine_chunks(),
        pc.max(newest).as_py(),
    )


def _write_groups(writer: pq.ParquetWriter, held: list[pa.RecordBatch], at_least: int) -> list[pa.RecordBatch]:
    """Write whole row groups; gives back what is left over."""
    table = pa.Table.from_batches(held, writer.schema)
    whole = table.num_rows if at_least == 1 else table.num_rows - table.num_rows % _ROWS_PER_GROUP
    if whole:
        writer.write_table(table.slice(0, whole), row_group_size=_ROWS_PER_GROUP)
    return table.slice(whole).to_batches()


def _note_dims(dims: dict[str, int], batch: pa.RecordBatch) -> None:
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if pa.types.is_list(column.type) and name not in dims and column.null_count < len(column):
            dims[name] = pc.max(pc.list_value_length(column)).as_py()


def _check_history(index: pa.Table, file: Path, key: str) -> None:
    """Raises DataError where an id has two vectors of one time: which of them is meant cannot be known."""
    if len(pc.unique(index["id"])) == index.num_rows:
        return
    repeat = readers.first_repeat([index["id"], index["stamp"].cast(pa.int64())])
    if repeat is not None:
        second, first = (index["row"][at].as_py() for at in repeat)
        raise DataError(
            f"{index['id'][repeat[0]]} has two vectors of one time, the other in row {first}",
            file=file,
            row=second,
            column=key,
            hint="keep one, or give each its own event_timestamp",
        )


def _agreeing_dims(dims: dict[str, int], data_dir: Path) -> dict[str, int]:
    """Raises DataError unless all vectors are of one length: the cosine of two that differ does not exist."""
    expected = dims[features.TEXT_VEC]
    for name, dim in dims.items():
        if dim != expected:
            name_of = {features.QUERY_VEC: formats.QUERY_FEATURES_FILE}.get(name, formats.PRODUCT_FEATURES_FILE)
            column = formats.IMAGE_VECTOR if name == features.IMAGE_VEC else formats.TEXT_VECTOR
            raise DataError(
                f"vectors of {dim} values where those of product texts have {expected}",
                file=data_dir / name_of,
                column=column,
                hint="encode all with one encoder: run `sqidflow data encode --force`",
            )
    # A catalogue without a single picture still has a picture vector: zeros.
    return {name: dims.get(name, expected) for name in features.VECTORS}


# --- pairs ------------------------------------------------------------------------------------------------------------


def _stamped(
    judged: pa.Table, latest: datetime, newest: datetime, queries: _Written, products: _Written, examples_file: Path
) -> pa.Table:
    """The pairs with the time as of which their features are looked up: their own, or that of the newest vector.

    Args:
        latest: of the vectors of original judgements. newest: of those of feedback too, and the time of feedback.
    """
    own = judged[formats.TIMESTAMP]
    if own.null_count < len(own):
        for id_column, written in ((features.QUERY_ID, queries), (features.PRODUCT_ID, products)):
            earliest = written.earliest.take(pc.index_in(judged[id_column], written.ids).combine_chunks())
            early = judged.filter(pc.fill_null(pc.less(own, earliest), False))
            if early.num_rows:
                first = early.sort_by("row").slice(0, 1).to_pylist()[0]
                known = written.earliest[pc.index(written.ids, pa.scalar(first[id_column], written.ids.type)).as_py()]
                raise DataError(
                    f"judged at {_iso(first[formats.TIMESTAMP])}, but {id_column} {first[id_column]} has no vector "
                    f"before {_iso(known.as_py())}; {early.num_rows} such judgements",
                    file=examples_file,
                    row=first["row"],
                    column=formats.TIMESTAMP,
                    hint="give the judgement a later time, or the vector an earlier one",
                )
    filled = pc.fill_null(own, pa.scalar(latest, formats.TIMESTAMP_TYPE))
    filled = pc.if_else(pc.is_null(judged["row"]), pa.scalar(newest, formats.TIMESTAMP_TYPE), filled)
    return judged.set_column(judged.schema.get_field_index(formats.TIMESTAMP), formats.TIMESTAMP, filled)


def _write_pairs(judged: pa.Table, target: Path) -> None:
    columns = {}
    of_kinds = judged[formats.QUERY_KIND].null_count < judged.num_rows
    for name in (*PAIR_COLUMNS, *([formats.QUERY_KIND] if of_kinds else [])):
        column = judged[name]
        if name == features.EVENT_TIMESTAMP:
            column = pc.strftime(column, format="%Y-%m-%dT%H:%M:%SZ")
        columns[name] = column
    table = pa.table(columns).sort_by([(features.QUERY_ID, "ascending"), (features.PRODUCT_ID, "ascending")])
    with target.open("wb") as stream:
        # pyarrow quotes the header too; CsvExampleGen splits it at commas and would keep the quotes in the names.
        stream.write((",".join(table.column_names) + "\n").encode())
        pacsv.write_csv(table, stream, pacsv.WriteOptions(include_header=False))


def _split_pairs(pairs: pa.Table, shares: EsciShares, examples_file: Path) -> dict[str, pa.Table]:
    """Raises DataError where the judgements leave nothing to train on or to validate with."""
    parts = esci_split.parted(pairs, shares)
    for name, part in parts.items():
        if not part.num_rows:
            raise DataError(
                f"split {name!r} gets no query: {len(pc.unique(pairs[features.QUERY_ID]))} queries are too few for "
                f"split.by esci",
                file=examples_file,
                column=esci_split.COLUMN,
                hint="give it a larger share (split.train, split.eval), or set split.by to query",
            )
    return parts


def _put_in_place(staged: Path, artifacts_dir: Path, names: Sequence[str], digests: FileDigests) -> dict[str, str]:
    """Move the staged files over the old ones, but for those that are the same; their SHA-256 by name. Files of splits
    that no longer decide are removed."""
    new = {name: _sha256(staged / name) for name in names if (staged / name).is_file()}
    (artifacts_dir / REPORT).unlink(missing_ok=True)
    for name in set(SPLIT_OUTPUTS.values()) - new.keys():
        (artifacts_dir / name).unlink(missing_ok=True)
    for name, digest in new.items():
        target = artifacts_dir / name
        if _digest_if_there(artifacts_dir, name, digests) == digest:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        staging.sync(staged / name)
        os.replace(staged / name, target)
        digests.note(target, f"{artifacts_dir.name}/{name}", digest)
    return new


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _input_files(data_dir: Path, rules: SpanRules | None) -> tuple[str, ...]:
    """What is read of a data folder."""
    if formats.has_no_judgements(data_dir):
        return _FILES_OF_PRODUCTS
    return (*INPUT_FILES, *(_span_files(data_dir) if rules is not None else ()))


def _span_files(data_dir: Path) -> list[str]:
    """Feedback on a catalogue without original judgements is left alone: nothing would be held out to judge it by."""
    return [] if formats.has_no_judgements(data_dir) else span_module.span_files(data_dir)


def _input(data_dir: Path, name: str) -> Path:
    path = data_dir / name
    if not path.exists():
        hint = "run `sqidflow data sample` or `sqidflow data import`"
        if name in (formats.QUERY_FEATURES_FILE, formats.PRODUCT_FEATURES_FILE) and data_dir.is_dir():
            hint = "run `sqidflow data encode`"
        if name.startswith(span_module.FOLDER):
            hint = span_module.HINT
        raise DataError("does not exist", file=path, hint=hint)
    readers.check_file(path)
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest_if_there(artifacts_dir: Path, name: str, digests: FileDigests) -> str | None:
    path = artifacts_dir / name
    return digests.of(path, f"{artifacts_dir.name}/{name}") if path.is_file() else None


def _load_report(artifacts_dir: Path) -> dict[str, Any] | None:
    try:
        content = json.loads((artifacts_dir / REPORT).read_text(encoding="utf-8"))
        PrepareReport(**content["report"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return content if "arguments" in content else None
