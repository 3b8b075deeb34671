"""The service's application. Assembles, and nothing else."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI
from fastapi.middleware.gzip import GZipMiddleware

from sqidflow.core.errors import SqidflowError
from sqidflow.core.pushes import delivery_stamp, pinned_version
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
from sqidflow.search.api.shadow import ShadowSearches, yielding
from sqidflow.search.state import (
    MONITORING_REPORT,
    Choice,
    Service,
    choose,
    chosen_beside,
    is_newer,
    open_service,
)

_LOG = logging.getLogger(__name__)
_LOOK_FOR_MODELS_S = 2.0
_LOOK_FOR_PINS_S = 0.1
"""For a pin, and for an index that was published."""
_OLD_ENDS_AFTER_S = 10.0
_REFUSED_FOR_S = 30.0
"""What could not be opened is tried again then: it may have been repaired under the same name."""
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
        app.state.shadows = ShadowSearches(metrics, app.state.pool)
        metrics.serve(_roles(app.state.service), len(app.state.service.a.core.index))
        watch = asyncio.create_task(_take_new_models(app, workdir, settings, metrics))
        try:
            yield
        finally:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch
            app.state.pool.close()
            app.state.shadows.close()
            app.state.lookups.close()
            app.state.service.close()
            app.state.service = None  # its files stay mapped as long as something knows it

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
    """Swap in a model, or an index, that came since, and what a rollback pins; whatever vanishes or goes wrong changes
    nothing."""
    letting_go: set[asyncio.Task[None]] = set()
    try:
        await _look_for_models(app, workdir, settings, metrics, letting_go)
    finally:
        for task in letting_go:
            task.cancel()
        await asyncio.gather(*letting_go, return_exceptions=True)


async def _look_for_models(
    app: FastAPI, workdir: Workdir, settings: Settings, metrics: Metrics, letting_go: set[asyncio.Task[None]]
) -> None:
    refused, refused_until, told = None, 0.0, ""
    # A pin that came between opening and this line is seen by the first look at the models.
    stamp, looked = await asyncio.to_thread(_stamp, workdir), time.monotonic()
    while True:
        await asyncio.sleep(min(_LOOK_FOR_PINS_S, _LOOK_FOR_MODELS_S))
        now: Service = app.state.service
        choice: Choice | None = None
        try:
            latest = await asyncio.to_thread(_stamp, workdir)
            if latest == stamp and time.monotonic() < looked + _LOOK_FOR_MODELS_S:
                continue
            stamp, looked = latest, time.monotonic()
            choice = await asyncio.to_thread(_look, workdir, settings, now)
            if choice in (None, now.choice) or (choice == refused and time.monotonic() < refused_until):
                continue
            with yielding():
                fresh = await asyncio.to_thread(open_service, workdir, settings, dict(os.environ), now)
        except SqidflowError as error:
            refused, refused_until = choice, time.monotonic() + _REFUSED_FOR_S
            if error.message != told:
                _LOG.warning("model %s answers on: %s", now.opened[0], error.message)
            told = error.message
            continue
        except Exception:
            _LOG.exception("looking for a new model failed; it is tried again")
            continue
        app.state.service, refused, told = fresh, None, ""
        metrics.serve(_roles(fresh), len(fresh.a.core.index))
        if fresh.opened != now.opened:
            _LOG.warning("model %s answers now, from index %s", *fresh.opened)
        task = asyncio.create_task(_let_go_later(now))
        letting_go.add(task)
        task.add_done_callback(letting_go.discard)


def _stamp(workdir: Workdir) -> tuple[object, int | None]:
    """Changes with the delivery record and when an index is published, which a rename brings into its folder: at the
    price of two looks at directory entries."""
    try:
        published = workdir.index.stat().st_mtime_ns
    except OSError:
        published = None
    return delivery_stamp(workdir.serving), published


def _look(workdir: Workdir, settings: Settings, now: Service) -> Choice | None:
    """What is to be opened; None where an index that vanished would bring an older model back that nobody pinned.

    Raises:
        SqidflowError: as :func:`choose`.
    """
    served = choose(workdir, settings)
    if pinned_version(workdir.serving) is None and is_newer(workdir, now.opened[0], served[0]):
        return None
    return Choice.of(served, *chosen_beside(workdir, settings, served[0]))


def _roles(service: Service) -> dict[str, str]:
    """Role -> version of the model."""
    roles = {"served": service.opened[0]}
    if service.canary is not None:
        roles["canary"] = service.canary.opened[0]
    if service.shadow is not None:
        roles["shadow"] = service.shadow.versions.model
    return roles


async def _let_go_later(service: Service) -> None:
    """Keep what answered before until the searches that began with it have ended, and unmap its files in a thread: that
    takes milliseconds, in which nothing would be answered."""
    try:
        await asyncio.sleep(_OLD_ENDS_AFTER_S)
    finally:
        variants = [service.variants, service.canary and service.canary.variants, service.shadow, service.previous]
        del service
        await asyncio.to_thread(variants.clear)
