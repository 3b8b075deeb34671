"""Direction: a change of the query, or of a product's features, that must move a product up or down does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sqidflow.benches.typing import AUDIENCES, COLOURS, Shop
from sqidflow.ranking import features
from sqidflow.search.engine import Request
from tests.conftest import Measured

_GAINS = features.CLASS_GAINS.astype(np.float32)


def share_of_colour(shop: Shop, query: str, colour: str) -> float:
    """Of the first ten products the share that has a colour."""
    hits = shop.core.search(Request(query, k=10, threshold=0.0)).hits
    return float(np.mean([shop.has(hit.product_id, colour) for hit in hits])) if hits else 0.0


def test_asking_for_a_colour_brings_it_up_and_excluding_it_down(shop: Shop, measured: Measured) -> None:
    up, down = [], []
    for kind in sorted(set(shop.kind.values()))[:16]:
        for colour in COLOURS:
            if not any(own == kind and shop.has(product, colour) for product, own in shop.kind.items()):
                continue
            plain = share_of_colour(shop, kind, colour)
            asked = share_of_colour(shop, f"{colour} {kind}", colour)
            up.append(asked > plain or asked == 1)
            if plain:
                down.append(share_of_colour(shop, f"{kind} not {colour}", colour) < plain)
    measured("direction", f"colour up {np.mean(up):.0%} of {len(up)}, excluded down {np.mean(down):.0%} of {len(down)}")
    assert len(up) >= 20 and np.mean(up) >= 0.85
    assert len(down) >= 5 and np.mean(down) >= 0.85


@pytest.mark.parametrize("audience", AUDIENCES)
def test_asking_for_an_audience_does_not_bring_another_first(audience: str, shop: Shop) -> None:
    others = set(AUDIENCES) - {audience}
    kinds = [kind for kind in sorted(set(shop.kind.values())) if shop.of_kind(kind, audience)]
    first = [shop.first(f"{kind} for {audience}")[1] for kind in kinds]
    wrong = [p for p in first if p and any(shop.has(p, o) for o in others) and not shop.has(p, audience)]
    # The model of the tests has seen few queries; that of `make run` is held to less by tests/model/cases.
    assert len(wrong) <= max(1, len(kinds) // 5)


@pytest.mark.parametrize(
    ("columns", "value"),
    [(("color_conflict",), 1.0), (("brand_conflict",), 1.0), (("token_overlap", "head_overlap"), 0.0)],
)
def test_a_worse_feature_does_not_raise_the_mean_score(columns: tuple[str, ...], value: float, shop: Shop) -> None:
    core = shop.core
    gained = []
    for query in core.index.facets["sample_queries"][:8]:
        found = core.retrieve(query, core.encode(query, None)).candidates
        lexical = found.lexical.copy()
        for column in columns:
            lexical[:, features.LEXICAL_NAMES.index(column)] = value
        worse = replace(found, lexical=lexical)
        before, after = (core.ranker.probabilities(each) @ _GAINS for each in (found, worse))
        best = np.argsort(-before)[:10]
        gained.append(float((after - before)[best].mean()))
    assert np.mean(gained) <= 0.02
