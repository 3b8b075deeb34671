"""Attributes of the synthetic sample: price, category, rating and stock, invented like all the rest of it.

They follow from a product's id and category alone, so that texts, pictures, queries and labels are what they are
without them. Integer arithmetic until one last division.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict

import pyarrow as pa

from sqidflow.data.attributes import METADATA_KEY, Attribute

ATTRIBUTES = (
    Attribute("price", "number", "EUR"),
    Attribute("category", "string"),
    Attribute("rating", "number"),
    Attribute("in_stock", "boolean"),
)
FIELDS: tuple[pa.Field, ...] = tuple(attribute.field for attribute in ATTRIBUTES)
METADATA = {METADATA_KEY.decode(): json.dumps([asdict(attribute) for attribute in ATTRIBUTES])}
_IN_STOCK_PERCENT, _RATED_PERCENT = 85, 90


def columns_of(product_ids: Sequence[str], categories: Sequence[str]) -> list[list[object]]:
    """The values of ``ATTRIBUTES`` for each product."""
    rows = [_values(product, category) for product, category in zip(product_ids, categories, strict=True)]
    return [list(column) for column in zip(*rows, strict=True)]


def _values(product: str, category: str) -> tuple[float, str, float | None, bool]:
    usual, spread, rated, rating, stock = (_digits(f"{what} of {whose}") for what, whose in (
        ("usual price", category), ("price", product), ("rated", product), ("rating", product), ("stock", product),
    ))  # fmt: skip
    cents = (500 + usual % 12_000) * (60 + spread % 120) // 100
    return (
        cents / 100,
        category,
        (25 + rating % 26) / 10 if rated % 100 < _RATED_PERCENT else None,
        stock % 100 < _IN_STOCK_PERCENT,
    )


def _digits(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")
