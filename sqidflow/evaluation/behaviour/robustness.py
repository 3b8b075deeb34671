"""Robustness: what becomes of an answer when the query is typed otherwise, and what nonsense gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sqidflow.evaluation.behaviour.asking import DEPTH, Asker, JudgedQuery, ndcg, random_ndcg
from sqidflow.evaluation.behaviour.perturbations import (
    INJECTIONS,
    JUDGED_KINDS,
    TYPING,
    Kind,
    gibberish,
    perturbed,
    symbols,
)
from sqidflow.evaluation.behaviour.report import Line, Section, Table, Verdict, interval_figure
from sqidflow.ranking.metrics import BOOTSTRAP_SEED, Interval, bootstrap_interval

LEAST_KEPT = 0.9
"""Share of the NDCG above random that typing errors of one edit must keep."""
LEAST_REFUSED = 0.95
MOST_CLEAN_REFUSED = 0.03
MOST_TYPED_REFUSED = 0.1
_NONSENSE = 100
_PARTS = ("clean", "after", "chance")
NAMED_SUITE = (
    "red backpack", "wireless headphones", "running shoes for women", "24 inch bicycle", "kettle not green",
    "a present for my grandmother", "headphnes", "asdfghjkl", "!!!", "capital of france",
)  # fmt: skip
"""Ten queries of this project's, one of each thing that a search must do: docs/audit.md says which."""


@dataclass(frozen=True)
class Changed:
    """A kind of change on the queries that it applies to: NDCG before and after, float64 [n], and the random order's;
    ``overlap`` of the first ten, [n]; ``refused`` bool [n]. Queries that nothing fits before are among them."""

    kind: Kind
    clean: np.ndarray
    after: np.ndarray
    chance: np.ndarray
    overlap: np.ndarray
    refused: np.ndarray

    @property
    def change(self) -> Interval:
        return bootstrap_interval(self.after - self.clean)

    @property
    def kept(self) -> Interval:
        """Share of the clean NDCG above random that is kept: a ratio of means, its interval by resampling queries."""
        return kept_share(self.clean, self.after, self.chance)


def kept_share(clean: np.ndarray, after: np.ndarray, chance: np.ndarray) -> Interval:
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    draws = rng.integers(0, len(clean), (1000, len(clean)))
    above, left = (clean - chance)[draws].mean(axis=1), (after - chance)[draws].mean(axis=1)
    ratios = np.divide(left, above, out=np.ones(len(above)), where=above > 1e-9)
    mean = float((after - chance).mean() / max((clean - chance).mean(), 1e-9))
    low, high = np.quantile(ratios, (0.025, 0.975))
    return Interval(mean, float(low), float(high))


def measure_kind(asker: Asker, kind: Kind, queries: Sequence[JudgedQuery], seed: int, rate: float) -> Changed | None:
    """Ask each query before and after a change; None where the kind applies to no query."""
    rows = []
    for query, text in zip(queries, perturbed(kind, [query.text for query in queries], seed, rate)):
        gains, products = query.gains, list(query.judged)
        if text is None or not gains.any():
            continue
        before, after = asker.answer(query.text), asker.answer(text)
        first, then = set(before.products[:DEPTH]), set(after.products[:DEPTH])
        rows.append(
            (
                ndcg(gains, asker.scores(query.text, products), products),
                ndcg(gains, asker.scores(text, products), products),
                random_ndcg(gains),
                len(first & then) / max(len(first), 1) if first else float(not then),
                after.refused,
            )
        )
    return Changed(kind, *np.array(rows, np.float64).T) if rows else None


def refused_share(asker: Asker, queries: Sequence[str]) -> Interval:
    return bootstrap_interval(np.array([asker.answer(query).refused for query in queries], np.float64))


