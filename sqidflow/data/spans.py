"""Judgements that came from use: ``data/feedback/span-N/``, and their place among the original judgements.

A span is a folder that is written once and never changed: ``judgements.csv``, the vectors of its queries, and
``manifest.json``, which says what it was made of and has the digest of the judgements. No client id is in it.

Which judgement of a query and a product stands: one of people before one of clicks, whichever is newer; of the same
kind the newest, except that fewer people do not overturn more; and an original judgement before all of these, unless
enough clients (``SpanRules.overrule_clients``) agree on another label. Queries that are held out, for validation or for
the final evaluation, take no feedback at all; new queries get ids that fall into the training split.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from sqidflow.core.digests import file_sha256
from sqidflow.core.errors import DataError
from sqidflow.core.settings import SpanRules
from sqidflow.data import catalogue, esci_split, formats, readers, staging
from sqidflow.data.catalogue import text_form
from sqidflow.data.encoder_name import encoder_in
from sqidflow.data.query_split import split_of
from sqidflow.ranking import features
from sqidflow.ranking.query_text import query_key

FOLDER = "feedback"
JUDGEMENTS, VECTORS, MANIFEST = "judgements.csv", "query_features.parquet", "manifest.json"
HUMAN, CLICKS = "human", "clicks"
FORMAT = 1
_SPAN = re.compile(r"span-([1-9][0-9]*)")
_TRAIN = 0
_FIRST_ID = 2**61
"""Ids of queries that only feedback has are above this: no published id is near it, and none of them ever changes."""
HINT = "restore the folder (`dvc checkout`), or delete it whole: `sqidflow retrain` reads the feedback again"

Encode = Callable[[Sequence[str]], np.ndarray]
"""Texts -> float32 [n, dim]."""


@dataclass(frozen=True)
class SpanRow:
    """What feedback says of a query and a product.

    ``source``: human or clicks. ``clients``: how many gave the label, or whose impressions are counted. ``low`` and
    ``high``: of clicks the 95 % interval of the click rate at rank 1, ``impressions`` those behind it; 0 of people.
    ``answer`` and ``model``: the newest answer that the feedback is about, "" where the store no longer has it.
    """

    query: str
    product_id: str
    product_locale: str
    esci_label: str
    source: str
    clients: int
    impressions: int = 0
    low: float = 0.0
    high: float = 0.0
    answer: str = ""
    model: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes two rows be about the same."""
        return query_key(self.query), self.product_id, self.product_locale


COLUMNS = tuple(each.name for each in fields(SpanRow))
_TYPES = {
    each.name: {"int": pa.int64(), "float": pa.float64()}.get(str(each.type), pa.string()) for each in fields(SpanRow)
}


def span_folders(data_dir: Path) -> list[tuple[int, Path]]:
    """Number and folder of each span, the oldest first."""
    numbered = (
        (int(match[1]), folder)
        for folder in (data_dir / FOLDER).glob("span-*")
        if (match := _SPAN.fullmatch(folder.name)) and folder.is_dir()
    )
    return sorted(numbered)


def span_files(data_dir: Path) -> list[str]:
    """The files of all spans that preparation reads, relative to the data folder."""
    return [
        (folder / name).relative_to(data_dir).as_posix()
        for _, folder in span_folders(data_dir)
        for name in (JUDGEMENTS, VECTORS)
    ]


