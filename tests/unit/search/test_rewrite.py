"""Spelling by the catalogue, units, what must stay, and the model that may fail."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sqidflow.core.errors import SettingsError
from sqidflow.search.rewrite import Change, GeminiRewriter, LocalRewriter, NoRewriter, read_synonyms, units

KNOWN = {"running": 90, "shoe": 80, "charger": 40, "wireless": 30, "nordvik": 9, "leather": 9, "cable": 5, "inch": 4}


@pytest.fixture(scope="module")
def local() -> LocalRewriter:
    return LocalRewriter(KNOWN)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("runing shoe", "running shoe"),
        ("wirless chargr", "wireless charger"),
        ("Runing shoe", "running shoe"),
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


# What the catalogue has: words that are one letter, or one syllable, away from others.
CATALOGUE = [
    "bike", "leather", "boot", "beer", "bolt", "scented", "padded", "washable", "lined", "insulated", "toxic",
    "stick", "slip", "goat", "kettle", "kettles", "headphones", "candle", "costume", "curtains", "socks", "hat",
    "seat", "revolver", "book", "shelf", "phone", "case", "water", "bottle", "tablecloth", "sofa", "strap",
    "防水ワイヤレスイヤホン", "男性用腕時計", "左利き用ハサミ", "nordvik", "bosch", "umbrella", "stainless",
    "wire", "jacket", "zapato",
]  # fmt: skip


@pytest.fixture(scope="module")
def shop() -> LocalRewriter:
    return LocalRewriter({word: 9 for word in CATALOGUE})


@pytest.mark.parametrize(
    "query",
    [
        "nike", "weather", "boat", "bear costume", "seat belt", "colt revolver", "unscented candle", "unpadded hat",
        "unwashable socks", "unlined curtains", "uninsulated jacket", "nontoxic candle",
        "unscentd candle", "unpaded hat", "女性用腕時計", "右利き用ハサミ", "ワイヤレスイヤホン", "防水",
        "nordvik kettle", "bosch",
        "Damenschuhe", "boots", "bears", "wireless", "strapless", "kettles", "sofas", "bikes", "starz",
        "bolts not leather", "قطة", "कुर्सी", "boek",
    ],
)  # fmt: skip
def test_no_word_of_the_language_and_no_opposite_is_changed(shop: LocalRewriter, query: str) -> None:
    rewriting = shop.rewriting(query)
    assert rewriting.text == query
    assert rewriting.changes == () and not rewriting.offers_original


@pytest.mark.parametrize(
    ("query", "expected", "change"),
    [
        ("kettel", "kettle", Change("kettel", "kettle", "spelling")),
        ("red Headphnes", "red headphones", Change("Headphnes", "headphones", "spelling")),
        ("umbrela", "umbrella", Change("umbrela", "umbrella", "spelling")),
        ("stainles steel", "stainless steel", Change("stainles", "stainless", "spelling")),
        ("candel not scented", "candle not scented", Change("candel", "candle", "spelling")),
        ("nordvick kettle", "nordvik kettle", Change("nordvick", "nordvik", "spelling")),
        ("norrdvyck kettle", "nordvik kettle", Change("norrdvyck", "nordvik", "spelling")),  # it sounds alike
        ("phonestrap", "phone strap", Change("phonestrap", "phone strap", "split")),
        ("waterbottle red", "water bottle red", Change("waterbottle", "water bottle", "split")),
        ("nord vik kettle", "nordvik kettle", Change("nord vik", "nordvik", "joined")),
    ],
)
def test_what_is_no_word_becomes_the_catalogues(shop: LocalRewriter, query: str, expected: str, change: Change) -> None:
    rewriting = shop.rewriting(query)
    assert (rewriting.text, rewriting.original, rewriting.changes) == (expected, query, (change,))
    assert rewriting.offers_original


def test_a_unit_is_no_change_that_offers_the_original(shop: LocalRewriter) -> None:
    rewriting = shop.rewriting("kettle 5inches")
    assert rewriting.text == "kettle 5 inch"
    assert [change.kind for change in rewriting.changes] == ["unit"] and not rewriting.offers_original


def test_a_compound_of_two_known_words_is_looked_for_too() -> None:
    shop = LocalRewriter({"tool": 5, "kit": 5, "toolkit": 2})
    rewriting = shop.rewriting("tool kit")
    assert (rewriting.text, rewriting.also) == ("tool kit", ("toolkit",))


def test_without_a_list_of_the_languages_words_nothing_is_corrected() -> None:
    assert LocalRewriter({"zapatos": 5}, "spanish").rewrite("zapatoss") == "zapatoss"
    assert LocalRewriter({"kettle": 5}, "none").rewrite("kettel") == "kettel"


def test_synonyms_of_the_users(tmp_path: Path) -> None:
    file = tmp_path / "synonyms.txt"
    file.write_text("# ours\njumper, sweater, pull over  # knitted\n\nanorak, windcheater\n", encoding="utf-8-sig")
    groups = read_synonyms(file)
    assert groups == (("jumper", "sweater", "pull over"), ("anorak", "windcheater"))
    shop = LocalRewriter({"sweater": 4, "anorak": 3, "windcheater": 1, "red": 9}, synonyms=groups)
    replaced = shop.rewriting("red Jumpers")
    assert replaced.text == "red sweater"
    assert replaced.changes == (Change("Jumpers", "sweater", "synonym"),)
    assert shop.rewriting("red pull over").text == "red sweater"
    kept = shop.rewriting("red anorak")
    assert (kept.text, kept.changes, kept.also) == ("red anorak", (), ("windcheat",))
    assert shop.rewriting("sweater not anorak").also == ()  # what is excluded is not looked for
    assert shop.rewriting("kilt").changes == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a, b\nalone\n", "line 2: no group of synonyms: 'alone'; write two or more"),
        (b"a, b\n\nc, , d\n", "line 3: no group of synonyms"),
        (", ".join(f"w{number}" for number in range(21)).encode(), "line 1: 21 synonyms in one group; at most 20"),
        (b"a, b\n" * 10_001, "line 10001: too many groups"),
        (b"\xff\xfe a, b", "is not UTF-8; save it as UTF-8"),
        (b"x" * 2_000_001, "larger than 2 MB"),
    ],
    ids=["one word", "empty member", "21 words", "10,001 groups", "not UTF-8", "too large"],
)
def test_a_bad_file_of_synonyms_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "synonyms.txt"
    file.write_bytes(content)
    with pytest.raises(SettingsError) as raised:
        read_synonyms(file)
    assert str(file) in str(raised.value) and message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_file_of_synonyms_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="synonyms.txt.*set search.synonyms"):
        read_synonyms(tmp_path / "synonyms.txt")


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
    rewriting = gemini.rewriting("wirless thingy for my fone")
    assert rewriting.text == "wireless charger" and rewriting.offers_original
    (asked,) = _Gemini.asked
    assert "gemini-test" in asked["path"] and asked["key"] == "secret"
    assert "wirless thingy for my fone" in json.dumps(asked["body"])


@pytest.mark.parametrize("answer", [500, 429, None, "", "word " * 200], ids=["500", "429", "silence", "empty", "essay"])
def test_spelling_is_corrected_locally_when_the_model_fails(gemini: GeminiRewriter, answer: str | int | None) -> None:
    _Gemini.answer = answer
    assert gemini.rewrite("runing shoe") == "running shoe"


def test_a_model_that_failed_is_left_alone_for_a_while(gemini: GeminiRewriter) -> None:
    _Gemini.answer = 500
    for _ in range(5):
        assert gemini.rewrite("runing shoe") == "running shoe"
    assert len(_Gemini.asked) == 1
