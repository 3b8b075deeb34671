"""Pictures by their addresses, from a local server that is slow, endless, redirects inwards or sends something else."""

from __future__ import annotations

import csv
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from sqidflow.core.errors import DataError, FetchError
from sqidflow.data import formats, readers
from sqidflow.data.fetch_pictures import (
    FAILED_FILE,
    FILES_FOLDER,
    Limits,
    NoPicture,
    checked_address,
    fetch_pictures,
    is_public,
)
from sqidflow.data.importing import import_files
from tests.command_line import sqidflow
from tests.fixtures.small_index import drawn

HERE = Limits(timeout_s=3.0, workers=2, allowed_networks=("127.0.0.1",))
MEGABYTE = b"\xff\xd8\xff" + bytes(1_000_000)


@dataclass
class Server:
    url: str
    asked: Counter[str] = field(default_factory=Counter)
    sent_bytes: int = 0
    down: bool = False


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            state.asked[self.path] += 1
            name = self.path.strip("/")
            if state.down:
                self.send_error(503)
            elif name.startswith("to/"):
                self.send_response(302)
                self.send_header("Location", name.removeprefix("to/"))
                self.end_headers()
            elif name == "page":
                self._send("text/html; charset=utf-8", b"<html>not found</html>")
            elif name == "page-as-picture":
                self._send("image/png", b"<html>not found</html>")
            elif name == "endless":  # 200 MB without a length
                self.send_response(200)
                self.send_header("Content-Type", "image/jpeg")
                self.end_headers()
                for _ in range(200):
                    self.wfile.write(MEGABYTE)
                    state.sent_bytes += len(MEGABYTE)
            elif name == "large":
                self.send_response(200)
                self.send_header("Content-Type", "image/jpeg")
                self.send_header("Content-Length", "200000000")
                self.end_headers()
            elif name == "slow":
                self._send("image/png", drawn(1), pause_s=0.2)
            elif name == "slow-head":
                for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 1000:
                    self.wfile.write(bytes([byte]))
                    time.sleep(0.2)
            elif name.isdigit():
                self._send("image/png", drawn(int(name)))
            else:
                self.send_error(404)

        def _send(self, kind: str, content: bytes, pause_s: float = 0.0) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            for start in range(0, len(content), 10 if pause_s else len(content)):
                self.wfile.write(content[start : start + (10 if pause_s else len(content))])
                time.sleep(pause_s)

        def handle(self) -> None:
            with suppress(OSError):  # the client goes away, as it should
                super().handle()

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = True
    listening.handle_error = lambda *_: None
    state = Server(f"http://127.0.0.1:{listening.server_port}")
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    yield state
    listening.shutdown()
    listening.server_close()


def shop(root: Path, addresses: dict[str, str]) -> Path:
    """A data folder of products with addresses."""
    products, urls = root / "products.csv", root / "urls.csv"
    for file, column, rows in (
        (products, "product_title", {product: f"Thing {product}" for product in addresses}),
        (urls, "image_url", addresses),
    ):
        with file.open("w", newline="") as stream:
            csv.writer(stream).writerows([("product_id", column), *rows.items()])
    import_files(root / "data", products=products, image_urls=urls)
    return root / "data"


def failures(place: Path) -> dict[str, str]:
    with (place / FAILED_FILE).open(newline="") as stream:
        return {row["product_id"]: row["reason"] for row in csv.DictReader(stream)}


def fetched(data: Path, place: Path, limits: Limits = HERE, **options: Any) -> Any:
    return fetch_pictures(data, place, limits, watch=lambda done, of: None, **options)


def test_each_failure_has_its_reason(server: Server, tmp_path: Path) -> None:
    away = {
        "fine": f"{server.url}/1", "redirected": f"{server.url}/to//2", "page": f"{server.url}/page",
        "disguised": f"{server.url}/page-as-picture", "gone": f"{server.url}/nowhere",
        "endless": f"{server.url}/endless", "large": f"{server.url}/large",
        "loop": f"{server.url}/to/{server.url}/to//to//to//to//to//to//to//1",
        "inwards": f"{server.url}/to/http://169.254.169.254/latest/meta-data", "next": f"{server.url}/to/http://127.0.0.2/1",
        "file": f"{server.url}/to/file:///etc/passwd", "private": "http://10.1.2.3/1.png", "ftp": "ftp://example.com/1.png",
        "secret": "http://user:password@127.0.0.1/1.png", "nonsense": "no address",
    }  # fmt: skip
    data = shop(tmp_path, away)
    report = fetched(data, tmp_path / "place")
    assert (report.addresses, report.fetched, report.failed) == (15, 2, 13)
    reasons = failures(tmp_path / "place")
    assert reasons.keys() == away.keys() - {"fine", "redirected"}
    assert reasons["page"] == "is text/html, no picture" and reasons["gone"] == "HTTP 404"
    assert reasons["disguised"].startswith("the picture cannot be used: ")
    assert reasons["endless"] == reasons["large"] == "has more than 10,000,000 bytes"
    assert reasons["inwards"] == "169.254.169.254 is 169.254.169.254, no public address"
    assert reasons["next"] == "127.0.0.2 is 127.0.0.2, no public address"
    assert reasons["private"] == "10.1.2.3 is 10.1.2.3, no public address"
    assert reasons["file"] == reasons["ftp"] == reasons["nonsense"] == "is no address of http or https"
    assert reasons["secret"] == "the address has a user or password in it"
    assert server.sent_bytes < 60_000_000, "the rest of 200 MB is not waited for"
    assert report.reasons["no public address"] == 3 and sum(report.reasons.values()) == 13
    files = sorted(file.name for file in (tmp_path / "place" / FILES_FOLDER).iterdir())
    assert files == ["fine.png", "redirected.png"]


