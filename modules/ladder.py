"""Rankers of growing capacity over what search retrieves, and which of them the data carries.

All are a number a product: the fusion ``f0`` of retrieval and a linear part that is drawn to it, with or without trees
that start from the linear part. The choice is made on whole-catalogue search (docs/ranking.md has the measurements).
NumPy, SciPy and LightGBM; Keras sees the result.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from sqidflow.ranking import features

SUBSTANTIAL = (
    "cosine", "bm25_share", "trigram_overlap", "fuzzy_overlap", "fuzzy_head_overlap", "idf_overlap", "title_length",
    "audience_conflict", "first_match", "measure_conflict", "noun_in_title", "color_conflict",
)  # fmt: skip
"""The twelve columns that helped on real catalogues, whichever of two they were learned on."""
LEXICAL = ("cosine", "bm25_share", *features.LEXICAL_NAMES)
F0 = "f0"

_PRIOR = 1.5
_PENALTY = 30.0
_PENALTY_OF_FEW = 100.0
_FEW = 10
_FOLDS = 5
_MOST_WEIGHT = 5.0
UNJUDGED_WEIGHT = 0.3
UNJUDGED_NEAR = 25
UNJUDGED_RANDOM = 3
UNJUDGED = -1
MOST_QUERIES, MOST_VALIDATION_QUERIES = 2_000, 500
"""Queries whose lists are completed, chosen at random where there are more. A list has more than a hundred rows, and
each rung is fitted to them six times; docs/ranking.md says what the others would add."""


@dataclass(frozen=True)
class Lists:
    """Lists that search would rank, of many queries; n rows.

    ``read`` float32 [n, k]: what a ranker reads of a row, its columns named in ``names``. ``rating`` int [n]: class id,
    ``UNJUDGED`` without a judgement. ``query`` int [n]: number of the query from 0. ``row`` int [n]: of the
    product in the catalogue. ``retrieved`` bool [n]:
    whether search finds it. ``weight`` float [n]: in fitting; 0 for a row that is only there to be ranked.
    """

    names: tuple[str, ...]
    read: np.ndarray
    rating: np.ndarray
    query: np.ndarray
    row: np.ndarray
    retrieved: np.ndarray
    weight: np.ndarray

    def __len__(self) -> int:
        return len(self.rating)

    @property
    def queries(self) -> int:
        return int(self.query.max()) + 1 if len(self) else 0

    def columns(self, names: Sequence[str]) -> np.ndarray:
        return self.read[:, [self.names.index(name) for name in names]]

    @property
    def f0(self) -> np.ndarray:
        return self.read[:, self.names.index(F0)].astype(np.float64)

    def of(self, queries: np.ndarray) -> np.ndarray:
        """Which rows belong to some queries (bool [queries]), bool [n]."""
        return queries[self.query]

    def mrr(self, score: np.ndarray) -> float:
        """Mean reciprocal rank over the queries with an Exact product, 0 where there is none."""
        exact = self.has_exact()
        return float(self.reciprocal_ranks(score)[exact].mean()) if exact.any() else 0.0

    def take(self, queries: np.ndarray) -> Lists:
        """The lists of some queries (bool [queries]), numbered anew."""
        rows = self.of(queries)
        number = (np.cumsum(queries) - 1)[self.query[rows]]
        parts = {name: getattr(self, name)[rows] for name in ("read", "rating", "row", "retrieved", "weight")}
        return Lists(self.names, query=number, **parts)

    def has_exact(self) -> np.ndarray:
        """Which queries have an Exact product, bool [queries]."""
        out = np.zeros(self.queries, bool)
        out[self.query[self.rating == features.CLASS_IDS["E"]]] = True
        return out

    def reciprocal_ranks(self, score: np.ndarray) -> np.ndarray:
        """Of each query 1 / the rank of the first Exact product among what search finds, ties by row;
        0 where none is found; float64 [queries]."""
        rows = np.flatnonzero(self.retrieved)
        order = rows[np.lexsort((self.row[rows], -score[rows], self.query[rows]))]
        query = self.query[order]
        starts = np.flatnonzero(np.r_[True, np.diff(query) != 0]) if len(order) else np.zeros(0, np.int64)
        rank = np.arange(len(order)) - np.repeat(starts, np.diff(np.r_[starts, len(order)])) + 1
        out = np.zeros(self.queries)
        exact = self.rating[order] == features.CLASS_IDS["E"]
        np.maximum.at(out, query[exact], 1 / rank[exact])
        return out


def fitting_weights(rating: np.ndarray, query: np.ndarray, unjudged: np.ndarray) -> np.ndarray:
    """1 for a judged row, ``UNJUDGED_WEIGHT`` for an unjudged one that is taken; a query's rows sum to at most 5.

    One factor scales all rows of a query: judged and unjudged scaled apart would lose what tells them from each other.

    Args:
        unjudged: bool [n], which unjudged rows are taken.
    """
    weight = np.where(rating != UNJUDGED, 1.0, np.where(unjudged, UNJUDGED_WEIGHT, 0.0))
    total = np.bincount(query, weight, minlength=int(query.max()) + 1 if len(query) else 0)
    return weight * np.minimum(1.0, _MOST_WEIGHT / np.maximum(total, 1e-12))[query]


Loss = Literal["ordinal", "exact"]


@dataclass(frozen=True)
class Linear:
    """score = weights . (x - mean) / scale + f0_weight * f0, of the columns ``names``; the rest of the likelihood's
    parameters in ``rest`` (ordinal: where the classes are cut; exact: the bias)."""

    names: tuple[str, ...]
    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    f0_weight: float
    rest: np.ndarray

    def score(self, lists: Lists) -> np.ndarray:
        """float64 [n]"""
        x = (lists.columns(self.names).astype(np.float64) - self.mean) / self.scale
        return x @ self.weights + self.f0_weight * lists.f0

    def kernel(self, names: Sequence[str]) -> tuple[np.ndarray, float]:
        """The same as weights over all columns ``names``, float32 [k], and a bias."""
        kernel = np.zeros(len(names))
        for name, weight in zip(self.names, self.weights / self.scale):
            kernel[names.index(name)] += weight
        kernel[names.index(F0)] += self.f0_weight
        return kernel.astype(np.float32), float(-(self.weights / self.scale) @ self.mean)


FUSION = Linear((), np.zeros(0), np.ones(0), np.zeros(0), _PRIOR, np.zeros(0))


def fit_linear(lists: Lists, rows: np.ndarray, names: Sequence[str], penalty: float, loss: Loss) -> Linear:
    """The most likely weights, drawn to the fusion: a penalty on their squares and on that of f0's weight less 1.5.

    Args:
        rows: bool [n], which to fit; by their weights, an unjudged row as Irrelevant.
        loss: proportional odds of the four classes, or logistic loss of Exact against the rest.
    """
    from scipy.optimize import minimize

    rows = np.flatnonzero(rows & (lists.weight > 0))
    if not len(rows):
        return FUSION
    x = lists.columns(names)[rows].astype(np.float64)
    mean, scale = x.mean(0), np.maximum(x.std(0), 1e-6)
    x = np.hstack([(x - mean) / scale, lists.f0[rows, None]])
    rating, weight = np.maximum(lists.rating[rows], 0), lists.weight[rows]
    prior = np.zeros(x.shape[1])
    prior[-1] = _PRIOR
    objective = ordinal_loss(x, rating, weight) if loss == "ordinal" else exact_loss(x, rating, weight)

    def penalised(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = objective(parameters)
        away = parameters[: len(prior)] - prior
        gradient = gradient.copy()
        gradient[: len(prior)] += 2 * penalty * away
        return value + penalty * float(away @ away), gradient

    start = np.concatenate([prior, [1.0, -2.0, -1.0] if loss == "ordinal" else [-2.0]])
    found = minimize(penalised, start, jac=True, method="L-BFGS-B", options={"maxiter": 300}).x
    return Linear(tuple(names), mean, scale, found[: len(names)], float(found[len(names)]), found[len(prior) :])


def exact_loss(
    x: np.ndarray, rating: np.ndarray, weight: np.ndarray
) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    """Weighted logistic loss of Exact, with its gradient; parameters: weights [k], bias."""
    target = (rating == features.CLASS_IDS["E"]).astype(np.float64)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        logit = x @ parameters[:-1] + parameters[-1]
        value = float((weight * (np.logaddexp(0, logit) - target * logit)).sum())
        slope = weight * (1 / (1 + np.exp(-np.clip(logit, -500, 500))) - target)
        return value, np.append(x.T @ slope, slope.sum())

    return loss


def ordinal_loss(
    x: np.ndarray, rating: np.ndarray, weight: np.ndarray
) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    """Weighted negative log likelihood of proportional odds (McCullagh 1980), with its gradient.

    Parameters: weights [k], the first cut, and the logarithms of the distances to the next cuts [classes - 2].
    """
    classes = len(features.CLASSES)
    at = np.arange(len(rating))

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        weights, cuts = parameters[: x.shape[1]], parameters[x.shape[1] :]
        steps = np.exp(np.clip(cuts[1:], -30, 30))
        places = cuts[0] + np.concatenate([[0.0], np.cumsum(steps)])
        score = x @ weights
        above = 1 / (1 + np.exp(-np.clip(score[:, None] - places, -40, 40)))
        bounds = np.hstack([np.ones((len(score), 1)), above, np.zeros((len(score), 1))])
        chance = np.maximum(bounds[at, rating] - bounds[at, rating + 1], 1e-12)
        slopes = bounds * (1 - bounds)
        of_score = -weight * (slopes[at, rating] - slopes[at, rating + 1]) / chance
        of_place = np.zeros(classes - 1)
        for cut in range(classes - 1):
            upper, lower = rating == cut + 1, rating == cut
            of_place[cut] = (weight * slopes[:, cut + 1] / chance)[upper].sum()
            of_place[cut] -= (weight * slopes[:, cut + 1] / chance)[lower].sum()
        later = np.cumsum(of_place[::-1])[::-1]
        of_cuts = np.concatenate([[later[0]], later[1:] * steps])
        return float(-(weight * np.log(chance)).sum()), np.concatenate([x.T @ of_score, of_cuts])

    return loss


@dataclass(frozen=True)
class Rung:
    """A ranker of the ladder: the columns it reads, how many trees start from its linear part, and from how many
    queries with an Exact product on it may be chosen."""

    name: str
    columns: tuple[str, ...]
    trees: int = 0
    leaves: int = 7
    from_queries: int = 0


def rungs(all_columns: Sequence[str]) -> tuple[Rung, ...]:
    """The ladder, from the fusion, which learns nothing, to a hundred trees on every column."""
    rest = tuple(name for name in all_columns if name != F0)
    return (
        Rung("fusion", ()),
        Rung("linear, 12 columns", SUBSTANTIAL),
        Rung("linear, words", LEXICAL, from_queries=50),
        Rung("linear, words, 20 trees", LEXICAL, 20, 7, 100),
        Rung("linear, everything, 100 trees", rest, 100, 15, 400),
    )


NETWORKS = Rung("networks and trees", (), from_queries=600)
"""The ensemble of ``modules.model``, on the judged lists alone: too costly for five folds, it is fitted once and
compared with the best of the others on the validation queries."""
_FIRST_INCUMBENT = 1


@dataclass(frozen=True)
class Ranking:
    """A fitted rung: its linear part and its trees (``modules.lambdamart.tree_tensors``, over all columns of the lists;
    None without)."""

    rung: Rung
    linear: Linear
    trees: dict[str, np.ndarray] | None = None
    booster: Any = field(default=None, compare=False)

    def score(self, lists: Lists) -> np.ndarray:
        """float64 [n]"""
        score = self.linear.score(lists)
        if self.booster is not None:
            score = score + self.booster.predict(lists.columns(self.rung.columns), raw_score=True)
        return score


def fit_rung(rung: Rung, lists: Lists, queries: np.ndarray, seed: int) -> Ranking:
    """Fit a rung on the rows of some queries (bool [queries])."""
    if not rung.columns:
        return Ranking(rung, FUSION)
    rows = lists.of(queries)
    exact = int((lists.has_exact() & queries).sum())
    penalty = _PENALTY if exact >= _FEW else _PENALTY_OF_FEW
    linear = fit_linear(lists, rows, rung.columns, penalty, "exact" if rung.trees else "ordinal")
    if not rung.trees or linear is FUSION:
        return Ranking(rung, linear)
    return _with_trees(rung, linear, lists, np.flatnonzero(rows & (lists.weight > 0)), seed)


def _with_trees(rung: Rung, linear: Linear, lists: Lists, rows: np.ndarray, seed: int) -> Ranking:
    import lightgbm

    from modules.lambdamart import tree_tensors

    target = (lists.rating[rows] == features.CLASS_IDS["E"]).astype(np.float64)
    start = linear.score(lists)[rows] + linear.rest[0]
    data = lightgbm.Dataset(
        lists.columns(rung.columns)[rows], target, weight=lists.weight[rows], init_score=start, params={"verbose": -1}
    )
    booster = lightgbm.train(
        {
            "objective": "binary", "num_leaves": rung.leaves, "min_data_in_leaf": 20, "learning_rate": 0.05,
            "feature_fraction": 0.7, "bagging_fraction": 0.8, "bagging_freq": 1, "lambda_l2": 1.0, "seed": seed,
            "deterministic": True, "force_row_wise": True, "num_threads": 1, "verbose": -1,
        },
        data,
        rung.trees,
    )  # fmt: skip
    tensors = tree_tensors(booster.dump_model())
    places = np.array([lists.names.index(name) for name in rung.columns], np.int32)
    tensors["feature"] = places[tensors["feature"]]
    return Ranking(rung, linear, tensors, booster)


@dataclass(frozen=True)
class Choice:
    """Which rung, and what each came to: ``mrr`` the mean over the ``queries`` with an Exact product, each ranked by a
    fit that had not seen it; rungs that were not tried, for want of queries, are not in it. ``validated``: where the
    networks were tried against the best of them, the MRR of both on the ``validation_queries``."""

    rung: Rung
    mrr: dict[str, float]
    queries: int
    validated: dict[str, float] = field(default_factory=dict)
    validation_queries: int = 0

    def as_dict(self) -> dict[str, Any]:
        return {
            "rung": self.rung.name,
            "mrr": self.mrr,
            "queries": self.queries,
            "validated": self.validated,
            "validation_queries": self.validation_queries,
        }


def side_by_side(task: Callable[..., None], arguments: Sequence[tuple[Any, ...]]) -> None:
    """Do independent tasks in as many threads as there are cores, each with one thread of BLAS: the arrays of a fit are
    so small that the threads of a second level wait for one another longer than they work."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, "blas"), ThreadPoolExecutor(os.cpu_count()) as pool:
        for done in [pool.submit(task, *each) for each in arguments]:
            done.result()


