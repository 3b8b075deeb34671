"""Multimodal product search: the parts that other programs import.

Importing this package loads nothing; each name loads its module when it is first used. The types are in __init__.pyi,
so that a step's cache key, which covers all that the step imports, does not cover the search.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "Hit": "sqidflow.search.engine",
    "Outcome": "sqidflow.search.engine",
    "ProductIndex": "sqidflow.search.index",
    "Request": "sqidflow.search.engine",
    "SearchCore": "sqidflow.search.engine",
    "SqidflowError": "sqidflow.core.errors",
    "load_ranker": "sqidflow.search.library",
    "ndcg": "sqidflow.search.library",
    "open_index": "sqidflow.search.library",
    "open_search": "sqidflow.search.library",
}

__all__ = [
    "Hit",
    "Outcome",
    "ProductIndex",
    "Request",
    "SearchCore",
    "SqidflowError",
    "load_ranker",
    "ndcg",
    "open_index",
    "open_search",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sqidflow' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
