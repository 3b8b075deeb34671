"""Groups: whether a ranker serves some queries, or some products, worse than others. Real judgements alone.

Of each group: precision and false positives of what the model calls Exact, how far its order is above a random one
(queries), and how much of the attention that Exact products could have they get (products). A difference from the
reference group counts as a disparity where its whole 95 % interval is beyond the threshold.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from sqidflow.evaluation.behaviour.asking import DEPTH, Asker, JudgedQuery, skill
from sqidflow.evaluation.behaviour.report import Cell, Line, Section, Table, Verdict, interval_figure
from sqidflow.ranking import features, metrics
from sqidflow.ranking.metrics import BOOTSTRAP_SEED, Interval, bootstrap_interval

_SAMPLES = 1000
AUDIENCE, FEAST, BRAND, PICTURE, PRICE, FREQUENCY = "audience", "feast", "brand", "picture", "price", "frequency"
DIMENSIONS = (AUDIENCE, FEAST, BRAND, PICTURE, PRICE, FREQUENCY)
_WORDS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    AUDIENCE: {
        "women": ("women", "womens", "woman", "ladies", "lady", "girls", "girl", "female", "mujer", "mujeres"),
        "men": ("men", "mens", "man", "boys", "boy", "gentlemen", "male", "hombre", "hombres"),
        "kids": ("kids", "kid", "children", "child", "toddler", "toddlers", "baby", "babies", "ninos", "infant"),
        "seniors": ("seniors", "senior", "elderly", "grandma", "grandpa", "grandmother", "grandfather"),
    },
    FEAST: {
        "christmas": ("christmas", "xmas", "advent", "navidad"),
        "halloween": ("halloween",),
        "easter": ("easter",),
        "ramadan or eid": ("ramadan", "eid"),
        "hanukkah": ("hanukkah", "chanukah", "menorah"),
        "diwali": ("diwali", "deepavali"),
        "lunar new year": ("lunar",),
        "valentine": ("valentine", "valentines"),
        "thanksgiving": ("thanksgiving",),
    },
    PRICE: {
        "cheap": ("cheap", "cheapest", "budget", "affordable", "under", "sale", "discount", "inexpensive"),
        "premium": ("premium", "luxury", "expensive", "designer"),
    },
}  # fmt: skip
_SWAPS: Mapping[str, Mapping[str, str]] = {
    AUDIENCE: {"women": "for women", "men": "for men", "kids": "for kids", "seniors": "for seniors"},
    FEAST: {"christmas": "for christmas", "ramadan or eid": "for eid", "diwali": "for diwali",
            "hanukkah": "for hanukkah", "halloween": "for halloween"},
    PRICE: {"no word": "", "cheap": "cheap", "premium": "premium"},
}  # fmt: skip
_NO_WORD = "no word"
_MOST_BASES = 30


@dataclass(frozen=True)
class Counts:
    """What is counted of each query, float64 [q] each: pairs that are called Exact rightly and wrongly, pairs that are
    not Exact, how far the order is above a random one, and of Exact products the attention they get and could get."""

    right: np.ndarray
    wrong: np.ndarray
    not_exact: np.ndarray
    skill: np.ndarray
    attention: np.ndarray
    possible: np.ndarray

    def of(self, mask: np.ndarray) -> Counts:
        return Counts(*(getattr(self, name)[mask] for name in self.__dataclass_fields__))


MEASURES = ("precision", "false positives", "above random", "exposure")
_OF_QUERIES = ("precision", "false positives", "above random")
_OF_PRODUCTS = ("precision", "false positives", "exposure")


def _ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    return np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=bottom > 0)


def values_of(counts: Counts, weights: np.ndarray) -> dict[str, np.ndarray]:
    """The measures for each of b weightings of the queries, float64 [b, q] -> [b]."""
    known = np.isfinite(counts.skill)
    return {
        "precision": _ratio(weights @ counts.right, weights @ (counts.right + counts.wrong)),
        "false positives": _ratio(weights @ counts.wrong, weights @ counts.not_exact),
        "above random": _ratio(weights[:, known] @ counts.skill[known], weights[:, known].sum(axis=1)),
        "exposure": _ratio(weights @ counts.attention, weights @ counts.possible),
    }


def _drawn(counts: Counts, seed: int) -> dict[str, np.ndarray]:
    """The measures of resampled queries, the first of all of them as they are."""
    size = len(counts.right)
    weights = np.random.default_rng(seed).multinomial(size, np.full(size, 1 / size), _SAMPLES).astype(np.float64)
    return values_of(counts, np.concatenate([np.ones((1, size)), weights]))


def _interval(values: np.ndarray) -> Interval | None:
    rest = values[1:][np.isfinite(values[1:])]
    if not np.isfinite(values[0]) or not len(rest):
        return None
    low, high = np.quantile(rest, (0.025, 0.975))
    return Interval(float(values[0]), float(low), float(high))


@dataclass(frozen=True)
class GroupRow:
    """A group against the reference group of its dimension; ``differences`` is empty for the reference itself and for a
    group that is too small."""

    dimension: str
    group: str
    size: int
    reference: bool
    values: Mapping[str, Interval | None]
    differences: Mapping[str, Interval | None]


@dataclass(frozen=True)
class Pairs:
    """Held-out pairs, in the order of queries and products: what groups are measured on.

    ``said``: bool [n], called Exact. ``brands``: of each product, empty where it is not known.
    """

    lists: metrics.RankedLists
    query_texts: Sequence[str]
    ratings: np.ndarray
    said: np.ndarray
    scores: np.ndarray
    has_image: np.ndarray
    brands: Sequence[str]

    @classmethod
    def of(cls, scores: pa.Table, rule: Sequence[float], brand_of: Mapping[str, str]) -> Pairs:
        """From a model's held-out scores; ``rule`` as of :func:`sqidflow.ranking.features.predicted_classes`."""
        products = scores[features.PRODUCT_ID].to_pylist()
        lists = metrics.RankedLists.of(scores[features.QUERY_ID].to_numpy(), np.array(products))
        probabilities = np.asarray(scores["probs"].combine_chunks().flatten()).reshape(-1, len(features.CLASSES))
        texts = scores[features.QUERY].to_pylist()
        return cls(
            lists,
            [texts[row] for row in lists.order[lists.starts]],
            scores[features.RATING].to_numpy(),
            features.predicted_classes(probabilities, rule) == features.CLASS_IDS["E"],
            scores["score"].to_numpy(),
            scores[features.HAS_IMAGE].to_numpy(),
            [brand_of.get(product, "") for product in products],
        )

    def counts(self, mask: np.ndarray | None = None) -> Counts:
        """Counts a query, of the masked pairs alone where a mask is given; ranks are those of the whole lists."""
        order, starts = self.lists.order, self.lists.starts
        sizes = np.diff(np.append(starts, len(order)))
        group = np.repeat(np.arange(len(starts)), sizes)
        rank = np.arange(len(order)) - np.repeat(starts, sizes)
        by_score = np.lexsort((-self.scores[order], group))
        discount = np.empty(len(order))
        discount[by_score] = metrics.dcg_discounts(int(sizes.max(initial=1)))[rank]
        exact = (self.ratings == features.CLASS_IDS["E"])[order]
        exacts = np.bincount(group, exact, len(starts))
        cumulated = np.concatenate([[0.0], np.cumsum(metrics.dcg_discounts(int(sizes.max(initial=1))))])
        # What an Exact product could have: the mean discount of the ranks of Exact ones in a perfect order.
        best = _ratio(cumulated[exacts.astype(int)], exacts)[group]
        within = np.ones(len(order), bool) if mask is None else mask[order]
        said = self.said[order]

        def summed(of: np.ndarray) -> np.ndarray:
            return np.bincount(group, np.where(within, of, 0.0), len(starts))

        gains = features.CLASS_GAINS[self.ratings]
        value = metrics.ndcg_per_query(self.lists, gains, self.scores)
        mean_gain = np.bincount(group, gains[order], len(starts)) / sizes
        ideal_order = np.lexsort((-gains[order], group))
        ideal = np.bincount(
            group, gains[order][ideal_order] * metrics.dcg_discounts(int(sizes.max()))[rank], len(starts)
        )
        chance = _ratio(mean_gain * cumulated[sizes], ideal)
        return Counts(
            summed(said & exact), summed(said & ~exact), summed(~exact), skill(value, chance),
            summed(np.where(exact, discount, 0)), summed(np.where(exact, np.nan_to_num(best), 0)),
        )  # fmt: skip