def read_manifest(folder: Path) -> dict[str, Any]:
    """Raises DataError where it is missing or damaged."""
    file = folder / MANIFEST
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT or not isinstance(manifest["judgements_sha256"], str):
            raise ValueError(f"format {manifest['format']}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"is no manifest of a span ({error})", file=file, hint=HINT) from error
    return manifest


def read_span(folder: Path) -> list[SpanRow]:
    """Raises DataError where the judgements are not those that the manifest names, or are none."""
    file = folder / JUDGEMENTS
    manifest = read_manifest(folder)
    if not file.is_file():
        raise DataError("does not exist", file=file, hint=HINT)
    if file_sha256(file) != manifest["judgements_sha256"]:
        raise DataError("is not the file that its manifest names", file=file, hint=HINT)
    convert = pacsv.ConvertOptions(column_types=_TYPES, include_columns=list(COLUMNS), strings_can_be_null=False)
    try:
        table = pacsv.read_csv(file, convert_options=convert)
    except (pa.ArrowInvalid, KeyError) as error:
        raise DataError(f"cannot be read ({str(error).splitlines()[0][:120]})", file=file, hint=HINT) from error
    rows = [SpanRow(*values) for values in zip(*(table[name].to_pylist() for name in COLUMNS), strict=True)]
    for number, row in enumerate(rows, 1):
        if row.esci_label not in formats.LABELS or row.source not in (HUMAN, CLICKS) or not query_key(row.query):
            raise DataError("is no judgement", file=file, row=number, hint=HINT)
    return rows


def standing(rows: Iterable[SpanRow]) -> dict[tuple[str, str, str], SpanRow]:
    """Of each query, product and locale the row that stands; ``rows`` in the order of their spans."""
    stands: dict[tuple[str, str, str], SpanRow] = {}
    for row in rows:
        earlier = stands.get(row.key)
        if earlier is None or not _outranks(earlier, row):
            stands[row.key] = row
    return stands


def _outranks(earlier: SpanRow, later: SpanRow) -> bool:
    if earlier.source != later.source:
        return earlier.source == HUMAN
    return earlier.source == HUMAN and earlier.esci_label != later.esci_label and earlier.clients > later.clients


def standing_in(data_dir: Path) -> dict[tuple[str, str, str], SpanRow]:
    """What all spans of a data folder say. Raises DataError as :func:`read_span`."""
    return standing(row for _, folder in span_folders(data_dir) for row in read_span(folder))


def new_rows(candidates: Iterable[SpanRow], known: Mapping[tuple[str, str, str], SpanRow]) -> list[SpanRow]:
    """The rows that tell something new: a pair that no span has, another label that stands, or people who confirm what
    only clicks said. In the order of query, product and locale."""
    new = [
        row
        for row in candidates
        if (earlier := known.get(row.key)) is None
        or ((row.esci_label, row.source) != (earlier.esci_label, earlier.source) and not _outranks(earlier, row))
    ]
    return sorted(new, key=lambda row: row.key)


def write_span(
    data_dir: Path, rows: Sequence[SpanRow], about: Mapping[str, Any], encoder: str, encode: Encode
) -> tuple[int, Path]:
    """Write the next span, whole or not at all; the newest one again where it has the same judgements.

    Args:
        about: what the manifest says besides counts and digests; nothing that another call for the same feedback would
            say otherwise, for the data's version depends on it. encoder: of the vectors, by name.

    Raises:
        DataError, DiskFullError: it cannot be written.
    """
    existing = span_folders(data_dir)
    content = _csv(rows)
    digest = hashlib.sha256(content).hexdigest()
    if existing and read_manifest(existing[-1][1])["judgements_sha256"] == digest:
        return existing[-1]
    number = 1 + max((number for number, _ in existing), default=0)
    target = data_dir / FOLDER / f"span-{number}"
    manifest = {
        "format": FORMAT,
        "span": number,
        "judgements": len(rows),
        "labels": {label: sum(row.esci_label == label for row in rows) for label in formats.LABELS},
        "sources": {source: sum(row.source == source for row in rows) for source in (HUMAN, CLICKS)},
        "queries": len({query_key(row.query) for row in rows}),
        "models": {name: sum(row.model == name for row in rows) for name in sorted({row.model for row in rows})},
        "judgements_sha256": digest,
        **about,
    }
    with staging.staged_folder(target) as folder:
        (folder / JUDGEMENTS).write_bytes(content)
        _write_vectors(folder / VECTORS, rows, encoder, encode)
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return number, target


def _csv(rows: Sequence[SpanRow]) -> bytes:
    sink = pa.BufferOutputStream()
    columns = list(zip(*map(astuple, rows), strict=True)) if rows else [()] * len(COLUMNS)
    table = pa.table({name: pa.array(column, _TYPES[name]) for name, column in zip(COLUMNS, columns, strict=True)})
    pacsv.write_csv(table, sink)
    return sink.getvalue().to_pybytes()


def query_text(query: str) -> str:
    """A query as preparation writes it: each run of blanks, line ends among them, is one space."""
    return text_form(pa.array([query]))[0].as_py()


def _write_vectors(file: Path, rows: Sequence[SpanRow], encoder: str, encode: Encode) -> None:
    """One vector for each query, under its normal form."""
    texts: dict[str, str] = {}
    for row in rows:
        texts.setdefault(query_key(row.query), row.query)
    vectors = np.asarray(encode(list(texts.values())), np.float32) if texts else np.zeros((0, 1), np.float32)
    offsets = pa.array(np.arange(len(vectors) + 1, dtype=np.int32) * vectors.shape[1])
    table = pa.table(
        [pa.array(texts, pa.string()), pa.ListArray.from_arrays(offsets, pa.array(vectors.reshape(-1)))],
        schema=pa.schema([("query", pa.string()), (formats.TEXT_VECTOR, formats.VECTOR_TYPE)]),
    )
    with staging.staged_file(file) as partial:
        pq.write_table(table.replace_schema_metadata({formats.ENCODER_KEY: encoder}), partial)


def encode_spans(data_dir: Path, target: Path, encoder: str, encode: Encode, *, force: bool) -> int:
    """Make the vectors of spans that have none or those of another encoder, of all spans with ``force``; how many
    queries were encoded. ``target`` is the data folder to write to, which has the spans too."""
    encoded = 0
    for number, folder in span_folders(data_dir):
        if not force and encoder_in(folder / VECTORS) == encoder:
            continue
        rows = read_span(folder)
        _write_vectors(target / FOLDER / f"span-{number}" / VECTORS, rows, encoder, encode)
        encoded += len({query_key(row.query) for row in rows})
    return encoded


# --- among the original judgements ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Placed:
    """The judgements with those of the spans. ``judged`` has null in ``row`` where a row is feedback; ``vectors``:
    query_id -> float32 [dim] of queries that only feedback has; ``counts``: what became of the spans' judgements."""

    judged: pa.Table
    vectors: Mapping[int, np.ndarray] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)

    def vector_batches(self) -> Iterator[pa.RecordBatch]:
        """The vectors as the reader of query features gives them."""
        if not self.vectors:
            return
        matrix = np.array(list(self.vectors.values()), np.float32)
        offsets = pa.array(np.arange(len(matrix) + 1, dtype=np.int32) * matrix.shape[1])
        yield pa.RecordBatch.from_arrays(
            [
                pa.array(self.vectors.keys(), pa.int64()),
                pa.ListArray.from_arrays(offsets, pa.array(matrix.reshape(-1))),
                pa.nulls(len(matrix), formats.TIMESTAMP_TYPE),
            ],
            names=[features.QUERY_ID, formats.TEXT_VECTOR, formats.TIMESTAMP],
        )


