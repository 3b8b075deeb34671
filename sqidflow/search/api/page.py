"""The page's files, where it was built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import StarletteHTTPException as HTTPException
from fastapi.responses import FileResponse, HTMLResponse, Response
from fastapi.staticfiles import StaticFiles

PAGE_PATHS = ("/", "/compare", "/models")
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

    To be called last: a browser that asks for an address that nothing has gets the page, which says so, with 404.
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

    async def nothing(request: Request, address: str) -> Response:
        if "text/html" not in request.headers.get("accept", ""):
            raise HTTPException(404, "There is nothing at this address.")
        return FileResponse(index, 404, headers={"Cache-Control": "no-cache"})

    app.add_api_route("/{address:path}", nothing, include_in_schema=False, response_class=HTMLResponse)