def query_groups(texts: Sequence[str], brands: Collection[str], counts: Mapping[str, int]) -> dict[str, list[str]]:
    """Dimension -> the group of each query. ``brands``: of the catalogue, in lower case. ``counts``: how often a query
    was asked, in lower case; none leaves the dimension out."""
    tokens = [re.findall(r"\w+", text.lower()) for text in texts]
    out: dict[str, list[str]] = {}
    for dimension, groups in _WORDS.items():
        out[dimension] = [
            next((name for name, listed in groups.items() if set(words) & set(listed)), _NO_WORD) for words in tokens
        ]
    out[BRAND] = ["brand named" if set(words) & set(brands) else "no brand named" for words in tokens]
    if counts:
        asked = np.array([counts.get(text.lower().strip(), 0) for text in texts])
        known = asked[asked > 0]
        if len(known):
            torso, head = np.quantile(known, (0.5, 0.9))
            out[FREQUENCY] = ["head" if n >= head and n else "torso" if n >= torso and n else "tail" for n in asked]
    return out


def measured_groups(pairs: Pairs, groups: Mapping[str, Sequence[str]], least: int) -> list[GroupRow]:
    """Each group of queries, and of products by picture and brand, against its dimension's largest group."""
    rows: list[GroupRow] = []
    counts = pairs.counts()
    for dimension, names in groups.items():
        labels = np.array(names)
        parts = {str(name): counts.of(labels == name) for name in sorted(set(names))}
        rows += _rows(dimension, parts, {name: len(part.right) for name, part in parts.items()}, _OF_QUERIES, least)
    pictured = np.asarray(pairs.has_image) > 0
    known = np.array([bool(brand) for brand in pairs.brands])
    for dimension, mask, (yes, no) in (
        ("picture of the product", pictured, ("with picture", "without picture")),
        ("brand of the product", known, ("brand known", "brand unknown")),
    ):
        parts, sizes = {}, {}
        for name, members in ((yes, mask), (no, ~mask)):
            part = pairs.counts(members)
            parts[name] = part
            sizes[name] = int(((part.possible > 0) | (part.not_exact > 0)).sum())
        rows += _rows(dimension, {n: p for n, p in parts.items() if sizes[n]}, sizes, _OF_PRODUCTS, least)
    return rows