def is_held_out(query_id: int, rules: SpanRules, esci: bool, marked_test: bool = False) -> bool:
    """Whether a query is in another split than that for training. ``marked_test``: ESCI's own split says so."""
    if esci:
        return marked_test or not esci_split.is_for_training(query_id, rules.shares[:2])
    return split_of(query_id, rules.shares) != _TRAIN


def place(data_dir: Path, judged: pa.Table, rules: SpanRules, locale: str | None, esci: bool) -> Placed:
    """Add what the spans say to the original judgements, as the docstring of this module states.

    Args:
        judged: the judgements in use, each query with one id. locale: that is kept; None keeps all. esci: ESCI's own
            split decides what is held out.

    Raises:
        DataError: a span is damaged, its vectors are of another encoder than the data's.
    """
    rows = list(standing_in(data_dir).values())
    counts = dict.fromkeys(
        ("spans", "judgements", "added", "replaced", "confirmed", "original stands", "held out", "other locale",
         "product deleted"), 0,
    )  # fmt: skip
    counts |= {"spans": len(span_folders(data_dir)), "judgements": len(rows)}
    ids = judged[features.QUERY_ID].to_pylist()
    texts = judged[features.QUERY].to_pylist()
    locales = judged[catalogue.LOCALE].to_pylist()
    marks = judged[esci_split.COLUMN].to_pylist()
    keys = {text: query_key(text) for text in set(texts)}
    of_query: dict[tuple[str, str], tuple[int, str]] = {}
    held_out: set[str] = set()
    for query_id, text, own_locale, mark in zip(ids, texts, locales, marks, strict=True):
        if is_held_out(query_id, rules, esci, esci and esci_split.is_test(mark)):
            held_out.add(keys[text])
        of_query.setdefault((keys[text], own_locale), (query_id, text))
    original = {
        (query_id, product, own_locale): (at, label)
        for at, (query_id, product, own_locale, label) in enumerate(
            zip(ids, judged[features.PRODUCT_ID].to_pylist(), locales, judged[features.LABEL].to_pylist(), strict=True)
        )
    }
    known = _known_products(data_dir, {row.product_id for row in rows})
    taken = set(ids)
    labels = judged[features.LABEL].to_pylist()
    added: list[dict[str, Any]] = []
    only_feedback: dict[int, str] = {}
    for row in rows:
        key, product, own_locale = row.key
        if key in held_out:
            counts["held out"] += 1
            continue
        if locale is not None and own_locale != locale:
            counts["other locale"] += 1
            continue
        if (product, own_locale) not in known:
            counts["product deleted"] += 1
            continue
        if (key, own_locale) not in of_query:
            query_id = _new_id(key, own_locale, taken, rules, esci)
            taken.add(query_id)
            of_query[key, own_locale] = query_id, query_text(row.query)
            only_feedback[query_id] = key
        query_id, text = of_query[key, own_locale]
        place_of, label = original.get((query_id, product, own_locale), (None, None))
        if place_of is None:
            counts["added"] += 1
            added.append(
                {
                    features.QUERY: text, features.QUERY_ID: query_id, features.PRODUCT_ID: product,
                    catalogue.LOCALE: own_locale, features.LABEL: row.esci_label,
                    esci_split.COLUMN: esci_split.TRAIN,
                }
            )  # fmt: skip
        elif label == row.esci_label:
            counts["confirmed"] += 1
        elif row.source == HUMAN and row.clients >= rules.overrule_clients:
            counts["replaced"] += 1
            labels[place_of] = row.esci_label
        else:
            counts["original stands"] += 1
    at = judged.schema.get_field_index(features.LABEL)
    judged = judged.set_column(at, features.LABEL, pa.array(labels, pa.string()))
    columns = [pa.array([row.get(each.name) for row in added], each.type) for each in judged.schema]
    merged = pa.concat_tables([judged, pa.table(columns, schema=judged.schema)])
    return Placed(merged, _vectors_of(data_dir, only_feedback), counts)


