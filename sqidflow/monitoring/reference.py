"""What is compared with: queries that the model was trained on, and what the served model answers to them.

The answers take a few seconds. They are kept in ``artifacts/monitoring/reference.parquet`` until the model, its index,
the pairs or this code change.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sqidflow.core.code import code_digest
from sqidflow.core.errors import SqidflowError
from sqidflow.core.files import may_write
from sqidflow.monitoring.window import Served
from sqidflow.ranking import features
from sqidflow.ranking.languages import ASKING, FUNCTION_WORDS, LANGUAGES, PRONOUNS, QUESTION_WORDS
from sqidflow.ranking.query_text import query_key
from sqidflow.ranking.words import surfaces, terms_of

if TYPE_CHECKING:
    from sqidflow.core.settings import Settings
    from sqidflow.core.workdir import Workdir
    from sqidflow.search.engine import SearchCore

REFERENCE_FILE = "reference.parquet"
_SEED = 16
_PREPOSITIONS = frozenset(
    (
        "except",
        "under",
        "over",
        "below",
        "above",
        "than",
        "less",
        "more",
        "is",
        "low",
        "high",
        "do",
        "has",
        "have",
        "no",
    )
)
_KEY = b"sqidflow"


@dataclass(frozen=True)
class Reference:
    """Training queries, what the model answers to each, the brand of its first product, and vectors float32 [m, d] of
    the first m of them."""

    queries: list[str]
    served: list[Served]
    brands: list[str | None]
    vectors: np.ndarray


class Catalogue:
    """What the catalogue knows of words and products."""

    def __init__(self, core: SearchCore) -> None:
        self._index = core.index
        self._language = core.language
        language = LANGUAGES[self._language]
        self._ignored = (
            FUNCTION_WORDS | QUESTION_WORDS | ASKING | PRONOUNS | _PREPOSITIONS | language.stop_words
            | language.negations | language.joins | language.after_noun | language.spoken | language.asking
        )  # fmt: skip
        self._known: dict[str, bool] = {}

    def unknown_words(self, query: str) -> tuple[list[str], int]:
        """The words of a query that no product has, and how many words it has; numbers and small words aside."""
        said = [word for word in surfaces(query) if not word.isnumeric() and word not in self._ignored]
        return [word for word in said if not self._knows(word)], len(said)

    def _knows(self, word: str) -> bool:
        if word not in self._known:
            self._known[word] = word in self._index.document_counts or any(
                self._index.words.count(term) for term in terms_of(word, self._language)
            )
        return self._known[word]

    def brand_of(self, product: str | None) -> str | None:
        """The brand of a product; None without one, or where the catalogue does not have the product."""
        row = self._index.row_of(product) if product is not None else None
        return None if row is None else self._index.cell("brand", row)


def training_queries(workdir: Workdir, most: int) -> list[str]:
    """Queries of the prepared pairs, those that are held out aside; at most ``most``, drawn by their digests.

    Raises:
        SqidflowError: there are no prepared pairs, or they are damaged.
    """
    import pyarrow as pa
    import pyarrow.csv as pacsv
    import pyarrow.parquet as pq

    if not workdir.pairs.is_file():
        raise SqidflowError(
            "there are no prepared pairs", where=workdir.pairs, hint="prepare them: `sqidflow features`"
        )
    try:
        table = pacsv.read_csv(
            workdir.pairs,
            parse_options=pacsv.ParseOptions(newlines_in_values=True),
            convert_options=pacsv.ConvertOptions(include_columns=[features.QUERY_ID, features.QUERY]),
        )
        held_out: set[int] = set()
        for file in sorted(workdir.evaluations.glob("*/scores.parquet")):
            held_out |= set(pq.read_table(file, columns=[features.QUERY_ID])[features.QUERY_ID].to_pylist())
    except (OSError, pa.ArrowException) as error:
        raise SqidflowError(
            f"the prepared pairs or held-out scores are damaged ({str(error).splitlines()[0][:120]})",
            where=workdir.pairs,
            hint="prepare them again: `sqidflow features`",
        ) from error
    by_key: dict[str, str] = {}
    for number, query in zip(table[features.QUERY_ID].to_pylist(), table[features.QUERY].to_pylist()):
        if number not in held_out and query_key(query):
            by_key.setdefault(query_key(query), query)
    order = sorted(by_key, key=lambda key: hashlib.sha256(f"{_SEED} {key}".encode()).digest())
    return [by_key[key] for key in order[:most]]


def kept_reference(workdir: Workdir, settings: Settings, core: SearchCore) -> Reference:
    """The reference of the model that answers, from its file or made anew.

    Raises:
        SqidflowError: there are no training queries, or the file cannot be written.
    """
    queries = training_queries(workdir, settings.monitoring.reference_queries)
    folder = workdir.artifacts / "monitoring"
    key = _key_of(core, queries, settings.monitoring.vectors)
    kept = _read(folder / REFERENCE_FILE, key)
    if kept is not None:
        return kept
    made = make_reference(core, queries, 2 * settings.monitoring.vectors)
    with may_write(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / REFERENCE_FILE, made, key)
    return made


def make_reference(core: SearchCore, queries: list[str], vectors: int) -> Reference:
    """Ask a search core the queries; ``vectors``: how many of them are encoded too."""
    from sqidflow.search.engine import Request

    catalogue = Catalogue(core)
    served, brands = [], []
    for query in queries:
        outcome = core.search(Request(query))
        first = outcome.hits[0] if outcome.hits else None
        told: str = "answered" if outcome.refusal is None else outcome.refusal.code
        if outcome.uncertain and first is not None:
            told = "uncertain"
        named = None
        if first is not None:
            named = features.predicted_classes(np.array([first.probabilities]), core.ranker.class_rule)
        served.append(
            Served(
                told,
                None if first is None else min(1.0, max(0.0, first.score)),
                None if named is None else features.CLASSES[int(named[0])],
                None if first is None else first.product_id,
            )
        )
        brands.append(catalogue.brand_of(None if first is None else first.product_id))
    return Reference(queries, served, brands, encoded(core, queries[:vectors]))


def encoded(core: SearchCore, queries: list[str]) -> np.ndarray:
    """Unit vectors of queries as they were typed, float32 [n, d]."""
    if not queries:
        return np.zeros((0, core.index.meta.dim), np.float32)
    vectors = core.encoder.encode_texts(queries).astype(np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _key_of(core: SearchCore, queries: list[str], vectors: int) -> str:
    meta = core.index.meta
    parts = [meta.digest, meta.model_version, core.retrieval, core.rewriter.name, vectors, *queries]
    parts.append(code_digest(["sqidflow.monitoring.reference", "sqidflow.search.engine"]))
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _write(file: Path, reference: Reference, key: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    missing = [None] * (len(reference.queries) - len(reference.vectors))
    table = pa.table(
        {
            "query": reference.queries,
            "outcome": [each.outcome for each in reference.served],
            "top_score": pa.array([each.top_score for each in reference.served], pa.float64()),
            "top_class": pa.array([each.top_class for each in reference.served], pa.string()),
            "top_product": pa.array([each.top_product for each in reference.served], pa.string()),
            "brand": pa.array(reference.brands, pa.string()),
            "vector": pa.array([*(row.tolist() for row in reference.vectors), *missing], pa.list_(pa.float32())),
        }
    ).replace_schema_metadata({_KEY: key.encode()})
    beside = file.with_name(f".{file.name}.part")
    try:
        pq.write_table(table, beside)
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)


def _read(file: Path, key: str) -> Reference | None:
    """None where there is none of this key, or where it is damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(file)
        if (table.schema.metadata or {}).get(_KEY) != key.encode():
            return None
        rows = table.to_pydict()
        served = [
            Served(*each)
            for each in zip(rows["outcome"], rows["top_score"], rows["top_class"], rows["top_product"], strict=True)
        ]
        vectors = np.array([row for row in rows["vector"] if row is not None], np.float32)
        return Reference(rows["query"], served, rows["brand"], vectors)
    except (OSError, KeyError, ValueError, pa.ArrowException):
        return None