@pytest.mark.parametrize("way", ["slow", "slow-head"])
def test_a_slow_server_is_given_up(server: Server, tmp_path: Path, way: str) -> None:
    data = shop(tmp_path, {"fine": f"{server.url}/1", "slow": f"{server.url}/{way}"})
    report = fetched(data, tmp_path / "place", replace(HERE, timeout_s=0.7))
    assert report.fetched == 1 and failures(tmp_path / "place") == {"slow": "took more than 0.7 s"}


def test_what_failed_is_tried_again_and_the_rest_is_not(server: Server, tmp_path: Path) -> None:
    data, place = (
        shop(tmp_path, {"a": f"{server.url}/1", "b": f"{server.url}/2", "a/b": f"{server.url}/3"}),
        tmp_path / "p",
    )
    server.down = True
    with pytest.raises(FetchError, match=r"none of 3 pictures could be fetched, the first: HTTP 503.*failed\.csv"):
        fetched(data, place)
    server.down = False
    assert fetched(data, place).fetched == 3 and failures(place) == {}
    import_files(data, images_dir=place / FILES_FOLDER)
    images = {
        row["product_id"]: row["image"]
        for batch in readers.read_images(data / formats.IMAGES_FILE) for row in batch.to_pylist()
    }  # fmt: skip
    assert images == {"a": drawn(1), "b": drawn(2), "a/b": drawn(3)}
    server.asked.clear()
    report = fetched(data, place)
    assert report.there == 0 and report.fetched == 3 and not server.asked, "killed before it could forget them"


def test_a_new_address_is_a_new_picture(server: Server, tmp_path: Path) -> None:
    data = shop(tmp_path, {"a": f"{server.url}/1", "b": f"{server.url}/2"})
    work = ("--workdir", str(tmp_path), "--json", "--set", 'fetch.allowed_networks=["127.0.0.1"]')
    first = sqidflow("data", "pictures", *work)
    assert first.code == 0 and first.json["fetched"] == 2, first.err
    urls = tmp_path / "urls.csv"
    urls.write_text(urls.read_text().replace("/2", "/7"))
    import_files(data, image_urls=urls)
    server.asked.clear()
    again = sqidflow("data", "pictures", *work)
    assert (again.json["fetched"], again.json["there"]) == (1, 1) and server.asked == {"/7": 1}
    images = [row for batch in readers.read_images(data / formats.IMAGES_FILE) for row in batch.to_pylist()]
    assert {row["product_id"]: row["image"] for row in images} == {"a": drawn(1), "b": drawn(7)}
    assert json.loads((tmp_path / "var" / "pictures" / "fetched.json").read_text())["b"].endswith("/7")


def test_an_import_fetches_nothing(server: Server, tmp_path: Path) -> None:
    shop(tmp_path, {"a": f"{server.url}/1"})
    assert not server.asked


def test_without_addresses_it_says_what_to_do(tmp_path: Path) -> None:
    products = tmp_path / "products.csv"
    products.write_text("product_id,product_title\na,A thing\n")
    import_files(tmp_path / "data", products=products)
    with pytest.raises(DataError, match="there are no addresses of pictures; import a feed that has them"):
        fetched(tmp_path / "data", tmp_path / "place")


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True), ("2606:4700::1111", True), ("127.0.0.1", False), ("10.0.0.1", False), ("172.16.9.9", False),
        ("192.168.1.1", False), ("169.254.169.254", False), ("100.64.0.1", False), ("0.0.0.0", False),
        ("224.0.0.1", False), ("255.255.255.255", False), ("::1", False), ("::", False), ("fe80::1%eth0", False),
        ("fc00::1", False), ("::ffff:127.0.0.1", False), ("::ffff:8.8.8.8", True), ("2002:7f00:1::", False),
        ("64:ff9b::7f00:1", False), ("64:ff9b::808:808", True),
    ],
)  # fmt: skip
def test_public_addresses(address: str, public: bool) -> None:
    assert is_public(address) is public


def test_a_name_that_means_another_address_a_moment_later(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: the first look-up says a harmless address, the second one that is not to be asked."""
    answers = iter(["127.0.0.1", "169.254.169.254"])
    real, names = socket.getaddrinfo, []

    def rebinding(host: Any, *arguments: Any, **options: Any) -> Any:
        names.append(host)
        return real(next(answers) if host == "rebinding.example" else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    port = server.url.rpartition(":")[2]
    data = shop(tmp_path, {"a": f"http://rebinding.example:{port}/1"})
    assert fetched(data, tmp_path / "place").fetched == 1
    assert names.count("rebinding.example") == 1, "what was checked is what is asked"


def test_one_private_address_among_several_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [(2, 1, 6, "", (address, 80)) for address in ("93.184.216.34", "10.0.0.5")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
    with pytest.raises(NoPicture, match=r"shop\.example is 10\.0\.0\.5, no public address"):
        checked_address(httpx.URL("https://shop.example/1.png"), Limits())
