"""Unseen data: held-out queries, products that no training pair has, a later time span, the whole catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import pyarrow as pa

from sqidflow.evaluation.behaviour.asking import Asker, JudgedQuery
from sqidflow.evaluation.behaviour.report import Line, Section, Table, interval_figure
from sqidflow.evaluation.measures import Ranked
from sqidflow.evaluation.whole_catalogue import MEASURES, measure_query
from sqidflow.ranking import features, metrics
from sqidflow.ranking.metrics import Interval, bootstrap_interval

LEAST_QUERIES = 20
_EARLY = 5
_LATE_SHARE = 0.2


def early_ranks(scores: pa.Table, column: str) -> dict[str, Interval]:
    """Top-5 accuracy and MRR of the judged lists of held-out queries. An Exact product is a hit; queries without one
    are left out."""
    lists = metrics.RankedLists.of(scores[features.QUERY_ID].to_numpy(), scores[features.PRODUCT_ID].to_numpy())
    ranked = Ranked.of(lists, scores[column].to_numpy())
    exact = scores[features.RATING].to_numpy() == features.CLASS_IDS["E"]
    return {
        "top-5 accuracy": bootstrap_interval(ranked.success(exact, _EARLY)),
        "MRR": bootstrap_interval(ranked.reciprocal_rank(exact)),
    }


def ndcg_of(scores: pa.Table, mask: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """NDCG of each query by method, of the masked pairs alone where a mask is given."""
    part = scores if mask is None else scores.filter(pa.array(mask))
    lists = metrics.RankedLists.of(part[features.QUERY_ID].to_numpy(), part[features.PRODUCT_ID].to_numpy())
    gains = features.CLASS_GAINS[part[features.RATING].to_numpy()]
    columns = {"model": "score", "cosine": "cosine", "random": "random"}
    return {name: metrics.ndcg_per_query(lists, gains, part[column].to_numpy()) for name, column in columns.items()}


def unseen(
    asker: Asker,
    scores: pa.Table,
    queries: Sequence[JudgedQuery],
    seen_products: set[str],
    judged_at: Sequence[datetime] | None,
) -> Section:
    """The section of the report.

    Args:
        scores: the model's scores of every held-out pair. queries: those that the whole catalogue is searched for.
        seen_products: products of pairs that the model learned from. judged_at: when each pair of ``scores`` was
            judged; None where the data do not say.
    """
    lines: list[Line] = []
    whole = ndcg_of(scores)
    intervals = {name: bootstrap_interval(values) for name, values in whole.items()}
    rows: list[tuple] = [("held-out queries", len(whole["model"]), *intervals.values())]
    lines.append(_over_cosine("held-out queries", whole))
    cold = ~np.isin(scores[features.PRODUCT_ID].to_numpy(zero_copy_only=False).astype(str), sorted(seen_products))
    lines.append(_part("unseen products", scores, cold, rows))
    lines.append(_time_line(scores, judged_at, rows))
    table = Table("NDCG of judged lists", ("what", "queries", "model", "cosine", "random"), rows)
    early = {name: early_ranks(scores, column) for name, column in (("model", "score"), ("cosine", "cosine"))}
    judged = Table(
        "Top-5 accuracy and MRR of judged lists, queries that no training pair has",
        ("method", "top-5 accuracy", "MRR"),
        [(name, *each.values()) for name, each in early.items()],
    )
    catalogue = whole_catalogue(asker, queries, seen_products)
    return Section(
        "unseen",
        "Unseen data",
        lines,
        (table, judged, catalogue),
        (interval_figure("NDCG", [(row[0], row[2]) for row in rows if row[2] is not None], zero=False),),
        "The held-out split shares no query with training. Splitting pairs at random, as top-5 accuracy is often "
        "reported, puts the same query on both sides; here queries are split.",
    )


def _over_cosine(what: str, values: dict[str, np.ndarray]) -> Line:
    over = bootstrap_interval(values["model"] - values["cosine"])
    text = f"{what}: NDCG {np.nanmean(values['model']):.3f}, {over.mean:+.3f} over the cosine without training"
    return Line("unseen." + what.replace(" ", "_"), "warn" if over.high < 0 else "pass", text)


def _part(what: str, scores: pa.Table, mask: np.ndarray, rows: list[tuple]) -> Line:
    name = "unseen." + what.replace(" ", "_")
    values = ndcg_of(scores, mask) if mask.any() else {"model": np.zeros(0)}
    counted = int(np.isfinite(values["model"]).sum())
    if counted < LEAST_QUERIES:
        rows.append((what, counted, None, None, None))
        text = f"{what}: {int(mask.sum())} pairs of {counted} queries, too few to say anything ({LEAST_QUERIES} needed)"
        return Line(name, "note", text)
    rows.append((what, counted, *(bootstrap_interval(each) for each in values.values())))
    return _over_cosine(what, values)


def _time_line(scores: pa.Table, judged_at: Sequence[datetime] | None, rows: list[tuple]) -> Line:
    if judged_at is None or len(set(judged_at)) < 2:
        rows.append(("later time span", 0, None, None, None))
        return Line("unseen.later_time_span", "note", "later time span: the data do not say when pairs were judged")
    times = np.array([moment.timestamp() for moment in judged_at])
    return _part("later time span", scores, times >= np.quantile(times, 1 - _LATE_SHARE), rows)


def whole_catalogue(asker: Asker, queries: Sequence[JudgedQuery], seen_products: set[str]) -> Table:
    """What the service answers of the whole catalogue; unseen products are judged by the Exact ones among them."""
    values, early = [], []
    cold_found: list[float] = []
    for query in queries:
        if not query.exact:
            continue
        found = asker.answer(query.text).products
        values.append(measure_query(found, query.judged))
        early.append(float(bool(query.exact & set(found[:_EARLY]))))
        cold = query.exact - seen_products
        if cold:
            cold_found.append(len(cold & set(found[: len(found)][:10])) / min(10, len(cold)))
    if not values:
        return Table("Search in the whole catalogue", ("measure", "queries", "value"), [])
    columns = np.array(values).T
    rows: list[tuple] = [(name, len(values), bootstrap_interval(column)) for name, column in zip(MEASURES, columns)]
    rows.append(("top-5 accuracy", len(early), bootstrap_interval(np.array(early))))
    cold_value = bootstrap_interval(np.array(cold_found)) if len(cold_found) >= LEAST_QUERIES else None
    rows.append(("recall_at_10 of unseen products", len(cold_found), cold_value))
    return Table("Search in the whole catalogue, as the service answers", ("measure", "queries", "value"), rows)
