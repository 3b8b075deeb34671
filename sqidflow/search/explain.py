"""Why a product scores as it does: what the score would lose if one group of features said nothing about it.

"Nothing" is the middle of the candidates: the median of the group's columns, or the vector of the candidate whose
cosine is the median. A contribution is the score less the score of that replacement (feature ablation); contributions
of features that depend on each other do not add up to the score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
_F0, _SHARE = (features.RETRIEVAL_NAMES.index(name) for name in ("f0", "bm25_share"))
_GAINS = features.CLASS_GAINS.astype(np.float32)


def explain(
    ranker: Ranker, candidates: Candidates, chosen: np.ndarray, score: np.ndarray, fusion: Fusion
) -> list[tuple[Part, ...]]:
    """The parts of some candidates' scores, the largest first.

    Args:
        candidates: all n of the query. chosen: positions among them, int [m]. score: of all, [n].
        fusion: the weights of ``f0``.

    Returns:
        m tuples of parts.
    """
    groups: list[tuple[str, str, np.ndarray]] = []
    replaced: list[Candidates] = []
    base = candidates.take(chosen)
    cosine = features.cosines(candidates.query_vec, candidates.text, candidates.image, candidates.has_image)

    def middle(column: np.ndarray, among: np.ndarray) -> int:
        order = among[np.argsort(column[among], kind="stable")]
        return int(order[len(order) // 2])

    def add(name: str, label: str, value: np.ndarray, **changes: np.ndarray) -> None:
        if not ranker.reads & changes.keys():
            return
        parts = {field: changes.get(field, getattr(base, field)) for field in Candidates.__dataclass_fields__}
        groups.append((name, label, value))
        replaced.append(Candidates(**parts))

    count = len(chosen)
    everyone = np.arange(len(candidates))
    at = middle(cosine[:, 0], everyone)
    add(
        "cosine_text", "text like the query", cosine[chosen, 0],
        text=np.repeat(candidates.text[at][None], count, 0), mapped_norm=np.repeat(candidates.mapped_norm[at], count),
    )  # fmt: skip
    pictured = np.flatnonzero(candidates.has_image > 0)
    if len(pictured):
        at = middle(cosine[:, 1], pictured)
        image = np.where(base.has_image[:, None] > 0, candidates.image[at][None], base.image)
        add("cosine_image", "picture like the query", cosine[chosen, 1], image=image)
    median = np.median(candidates.lexical, axis=0)
    for name, (label, columns) in _LEXICAL_GROUPS.items():
        at_columns = [features.LEXICAL_NAMES.index(column) for column in columns]
        lexical = base.lexical.copy()
        lexical[:, at_columns] = median[at_columns]
        add(name, label, base.lexical[:, at_columns[0]], lexical=lexical)
    relative = np.repeat(np.median(candidates.relative, axis=0)[None], count, 0)
    at_cosine = features.RELATIVE_NAMES.index("cosine_worse")
    add("relative", "standing among the candidates", base.relative[:, at_cosine], relative=relative)

    for name, label, values, columns in (
        ("similarity", "text and picture like the query", cosine[:, 3], ("z_cosine", "z_thing")),
        ("bm25", "words that the product has", candidates.retrieval[:, _SHARE], ("bm25_share", "z_bm25", "z_trigram")),
    ):
        add(name, label, values[chosen], retrieval=_retrieval_without(candidates.retrieval, chosen, columns, fusion))

    joined = Candidates(
        candidates.query_vec,
        **{
            field: np.concatenate([getattr(each, field) for each in replaced]).astype(np.float32)
            for field in PRODUCT_FIELDS
        },
    )
    ablated = (ranker.probabilities(joined) @ _GAINS).reshape(len(groups), count)
    out = []
    for row in range(count):
        parts = [
            Part(name, label, float(value[row]), float(score[chosen[row]] - ablated[number, row]))
            for number, (name, label, value) in enumerate(groups)
        ]
        out.append(tuple(sorted(parts, key=lambda part: -abs(part.contribution))))
    return out


def _retrieval_without(retrieval: np.ndarray, chosen: np.ndarray, columns: Sequence[str], fusion: Fusion) -> np.ndarray:
    """The chosen candidates' retrieval features with some columns at their middle, and ``f0`` with them."""
    weights = {"z_cosine": fusion.cosine, "z_bm25": fusion.bm25, "z_trigram": fusion.trigram}
    out = retrieval[chosen].copy()
    for name in columns:
        at = features.RETRIEVAL_NAMES.index(name)
        middle = np.median(retrieval[:, at])
        out[:, _F0] -= weights.get(name, 0.0) * (out[:, at] - middle)
        out[:, at] = middle
    return out


def group_names() -> Sequence[str]:
    """Names of all parts; which of them a score has depends on what its ranker reads."""
    return ("cosine_text", "cosine_image", *_LEXICAL_GROUPS, "relative", "similarity", "bm25")
