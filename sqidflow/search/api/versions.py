"""The API's version in its paths."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI

PREFIX = "/v1"


def unversioned(path: str) -> str:
    """A path without the version: routes are there with and without."""
    return path.removeprefix(PREFIX) if path.startswith(f"{PREFIX}/") else path


def include(app: FastAPI, router: APIRouter) -> None:
    """Routes under /v1, and as they were called before, which the description leaves out."""
    app.include_router(router, prefix=PREFIX)
    app.include_router(router, include_in_schema=False)
