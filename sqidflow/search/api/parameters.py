"""Refuses query parameters and form fields that a route does not have: one that is misspelt would change nothing."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from sqidflow.search.api.problems import Unfit
from sqidflow.search.schemas import FieldProblem

_NAMED = 5


async def known_parameters(request: Request) -> None:
    """A dependency of every route. Raises 422 that names the nearest known parameter."""
    route = request.scope.get("route")
    if not isinstance(route, APIRoute):
        return
    query = _names(route.dependant, "query_params")
    refuse_unknown(request.query_params.keys(), query, "query parameter")
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        form = await request.form()  # read by FastAPI before, who closes it
        refuse_unknown(form.keys(), _names(route.dependant, "body_params"), "form field")


def refuse_unknown(given: Iterable[str], known: set[str], kind: str) -> None:
    """Raise 422 where a name is given that is not known."""
    unknown = [name for name in dict.fromkeys(given) if name not in known]
    if unknown:
        raise Unfit(
            [
                FieldProblem(field=_shown(name), detail=f"there is no such {kind}; {_instead(name, known)}")
                for name in unknown[:_NAMED]
            ]
        )


def _shown(name: str) -> str:
    return name.encode("utf-8", "replace").decode()[:100]


def _instead(name: str, known: set[str]) -> str:
    if not known:
        return "this route has none"
    nearest = difflib.get_close_matches(name.lower(), sorted(known), 1, 0.5)
    return f"do you mean {nearest[0]}?" if nearest else f"known: {', '.join(sorted(known))}"


def _names(dependant: Dependant, kind: str) -> set[str]:
    own = {field.alias for field in getattr(dependant, kind)}
    return own.union(*(_names(each, kind) for each in dependant.dependencies))
