"""Invariance: a change of the query that must not matter does not. Run against the pushed model."""

from __future__ import annotations

import numpy as np
import pytest

from sqidflow.benches.typing import Shop
from sqidflow.evaluation.behaviour.asking import DEPTH, CoreAsker
from sqidflow.evaluation.behaviour.perturbations import JUDGED_KINDS, perturbed
from tests.conftest import Measured

KINDS = {kind.name: kind for kind in JUDGED_KINDS}
LEAST = {"spacing": 1.0, "case": 1.0, "number": 0.8, "order": 0.7, "unit": 0.9}
"""The mean share of the first ten products that must stay."""


def queries(shop: Shop) -> list[str]:
    """A colour and the head of a title, for sixty products, and some with an audience or a size."""
    firsts = [title.lower() for title in sorted(shop.titles.values())[:: max(1, len(shop.titles) // 60)]]
    short = [" ".join(title.split(",")[0].split()[:4]) for title in firsts]
    return [*short, *(f"{text} for women" for text in short[:15]), *(f"{text} 24 inch" for text in short[15:30])]


@pytest.fixture(scope="module")
def asker(shop: Shop) -> CoreAsker:
    return CoreAsker(shop.core)


@pytest.mark.parametrize("name", LEAST)
def test_what_must_not_matter_does_not(name: str, shop: Shop, asker: CoreAsker, measured: Measured) -> None:
    asked = queries(shop)
    shares = []
    for query, text in zip(asked, perturbed(KINDS[name], asked, 11, 0.2)):
        before = set(asker.answer(query).products[:DEPTH])
        if text is not None and before:
            shares.append(len(before & set(asker.answer(text).products[:DEPTH])) / len(before))
    assert len(shares) >= 10
    measured(f"invariance, {name}", f"{np.mean(shares):.1%} of the first ten stay, {len(shares)} queries")
    assert np.mean(shares) >= LEAST[name]
