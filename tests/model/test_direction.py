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


def mean_rank_of_colour(shop: Shop, query: str, colour: str) -> float | None:
    hits = shop.core.search(Request(query, k=20, threshold=0.0)).hits
    ranks = [rank for rank, hit in enumerate(hits) if shop.has(hit.product_id, colour)]
    return float(np.mean(ranks)) if ranks else None


def test_asking_for_a_colour_brings_it_up_and_excluding_it_down(shop: Shop, measured: Measured) -> None:
    kinds = sorted(set(shop.kind.values()))[:12]
    up, down = [], []
    for kind in kinds:
        for colour in COLOURS[:4]:
            plain = mean_rank_of_colour(shop, kind, colour)
            asked = mean_rank_of_colour(shop, f"{colour} {kind}", colour)
            excluded = mean_rank_of_colour(shop, f"{kind} not {colour}", colour)
            if plain is not None and asked is not None:
                up.append(asked < plain or asked <= 9.5)
            if plain is not None and excluded is not None:
                down.append(excluded > plain)
    measured("direction", f"colour up {np.mean(up):.0%} of {len(up)}, excluded down {np.mean(down):.0%} of {len(down)}")
    assert len(up) >= 20 and np.mean(up) >= 0.9
    assert len(down) >= 10 and np.mean(down) >= 0.9


@pytest.mark.parametrize("audience", AUDIENCES)
def test_asking_for_an_audience_does_not_bring_another_first(audience: str, shop: Shop) -> None:
    others = set(AUDIENCES) - {audience}
    kinds = [kind for kind in sorted(set(shop.kind.values())) if shop.of_kind(kind, audience)]
    first = [shop.first(f"{kind} for {audience}")[1] for kind in kinds]
    wrong = [p for p in first if p and any(shop.has(p, o) for o in others) and not shop.has(p, audience)]
    assert len(wrong) <= max(1, len(kinds) // 10)


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
