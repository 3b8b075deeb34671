"""What is wrong gets the right 4xx and a message, or a full answer; never a 5xx, never a traceback."""

from __future__ import annotations

import io
import struct
import zlib

import pytest

from tests.api.conftest import image_file, problem


@pytest.mark.parametrize(
    "query",
    [
        "a" * 1000, "\u0000null\u0000", "\u202eshoes", "\u05e0\u05e2\u05dc\u05d9\u05d9\u05dd", "\U0001f45f shoe",
        "a\tb\nc\r\x1b[31m", "'; DROP TABLE products; --", "<script>alert(1)</script>", "../../etc/passwd", "%s%n{}",
        "\ufeff\u200b", "\uff33\uff28\uff2f\uff25", "a" * 999 + "\u0301", "1e999 nan inf",
    ],
)  # fmt: skip
def test_queries_that_are_odd_are_answered(client, query) -> None:
    for answer in (client.post("/predict", json={"query": query}), client.get("/search_b", params={"query": query})):
        assert answer.status_code == 200, answer.text
        assert answer.json()["original_query"] == query
        assert bool(answer.json()["results"]) != bool(answer.json()["no_answer"])


@pytest.mark.parametrize(
    "body",
    [
        {"query": "a" * 10_000}, {"query": None}, {"query": 7}, {}, [], "text", {"query": "x", "k": 0},
        {"query": "x", "k": -1}, {"query": "x", "k": 10**9}, {"query": "x", "k": "x"}, {"query": "x", "k": 1.5},
        {"query": "x", "threshold": 2}, {"query": "x", "threshold": -0.1}, {"query": "x", "threshold": "high"},
        {"query": "x", "filters": {"brand": "x" * 300}}, {"query": "x", "filters": {"brand": ["y"] * 51}},
        {"query": "x", "filters": {"size": ["y"]}}, {"query": "x", "limit": 3}, {"query": "x", "explain": "maybe"},
    ],
)  # fmt: skip
def test_bodies_that_do_not_fit(client, body) -> None:
    problem(client.post("/predict", json=body), 422)


@pytest.mark.parametrize(
    "text",
    [
        '{"query": "x", "threshold": NaN}', '{"query": "x", "threshold": Infinity}', '{"query": "x"', "", "{'a': 1}",
        '{"query": "\\ud800"}', "[" * 100_000, '{"a":' * 50_000, '{"query": "x", "k": 1e400}', "\x00", "\ufeff{}",
    ],
)  # fmt: skip
def test_json_that_is_none_or_a_bomb(client, text) -> None:
    answer = client.post("/predict", content=text.encode(), headers={"content-type": "application/json"})
    problem(answer, 422)


def test_bytes_that_are_no_text(client) -> None:
    answer = client.post("/predict", content=b'{"query": "\xff\xfe"}', headers={"content-type": "application/json"})
    problem(answer, 422)


@pytest.mark.parametrize("params", [{"k": 0}, {"k": "x"}, {"threshold": "nan"}, {"strategy": "guess"}, {"k": 10**30}])
def test_parameters_that_do_not_fit(client, params) -> None:
    problem(client.get("/search_best", params={"query": "shoe", **params}), 422)


def test_a_query_must_be_named(client) -> None:
    assert problem(client.get("/search_a"), 422)["detail"].startswith("query")


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "application/x-www-form-urlencoded", None])
def test_a_wrong_content_type(client, kind) -> None:
    headers = {"content-type": kind} if kind else {}
    problem(client.post("/predict", content=b'{"query": "x"}', headers=headers), 415)
    problem(client.post("/predict-image", content=b"x", headers={"content-type": "image/png"}), 415)