def _rows(
    dimension: str, parts: Mapping[str, Counts], sizes: Mapping[str, int], shown: Sequence[str], least: int
) -> list[GroupRow]:
    if not parts:
        return []
    reference = max(parts, key=lambda name: sizes[name])
    drawn = {name: _drawn(part, BOOTSTRAP_SEED + at) for at, (name, part) in enumerate(parts.items())}
    rows = []
    for name in parts:
        enough = sizes[name] >= least and sizes[reference] >= least
        differences = {
            measure: _interval(drawn[name][measure] - drawn[reference][measure])
            for measure in shown
            if name != reference and enough
        }
        values = {measure: _interval(drawn[name][measure]) for measure in shown}
        rows.append(GroupRow(dimension, name, sizes[name], name == reference, values, differences))
    return rows


def disparities(row: GroupRow, threshold: float) -> list[tuple[str, Interval]]:
    """The measures in which a group differs from its reference by more than the threshold, the whole interval."""
    beyond = []
    for measure, difference in row.differences.items():
        if difference is not None and (difference.low > threshold or difference.high < -threshold):
            beyond.append((measure, difference))
    return beyond


def group_lines(rows: Sequence[GroupRow], threshold: float, least: int, blocking: Collection[str]) -> list[Line]:
    """A line a dimension with a verdict, and one for what is too small; ``blocking`` dimensions block."""
    lines = []
    for dimension in dict.fromkeys(row.dimension for row in rows):
        own = [row for row in rows if row.dimension == dimension]
        name = "groups." + dimension.replace(" ", "_")
        compared = [row for row in own if row.differences]
        small = [f"{row.group} ({row.size})" for row in own if row.size < least]
        verdict: Verdict = "block" if dimension.split()[0] in blocking else "warn"
        reference = next(row.group for row in own if row.reference)
        found = [(row, *each) for row in compared for each in disparities(row, threshold)]
        for row, measure, difference in found:
            text = (
                f"{dimension}: {measure} of \u201c{row.group}\u201d differs by {difference.mean:+.3f} "
                f"[{difference.low:+.3f}, {difference.high:+.3f}] from \u201c{reference}\u201d, more than {threshold:g}"
            )
            lines.append(Line(f"{name}.{row.group}.{measure}".replace(" ", "_"), verdict, text))
        if not compared:
            text = f"{dimension}: no group to compare with \u201c{reference}\u201d"
            lines.append(Line(name, "note", text + (f"; too small: {', '.join(small)}" if small else "")))
        elif not found:
            row, measure, widest = max(
                (
                    (row, measure, difference)
                    for row in compared
                    for measure, difference in row.differences.items()
                    if difference is not None
                ),
                key=lambda each: abs(each[2].mean),
            )
            text = (
                f"{dimension}: no difference from \u201c{reference}\u201d is surely beyond {threshold:g}; "
                f"the widest is {measure} of \u201c{row.group}\u201d, {widest.mean:+.3f} "
                f"[{widest.low:+.3f}, {widest.high:+.3f}]"
            )
            lines.append(Line(name, "warn" if abs(widest.mean) > threshold else "pass", text))
        if compared and small:
            lines.append(Line(f"{name}.small", "note", f"{dimension}: too small to say anything: {', '.join(small)}"))
    return lines


