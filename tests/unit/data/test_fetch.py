"""Downloads against a local server that cuts connections, sends wrong bytes, ignores ranges and has nothing."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sqidflow.core.errors import DataError, FetchError
from sqidflow.data import fetch, formats, published
from sqidflow.data.importing import import_files
from sqidflow.data.published import PublishedFile
from tests.command_line import sqidflow

QUICK = fetch.Limits(attempts=3, timeout_s=2.0, pause_s=0.01)
CONTENT = bytes(range(256)) * 12_000  # 3 MB: several chunks


@dataclass
class Server:
    """``files``: path -> content. ``cut_after``: bytes after which the next answers break off, one entry an answer;
    ``statuses``: what the next answers are instead. ``asked``: each request's path and Range."""

    url: str
    files: dict[str, bytes]
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    cut_after: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    ranges: bool = True


def _handler(server: Callable[[], Server]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            state = server()
            asked = self.headers.get("Range")
            state.asked.append((self.path, asked))
            content = state.files.get(self.path.lstrip("/"))
            status = state.statuses.pop(0) if state.statuses else (200 if content is not None else 404)
            if status != 200 or content is None:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and state.ranges else 0
            if start >= len(content) > 0:
                self.send_response(416)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            body = content[start:]
            if state.cut_after:
                body = body[: state.cut_after.pop(0)]
                self.close_connection = True
            self.wfile.write(body)

    return Handler


@pytest.fixture
def server() -> Iterator[Server]:
    state: list[Server] = []
    http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(lambda: state[0]))
    state.append(Server(f"http://127.0.0.1:{http.server_port}", {}))
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    yield state[0]
    http.shutdown()
    http.server_close()


def described(path: str, content: bytes, **options: Any) -> PublishedFile:
    return PublishedFile(path, "owner/repo", "c0ffee", len(content), hashlib.sha256(content).hexdigest(), **options)


@pytest.fixture
def wanted(server: Server) -> PublishedFile:
    server.files["sqid/vectors.parquet"] = CONTENT
    return described("sqid/vectors.parquet", CONTENT)


def _get(server: Server, wanted: PublishedFile, folder: Path, **options: Any) -> fetch.FetchReport:
    _, report = fetch.fetch(folder, mirror=server.url, files=[wanted], limits=QUICK, **options)
    return report


def test_a_file_comes_whole_and_is_not_fetched_again(server: Server, wanted: PublishedFile, tmp_path: Path) -> None:
    seen = []
    report = _get(server, wanted, tmp_path, watch=lambda file, there, total: seen.append((there, total)))
    assert (tmp_path / "vectors.parquet").read_bytes() == CONTENT
    assert report.downloaded == ("vectors.parquet",) and not report.there
    assert seen[0] == (0, len(CONTENT)) and seen[-1] == (len(CONTENT), len(CONTENT))
    assert [file.name for file in tmp_path.iterdir()] == ["vectors.parquet"]
    again = _get(server, wanted, tmp_path)
    assert again.there == ("vectors.parquet",) and not again.downloaded
    assert len(server.asked) == 1


def test_a_cut_connection_is_resumed_where_it_broke(server: Server, wanted: PublishedFile, tmp_path: Path) -> None:
    server.cut_after = [1_000_001, 1, 999_999]
    _get(server, wanted, tmp_path)
    assert (tmp_path / "vectors.parquet").read_bytes() == CONTENT
    ranges = [asked for _, asked in server.asked]
    assert ranges == [None, "bytes=1000001-", "bytes=1000002-", "bytes=2000001-"]


def test_dying_at_any_byte_leaves_a_part_and_the_next_fetch_goes_on(
    server: Server, wanted: PublishedFile, tmp_path: Path
) -> None:
    for cut in (0, 1, 777_777, len(CONTENT) - 1):
        folder = tmp_path / str(cut)
        server.cut_after = [cut, *[0] * 10]
        with pytest.raises(FetchError, match=r"sqid/vectors\.parquet: .*; check the network, name a mirror"):
            _get(server, wanted, folder)
        assert [file.name for file in folder.iterdir()] == [".vectors.parquet.part"]
        assert (folder / ".vectors.parquet.part").read_bytes() == CONTENT[:cut]
        server.cut_after, server.asked = [], []
        _get(server, wanted, folder)
        assert (folder / "vectors.parquet").read_bytes() == CONTENT
        assert server.asked == [("/sqid/vectors.parquet", f"bytes={cut}-" if cut else None)]


