"""How well an index tells what fits from what does not: the sample, and real catalogues where there are any.

Real queries that have an Exact product must be answered; gibberish and questions of other domains must not. The domains
that are measured are none of those that the cut-off was fitted to, real queries are none that it was.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sqidflow.benches.machine import describe
from sqidflow.core.errors import SqidflowError
from sqidflow.encoders.base import Encoder
from sqidflow.indexing import calibrate
from sqidflow.indexing.build import Catalogue, Judgements, build
from sqidflow.indexing.publish import seal
from sqidflow.ranking.rankers import ZeroShotRanker
from sqidflow.ranking.retrieval import Fusion, fusion_kind
from sqidflow.ranking.words import DEFAULT_LANGUAGE
from sqidflow.search import fitness
from sqidflow.search.engine import SearchCore
from sqidflow.search.fitness import Observed
from sqidflow.search.index import FORMAT, Meta, ProductIndex
from sqidflow.search.off_catalogue import OFF_CATALOGUE
from sqidflow.search.rewrite import LocalRewriter

REAL_FILES = {"real, single judgements": "esci_us_train_sample.csv", "real, lists": "esci_us_lists_sample.csv"}
_VALIDATION = (0, 10, 100)
_DRAWS = 5
_GIBBERISH = 150
_MOST_QUERIES = 400


@dataclass(frozen=True)
class Judged:
    """A catalogue, and queries that it is known to have an Exact product for."""

    name: str
    catalogue: Catalogue
    queries: tuple[str, ...]


def bench(
    data: Path | None, encoders: Sequence[Encoder], say: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """Measure the sample with the encoder that its pictures were made for, real files with all ``encoders``.

    Args:
        data: folder with ``REAL_FILES``, None for the sample alone.

    Raises:
        SqidflowError: none of the files is there.
    """
    rows: list[dict[str, Any]] = []
    for encoder in encoders:
        sets = [] if data is None else list(_real(data, encoder))
        if encoder.sees_pictures:
            sets.insert(0, _sample(encoder))
        for judged in sets:
            say(f"{judged.name}, {encoder.name}: {len(judged.catalogue.product_ids):,} products")
            rows += measure(judged, encoder)
    return {"machine": describe(), "rows": rows}


def measure(judged: Judged, encoder: Encoder) -> list[dict[str, Any]]:
    """A row for each number of validation queries."""
    with _indexed(judged.catalogue, encoder) as core:
        evidence = calibrate.gather(core, (), judged.catalogue.titles)
        observed = [signals for signals in map(core.signals, judged.queries) if signals is not None]
        letters = core.index.letters
        gibberish = [
            signals
            for signals in map(core.signals, [*fitness.gibberish(_GIBBERISH, 7), *letters.shuffled(_GIBBERISH, 7)])
            if signals is not None
        ]
    rows = []
    for count in _VALIDATION:
        if count and 2 * count > len(observed):
            continue
        measured = [_draw(evidence, observed, gibberish, count, seed) for seed in range(_DRAWS if count else 1)]
        means = np.mean(measured, axis=0)
        rows.append(
            {
                "catalogue": judged.name,
                "encoder": encoder.name.split("/")[-1],
                "validation": count,
                "real_refused": round(float(means[0]), 4),
                "gibberish_answered": round(float(means[1]), 4),
                "off_catalogue_answered": round(float(means[2]), 4),
                "queries": len(observed) - count,
            }
        )
    return rows


def _draw(
    evidence: calibrate.Evidence, observed: Sequence[Observed], gibberish: Sequence[Observed], count: int, seed: int
) -> tuple[float, float, float]:
    """Real queries refused, gibberish and questions of unseen domains answered, with some validation queries."""
    order = random.Random(seed).sample(range(len(observed)), len(observed))
    known = replace(evidence, validation=[observed[at] for at in order[:count]])
    fit = calibrate.fitted(known)

    def answered(of: Sequence[Observed]) -> float:
        return float(np.mean([fitness.fitness(fit, signals.values()) >= fit.cutoff for signals in of])) if of else 0.0

    return 1 - answered([observed[at] for at in order[count:]]), answered(gibberish), calibrate.held_out(known)


def _sample(encoder: Encoder) -> Judged:
    from sqidflow.core.settings import load_settings
    from sqidflow.data.prepare import prepare
    from sqidflow.data.sample import SampleSpec, write_sample
    from sqidflow.indexing.catalogue import read_catalogue, read_pairs

    with tempfile.TemporaryDirectory(prefix="sqidflow-bench-") as folder:
        place = Path(folder)
        write_sample(place / "data", SampleSpec(dim=encoder.dim))
        prepare(place / "data", place / "artifacts", **load_settings(place, ()).data.filters())
        catalogue = read_catalogue(place / "artifacts")
        pairs = read_pairs(place / "artifacts" / "prepared" / "pairs.csv")
        labelled = zip(pairs["query"].to_pylist(), pairs["esci_label"].to_pylist())
        return Judged("sample", catalogue, _queries(labelled))


def _real(data: Path, encoder: Encoder) -> Iterator[Judged]:
    """Titles alone: what every shop has."""
    import pyarrow.csv

    files = {name: data / file for name, file in REAL_FILES.items() if (data / file).is_file()}
    if not files:
        raise SqidflowError(f"there is none of {', '.join(REAL_FILES.values())}", where=data)
    for name, file in files.items():
        options = pyarrow.csv.ParseOptions(newlines_in_values=True)
        table = pyarrow.csv.read_csv(file, parse_options=options)
        titles = dict(zip(map(str, table["product_id"].to_pylist()), table["product_title"].to_pylist()))
        ids = sorted(titles, key=str.encode)
        labelled = zip(table["query"].to_pylist(), table["esci_label"].to_pylist())
        texts = [titles[product] or "" for product in ids]
        nothing: list[str | None] = [None] * len(ids)
        vectors = encoder.encode_texts(texts)
        catalogue = Catalogue(
            ids, texts, nothing, nothing, nothing, nothing, vectors, np.zeros_like(vectors), np.zeros(len(ids), bool)
        )
        yield Judged(name, catalogue, _queries(labelled))


def _queries(labelled: Any) -> tuple[str, ...]:
    exact = sorted({query for query, label in labelled if label == "E"})
    return tuple(random.Random(3).sample(exact, min(_MOST_QUERIES, len(exact))))


@contextmanager
def _indexed(catalogue: Catalogue, encoder: Encoder) -> Iterator[SearchCore]:
    """An index of a catalogue in a temporary folder, with the ranker that needs no training."""
    ranker = ZeroShotRanker(encoder.dim)
    made_of = ranker.provenance
    meta = Meta(
        digest="bench", format=FORMAT, products=len(catalogue.product_ids),
        with_picture=int(catalogue.has_image.sum()), dim=encoder.dim, encoder=encoder.name, encoder_model=None,
        model_version=ranker.version, model=ranker.name, feature_contract=made_of.feature_contract,
        feature_service=made_of.feature_service, data_hash=None, git_commit=None, mlflow_run_id=None, synthetic=True,
        kind="", nprobe=None, recall_at_10=0.0, recall_at_100=0.0,
        fusion=Fusion.of(fusion_kind(catalogue.titles, encoder.encode_texts, DEFAULT_LANGUAGE)),
    )  # fmt: skip
    nothing = Judgements(np.zeros(0, np.int64), np.zeros(0, np.int64), [], [])
    questions = encoder.encode_texts([query for queries in OFF_CATALOGUE.values() for query in queries])
    with tempfile.TemporaryDirectory(prefix="sqidflow-bench-") as temporary:
        folder = Path(temporary) / "index"
        seal(folder, build(folder, catalogue, nothing, (), questions, ranker, meta, off_catalogue=questions))
        index = ProductIndex(folder)
        yield SearchCore(index, ranker, encoder, LocalRewriter(index.document_counts))
