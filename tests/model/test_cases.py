"""Hand-written queries against the sample's pushed model: the share of each kind that holds, and its bar."""

from __future__ import annotations

from pathlib import Path

import pytest

from sqidflow.benches.cases import Cases, read_cases, run
from sqidflow.benches.typing import Shop
from tests.conftest import Measured

FOLDER = Path(__file__).parent / "cases"
KINDS = read_cases(FOLDER)
SMALL_SAMPLE = 0.15
"""What the bars are lowered by: they are for `make run`'s model, the session's has seen 120 queries."""


def test_there_are_at_least_three_hundred_and_none_twice() -> None:
    queries = [case["query"] for cases in KINDS for case in cases.cases]
    assert len(queries) >= 300 and len(set(queries)) == len(queries)


@pytest.mark.parametrize("cases", KINDS, ids=lambda cases: cases.name)
def test_a_kind_of_query_reaches_its_bar(cases: Cases, shop: Shop, measured: Measured) -> None:
    held = run(shop, cases)
    measured(f"cases, {held.name}", f"{held.share:.1%} of {held.count}, bar {held.bar:.0%}")
    assert held.share >= held.bar - SMALL_SAMPLE, "\n".join(held.failures)
