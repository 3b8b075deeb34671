"""Hand-written queries with what must hold of their answers, run against the sample's pushed model.

A file of cases is of one kind of query: ``about``, ``bar`` (the share of its cases that must hold) and ``cases``, each
a ``query`` with one or more of

- ``kind``: the first product is of this kind;
- ``brand``, ``color``, ``audience``: the first product has it, where the catalogue has one of that kind with it;
- ``without``: the first product has not this word;
- ``refused``: whether nothing is answered;
- ``corrected_to``: the query as it is searched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqidflow.benches.typing import Shop
from sqidflow.core.errors import SqidflowError

ATTRIBUTES = ("brand", "color", "audience")
KEYS = frozenset(("query", "kind", "without", "refused", "corrected_to", *ATTRIBUTES))


@dataclass(frozen=True)
class Cases:
    """One file: the kind of query it is about, the share that must hold, and the cases."""

    name: str
    about: str
    bar: float
    cases: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Held:
    """How many cases of a kind hold; ``failures`` says of each other one what was answered."""

    name: str
    bar: float
    count: int
    failures: tuple[str, ...]

    @property
    def share(self) -> float:
        return 1 - len(self.failures) / self.count

    def as_dict(self) -> dict[str, Any]:
        return {
            "kind": self.name,
            "share": round(self.share, 4),
            "bar": self.bar,
            "cases": self.count,
            "failures": list(self.failures),
        }


def read_cases(folder: Path) -> list[Cases]:
    """The files of a folder by name.

    Raises:
        SqidflowError: there is none, or one is no file of cases; names the file and the case.
    """
    import yaml

    files = sorted(folder.glob("*.yaml"))
    if not files:
        raise SqidflowError("has no file of cases (*.yaml)", where=folder, hint="name a folder that has some")
    return [_cases(file, yaml.safe_load(file.read_text(encoding="utf-8"))) for file in files]


def _cases(file: Path, content: Any) -> Cases:
    if not isinstance(content, dict) or not {"about", "bar", "cases"} <= content.keys() or not content["cases"]:
        raise SqidflowError("is no file of cases", where=file, hint="it needs about, bar and cases")
    for number, case in enumerate(content["cases"], 1):
        if "query" not in case or len(case) < 2 or not case.keys() <= KEYS:
            raise SqidflowError(
                f"says nothing to check, or what is unknown: {case}",
                where=f"{file}, case {number}",
                hint=f"it needs a query and one of {', '.join(sorted(KEYS - {'query'}))}",
            )
    return Cases(file.stem, content["about"], float(content["bar"]), content["cases"])


def run(shop: Shop, cases: Cases) -> Held:
    failures = [(case["query"], fault) for case in cases.cases if (fault := fault_of(shop, case)) is not None]
    return Held(cases.name, cases.bar, len(cases.cases), tuple(f"{query!r}: {fault}" for query, fault in failures))


def fault_of(shop: Shop, case: Mapping[str, Any]) -> str | None:
    """What does not hold of a case's answer, None where all does."""
    outcome, first = shop.first(case["query"])
    if "corrected_to" in case and outcome.rewritten.lower() != case["corrected_to"]:
        return f"searched as {outcome.rewritten!r}"
    refused = first is None
    if refused != case.get("refused", False):
        return "refused" if refused else f"answered with {shop.titles[first or ''][:60]!r}"
    if first is None:
        return None
    title = shop.titles[first][:60]
    kind = case.get("kind")
    if kind is not None and shop.kind[first] != kind:
        return f"a {shop.kind[first]} first: {title!r}"
    for name in ATTRIBUTES:
        wish = case.get(name)
        if wish is not None and (kind is None or shop.of_kind(kind, wish)) and not shop.has(first, wish):
            return f"not {wish}: {title!r}"
    if "without" in case and shop.has(first, case["without"]):
        return f"{case['without']}: {title!r}"
    return None
