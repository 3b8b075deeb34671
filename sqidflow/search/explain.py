"""Why a product scores as it does: exact Shapley values of the groups of features, which add up to the score.

The baseline is the middle candidate of the same search: the median of every computed column, and the vectors of the
candidates whose cosines are the median. A group's value is the mean, over all orders in which the groups can be turned
from the baseline's to the product's, of what the score gains when that group is turned (Shapley 1953; Lundberg and Lee
2017, arXiv:1705.07874). The values add up to the score less the baseline's score. A group in which the product equals
the baseline has the value 0 and costs nothing; each other group doubles the rows that are scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import factorial

import numpy as np

from sqidflow.ranking import features
from sqidflow.ranking.rankers import PRODUCT_FIELDS, Candidates, Ranker
from sqidflow.ranking.retrieval import Fusion


@dataclass(frozen=True)
class Part:
    """One group's part in a score; ``value`` is the group's leading feature, as it is."""

    name: str
    label: str
    value: float
    contribution: float


@dataclass(frozen=True)
class Explanation:
    """A product's score, the score of what it is compared with, and the parts, the largest first, that the difference
    of the two is the sum of."""

    score: float
    baseline: float
    parts: tuple[Part, ...]


# The group's leading feature first; names are of features.LEXICAL_NAMES.
_LEXICAL_GROUPS = {
    "token_overlap": (
        "words in title, brand and colour",
        ("token_overlap", "title_overlap", "head_overlap", "fuzzy_overlap", "fuzzy_head_overlap", "jaccard",
         "trigram_overlap", "phrase_in_title", "noun_in_title", "idf_overlap", "idf_head_overlap", "first_match",
         "head_noun_match", "for_match"),
    ),
    "brand_in_query": ("brand that was asked for", ("brand_in_query", "brand_conflict")),
    "color_match": ("colour that was asked for", ("color_match", "color_field_match", "color_conflict")),
    "measure_match": ("numbers and sizes", ("measure_match", "number_match", "measure_conflict")),
    "audience_match": ("for whom it is made", ("audience_match", "audience_conflict")),
    "negated_present": ("what was excluded", ("negated_present", "negated_denied")),
    "title_length": ("length of the title", ("title_length",)),
}  # fmt: skip
_RETRIEVAL_GROUPS = {
    "similarity": ("text and picture like the query", ("z_cosine", "z_thing")),
    "bm25": ("words that the product has", ("bm25_share", "z_bm25", "z_trigram")),
}
DEMOTED = "demoted"
_F0, _SHARE = (features.RETRIEVAL_NAMES.index(name) for name in ("f0", "bm25_share"))
_NOISE = 1e-4
"""A ranker's score of one product differs by less between two lists that it is scored in."""
_GAINS = features.CLASS_GAINS.astype(np.float32)


@dataclass(frozen=True)
class _Group:
    """Columns that are turned together: of each field of :class:`Candidates` its columns, None for all of them."""

    name: str
    label: str
    value: float
    columns: dict[str, list[int] | None]


def explain(
    ranker: Ranker, candidates: Candidates, chosen: Sequence[int] | np.ndarray, score: np.ndarray, fusion: Fusion
) -> list[Explanation]:
    """Explain some candidates' scores.

    Args:
        candidates: all n of the query. chosen: positions among them. score: of all as they are answered, [n]; where
            that is not what the ranker gives, because the product has what the query excludes, a part says so.
        fusion: the weights of ``f0``.

    Returns:
        An explanation for each of ``chosen``.
    """
    baseline, cosine = _baseline(candidates)
    return [_explained(ranker, candidates, int(at), float(score[at]), fusion, baseline, cosine) for at in chosen]


def _baseline(candidates: Candidates) -> tuple[Candidates, np.ndarray]:
    """The middle candidate, one row, and the cosines of all, float32 [n, 4]."""
    cosine = features.cosines(candidates.query_vec, candidates.text, candidates.image, candidates.has_image)
    text = _middle(cosine[:, 0], np.arange(len(candidates)))
    pictured = np.flatnonzero(candidates.has_image > 0)
    image = _middle(cosine[:, 1], pictured) if len(pictured) else 0
    medians = {
        name: np.median(getattr(candidates, name), axis=0)[None].astype(np.float32)
        for name in ("lexical", "relative", "retrieval")
    }
    baseline = Candidates(
        candidates.query_vec, candidates.text[[text]], candidates.image[[image]], candidates.has_image[[image]],
        candidates.mapped_norm[[text]], **medians,
    )  # fmt: skip
    return baseline, cosine


