"""Spelling by the catalogue, units, what must stay, and the model that may fail."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sqidflow.search.rewrite import GeminiRewriter, LocalRewriter, NoRewriter, units

KNOWN = {"running": 90, "shoe": 80, "charger": 40, "wireless": 30, "nordvik": 9, "leather": 9, "cable": 5, "inch": 4}


@pytest.fixture(scope="module")
def local() -> LocalRewriter:
    return LocalRewriter(KNOWN)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("runing shoe", "running shoe"),
        ("wirless chargr", "wireless charger"),
        ("nordvick charger", "nordvik charger"),
        ("running shoes", "running shoes"),  # a plural of the catalogue's word
        ("shoe without laces", "shoe without laces"),  # a negation and a word that is far from all
        ("not leather", "not leather"),
        ("asdfghjkl", "asdfghjkl"),
        ("cab 5", "cab 5"),  # short words and numbers
        ("charger please", "charger please"),
        ("iphone12 charger", "iphone12 charger"),
    ],
)
def test_spelling(local: LocalRewriter, query: str, expected: str) -> None:
    assert local.rewrite(query) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("case 6 inches", "case 6 inch"), ('tv 55"', "tv 55 inch"), ("bottle 32oz", "bottle 32 oz"),
        ('"iphone 13" case', '"iphone 13" case'), ('frame 5" x 7"', "frame 5 inch x 7 inch"),
        ('"macbook 13" sleeve 13"', '"macbook 13" sleeve 13 inch'),
        ("5 pounds weight", "5 lb weight"), ("64GB phone", "64 gb phone"), ("10ft cable", "10 ft cable"),
        ("size 9", "size 9"), ("model x500", "model x500"), ("2.5 litres kettle", "2.5 liter kettle"),
    ],
)  # fmt: skip
def test_units(query: str, expected: str) -> None:
    assert units(query) == expected


def test_nothing_is_rewritten_where_none_is_wanted() -> None:
    assert NoRewriter().rewrite("runing  5inches") == "runing  5inches"


class _Gemini(BaseHTTPRequestHandler):
    """A stand-in for Google's API: ``answer`` is what the model says, an int a status, None silence."""

    answer: str | int | None = ""
    asked: list[dict] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        type(self).asked.append({"path": self.path, "key": self.headers.get("x-goog-api-key"), "body": body})
        if self.answer is None:
            time.sleep(3)
            return
        if isinstance(self.answer, int):
            self.send_response(self.answer)
            self.end_headers()
            return
        document = {"candidates": [{"content": {"role": "model", "parts": [{"text": self.answer}]}}]}
        content = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def gemini(local: LocalRewriter) -> Iterator[GeminiRewriter]:
    pytest.importorskip("google.genai")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Gemini)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    _Gemini.asked.clear()
    address = f"http://127.0.0.1:{server.server_port}"
    yield GeminiRewriter("secret", "gemini-test", local, timeout_s=0.5, base_url=address, pause_s=60)
    server.shutdown()
    server.server_close()


def test_the_model_rewrites(gemini: GeminiRewriter) -> None:
    _Gemini.answer = ' "wireless charger"\n'
    assert gemini.rewrite("wirless thingy for my fone") == "wireless charger"
    (asked,) = _Gemini.asked
    assert "gemini-test" in asked["path"] and asked["key"] == "secret"
    assert "wirless thingy for my fone" in json.dumps(asked["body"])


@pytest.mark.parametrize("answer", [500, 429, None, "", "word " * 200], ids=["500", "429", "silence", "empty", "essay"])
def test_spelling_is_mended_locally_when_the_model_fails(gemini: GeminiRewriter, answer: str | int | None) -> None:
    _Gemini.answer = answer
    assert gemini.rewrite("runing shoe") == "running shoe"


def test_a_model_that_failed_is_left_alone_for_a_while(gemini: GeminiRewriter) -> None:
    _Gemini.answer = 500
    for _ in range(5):
        assert gemini.rewrite("runing shoe") == "running shoe"
    assert len(_Gemini.asked) == 1