def one_word_apart(asker: Asker, queries: Sequence[JudgedQuery]) -> Table:
    """What the service answers to real queries that differ in one word alone; nothing of it is judged."""
    rows: list[tuple] = []
    for dimension, variants in _SWAPS.items():
        listed = {word for words in _WORDS[dimension].values() for word in words}
        bases = [
            text
            for query in queries
            if len((text := query.text).split()) <= 4 and not listed & set(text.lower().split()) and " for " not in text
        ][:_MOST_BASES]
        first: list[set[str]] | None = None
        for name, words in variants.items():
            asked = [f"{words} {base}" if dimension == PRICE else f"{base} {words}" for base in bases]
            answers = [asker.answer(text.strip()) for text in asked]
            if not answers:
                continue
            tops = [set(answer.products[:DEPTH]) for answer in answers]
            first = tops if first is None else first
            same = [len(top & other) / max(len(other), 1) for top, other in zip(tops, first)]
            refused = bootstrap_interval(np.array([answer.refused for answer in answers], np.float64))
            rows.append((dimension, name, len(answers), refused, bootstrap_interval(np.array(same))))
    columns = ("dimension", "word", "queries", "nothing fits", "same first ten as the first word")
    return Table("Real queries that differ in one word: what the service answers", columns, rows)


def fairlearn_table(pairs: Pairs, groups: Mapping[str, Sequence[str]]) -> Table | None:
    """Largest difference between any two groups of a dimension by Fairlearn's MetricFrame; None where it is not
    installed."""
    try:
        from fairlearn.metrics import MetricFrame, false_positive_rate, selection_rate
    except ImportError:
        return None
    from sklearn.metrics import precision_score

    exact = pairs.ratings == features.CLASS_IDS["E"]
    of_query = np.empty(len(pairs.ratings), int)
    sizes = np.diff(np.append(pairs.lists.starts, len(pairs.lists.order)))
    of_query[pairs.lists.order] = np.repeat(np.arange(len(sizes)), sizes)
    dimensions = {name: np.array(labels)[of_query] for name, labels in groups.items()}
    dimensions["picture of the product"] = np.where(np.asarray(pairs.has_image) > 0, "with", "without")
    rows: list[Sequence[Cell]] = []
    for name, labels in dimensions.items():
        if len(set(labels)) < 2:
            continue
        frame = MetricFrame(
            metrics={
                "precision": lambda true, said: precision_score(true, said, zero_division=0.0),
                "false positives": false_positive_rate,
                "called Exact": selection_rate,
            },
            y_true=exact,
            y_pred=pairs.said,
            sensitive_features=labels,
        )
        widest = frame.difference(method="between_groups")
        rows.append((name, len(set(labels)), *(float(widest[measure]) for measure in widest.index)))
    return Table(
        "Widest difference between any two groups, small ones too (Fairlearn's MetricFrame)",
        ("dimension", "groups", "precision", "false positives", "called Exact"),
        rows,
    )


def groups_section(
    asker: Asker | None,
    pairs: Pairs,
    queries: Sequence[JudgedQuery],
    counts: Mapping[str, int],
    threshold: float,
    least: int,
    blocking: Collection[str],
) -> Section:
    """The section of the report."""
    brands = {brand.lower() for brand in pairs.brands if brand and " " not in brand}
    groups = query_groups(pairs.query_texts, brands, counts)
    rows = measured_groups(pairs, groups, least)
    lines = group_lines(rows, threshold, least, blocking)
    if not counts:
        lines.append(Line("groups.frequency", "note", "frequency: no query counts, so no head, torso and tail"))
    columns = ("dimension", "group", "queries", *MEASURES)
    shown = [
        (row.dimension, row.group + (" (reference)" if row.reference else ""), row.size,
         *(row.values.get(measure) for measure in MEASURES))
        for row in rows
    ]  # fmt: skip
    against = [
        (row.dimension, row.group, measure, difference)
        for row in rows
        for measure, difference in row.differences.items()
        if difference is not None
    ]
    tables = [
        Table("Groups of queries and of products, on real judgements", columns, shown),
        Table("Differences from the reference group", ("dimension", "group", "measure", "difference"), against),
    ]
    widest = fairlearn_table(pairs, groups)
    tables += [widest] if widest else []
    tables += [one_word_apart(asker, queries)] if asker else []
    skills = [(f"{row[1]}: {row[2]}", row[3]) for row in against]
    return Section(
        "groups",
        "Groups",
        lines,
        tables,
        (interval_figure("Differences from the reference group", skills),),
        f"A disparity is a difference whose whole interval is beyond {threshold:g}. Groups of fewer than {least} "
        "queries are named and not judged. Every row is a judgement of the data.",
    )
