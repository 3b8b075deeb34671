"""Clicks into judgements: a position-based click model whose propensities come from interleaved answers.

The model (examination hypothesis; Richardson, Dominowska and Ragno 2007; Chuklin, Markov and de Rijke, "Click Models
for Web Search", 2015): a product at rank k is clicked with probability ``p_k * r``, where the propensity ``p_k``
depends on the rank alone and the attractiveness ``r`` on query and product alone. ``p_1`` is 1, so ``r`` is the click
rate that the product would have at rank 1.

The propensities need products that stood at several ranks for reasons other than their quality. Team-draft interleaving
gives that: for one query and one pair of variants the two lists are fixed, and coins alone decide at which of its ranks
a product is shown. Of all such products shown at ranks k and l the ratio of click rates is ``p_k / p_l`` (intervention
harvesting; Agarwal, Zaitsev, Wang, Li, Najork and Joachims, "Estimating Position Bias without Intrusive Interventions",
WSDM 2019). The logarithms of all these ratios are combined by weighted least squares, which also gives their errors.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sqidflow.core.settings import FeedbackSettings
from sqidflow.monitoring.quarantine import Seen
from sqidflow.search.experiments import Z_95

INTERLEAVED = "interleave"
_LEAST_CLICKS = 5.0
"""Clicks at each of two ranks before their ratio is used."""
_LARGEST_FACTOR = 2.0
"""A propensity is used where its 95 % interval is within this factor of it."""
_HALF_CHI2 = 1.920729410347062  # half of the 95 % point of chi-squared with one degree of freedom
_GRID = np.linspace(0.0, 1.0, 1001)


@dataclass(frozen=True)
class Impressions:
    """Of a product for a query: impressions and clicks by rank, and the clients behind them."""

    shown: Mapping[int, int]
    clicked: Mapping[int, int]
    clients: int
    answer: str
    model: str


@dataclass(frozen=True)
class Propensity:
    """The propensity of a rank, with its 95 % interval; that of rank 1 is 1 by definition."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class ClickRate:
    """Click rate at rank 1 with its 95 % interval; ``examined``: impressions, each weighted by its propensity."""

    mean: float
    low: float
    high: float
    examined: float


def counted(seen: Iterable[Seen]) -> dict[tuple[str, str], Impressions]:
    """Impressions and clicks of each (query's normal form, product); queries with a picture are left out."""
    shown: dict[tuple[str, str], dict[int, int]] = defaultdict(lambda: defaultdict(int))
    clicked: dict[tuple[str, str], dict[int, int]] = defaultdict(lambda: defaultdict(int))
    clients: dict[tuple[str, str], set[str]] = defaultdict(set)
    newest: dict[tuple[str, str], tuple[str, str]] = {}
    for each in seen:
        answer = each.answer
        if answer.picture:
            continue
        for rank, product in enumerate(answer.products, answer.first_rank):
            pair = answer.key, product
            shown[pair][rank] += 1
            clicked[pair][rank] += product in each.clicked
            clients[pair].add(each.client)
            newest[pair] = answer.request_id, answer.model
    return {pair: Impressions(shown[pair], clicked[pair], len(clients[pair]), *newest[pair]) for pair in shown}


def propensities(seen: Iterable[Seen]) -> dict[int, Propensity]:
    """The propensity of each rank that interleaved answers tell enough about; empty where they tell nothing."""
    groups: dict[tuple[str, str, str], dict[int, list[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0]))
    for each in seen:
        answer = each.answer
        if answer.strategy != INTERLEAVED or answer.picture:
            continue
        for rank, product in enumerate(answer.products, answer.first_rank):
            cell = groups[answer.pair, answer.query, product][rank]
            cell[0] += 1
            cell[1] += product in each.clicked
    pooled: dict[tuple[int, int], np.ndarray] = defaultdict(lambda: np.zeros(3))
    for cells in groups.values():
        for k, (n_k, clicks_k) in cells.items():
            for other, (n_other, _) in cells.items():
                if k != other:
                    weight = n_k * n_other / (n_k + n_other)
                    pooled[k, other] += weight, weight * clicks_k / n_k, weight**2 / n_k
    return _solved(_log_ratios(pooled))


