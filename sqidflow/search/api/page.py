"""The page's files, where it was built."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse, HTMLResponse, Response
from fastapi.staticfiles import StaticFiles

PAGE_ROUTES = ("/", "/p/{product_id:path}", "/compare", "/models")
_NOT_BUILT = (
    "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>sqidflow</title></head><body>"
    "<h1>sqidflow</h1><p>The search API answers here; its description is <a href='/openapi.json'>openapi.json</a>.</p>"
    "<p>The page is not built yet: <code>make web</code>, then start the service again.</p></body></html>"
)


def install(app: FastAPI, dist: Path) -> None:
    """Serve ``dist`` at / and the page's own routes; without it, a page that says how to build it."""
    index = dist / "index.html"
    built = index.is_file()

    async def page() -> Response:
        if built:
            return FileResponse(index, headers={"Cache-Control": "no-cache"})
        return HTMLResponse(_NOT_BUILT)

    for route in PAGE_ROUTES if built else PAGE_ROUTES[:1]:
        app.add_api_route(route, page, include_in_schema=False, response_class=HTMLResponse)
    if built and (dist / "assets").is_dir():
        app.mount("/assets", StaticFiles(directory=dist / "assets"), name="assets")
    for file in sorted(dist.glob("*")) if built else []:
        if file.is_file() and file != index:
            app.add_api_route(
                f"/{file.name}",
                lambda file=file: FileResponse(file),
                include_in_schema=False,
                response_class=FileResponse,
            )
