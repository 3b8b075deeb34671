"""Bad input through the command line: one line that names file, row, column and hint; exit code 2; nothing written."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from tests.pipeline.conftest import TINY_SAMPLE, must, sqidflow

JUDGED = {
    "query_id": [1, 1, 2],
    "query": ["red shoe", "red shoe", "blue mug"],
    "product_id": ["A1", "A2", "A3"],
    "product_title": ["Red shoe", "Brown boot", "Blue mug"],
    "esci_label": ["E", "S", "E"],
}
VECTORS = {"query_id": ["1", "2"], "clip_text_features": [[1.0, 2.0, 3.0], [0.5, 1.0, 2.0]]}


def _csv(file: Path, **changes: list) -> Path:
    columns = {**JUDGED, **changes}
    pacsv.write_csv(pa.table({name: column for name, column in columns.items() if column is not None}), file)
    return file


def _vectors(file: Path, **changes: list) -> Path:
    pq.write_table(pa.table({**VECTORS, **changes}), file)
    return file


def _truncated(folder: Path) -> Path:
    file = _vectors(folder / "cut.parquet")
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    return file


def _latin1(folder: Path) -> Path:
    file = folder / "latin1.csv"
    file.write_bytes("query_id,query,product_id,product_title,esci_label\n1,café,A1,Tasse à café,E\n".encode("latin-1"))
    return file


def _empty(folder: Path) -> Path:
    file = folder / "empty.csv"
    file.touch()
    return file


CASES: dict[str, tuple[Callable[[Path], tuple[str, Path]], tuple[str, ...]]] = {
    "missing column": (
        lambda folder: ("--examples", _csv(folder / "j.csv", esci_label=None)),
        ("j.csv", "esci_label"),
    ),
    "unknown label": (
        lambda folder: ("--examples", _csv(folder / "j.csv", esci_label=["E", "X", "E"])),
        ("j.csv", "row 2", "esci_label", "X"),
    ),
    "two labels for a pair": (
        lambda folder: ("--examples", _csv(folder / "j.csv", product_id=["A1", "A1", "A3"])),
        ("j.csv", "row 2", "A1"),
    ),
    "vectors of two lengths": (
        lambda folder: (
            "--query-features",
            _vectors(folder / "q.parquet", clip_text_features=[[1.0, 2.0, 3.0], [1.0, 2.0]]),
        ),
        ("q.parquet", "row 2", "clip_text_features"),
    ),
    "not a number": (
        lambda folder: (
            "--query-features",
            _vectors(folder / "q.parquet", clip_text_features=[[1.0, 2.0, 3.0], [1.0, float("nan"), 2.0]]),
        ),
        ("q.parquet", "row 2", "clip_text_features"),
    ),
    "infinite": (
        lambda folder: (
            "--query-features",
            _vectors(folder / "q.parquet", clip_text_features=[[float("inf"), 2.0, 3.0], [1.0, 1.0, 2.0]]),
        ),
        ("q.parquet", "row 1", "clip_text_features"),
    ),
    "all zero": (
        lambda folder: (
            "--query-features",
            _vectors(folder / "q.parquet", clip_text_features=[[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]),
        ),
        ("q.parquet", "row 2", "clip_text_features"),
    ),
    "empty file": (lambda folder: ("--examples", _empty(folder)), ("empty.csv", "empty")),
    "truncated parquet": (lambda folder: ("--query-features", _truncated(folder)), ("cut.parquet",)),
    "wrong encoding": (lambda folder: ("--examples", _latin1(folder)), ("latin1.csv", "UTF-8")),
    "not there": (lambda folder: ("--examples", folder / "nowhere.csv"), ("nowhere.csv",)),
}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workdir with three imported judgements and their vectors."""
    workdir = tmp_path_factory.mktemp("good")
    must(sqidflow("data", "import", "--examples", str(_csv(workdir / "j.csv")), "--workdir", str(workdir)))
    must(sqidflow("data", "encode", "--dim", "32", "--workdir", str(workdir)))
    return workdir