def _known_products(data_dir: Path, asked: set[str]) -> set[tuple[str, str]]:
    """Which of the products there are, with each of their locales."""
    known: set[tuple[str, str]] = set()
    ids = pa.array(sorted(asked), pa.string())
    for batch in readers.read_products(data_dir / formats.PRODUCTS_FILE):
        inside = batch.filter(pc.is_in(batch[features.PRODUCT_ID], ids))
        known |= set(zip(inside[features.PRODUCT_ID].to_pylist(), inside[catalogue.LOCALE].to_pylist(), strict=True))
    return known


def _new_id(key: str, locale: str, taken: set[int], rules: SpanRules, esci: bool) -> int:
    """An id for a query that only feedback has: always the same, and in the training split."""
    attempt = 0
    while True:
        digest = hashlib.sha256(f"{key}\x1f{locale}\x1f{attempt}".encode()).digest()
        query_id = _FIRST_ID + int.from_bytes(digest[:7], "big")
        if query_id not in taken and not is_held_out(query_id, rules, esci):
            return query_id
        attempt += 1


def _vectors_of(data_dir: Path, key_of: Mapping[int, str]) -> dict[int, np.ndarray]:
    """Vectors from the spans, the newest first. Raises DataError: one is missing, or of another encoder."""
    if not key_of:
        return {}
    of_data = encoder_in(data_dir / formats.QUERY_FEATURES_FILE)
    wanted = set(key_of.values())
    vectors: dict[str, np.ndarray] = {}
    for _, folder in reversed(span_folders(data_dir)):
        file = folder / VECTORS
        hint = "run `sqidflow data encode`"
        if not file.is_file():
            raise DataError("does not exist", file=file, hint=hint)
        if encoder_in(file) != of_data:
            raise DataError(
                f"has vectors by {encoder_in(file)}, those of the data are by {of_data or 'an unknown encoder'}",
                file=file,
                hint=hint,
            )
        try:
            table = pq.read_table(file)
            pairs = zip(table["query"].to_pylist(), table[formats.TEXT_VECTOR].to_pylist(), strict=True)
        except (OSError, pa.ArrowInvalid, KeyError) as error:
            raise DataError(f"cannot be read ({error})", file=file, hint=hint) from error
        for key, vector in pairs:
            if key in wanted and key not in vectors:
                vectors[key] = np.array(vector, np.float32)
    missing = sorted(wanted - vectors.keys())
    if missing:
        raise DataError(
            f"no span has a vector of query {missing[0][:60]!r}",
            file=data_dir / FOLDER,
            hint="run `sqidflow data encode`",
        )
    return {query_id: vectors[key] for query_id, key in key_of.items()}
