"""Why: what scores are made of on the whole, what would have turned an order round, and how near texts are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sqidflow.evaluation.behaviour.asking import JudgedQuery
from sqidflow.evaluation.behaviour.report import Line, Section, Table, heat_figure, interval_figure, scatter_figure
from sqidflow.ranking import features
from sqidflow.ranking.metrics import Interval, bootstrap_interval
from sqidflow.search.engine import Request, Retrieved, SearchCore
from sqidflow.search.explain import CounterExample, counter_example, explain

EXACT_TO = 1e-5
_EXPLAINED_QUERIES = 40
_HITS = 3
_COUNTER_EXAMPLES = 8
_HEAT_QUERIES, _HEAT_PRODUCTS = 8, 10
_POINTS = 150
_GAINS = features.CLASS_GAINS.astype(np.float32)


def similarity_map(core: SearchCore, texts: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Titles of the products nearest to a few queries, and the cosine of every query with each, float [q, n]."""
    vectors = np.array([core.encode(text, None) for text in texts])
    rows = list(dict.fromkeys(int(core.nearest(vector, 1)[0]) for vector in vectors))[:_HEAT_PRODUCTS]
    blends = (features.single(core.index.text[rows]) + _pictures(core, rows)) / 2
    return [core.index.cell("title", row) or "" for row in rows], vectors @ features.unit(blends).T


def _pictures(core: SearchCore, rows: Sequence[int] | np.ndarray) -> np.ndarray:
    text = features.single(core.index.text[rows])
    return np.where(core.index.has_image[rows][:, None], features.single(core.index.image[rows]), text)


def projected(vectors: np.ndarray, seed: int) -> np.ndarray:
    """Unit vectors in the plane by t-SNE on cosines, float64 [n, 2] (van der Maaten and Hinton 2008).

    Exact: the approximation of Barnes and Hut takes threads that wait for each other, and gains nothing at this size.
    """
    from sklearn.manifold import TSNE

    perplexity = float(min(30, max(2, (len(vectors) - 1) // 3)))
    plane = TSNE(
        2, perplexity=perplexity, metric="cosine", init="random", method="exact", max_iter=500, random_state=seed
    )
    return plane.fit_transform(vectors)


def ranked_hits(core: SearchCore, query: str) -> tuple[Retrieved, np.ndarray, list[int]]:
    """A query's candidates, their scores float32 [n], and the positions of the first products of the answer among
    them, best first."""
    hits = core.search(Request(query, k=_HITS)).hits
    asked = core.understand(query)
    found = core.retrieve(asked.text, core.encode(asked.text, None), also=asked.rewriting.also)
    score = core.ranker.probabilities(found.candidates) @ _GAINS
    at = {int(row): place for place, row in enumerate(found.rows)}
    return found, score, [at[hit.row] for hit in hits if hit.row in at]


def counter_examples(core: SearchCore, queries: Sequence[JudgedQuery]) -> list[tuple[str, str, str, str]]:
    """Query, its second product, its first, and what of the first would bring the second above it."""
    rows: list[tuple[str, str, str, str]] = []
    for query in queries:
        if len(rows) == _COUNTER_EXAMPLES:
            break
        found, score, places = ranked_hits(core, query.text)
        if len(places) > 1 and score[places[0]] > score[places[1]]:
            first, second = core.index.product_ids(found.rows[places[:2]])
            turned = counter_example(core.ranker, found.candidates, places[1], places[0], core.index.meta.fusion)
            rows.append((query.text, second, first, _in_words(turned)))
    return rows


def explanations(core: SearchCore, queries: Sequence[JudgedQuery], seed: int) -> Section:
    """The section of the report."""
    worst, explained = 0.0, 0
    sizes: dict[str, list[float]] = {}
    for query in queries[:_EXPLAINED_QUERIES]:
        found, score, places = ranked_hits(core, query.text)
        for each in explain(core.ranker, found.candidates, places, score, core.index.meta.fusion):
            total = sum(part.contribution for part in each.parts)
            worst, explained = max(worst, abs(total - (each.score - each.baseline))), explained + 1
            for part in each.parts:
                sizes.setdefault(part.label, []).append(abs(part.contribution))
    counters = counter_examples(core, queries)
    lines = []
    if explained:
        text = f"{explained} explained scores are the sum of their parts to {worst:.0e}"
        lines.append(Line("explanations.exact", "pass" if worst <= EXACT_TO else "warn", text))
    else:
        lines.append(Line("explanations.exact", "note", "no held-out query has an answer to explain"))
    importance: list[tuple[str, Interval]] = sorted(
        ((label, bootstrap_interval(np.array(values))) for label, values in sizes.items()), key=lambda row: -row[1].mean
    )
    tables = [
        Table("What moves scores: mean size of each part", ("part", "size"), importance),
        Table(
            "Nearest counter-examples: the product would rank above the other if it had the other's ...",
            ("query", "product", "would rank above", "if it had the other's"),
            counters,
        ),
    ]
    figures = [interval_figure("Mean size of each part", importance)]
    texts = [query.text for query in queries[:_HEAT_QUERIES]]
    if texts:
        titles, values = similarity_map(core, texts)
        figures.append("<h3>Cosine of queries and products</h3>" + heat_figure("Cosines", texts, titles, values))
        figures.append(
            "<h3>Queries and products in the plane (t-SNE)</h3>"
            + scatter_figure("Queries and products by t-SNE", *plane(core, queries, seed))
        )
    about = (
        "Parts are exact Shapley values of groups of features against the middle candidate of each search. A "
        "counter-example changes as few groups as possible."
    )
    return Section("explanations", "Explanations", lines, tables, figures, about)


def _in_words(turned: CounterExample | None) -> str:
    return "nothing of the other's would" if turned is None else " and ".join(turned.labels)


def plane(core: SearchCore, queries: Sequence[JudgedQuery], seed: int) -> tuple[np.ndarray, list[str], list[str]]:
    """Queries and as many products in the plane, float [n, 2], with the kind and the text of each."""
    texts = [query.text for query in queries[:_POINTS]]
    rows = np.random.default_rng(seed).permutation(len(core.index))[:_POINTS]
    products = features.unit((features.single(core.index.text[rows]) + _pictures(core, rows)) / 2)
    vectors = np.concatenate([np.array([core.encode(text, None) for text in texts]), products])
    names = [*texts, *(core.index.cell("title", int(row)) or "" for row in rows)]
    return projected(vectors, seed), ["query"] * len(texts) + ["product"] * len(rows), names