def test_a_server_that_ignores_ranges_begins_anew(server: Server, wanted: PublishedFile, tmp_path: Path) -> None:
    server.ranges, server.cut_after = False, [1_500_000]
    _get(server, wanted, tmp_path)
    assert (tmp_path / "vectors.parquet").read_bytes() == CONTENT


def test_wrong_bytes_are_named_with_both_sums_and_deleted(
    server: Server, wanted: PublishedFile, tmp_path: Path
) -> None:
    wrong = CONTENT[:-1] + b"?"
    server.files["sqid/vectors.parquet"] = wrong
    with pytest.raises(FetchError) as raised:
        _get(server, wanted, tmp_path)
    assert hashlib.sha256(wrong).hexdigest() in raised.value.message
    assert hashlib.sha256(CONTENT).hexdigest() in raised.value.message
    assert not list(tmp_path.iterdir())


def test_another_length_is_refused_before_a_byte_is_kept(server: Server, wanted: PublishedFile, tmp_path: Path) -> None:
    server.files["sqid/vectors.parquet"] = b"version https://git-lfs.github.com/spec/v1\n"  # a pointer, not the file
    with pytest.raises(FetchError, match="has 43 bytes, 3,072,000 are expected"):
        _get(server, wanted, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_part_of_something_else_does_not_stay(server: Server, wanted: PublishedFile, tmp_path: Path) -> None:
    (tmp_path / ".vectors.parquet.part").write_bytes(b"x" * (len(CONTENT) + 5))
    _get(server, wanted, tmp_path)
    (tmp_path / "vectors.parquet").unlink()
    (tmp_path / ".vectors.parquet.part").write_bytes(b"x" * 1000)
    with pytest.raises(FetchError, match="SHA-256"):
        _get(server, wanted, tmp_path)
    _get(server, wanted, tmp_path)
    assert (tmp_path / "vectors.parquet").read_bytes() == CONTENT


def test_passing_failures_are_tried_again_final_ones_not(server: Server, wanted: PublishedFile, tmp_path: Path) -> None:
    server.statuses = [503, 429]
    _get(server, wanted, tmp_path)
    assert len(server.asked) == 3
    server.asked, server.files = [], {}
    with pytest.raises(FetchError, match="HTTP 404 Not Found"):
        _get(server, wanted, tmp_path / "other")
    assert len(server.asked) == 1
    server.asked, server.statuses = [], [500] * 50
    with pytest.raises(FetchError, match="HTTP 500"):
        _get(server, wanted, tmp_path / "other")
    assert len(server.asked) == QUICK.attempts


def test_an_optional_file_that_is_missing_is_said(server: Server, wanted: PublishedFile, tmp_path: Path) -> None:
    urls = replace(wanted, path="sqid/urls.csv", optional=True)
    found, report = fetch.fetch(tmp_path, mirror=server.url, files=[wanted, urls], limits=QUICK)
    assert set(found) == {"vectors.parquet"} and report.missing == {"urls.csv": "HTTP 404 Not Found"}


def test_what_has_no_checksum_is_not_put_together_from_two_servers(
    server: Server, wanted: PublishedFile, tmp_path: Path
) -> None:
    plain = replace(wanted, size_bytes=None, sha256=None)
    (tmp_path / f".{plain.name}.part").write_bytes(b"of another mirror")
    server.cut_after = [1000]
    _get(server, plain, tmp_path)
    assert (tmp_path / plain.name).read_bytes() == CONTENT
    assert [asked for _, asked in server.asked] == [None, "bytes=1000-"], "one server's own part is continued"


def test_the_second_home_is_asked_where_the_first_fails(
    server: Server, wanted: PublishedFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    homes = [f"{server.url}/gone", f"{server.url}/{wanted.path}"]
    monkeypatch.setattr(PublishedFile, "urls", lambda self, mirror: homes)
    found, _ = fetch.fetch(tmp_path, files=[wanted], limits=QUICK)
    assert found["vectors.parquet"].read_bytes() == CONTENT
    homes[1] = f"{server.url}/gone too"
    with pytest.raises(FetchError, match=r"gone too: HTTP 404 Not Found \(http://\S+/gone: HTTP 404"):
        fetch.fetch(tmp_path / "other", files=[wanted], limits=QUICK)


@pytest.mark.parametrize(
    ("user", "where"),
    [("me:secret@", "http://127"), ("me:secret/more@", "fetch.mirror: not"), ("me:[secret@", "fetch.mirror: ")],
)
def test_a_password_in_the_mirrors_address_is_not_said(
    server: Server, wanted: PublishedFile, tmp_path: Path, user: str, where: str
) -> None:
    server.files.clear()
    mirror = server.url.replace("//", f"//{user}")
    with pytest.raises(FetchError) as caught:
        fetch.fetch(tmp_path, mirror=mirror, files=[wanted], limits=replace(QUICK, attempts=1))
    assert str(caught.value).startswith(where)
    assert "secret" not in str(caught.value) and "more" not in str(caught.value)


def test_public_homes_are_https_and_pinned() -> None:
    for file in published.FILES:
        homes = file.urls()
        assert all(url.startswith("https://") for url in homes)
        assert file.commit in homes[0] and homes[0].endswith(file.path)
        assert file.urls("https://mirror.example/x/") == [f"https://mirror.example/x/{file.path}"]
    lfs = next(file for file in published.FILES if file.name == formats.PRODUCT_FEATURES_FILE)
    assert lfs.urls()[0].startswith("https://media.githubusercontent.com/media/Crossing-Minds/")
    assert lfs.urls()[1] == (
        "https://huggingface.co/datasets/crossingminds/shopping-queries-image-dataset/resolve/main/"
        "data/product_features.parquet"
    )


@pytest.fixture
def real_shaped(tiny_data: Path, tmp_path: Path) -> tuple[Path, list[PublishedFile], int]:
    """A folder with all six files, of ESCI's with other locales and splits too; their table; the test judgements."""
    folder = tmp_path / "published"
    folder.mkdir()
    for name in (formats.QUERY_FEATURES_FILE, formats.PRODUCT_FEATURES_FILE, formats.IMAGE_URLS_FILE):
        (folder / name).write_bytes((tiny_data / name).read_bytes())
    (folder / formats.SUPP_IMAGE_URLS_FILE).write_bytes((tiny_data / formats.IMAGE_URLS_FILE).read_bytes())
    examples = pq.read_table(tiny_data / formats.EXAMPLES_FILE)
    parts = [_with(examples, split="test")]
    parts += [_with(examples, split="train"), _with(examples, split="test", product_locale="es")]
    parts.append(_with(examples, split="test", small_version=0))
    pq.write_table(pa.concat_tables(parts), folder / formats.EXAMPLES_FILE)
    products = pq.read_table(tiny_data / formats.PRODUCTS_FILE)
    extra = products.slice(0, 3).set_column(0, "product_id", pa.array(["Z1", "Z2", "Z3"]))
    pq.write_table(pa.concat_tables([products, extra]), folder / formats.PRODUCTS_FILE)
    table = [
        replace(described(file.path, (folder / file.name).read_bytes()), optional=file.optional)
        for file in published.FILES
    ]
    return folder, table, examples.num_rows


def _with(table: pa.Table, **values: Any) -> pa.Table:
    for name, value in values.items():
        at = table.schema.get_field_index(name)
        table = table.set_column(at, name, pa.array([value] * table.num_rows, table.schema.field(name).type))
    return table


def test_fetched_files_are_cut_to_sqid_and_can_be_imported(
    server: Server, real_shaped: tuple[Path, list[PublishedFile], int], tmp_path: Path
) -> None:
    folder, table, judgements = real_shaped
    server.files = {file.path: (folder / file.name).read_bytes() for file in table}
    server.cut_after = [500] * 3
    found, report = fetch.fetch(tmp_path / "downloads", mirror=server.url, files=table, limits=QUICK)
    files = fetch.cut_to_sqid(found, tmp_path / "between", report)
    assert (report.judgements, report.judgements_published) == (judgements, 4 * judgements)
    judged = set(pq.read_table(files[formats.EXAMPLES_FILE])["product_id"].to_pylist())
    assert set(pq.read_table(files[formats.PRODUCTS_FILE])["product_id"].to_pylist()) == judged
    assert report.products == len(judged) < report.products_published
    imported = import_files(
        tmp_path / "data",
        files[formats.EXAMPLES_FILE],
        products=files[formats.PRODUCTS_FILE],
        query_features=files[formats.QUERY_FEATURES_FILE],
        product_features=files[formats.PRODUCT_FEATURES_FILE],
        image_urls=files[formats.IMAGE_URLS_FILE],
        supp_image_urls=files[formats.SUPP_IMAGE_URLS_FILE],
    )
    assert imported.judgements == judgements
    names = {file.name for file in (tmp_path / "data").iterdir()}
    assert {formats.IMAGE_URLS_FILE, formats.SUPP_IMAGE_URLS_FILE} <= names


def test_a_folder_of_published_files_is_checked_and_taken(real_shaped: tuple[Path, list[PublishedFile], int]) -> None:
    folder, table, _ = real_shaped
    found, report = fetch.from_folder(folder, files=table)
    assert set(found) == {file.name for file in table} == set(report.there)
    sub = folder / "sqid"
    sub.mkdir()
    (folder / formats.QUERY_FEATURES_FILE).rename(sub / formats.QUERY_FEATURES_FILE)
    (folder / formats.SUPP_IMAGE_URLS_FILE).unlink()
    found, report = fetch.from_folder(folder, files=table)
    assert found[formats.QUERY_FEATURES_FILE].parent == sub
    assert list(report.missing) == [formats.SUPP_IMAGE_URLS_FILE]
    file = folder / formats.PRODUCTS_FILE
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(FetchError, match=f"{file}: has SHA-256 .* {hashlib.sha256(whole).hexdigest()} is expected"):
        fetch.from_folder(folder, files=table)
    file.unlink()
    with pytest.raises(FetchError, match=f"{formats.PRODUCTS_FILE} not there .*there: {formats.EXAMPLES_FILE}"):
        fetch.from_folder(folder, files=table)


def test_files_without_the_split_are_refused(tiny_data: Path, tmp_path: Path) -> None:
    examples = tmp_path / "train.parquet"
    pq.write_table(_with(pq.read_table(tiny_data / formats.EXAMPLES_FILE), split="train"), examples)
    found = {formats.EXAMPLES_FILE: examples, formats.PRODUCTS_FILE: tiny_data / formats.PRODUCTS_FILE}
    with pytest.raises(DataError, match="no judgement of locale us, split test"):
        fetch.cut_to_sqid(found, tmp_path / "between", fetch.FetchReport())
    assert not list((tmp_path / "between").iterdir())


def test_the_verb_says_in_one_line_what_is_wrong(server: Server, tmp_path: Path) -> None:
    """Offline, and with a mirror whose file is another one; nothing of either stays."""
    example = published.FILES[0]
    server.files[example.path] = b"not it"
    offline = ("fetch.mirror=http://127.0.0.1:9", "fetch.attempts=1")
    for settings, words in (
        (offline, "name a mirror with --set fetch.mirror=URL"),
        ((f"fetch.mirror={server.url}",), "has 6 bytes, 51,286,808 are expected"),
    ):
        answer = sqidflow("data", "fetch", "--workdir", str(tmp_path), settings=settings)
        assert answer.code == 2 and len(answer.err.strip().splitlines()) == 1
        assert answer.err.startswith("sqidflow: http://127.0.0.1") and words in answer.err
        assert not (tmp_path / "data").exists() and not list((tmp_path / "var" / "downloads").iterdir())


@pytest.mark.parametrize("from_folder", [True, False])
def test_the_verb_brings_the_published_files_into_data(
    server: Server,
    real_shaped: tuple[Path, list[PublishedFile], int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    from_folder: bool,
) -> None:
    import json
    from functools import partial

    from typer.testing import CliRunner

    from sqidflow.cli import app

    folder, table, judgements = real_shaped
    monkeypatch.setattr(fetch, "from_folder", partial(fetch.from_folder, files=table))
    monkeypatch.setattr(fetch, "fetch", partial(fetch.fetch, files=table))
    server.files = {file.path: (folder / file.name).read_bytes() for file in table if "supp" not in file.name}
    source = ["--from", str(folder)] if from_folder else ["--set", f"fetch.mirror={server.url}"]
    workdir = tmp_path / "workdir"
    answer = CliRunner().invoke(app, ["data", "fetch", *source, "--workdir", str(workdir), "--json"])
    assert answer.exit_code == 0, answer.output
    document = json.loads(answer.stdout)
    assert document["judgements"] == document["fetched"]["judgements"] == judgements
    assert document["fetched"]["judgements_published"] == 4 * judgements
    if from_folder:
        assert len(document["fetched"]["there"]) == 6 and not document["fetched"]["missing"]
    else:
        assert document["fetched"]["missing"] == {formats.SUPP_IMAGE_URLS_FILE: "HTTP 404 Not Found"}
        assert len(document["fetched"]["downloaded"]) == 5
    assert (workdir / "data" / formats.PRODUCT_FEATURES_FILE).is_file()
    assert not (workdir / "var" / "fetched").exists()
