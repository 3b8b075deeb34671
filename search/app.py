"""The service's application. Assembles, and nothing else."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI

from pipeline.errors import SqidflowError
from pipeline.settings import CHECKOUT, Settings
from pipeline.workdir import Workdir
from search import page, problems, routes_operations, routes_products, routes_search
from search.metrics import Metrics
from search.middleware import Guard
from search.pool import lookup_pool, search_pool
from search.ranker import newest_model
from search.state import open_service

_LOG = logging.getLogger(__name__)
_LOOK_FOR_MODELS_S = 10.0
_DESCRIPTION = (
    "Product search by words and pictures: candidates from vectors and words, ranked by the pushed model, explained. "
    "An answer may be that nothing fits."
)


def create_app(workdir: Workdir, settings: Settings) -> FastAPI:
    """The application of one worker; the model and the index are opened when it starts.

    Starting raises SqidflowError where they are missing or do not belong together.
    """
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.pool = search_pool(settings.search.threads, settings.search.queue, metrics)
        app.state.lookups = lookup_pool()
        app.state.service = await asyncio.to_thread(open_service, workdir, settings, dict(os.environ))
        metrics.products.set(len(app.state.service.a.core.index))
        watch = asyncio.create_task(_take_new_models(app, workdir, settings))
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
        title="sqidflow search", description=_DESCRIPTION, version="1", lifespan=lifespan, docs_url=None, redoc_url=None
    )
    app.state.metrics = metrics
    app.state.service = None
    problems.install(app)
    for router in (routes_search.router, routes_products.router, routes_operations.router):
        app.include_router(router)
    page.install(app, CHECKOUT / "web" / "dist")
    app.add_middleware(Guard, settings=settings.search, metrics=metrics)
    if settings.search.cors_origins:
        from fastapi.middleware.cors import CORSMiddleware

        # Around the guard: other sites' pages are to read its refusals too, and what a browser asks first is not
        # counted against anybody.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.search.cors_origins),
            allow_methods=["GET", "POST"],
            allow_headers=["Content-Type", "X-API-Key"],
        )
    return app


async def _take_new_models(app: FastAPI, workdir: Workdir, settings: Settings) -> None:
    """Swap in a model that was pushed and indexed since; a model that vanishes changes nothing."""
    refused = ""
    while True:
        await asyncio.sleep(_LOOK_FOR_MODELS_S)
        try:
            newest = await asyncio.to_thread(newest_model, workdir.serving)
            now = app.state.service
            if newest is None or newest.name in (now.a.core.ranker.version, refused):
                continue
            fresh = await asyncio.to_thread(open_service, workdir, settings, dict(os.environ))
        except SqidflowError as error:
            # Pushed and not indexed yet: looked for again; anything else is said once.
            if "no product index" not in error.what:
                refused = newest.name if newest else ""
            _LOG.info("model %s is not taken: %s", newest.name if newest else "", error.message)
            continue
        except OSError as error:
            _LOG.info("looking for a new model: %s", error)
            continue
        app.state.service = fresh
        _LOG.warning("model %s answers now", newest.name)
        await asyncio.sleep(_LOOK_FOR_MODELS_S)  # searches that began with the old one end first
        now.close()
