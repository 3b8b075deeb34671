"""The page on another host than the service, in a folder of it: docs/deployment.md."""

from __future__ import annotations

import http.server
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.test_server import Server
from tests.browser import find_chromium
from tests.web.node import npm

FOLDER = "/shop/"


class StaticHost(http.server.SimpleHTTPRequestHandler):
    """Serves one folder below ``/shop/``; any other address gets 404.html, as hosts of static pages do."""

    def translate_path(self, path: str) -> str:
        return super().translate_path(path.removeprefix(FOLDER.rstrip("/")) or "/")

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        page = Path(self.directory, "404.html").read_bytes()
        self.send_response(code)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def host(tmp_path: Path) -> Iterator[http.server.ThreadingHTTPServer]:
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), lambda *arguments: StaticHost(*arguments, directory=str(tmp_path / "page"))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


def shown(address: str) -> str:
    """The page's document after its scripts have run."""
    browser = find_chromium()
    if browser is None:
        pytest.skip("no Chromium")
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000", "--dump-dom")
    done = subprocess.run([browser, *options, address], capture_output=True, text=True, timeout=120)
    return done.stdout


def test_a_page_in_a_folder_of_another_host_searches(
    host: http.server.ThreadingHTTPServer, indexed_copy: Path, packages: None, tmp_path: Path
) -> None:
    here = f"http://127.0.0.1:{host.server_port}"
    service = Server(indexed_copy, f"search.cors_origins=['{here}']")
    try:
        there = f"http://127.0.0.1:{service.port}"
        built = npm(
            "exec", "--", "vite", "build", "--outDir", str(tmp_path / "page"), "--emptyOutDir",
            PAGE_BASE=FOLDER, VITE_API_ADDRESS=f"{there}/",
        )  # fmt: skip
        assert built.returncode == 0, built.stderr
        index = (tmp_path / "page" / "index.html").read_bytes()
        (tmp_path / "page" / "404.html").write_bytes(index)
        assert set(re.findall(rb'(?:src|href)="([^"]+)"', index)) and not re.findall(
            rb'(?:src|href)="/(?!shop/)', index
        )

        _, answer = service.search("red kettle", k=3)
        pictured = next(hit for hit in answer["results"] if hit["image"])
        document = shown(f"{here}{FOLDER}?q=red+kettle")
        assert all(hit["title"] in document for hit in answer["results"])
        assert f'src="{there}{pictured["image"].replace("&", "&amp;")}"' in document
        assert f'href="{FOLDER}p/{pictured["product_id"]}' in document
        deep = shown(f"{here}{FOLDER}p/{pictured['product_id']}")
        assert "<h1" in deep and pictured["title"] in deep
    finally:
        service.end()


def test_a_folder_that_is_none_is_refused(packages: None, tmp_path: Path) -> None:
    built = npm("exec", "--", "vite", "build", "--outDir", str(tmp_path / "page"), PAGE_BASE="shop")
    assert built.returncode != 0 and "write it as /folder/" in built.stderr