def choose(lists: Lists, ladder: Sequence[Rung], seed: int) -> Choice:
    """The rung that ranks best what search finds, by five folds of the queries.

    The linear model of twelve columns stands unless the fusion beats it, on ten queries or more, by more than a paired
    standard error; a later rung replaces what stands only where it is better by more than that.
    """
    exact = lists.has_exact()
    count = int(exact.sum())
    tried = [rung for rung in ladder if count >= rung.from_queries]
    fold = np.random.default_rng(seed).integers(0, _FOLDS, lists.queries)
    ranks = {rung.name: np.zeros(lists.queries) for rung in tried}

    def held_out(number: int, rung: Rung) -> None:
        out = fold == number
        held = lists.take(out)
        ranks[rung.name][out] = held.reciprocal_ranks(fit_rung(rung, lists, ~out, seed).score(held))

    side_by_side(
        held_out, [(number, rung) for number in range(_FOLDS) if (exact & (fold == number)).any() for rung in tried]
    )
    chosen = chosen_rung([ranks[rung.name][exact] for rung in tried])
    return Choice(
        tried[chosen], {name: float(each[exact].mean()) if count else 0.0 for name, each in ranks.items()}, count
    )


def chosen_rung(ranks: Sequence[np.ndarray]) -> int:
    """The place of the rung to be taken, of reciprocal ranks float [queries] of the same queries each."""
    standing = min(_FIRST_INCUMBENT, len(ranks) - 1)
    count = len(ranks[0])
    if count >= _FEW and better(ranks[0], ranks[standing]):
        standing = 0
    for place in range(_FIRST_INCUMBENT + 1, len(ranks)):
        if better(ranks[place], ranks[standing]):
            standing = place
    return standing


def better(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether the mean of the paired differences is above its standard error."""
    differences = one - other
    if not len(differences):
        return False
    return bool(differences.mean() > differences.std() / np.sqrt(len(differences)))


def networks_are_better(networks: np.ndarray, other: np.ndarray, *, standing: Rung, last: Rung) -> bool:
    """Whether the networks replace the rung that stands, by reciprocal ranks float [queries] of both.

    Against the ladder's last rung neither is the simpler one, so that nothing speaks for what stands but its mean.
    """
    if standing == last:
        return bool(len(networks) and networks.mean() > other.mean())
    return better(networks, other)