def _log_ratios(pooled: Mapping[tuple[int, int], np.ndarray]) -> list[tuple[int, int, float, float]]:
    """(k, l, log of p_k / p_l, its variance) of the pairs of ranks with enough clicks at both.

    Args:
        pooled: (k, l) -> weights, weighted click rates at k, and squared weights by impressions at k, each summed over
            the products that were shown at both.
    """
    ratios = []
    for (k, other), (weight, at_k, spread_k) in sorted(pooled.items()):
        if k > other:
            continue
        _, at_other, spread_other = pooled[other, k]
        if min(at_k, at_other) < _LEAST_CLICKS / 2:  # a weight is half of the impressions where both are equal
            continue
        variance = 0.0
        for clicks, spread in ((at_k, spread_k), (at_other, spread_other)):
            rate = clicks / weight
            variance += rate * (1 - rate) * spread / clicks**2
        ratios.append((k, other, float(np.log(at_k / at_other)), max(float(variance), 1e-9)))
    return ratios


def _solved(ratios: Sequence[tuple[int, int, float, float]]) -> dict[int, Propensity]:
    """Weighted least squares of log propensities, that of rank 1 being 0; ranks that nothing joins to it are out."""
    joined = {1}
    while (
        more := {rank for k, other, *_ in ratios if (k in joined) != (other in joined) for rank in (k, other)} - joined
    ):
        joined |= more
    ranks = sorted(joined - {1})
    if not ranks:
        return {}
    at = {rank: place for place, rank in enumerate(ranks)}
    normal, right = np.zeros((len(ranks), len(ranks))), np.zeros(len(ranks))
    for k, other, ratio, variance in ratios:
        row = np.zeros(len(ranks))
        if k not in joined:
            continue
        for rank, sign in ((k, 1.0), (other, -1.0)):
            if rank != 1:
                row[at[rank]] = sign
        normal += np.outer(row, row) / variance
        right += row * ratio / variance
    covariance = np.linalg.inv(normal)
    logs, errors = covariance @ right, np.sqrt(np.diag(covariance))
    result = {1: Propensity(1.0, 1.0, 1.0)}
    for rank, log, error in zip(ranks, logs, errors, strict=True):
        if Z_95 * error <= np.log(_LARGEST_FACTOR):
            mean, low, high = (float(np.exp(log + shift)) for shift in (0.0, -Z_95 * error, Z_95 * error))
            result[rank] = Propensity(mean, low, high)
    return result if len(result) > 1 else {}


def click_rate(impressions: Impressions, known: Mapping[int, Propensity]) -> ClickRate | None:
    """The click rate at rank 1 by maximum likelihood, with the interval of the likelihood ratio; None without an
    impression at a rank whose propensity is known.

    The interval takes the bounds of the propensities too: its lower end their upper ones, its upper end their lower.
    """
    ranks = [rank for rank in impressions.shown if rank in known]
    if not ranks:
        return None
    shown = np.array([impressions.shown[rank] for rank in ranks], np.float64)
    clicks = np.array([impressions.clicked[rank] for rank in ranks], np.float64)
    means, lows, highs = (
        np.array([getattr(known[rank], bound) for rank in ranks]) for bound in ("mean", "low", "high")
    )
    inside = {name: _likely(shown, clicks, each) for name, each in (("mean", means), ("low", lows), ("high", highs))}
    return ClickRate(inside["mean"][0], inside["high"][1], inside["low"][2], float(shown @ np.minimum(means, 1.0)))


def _likely(shown: np.ndarray, clicks: np.ndarray, propensity: np.ndarray) -> tuple[float, float, float]:
    """The most likely rate, and the lowest and highest within the 95 % interval."""
    with np.errstate(divide="ignore", invalid="ignore"):
        chance = np.minimum(np.outer(np.minimum(propensity, 1.0), _GRID), 1.0)
        terms = np.where(clicks[:, None] > 0, clicks[:, None] * np.log(chance), 0.0)
        missed = (shown - clicks)[:, None]
        terms = terms + np.where(missed > 0, missed * np.log(1.0 - chance), 0.0)
    likelihood = terms.sum(axis=0)
    best = int(np.argmax(likelihood))
    within = np.flatnonzero(likelihood >= likelihood[best] - _HALF_CHI2)
    return float(_GRID[best]), float(_GRID[within[0]]), float(_GRID[within[-1]])


def label_of(rate: ClickRate, rules: FeedbackSettings) -> str | None:
    """E or I where the whole interval is beyond a bound, S where it is between them, else None.

    C is never given: whether a product replaces or complements what was meant, clicks do not tell.
    """
    if rate.examined < rules.least_impressions:
        return None
    if rate.low > rules.click_exact:
        return "E"
    if rate.high < rules.click_irrelevant:
        return "I"
    return "S" if rate.low >= rules.click_irrelevant and rate.high <= rules.click_exact else None