def _middle(column: np.ndarray, among: np.ndarray) -> int:
    order = among[np.argsort(column[among], kind="stable")]
    return int(order[len(order) // 2])


def _explained(
    ranker: Ranker,
    candidates: Candidates,
    at: int,
    answered: float,
    fusion: Fusion,
    baseline: Candidates,
    cosine: np.ndarray,
) -> Explanation:
    own = candidates.take(np.array([at]))
    groups = _groups(ranker, own, cosine[at], baseline)
    turned = [group for group in groups if _differs(group, own, baseline)]
    score = (ranker.probabilities(_coalitions(turned, own, baseline, fusion)) @ _GAINS).astype(np.float64)
    lost = answered - float(score[-1])
    if abs(lost) <= _NOISE:
        score[-1] = answered
    values = dict(zip((group.name for group in turned), shapley_values(score)))
    parts = [Part(group.name, group.label, group.value, float(values.get(group.name, 0.0))) for group in groups]
    if abs(lost) > _NOISE:
        parts.append(Part(DEMOTED, "has what was excluded: ranked after all others", 1.0, lost))
    parts.sort(key=lambda part: -abs(part.contribution))
    return Explanation(answered, float(score[0]), tuple(parts))


def _groups(ranker: Ranker, own: Candidates, cosine: np.ndarray, baseline: Candidates) -> list[_Group]:
    """What the ranker reads, in groups that together are everything in which two candidates can differ."""
    lexical = [
        _Group(name, label, float(own.lexical[0, at[0]]), {"lexical": at})
        for name, (label, columns) in _LEXICAL_GROUPS.items()
        for at in [[features.LEXICAL_NAMES.index(column) for column in columns]]
    ]
    worse = own.relative[0, features.RELATIVE_NAMES.index("cosine_worse")]
    values = {"similarity": cosine[3], "bm25": own.retrieval[0, _SHARE]}
    groups = [
        _Group("cosine_text", "text like the query", float(cosine[0]), {"text": None, "mapped_norm": None}),
        _Group("cosine_image", "picture like the query", float(cosine[1]), {"image": None, "has_image": None}),
        *lexical,
        _Group("relative", "standing among the candidates", float(worse), {"relative": None}),
        *(
            _Group(
                name,
                label,
                float(values[name]),
                {"retrieval": [features.RETRIEVAL_NAMES.index(column) for column in columns]},
            )
            for name, (label, columns) in _RETRIEVAL_GROUPS.items()
        ),
    ]
    return [group for group in groups if ranker.reads & group.columns.keys()]


def _differs(group: _Group, own: Candidates, baseline: Candidates) -> bool:
    def of(candidates: Candidates, field: str, columns: list[int] | None) -> np.ndarray:
        values = getattr(candidates, field)
        chosen: np.ndarray = values if columns is None else values[:, columns]
        return chosen

    return any(
        not np.array_equal(of(own, field, columns), of(baseline, field, columns))
        for field, columns in group.columns.items()
    )


def _coalitions(groups: Sequence[_Group], own: Candidates, baseline: Candidates, fusion: Fusion) -> Candidates:
    """A row for each subset of the groups: bit i of a row's number says whether group i is the product's own."""
    count = 1 << len(groups)
    member = (np.arange(count)[:, None] >> np.arange(len(groups))[None, :]) & 1 > 0
    rows = {name: np.repeat(getattr(baseline, name), count, axis=0) for name in PRODUCT_FIELDS}
    for group, within in zip(groups, member.T):
        for field, columns in group.columns.items():
            mine = getattr(own, field)
            if columns is None:
                rows[field][within] = mine[0]
            else:
                rows[field][np.ix_(within, columns)] = mine[0, columns]
    weights = {"z_cosine": fusion.cosine, "z_bm25": fusion.bm25, "z_trigram": fusion.trigram}
    # f0 of a mixture is the weighted sum of its own z-scores; that of the product itself stays as it was computed.
    f0 = np.full(count, np.float64(own.retrieval[0, _F0]))
    for name, weight in weights.items():
        at = features.RETRIEVAL_NAMES.index(name)
        f0 += weight * (rows["retrieval"][:, at].astype(np.float64) - np.float64(own.retrieval[0, at]))
    rows["retrieval"][:, _F0] = f0
    return Candidates(own.query_vec, **{name: values.astype(np.float32, copy=False) for name, values in rows.items()})


@dataclass(frozen=True)
class CounterExample:
    """The least that would bring a product above another: groups' labels, and the score that it would have then."""

    labels: tuple[str, ...]
    score: float


def counter_example(
    ranker: Ranker, candidates: Candidates, lower: int, upper: int, fusion: Fusion
) -> CounterExample | None:
    """The fewest groups of features that, were they the upper product's, would bring the lower product above it; of
    several the one that gains most. None where nothing does.

    Args:
        lower, upper: positions of the two among the candidates.
    """
    other, own = candidates.take(np.array([upper])), candidates.take(np.array([lower]))
    cosine = features.cosines(own.query_vec, own.text, own.image, own.has_image)[0]
    turned = [group for group in _groups(ranker, own, cosine, other) if _differs(group, own, other)]
    # A coalition has what stays the lower product's own; what is not in it is the upper one's.
    score = (ranker.probabilities(_coalitions(turned, own, other, fusion)) @ _GAINS).astype(np.float64)
    everything = len(score) - 1
    above = [number for number in range(1, len(score)) if score[number] > score[0]]
    if not above:
        return None
    best = min(above, key=lambda number: ((everything ^ number).bit_count(), -score[number]))
    labels = tuple(group.label for at, group in enumerate(turned) if not best >> at & 1)
    return CounterExample(labels, float(score[best]))


def shapley_values(score: np.ndarray) -> np.ndarray:
    """Exact Shapley values of n players, float64 [n].

    Args:
        score: of every coalition, [2**n]; bit i of its number says whether player i is in it.
    """
    count = len(score).bit_length() - 1
    numbers = np.arange(len(score))
    size = np.zeros(len(score), np.int64)
    for player in range(count):
        size += (numbers >> player) & 1
    weight = np.array([factorial(k) * factorial(count - k - 1) / factorial(count) for k in range(count)])
    out = np.empty(count)
    for player in range(count):
        without = numbers[(numbers >> player) & 1 == 0]
        out[player] = weight[size[without]] @ (score[without | (1 << player)] - score[without])
    return out


def group_names() -> Sequence[str]:
    """Names of all parts; which of them a score has depends on what its ranker reads."""
    return ("cosine_text", "cosine_image", *_LEXICAL_GROUPS, "relative", *_RETRIEVAL_GROUPS, DEMOTED)
