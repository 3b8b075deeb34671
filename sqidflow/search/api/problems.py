"""Every error's body, as RFC 9457 has it. Never a traceback, never a path."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from sqidflow.search.attributes import UnfitRequest
from sqidflow.search.experiments import StoreUnavailable
from sqidflow.search.schemas import FieldProblem, Problem

_LOG = logging.getLogger(__name__)
MEDIA_TYPE = "application/problem+json"
_NAMED = 5

SEARCH_PROBLEMS = {
    413: "larger than the service takes", 415: "not the content type that is read here",
    422: "a value that does not fit", 429: "too many requests; Retry-After says when to come again",
    408: "the body did not arrive in time",
}  # fmt: skip


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's description of error answers."""
    texts = {**SEARCH_PROBLEMS, 401: "the API key is missing or wrong", 404: "there is no such", 503: "not ready"}
    return {
        status: {
            "description": texts[status],
            "model": Problem,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


class Unfit(HTTPException):
    """422 that names each value that does not fit."""

    def __init__(self, errors: list[FieldProblem]) -> None:
        super().__init__(422, "; ".join(f"{each.field}: {each.detail}" for each in errors)[:1000])
        self.errors = errors


def answer(
    status: int,
    detail: str,
    request_id: str | None = None,
    headers: dict[str, str] | None = None,
    errors: list[FieldProblem] | None = None,
) -> Response:
    """A problem as a response."""
    problem = Problem(
        title=HTTPStatus(status).phrase, status=status, detail=detail, request_id=request_id, errors=errors
    )
    return Response(
        problem.model_dump_json(exclude={"errors"} if errors is None else None), status, headers, MEDIA_TYPE
    )


def problem_of(error: HTTPException | UnfitRequest, request_id: str) -> Problem:
    """An error as a part of an answer."""
    if isinstance(error, UnfitRequest):
        fields = [_unfit(error)]
        detail = f"{fields[0].field}: {fields[0].detail}"
        return Problem(title=HTTPStatus(422).phrase, status=422, detail=detail, request_id=request_id, errors=fields)
    status = error.status_code
    return Problem(title=HTTPStatus(status).phrase, status=status, detail=str(error.detail), request_id=request_id)


def _unfit(error: UnfitRequest) -> FieldProblem:
    return FieldProblem(field=_readable(error.field)[:200], detail=_readable(str(error))[:500])


def install(app: FastAPI) -> None:
    """Make the app answer problems; what no handler expects is ``sqidflow.search.api.middleware.Guard``'s to answer."""

    def request_id(request: Request) -> str | None:
        request_id: str | None = request.scope.get("state", {}).get("request_id")
        return request_id

    @app.exception_handler(HTTPException)
    async def http_problem(request: Request, error: HTTPException) -> Response:
        # FastAPI says 400 where the body is no JSON it can read, 422 where it reads and does not fit.
        status = 422 if error.status_code == 400 else error.status_code
        errors = error.errors if isinstance(error, Unfit) else None
        return answer(status, str(error.detail), request_id(request), dict(error.headers or {}), errors)

    @app.exception_handler(UnfitRequest)
    async def unfit(request: Request, error: UnfitRequest) -> Response:
        fields = [_unfit(error)]
        return answer(422, f"{fields[0].field}: {fields[0].detail}", request_id(request), errors=fields)

    @app.exception_handler(StoreUnavailable)
    async def unavailable(request: Request, error: StoreUnavailable) -> Response:
        _LOG.warning("%s", error.message)
        detail = "What people thought of answers cannot be stored or read now; searches go on."
        return answer(503, detail, request_id(request), {"Retry-After": "30"})

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        errors = [_field_problem(each, error.body) for each in error.errors()[:_NAMED]]
        detail = "; ".join(f"{each.field}: {each.detail}" for each in errors)
        return answer(422, detail[:1000], request_id(request), errors=errors)


def _field_problem(error: dict[str, Any], body: object) -> FieldProblem:
    place, detail = error["loc"], error["msg"]
    if error["type"] == "json_invalid" and isinstance(body, str):
        before = body[: place[-1]]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        place, detail = ("body",), f"no JSON at line {line}, column {column}: {error['ctx']['error']}"
    field = ".".join(str(part) for part in place[1:]) or str(place[0])
    return FieldProblem(field=_readable(field)[:200], detail=_readable(detail)[:500])


def _readable(text: str) -> str:
    """Without halves of characters, which no JSON can carry."""
    return text.encode("utf-8", "replace").decode()