def robustness(asker: Asker, queries: Sequence[JudgedQuery], seed: int, rate: float, blocking: bool = False) -> Section:
    """The section of the report: every kind of change on the same held-out queries, and nonsense. ``blocking``: too
    little kept of typing errors blocks."""
    changed = [each for kind in JUDGED_KINDS if (each := measure_kind(asker, kind, queries, seed, rate))]
    clean = refused_share(asker, [query.text for query in queries])
    nonsense = {
        "gibberish": gibberish(_NONSENSE, seed),
        "symbol": symbols(_NONSENSE // 2, seed),
        "injection": list(INJECTIONS),
    }
    refused = {name: refused_share(asker, texts) for name, texts in nonsense.items()}
    typed = typing_line(changed, blocking)
    lines = [*([typed] if typed else []), *typing_lines(changed), *_refusal_lines(changed, clean, refused)]
    lines += [_other_line(each) for each in changed if each.kind not in TYPING and each.kept.high < LEAST_KEPT]
    table = Table(
        "Changed queries against the same queries as they are",
        ("kind", "queries", "NDCG change", "kept above random", "same in the first ten", "nothing fits"),
        [
            (each.kind.title, len(each.clean), each.change, each.kept, bootstrap_interval(each.overlap),
             bootstrap_interval(each.refused))
            for each in changed
        ],
    )  # fmt: skip
    asked = Table(
        "What gets \u201cnothing fits\u201d",
        ("queries", "asked", "nothing fits"),
        [
            ("clean held-out queries", len(queries), clean),
            *((name, len(nonsense[name]), share) for name, share in refused.items()),
        ],
    )
    return Section(
        "robustness",
        "Robustness",
        lines,
        (table, asked, _named(asker)),
        (interval_figure("NDCG change by kind", [(each.kind.title, each.change) for each in changed]),),
        "NDCG is that of the judged products, scored among what the changed query brings. Typing errors change "
        f"{rate:.0%} of the words, one at least, by one edit each.",
    )


def typing_lines(changed: Sequence[Changed]) -> list[Line]:
    """A line a kind of typing error."""
    lines = []
    for each in changed:
        if each.kind in TYPING:
            kept = each.kept
            text = f"{each.kind.title}: {kept.mean:.1%} of the NDCG above random is kept ({len(each.clean)} queries)"
            lines.append(Line(f"typing.{each.kind.name}", "pass" if kept.high >= LEAST_KEPT else "warn", text))
    return lines


def typing_line(changed: Sequence[Changed], blocking: bool = False) -> Line | None:
    """The verdict on typing errors of one edit, all kinds together; None where there were none."""
    typed = [each for each in changed if each.kind in TYPING]
    if not typed:
        return None
    clean, after, chance = (np.concatenate([getattr(each, name) for each in typed]) for name in _PARTS)
    kept = kept_share(clean, after, chance)
    text = (
        f"typing errors keep {kept.mean:.1%} [{kept.low:.1%}, {kept.high:.1%}] of the NDCG above random, "
        f"{LEAST_KEPT:.0%} are needed"
    )
    if kept.mean >= LEAST_KEPT:
        return Line("typing", "pass", text)
    return Line("typing", "block" if blocking and kept.high < LEAST_KEPT else "warn", text)


def _typed_refusals(changed: Sequence[Changed]) -> list[Line]:
    typed = [each.refused for each in changed if each.kind in TYPING]
    if not typed:
        return []
    share = float(np.concatenate(typed).mean())
    text = f"{share:.1%} of queries with a typing error get nothing fits, at most {MOST_TYPED_REFUSED:.0%} should"
    return [Line("refused.typing", "pass" if share <= MOST_TYPED_REFUSED else "warn", text)]


def _refusal_lines(changed: Sequence[Changed], clean: Interval, refused: dict[str, Interval]) -> list[Line]:
    lines = [
        *_typed_refusals(changed),
        Line(
            "refused.clean",
            "pass" if clean.mean <= MOST_CLEAN_REFUSED else "warn",
            f"{clean.mean:.1%} of the clean held-out queries get nothing fits, at most {MOST_CLEAN_REFUSED:.0%} may",
        ),
    ]
    for name, share in refused.items():
        enough = share.mean >= LEAST_REFUSED
        needed = f", at least {LEAST_REFUSED:.0%} must" if name != "injection" else ""
        verdict: Verdict = "pass" if enough else "note" if name == "injection" else "warn"
        lines.append(Line(f"refused.{name}", verdict, f"{share.mean:.1%} of {name} queries get nothing fits{needed}"))
    return lines


def _other_line(each: Changed) -> Line:
    text = f"{each.kind.title}: {each.kept.mean:.1%} of the NDCG above random is kept ({len(each.clean)} queries)"
    return Line(f"kind.{each.kind.name}", "warn", text)


def _named(asker: Asker) -> Table:
    rows = []
    for query in NAMED_SUITE:
        answer = asker.answer(query)
        rows.append((query, len(answer.products), answer.products[0] if answer.products else "nothing fits"))
    return Table("The named suite of ten queries", ("query", "answered", "first product"), rows)
