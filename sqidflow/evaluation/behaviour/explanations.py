"""Why: what scores are made of on the whole, what would have turned an order round, and how near texts are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sqidflow.evaluation.behaviour.asking import JudgedQuery
from sqidflow.evaluation.behaviour.report import Line, Section, Table, heat_figure, interval_figure, scatter_figure
from sqidflow.ranking import features
from sqidflow.ranking.metrics import Interval, bootstrap_interval
from sqidflow.search.engine import Request, SearchCore
from sqidflow.search.explain import counter_example, explain

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
    blends = (core.index.text[rows].astype(np.float32) + _pictures(core, rows)) / 2
    return [core.index.cell("title", row) or "" for row in rows], vectors @ features.unit(blends).T


def _pictures(core: SearchCore, rows: Sequence[int]) -> np.ndarray:
    text = core.index.text[rows].astype(np.float32)
    return np.where(core.index.has_image[rows][:, None], core.index.image[rows].astype(np.float32), text)


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


def explanations(core: SearchCore, queries: Sequence[JudgedQuery], seed: int) -> Section:
    """The section of the report."""
    worst, explained, counters = 0.0, 0, []
    sizes: dict[str, list[float]] = {}
    for query in queries[:_EXPLAINED_QUERIES]:
        hits = core.search(Request(query.text, k=_HITS)).hits
        asked = core.understand(query.text)
        found = core.retrieve(asked.text, core.encode(asked.text, None), also=asked.rewriting.also)
        score = core.ranker.probabilities(found.candidates) @ _GAINS
        at = {int(row): place for place, row in enumerate(found.rows)}
        places = [at[hit.row] for hit in hits if hit.row in at]
        for each in explain(core.ranker, found.candidates, places, score, core.index.meta.fusion):
            total = sum(part.contribution for part in each.parts)
            worst, explained = max(worst, abs(total - (each.score - each.baseline))), explained + 1
            for part in each.parts:
                sizes.setdefault(part.label, []).append(abs(part.contribution))
        if len(places) > 1 and len(counters) < _COUNTER_EXAMPLES and score[places[0]] > score[places[1]]:
            turned = counter_example(core.ranker, found.candidates, places[1], places[0], core.index.meta.fusion)
            counters.append((query.text, hits[1].product_id, hits[0].product_id, _in_words(turned)))
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
        figures.append("<h3>Queries and products in the plane (t-SNE)</h3>" + _plane(core, queries, seed))
    about = (
        "Parts are exact Shapley values of groups of features against the middle candidate of each search. A "
        "counter-example changes as few groups as possible."
    )
    return Section("explanations", "Explanations", lines, tables, figures, about)


def _in_words(turned) -> str:
    return "nothing less than everything" if turned is None else " and ".join(turned.labels)


def _plane(core: SearchCore, queries: Sequence[JudgedQuery], seed: int) -> str:
    texts = [query.text for query in queries[:_POINTS]]
    rows = np.random.default_rng(seed).permutation(len(core.index))[:_POINTS]
    products = features.unit((core.index.text[rows].astype(np.float32) + _pictures(core, rows)) / 2)
    vectors = np.concatenate([np.array([core.encode(text, None) for text in texts]), products])
    kinds = ["query"] * len(texts) + ["product"] * len(rows)
    names = [*texts, *(core.index.cell("title", int(row)) or "" for row in rows)]
    return scatter_figure("Queries and products by t-SNE", projected(vectors, seed), kinds, names)
