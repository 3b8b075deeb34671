"""The service's application. Assembles, and nothing else."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI
from fastapi.middleware.gzip import GZipMiddleware

from sqidflow.core.errors import SqidflowError
from sqidflow.core.settings import CHECKOUT, Settings
from sqidflow.core.workdir import Workdir
from sqidflow.search.api import (
    docs,
    page,
    problems,
    routes_feedback,
    routes_health,
    routes_monitoring,
    routes_operations,
    routes_products,
    routes_search,
    versions,
)
from sqidflow.search.api.metrics import Metrics
from sqidflow.search.api.middleware import Guard
from sqidflow.search.api.pool import lookup_pool, search_pool
from sqidflow.search.state import MONITORING_REPORT, Service, choose, is_newer, open_service

_LOG = logging.getLogger(__name__)
_LOOK_FOR_MODELS_S = 2.0
_OLD_ENDS_AFTER_S = 10.0
_COMPRESSED_FROM_BYTES = 1000
_COMPRESSION = 5  # of an answer of 40 kB, 9 saves one per cent more and takes twice as long
_DESCRIPTION = (
    "Product search by words and pictures: candidates from vectors and words, ranked by the pushed model, explained. "
    "An answer may be that nothing fits."
)


def create_app(workdir: Workdir, settings: Settings) -> FastAPI:
    """The application of one worker; the model and the index are opened when it starts.

    Starting raises SqidflowError where they are missing or do not belong together.
    """
    metrics = Metrics(workdir.artifacts / MONITORING_REPORT)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.pool = search_pool(settings.search.threads, settings.search.queue, metrics)
        app.state.lookups = lookup_pool()
        app.state.service = await asyncio.to_thread(open_service, workdir, settings, dict(os.environ))
        metrics.products.set(len(app.state.service.a.core.index))
        watch = asyncio.create_task(_take_new_models(app, workdir, settings, metrics))
        try:
            yield
        finally:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch
            app.state.pool.close()
            app.state.lookups.close()
            app.state.service.close()

    app = FastAPI(
        title="sqidflow search", description=_DESCRIPTION, version="1", lifespan=lifespan, docs_url=None,
        redoc_url=None, generate_unique_id_function=lambda route: route.name,
    )  # fmt: skip
    app.state.metrics = metrics
    app.state.service = None
    problems.install(app)
    for router in (routes_search.router, routes_products.router, routes_feedback.router, routes_operations.router):
        versions.include(app, router)
    # Under /v1 alone: without it, the same path is the page.
    app.include_router(routes_monitoring.router, prefix=versions.PREFIX)
    app.include_router(routes_health.router)
    docs.install(app)
    page.install(app, CHECKOUT / "web" / "dist")
    app.add_middleware(GZipMiddleware, minimum_size=_COMPRESSED_FROM_BYTES, compresslevel=_COMPRESSION)
    app.add_middleware(Guard, settings=settings.search, metrics=metrics)
    if settings.search.cors_origins:
        from fastapi.middleware.cors import CORSMiddleware

        # Around the guard: other sites' pages are to read its refusals too, and what a browser asks first is not
        # counted against anybody.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.search.cors_origins),
            allow_methods=["GET", "HEAD", "POST"],
            allow_headers=["Content-Type", "X-API-Key", "X-Client-Id", "X-Request-Id", "X-Session-Id"],
            expose_headers=["X-Request-Id", "Retry-After"],
        )
    return app


async def _take_new_models(app: FastAPI, workdir: Workdir, settings: Settings, metrics: Metrics) -> None:
    """Swap in a model, or an index, that came since; what vanishes, and whatever goes wrong, changes nothing."""
    closing: set[asyncio.Task[None]] = set()
    try:
        await _look_for_models(app, workdir, settings, metrics, closing)
    finally:
        for task in closing:
            task.cancel()
        await asyncio.gather(*closing, return_exceptions=True)


async def _look_for_models(
    app: FastAPI, workdir: Workdir, settings: Settings, metrics: Metrics, closing: set[asyncio.Task[None]]
) -> None:
    refused: tuple[str, str] | None = None
    while True:
        await asyncio.sleep(_LOOK_FOR_MODELS_S)
        now, found = app.state.service, None
        try:
            version, index = await asyncio.to_thread(choose, workdir, settings)
            found = version, index.name
            if found in (now.opened, refused) or is_newer(workdir, now.opened[0], version):
                continue
            fresh = await asyncio.to_thread(open_service, workdir, settings, dict(os.environ))
        except SqidflowError as error:
            refused = found
            _LOG.info("model %s is not taken: %s", found[0] if found else "", error.message)
            continue
        except Exception:
            _LOG.exception("looking for a new model failed; it is tried again")
            continue
        app.state.service = fresh
        metrics.products.set(len(fresh.a.core.index))
        _LOG.warning("model %s answers now, from index %s", *fresh.opened)
        ending = asyncio.create_task(_close_later(now))
        closing.add(ending)
        ending.add_done_callback(closing.discard)


async def _close_later(service: Service) -> None:
    try:
        await asyncio.sleep(_OLD_ENDS_AFTER_S)  # searches that began with the old one end first
    finally:
        await asyncio.to_thread(_close, service)


def _close(service: Service) -> None:
    try:
        service.close()
    except Exception:
        _LOG.exception("closing what answered before failed")