def _snapshot(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("case", CASES)
def test_import_refuses(case: str, good: Path, tmp_path: Path) -> None:
    make, wanted = CASES[case]
    option, file = make(tmp_path)
    before = _snapshot(good / "data")
    answer = sqidflow("data", "import", option, str(file), "--workdir", str(good))
    assert answer.code == 2, answer.err
    [line] = answer.err.strip().splitlines()
    assert line.startswith("sqidflow: ") and ";" in line, "what and where; and how to fix it"
    for part in wanted:
        assert part in line
    assert _snapshot(good / "data") == before
    assert {entry.name for entry in good.iterdir()} <= {"data", "var", "j.csv"}, "nothing half-written is left beside"


@pytest.mark.parametrize("option", ["--images", "--image-urls", "--supp-image-urls"])
def test_pictures_and_their_addresses_are_imported_alone(option: str, good: Path, tmp_path: Path) -> None:
    from PIL import Image

    file = tmp_path
    if option == "--images":
        Image.new("RGB", (20, 20), (200, 10, 10)).save(tmp_path / "A1.png")
    else:
        file = tmp_path / "urls.csv"
        file.write_text("product_id,image_url\nA1,https://x.invalid/a.png\n")
    workdir = tmp_path / "work"
    shutil.copytree(good / "data", workdir / "data")
    counts = must(sqidflow("data", "import", option, str(file), "--json", "--workdir", str(workdir))).json
    assert counts["pictures"] + counts["image_urls"] == 1


@pytest.mark.parametrize(("name", "column"), [("query_features", "query_id"), ("product_features", "product_id")])
def test_features_name_what_has_no_vector(name: str, column: str, good: Path, tmp_path: Path) -> None:
    import shutil

    workdir = tmp_path / "w"
    shutil.copytree(good / "data", workdir / "data")
    file = workdir / "data" / f"{name}.parquet"
    table = pq.read_table(file)
    pq.write_table(table.slice(1), file)
    missing = str(table[column][0].as_py())
    for verb in (("data", "check"), ("features",)):
        answer = sqidflow(*verb, "--workdir", str(workdir))
        assert answer.code == 2 and missing in answer.err and "Traceback" not in answer.err
    assert not (workdir / "artifacts" / "prepared" / "pairs.csv").exists()


def test_features_without_data(tmp_path: Path) -> None:
    answer = sqidflow("features", "--workdir", str(tmp_path))
    assert answer.code == 2 and "Traceback" not in answer.err and "sqidflow data" in answer.err


def _limited(bytes_per_file: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_per_file, bytes_per_file))


def test_file_that_cannot_grow_leaves_nothing(tmp_path: Path) -> None:
    """A write that the system cuts off ends like a full disk: one line, and no half-written folder."""
    answer = sqidflow("data", "sample", "--workdir", str(tmp_path), settings=TINY_SAMPLE, preexec_fn=_limited(50_000))
    assert answer.code == 2 and "Traceback" not in answer.err, answer.err
    assert not (tmp_path / "data").exists()
    assert {entry.name for entry in tmp_path.iterdir()} <= {"var"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB, where this user may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a small file system here: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)


def test_full_disk_names_the_room_needed(small_disk: Path) -> None:
    answer = sqidflow("data", "sample", "--workdir", str(small_disk), settings=TINY_SAMPLE)
    assert answer.code == 2 and "MB" in answer.err and "Traceback" not in answer.err
    assert not (small_disk / "data").exists()


def test_random_bytes_are_no_parquet(tmp_path: Path) -> None:
    file = tmp_path / "noise.parquet"
    file.write_bytes(np.random.default_rng(0).bytes(4096))
    answer = sqidflow("data", "import", "--query-features", str(file), "--workdir", str(tmp_path))
    assert answer.code == 2 and str(file) in answer.err and "Traceback" not in answer.err
    assert os.listdir(tmp_path / "data") == [] if (tmp_path / "data").exists() else True
