"""Minimum functionality: templates that any shop must answer, and what it must not."""

from __future__ import annotations

import numpy as np
import pytest

from sqidflow.benches.typing import COLOURS, Shop
from sqidflow.evaluation.behaviour.perturbations import INJECTIONS, gibberish, symbols
from sqidflow.search.engine import Request
from tests.conftest import Measured


def kinds(shop: Shop) -> list[str]:
    return sorted(set(shop.kind.values()))


@pytest.mark.parametrize("template", ["{}", "{}s", "a good {}", "{} for sale", "buy {} online"])
def test_a_kind_is_answered_with_the_kind_first(template: str, shop: Shop, measured: Measured) -> None:
    right = []
    for kind in kinds(shop):
        _, first = shop.first(template.format(kind))
        right.append(first is not None and shop.kind[first] == kind)
    measured(f"minimum, {template}", f"{np.mean(right):.0%} of {len(right)} kinds first")
    assert np.mean(right) >= 0.8


def test_a_colour_and_a_kind_bring_both(shop: Shop, measured: Measured) -> None:
    right = []
    for kind in kinds(shop):
        for colour in COLOURS:
            if any(shop.has(product, colour) for product, own in shop.kind.items() if own == kind):
                _, first = shop.first(f"{colour} {kind}")
                right.append(first is not None and shop.kind[first] == kind and shop.has(first, colour))
    measured("minimum, colour and kind", f"{np.mean(right):.0%} of {len(right)}")
    assert len(right) > 20 and np.mean(right) >= 0.75


def test_a_title_finds_its_product(shop: Shop) -> None:
    chosen = sorted(shop.titles)[:: max(1, len(shop.titles) // 40)]
    places = []
    for product in chosen:
        found = [hit.product_id for hit in shop.core.search(Request(shop.titles[product], k=10)).hits]
        places.append(product in found)
    assert np.mean(places) >= 0.9


@pytest.mark.parametrize("texts", [gibberish(60, 9), symbols(40, 9)], ids=["gibberish", "symbols"])
def test_nonsense_is_not_answered(texts: list[str], shop: Shop) -> None:
    refused = [shop.core.search(Request(text)).refusal is not None for text in texts]
    assert np.mean(refused) >= 0.95


def test_texts_of_attacks_are_searched_like_any_other(shop: Shop) -> None:
    for text in INJECTIONS:
        outcome = shop.core.search(Request(text))
        assert outcome.refusal is not None or outcome.hits
