"""What happens to every request before and after a route: size, time, rate and kind; headers; measures."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fastapi import HTTPException

from sqidflow.core.settings import SearchSettings
from sqidflow.search.api import problems
from sqidflow.search.api.http import MAX_HEADER_BYTES
from sqidflow.search.api.metrics import Metrics
from sqidflow.search.api.page import PAGE_PATHS
from sqidflow.search.api.versions import unversioned

_LOG = logging.getLogger(__name__)
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; "
    "form-action 'self'"
)
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", _POLICY.encode()),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
]
_UNLIMITED = ("/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", "/docs.css", *PAGE_PATHS)
_UNLIMITED_BELOW = ("/assets/", "/p/")
_IMAGE = "/product/image"
_PAGE_FILE = re.compile(r"/[\w.-]+\.(?:css|ico|js|png|svg|txt|webmanifest)")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9-]{1,64}")
_JSON = b"application/json"
MAX_JSON_BYTES = 256 * 1024
"""More than any JSON body that fits has, were each of its 21,000 characters a pair of escapes. What a parser makes of
one takes a hundred times as much."""


class Guard:
    """Bounds what a request may be, names it, and puts the security headers onto its answer."""

    def __init__(self, app: App, settings: SearchSettings, metrics: Metrics) -> None:
        from limits import parse
        from limits.storage import MemoryStorage
        from limits.strategies import MovingWindowRateLimiter

        self._app, self._settings, self._metrics = app, settings, metrics
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._limit = parse(settings.rate_limit) if settings.rate_limit else None
        self._write_limit = parse(settings.write_rate_limit) if settings.write_rate_limit else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        status, bodyless = 0, scope["method"] == "HEAD"
        if bodyless:
            scope = {**scope, "method": "GET"}  # the server's own scope stays: it must know that no body follows

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = {name.lower() for name, _ in message["headers"]}
                added = [(name, value) for name, value in _HEADERS if name not in own]
                message["headers"] = [*message["headers"], *added, (b"x-request-id", request_id.encode())]
            elif bodyless:
                message = {**message, "body": b""}
            await send(message)

        expected = _content_type(scope)
        most = (
            min(MAX_JSON_BYTES, self._settings.max_body_bytes) if expected == _JSON else self._settings.max_body_bytes
        )
        try:
            answer = self._refusal(scope, request_id, expected, most)
            if answer is None:
                await self._app(scope, self._bounded(receive, most), send_with_headers)
            else:
                await answer(scope, receive, send_with_headers)
        except Exception as error:
            if status:  # half an answer is sent: the server breaks it off and logs why
                raise
            _LOG.error("%s %s failed", scope["method"], scope["path"], exc_info=error)
            failed = problems.answer(500, "The service failed; its log says why.", request_id)
            await failed(scope, receive, send_with_headers)
        finally:
            path = getattr(scope.get("route"), "path", "other").replace(":path}", "}")
            self._metrics.requests.labels(path, str(status)).observe(time.perf_counter() - started)

    def _refusal(self, scope: Scope, request_id: str, expected: bytes | None, most: int) -> Any:
        """A problem for what need not be read, else None.

        ``expected``: the content type that the route reads; ``most``: the bytes that its body may have.
        """
        if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEADER_BYTES:
            return problems.answer(431, f"The headers may have {MAX_HEADER_BYTES:,} bytes.", request_id)
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > most:
            return problems.answer(413, f"The body may have {most:,} bytes.", request_id)
        given = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
        if expected and given != expected:
            return problems.answer(415, f"Send this as {expected.decode()}.", request_id)
        path = unversioned(scope["path"])
        limit = self._write_limit if path in ("/feedback", "/events") else self._limit
        if limit is not None and not _is_unlimited(path):
            client = (scope.get("client") or ("unknown",))[0]
            kind = "write" if limit is self._write_limit else "read"
            if not self._limiter.hit(limit, kind, client):
                reset = self._limiter.get_window_stats(limit, kind, client).reset_time
                wait = {"Retry-After": str(max(1, int(reset - time.time()) + 1))}
                return problems.answer(429, f"More than {limit}.", request_id, wait)
        return None

    def _bounded(self, receive: Receive, most: int) -> Receive:
        """``receive`` that counts bytes and seconds of the body; afterwards it waits as long as the answer takes."""
        taken, deadline, whole = 0, time.monotonic() + self._settings.body_timeout_s, False

        async def bounded() -> MutableMapping[str, Any]:
            nonlocal taken, whole
            if whole:
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), max(0.001, deadline - time.monotonic()))
            except TimeoutError as error:
                raise HTTPException(408, f"The body took more than {self._settings.body_timeout_s:g} s.") from error
            taken += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if taken > most:
                raise HTTPException(413, f"The body may have {most:,} bytes.")
            return message

        return bounded


def _request_id(scope: Scope) -> str:
    """The client's X-Request-Id where it is one that can be stored and shown, else a new one."""
    given = dict(scope["headers"]).get(b"x-request-id", b"")
    return given.decode() if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def _is_unlimited(path: str) -> bool:
    """Whether the rate limit leaves a path out: what a page loads by itself, and what watches the service."""
    if path in _UNLIMITED or path == _IMAGE or path.startswith(_UNLIMITED_BELOW):
        return True
    return _PAGE_FILE.fullmatch(path) is not None or (path.startswith("/products/") and path.endswith("/image"))


def _content_type(scope: Scope) -> bytes | None:
    """What a route reads, by its path; None where it reads no body."""
    if scope["method"] != "POST":
        return None
    path = unversioned(scope["path"])
    if path in ("/predict", "/feedback", "/events", "/search/batch"):
        return _JSON
    if path in ("/predict-image", "/search_a_image", "/search_b_image", "/search_best_image"):
        return b"multipart/form-data"
    return None
