"""Prices in queries. No product of a catalogue has one here, so a price is no number or size that is asked for."""

from __future__ import annotations

import re

_AMOUNT = r"\d{1,7}(?:[.,]\d{1,3})*"
_CURRENCY = r"(?:us\s?)?dollars?|usd|eur(?:os?)?|gbp|bucks?|quid|cents?|pence|rupees?|yen"
_MONEY = rf"(?:[$£€¥]\s?{_AMOUNT}k?(?!\w)|{_AMOUNT}\s?(?:[$£€¥]|(?:{_CURRENCY})\b))"
_BOUND = (
    r"(?:\b(?:under|below|less than|cheaper than|no more than|not more than|more than|over|above|up to|at most|"
    r"at least|max(?:imum)?|min(?:imum)?|around|about|within|for|from|between)\s+)"
)
_JOIN = r"\s?(?:-|to|and)\s?"
_PRICES = re.compile(
    rf"{_BOUND}?(?:{_AMOUNT}{_JOIN})?{_MONEY}(?:{_JOIN}{_MONEY})?"
    # Without a currency only what can be no size: at the end, and not before a unit.
    rf"|\b(?:under|below|less than|cheaper than)\s+{_AMOUNT}(?!\s?(?:[\w\"'\u2033]|[-x]\s?\d))",
    re.IGNORECASE,
)
_MAY_HAVE_ONE = re.compile(r"\d")


def without_prices(query: str) -> str:
    """The query without its prices ("under 20 dollars", "$30"); as it is where nothing else would be left."""
    if not _MAY_HAVE_ONE.search(query):
        return query
    rest = " ".join(_PRICES.sub(" ", query).split())
    return rest if any(char.isalnum() for char in rest) and rest != query else query
