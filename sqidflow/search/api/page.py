"""The page's files, where it was built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import FileResponse, HTMLResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

PAGE_PATHS = ("/", "/compare", "/models", "/monitoring")
PAGE_ROUTES = (*PAGE_PATHS, "/p/{product_id:path}")
_IMMUTABLE = "public, max-age=31536000, immutable"
_NOT_BUILT = (
    "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>sqidflow</title></head><body>"
    "<h1>sqidflow</h1><p>The search API answers here; <a href='/docs'>its description</a>.</p>"
    "<p>The page is not built yet: <code>make web</code>, then start the service again.</p></body></html>"
)


class _HashedFiles(StaticFiles):
    """Files whose names change with their content: a browser never needs to ask again."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = _IMMUTABLE
        return response


def install(app: FastAPI, dist: Path) -> None:
    """Serve ``dist`` at / and the page's own routes; without it, a page that says how to build it.

    A browser that requests an unknown address gets the page with status 404; the page shows the error.
    """
    index = dist / "index.html"
    built = index.is_file()

    async def page() -> Response:
        if built:
            return FileResponse(index, headers={"Cache-Control": "no-cache"})
        return HTMLResponse(_NOT_BUILT)

    for route in PAGE_ROUTES if built else PAGE_ROUTES[:1]:
        app.add_api_route(route, page, include_in_schema=False, response_class=HTMLResponse)
    if not built:
        return
    if (dist / "assets").is_dir():
        app.mount("/assets", _HashedFiles(directory=dist / "assets"), name="assets")
    for file in sorted(dist.glob("*")):
        if file.is_file() and file != index:
            app.add_api_route(
                f"/{file.name}",
                lambda file=file: FileResponse(file),
                include_in_schema=False,
                response_class=FileResponse,
            )

    elsewhere = app.router.default

    async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope) if scope["type"] == "http" else {}
        if "text/html" in headers.get("accept", ""):
            await FileResponse(index, 404, headers={"Cache-Control": "no-cache"})(scope, receive, send)
        else:
            await elsewhere(scope, receive, send)

    app.router.default = nothing