def bomb() -> bytes:
    """A PNG of a few kilobytes that says it has 60,000 x 60,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(100_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def noise(kind: str = "PNG") -> bytes:
    import numpy as np
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 422), (b"no picture at all", 422), (image_file()[:60], 422), (bomb(), 413), (b"GIF89a" + bytes(50), 422),
        (b"%PDF-1.7", 422), (noise()[:6000], 422), (noise("JPEG")[:1000], 422),
    ],
    ids=["empty", "text", "cut short", "bomb", "gif", "pdf", "half a png", "half a jpeg"],
)  # fmt: skip
def test_uploads_that_are_no_picture(client, content, status) -> None:
    detail = problem(client.post("/predict-image", files={"image": ("x.png", content, "image/png")}), status)["detail"]
    assert "image" in detail


def test_a_picture_of_20_mb(client) -> None:
    problem(client.post("/predict-image", files={"image": bytes(20_000_000)}), 413)


def test_the_largest_picture_that_the_page_lets_through_is_taken(client, facets, picture) -> None:
    largest = picture + bytes(facets["max_image_bytes"] - len(picture))  # what follows a PNG's end is not read
    form = {"query": "red " * 200, "k": "3", "brand": ["Acmera", "Quillo"]}
    answer = client.post("/predict-image", files={"image": largest}, data=form)
    assert answer.status_code == 200, answer.text


def test_a_body_that_hides_its_length(client) -> None:
    def chunks():
        for _ in range(400):
            yield bytes(65_536)

    headers = {"content-type": "application/json"}
    problem(client.post("/predict", content=chunks(), headers=headers), 413)


def animated() -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    frames = [Image.new("RGB", (32, 32), color) for color in ("red", "blue")]
    frames[0].save(stream, "PNG", save_all=True, append_images=frames[1:])
    return stream.getvalue()


def rotated() -> bytes:
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    return image_file("RGB", (40, 20), "JPEG", exif=exif)


@pytest.mark.parametrize(
    "content",
    [
        animated(), rotated(), image_file("CMYK", kind="JPEG"), image_file("L"), image_file("1"), image_file("I;16"),
        image_file("RGBA"), image_file("P"), image_file(size=(1, 1)), image_file(size=(3000, 1)),
    ],
    ids=["animated", "rotated", "cmyk", "gray", "bits", "16 bit", "alpha", "palette", "one pixel", "a line"],
)  # fmt: skip
def test_unusual_pictures_are_answered(client, content) -> None:
    answer = client.post("/predict-image", files={"image": content})
    assert answer.status_code == 200, answer.text
    assert bool(answer.json()["results"]) != bool(answer.json()["no_answer"])


def test_an_upload_without_a_picture(client) -> None:
    problem(client.post("/predict-image", data={"query": "x"}, files={"other": b"x"}), 422)
    problem(client.post("/predict-image", files={"image": image_file()}, data={"k": "many"}), 422)


@pytest.mark.parametrize(
    "path",
    [
        "/products/..%2f..%2fetc%2fpasswd", "/products/../../etc/passwd", "/products/%2e%2e/image", "/products/a%00b",
        "/products/" + "x" * 5000, "/features/..%5c..", "/assets/../search/app.py", "/assets/..%2f..%2fparams.yaml",
        "/params.yaml", "/.git/config", "/products/B0%20X",
    ],
)  # fmt: skip
def test_nothing_of_the_file_system_is_reachable(client, path) -> None:
    answer = client.get(path)
    assert answer.status_code in (404, 422), answer.text
    problem(answer, answer.status_code)


@pytest.mark.parametrize(
    "body",
    [
        {"request_id": "x", "kind": "click"}, {"request_id": "x", "kind": "vote"}, {"request_id": "", "kind": "vote"},
        {"request_id": "x", "kind": "judgement", "product_id": "B0"},
        {"request_id": "../x", "kind": "vote", "vote": "a"},
        {"request_id": "x", "kind": "like", "product_id": "B0"}, {"request_id": "x", "kind": "vote", "vote": "c"},
    ],
)  # fmt: skip
def test_feedback_that_does_not_fit(client, body) -> None:
    problem(client.post("/feedback", json=body), 422)


def test_methods_and_paths_that_are_not_there(client) -> None:
    problem(client.get("/predict"), 405)
    problem(client.delete("/products/B0"), 405)
    problem(client.get("/nowhere"), 404)


def test_every_answer_has_the_security_headers(client) -> None:
    for path in ("/healthz", "/nowhere", "/products/NOSUCH", "/"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"
        assert "default-src 'self'" in headers["content-security-policy"] and headers["x-request-id"]
        assert "access-control-allow-origin" not in headers and "server" not in headers


def test_other_sites_are_not_let_in(client) -> None:
    answer = client.options(
        "/predict", headers={"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
    )
    assert "access-control-allow-origin" not in answer.headers
