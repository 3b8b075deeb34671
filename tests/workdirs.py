"""Workdirs for tests: one finished run and one index a session, which tests only read, and copies to write to.

TFX's metadata, MLflow's store and Feast's registry keep absolute paths. All workdirs made here have paths of one
length, so a copy is relocated by replacing bytes, whatever a file's format. TFX's cache does not move, because its keys
are made from paths too: tests of the cache use the workdir in which the run was made (pipeline/test_run_again.py).
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from tests.command_line import TINY_SAMPLE, TINY_TRAINING, must, sqidflow

NAME_LENGTH = 12
ORIGINAL, FINISHED, INDEXED = "original-run", "finished-run", "indexed-run-"
WITHOUT_RUN = ("tfx", "serving", "evaluations", "index", "metrics", "var")
"""What a copy leaves out that has features and no run."""
WITHOUT_TFX = ("tfx",)
"""What a copy leaves out that is only served: half of a run's bytes."""
NOT_DIGESTED = ("-wal", "-shm")
"""SQLite makes and deletes these while it reads."""


@dataclass(frozen=True)
class Shared:
    """A workdir that many tests read, what the verbs that made it printed as JSON, and the digest of its files."""

    workdir: Path
    documents: dict[str, Any]
    digest: dict[str, str]

    def assert_unchanged(self) -> None:
        now = digest_of(self.workdir)
        changed = sorted(name for name in now.keys() | self.digest.keys() if now.get(name) != self.digest.get(name))
        assert not changed, (
            f"a test wrote into {self.workdir}, which all tests share: {changed[:10]}; "
            "take a copy for what is written to: `prepared_copy`, `indexed_copy`, `workdirs.copied`"
        )


def session_root(factory: pytest.TempPathFactory) -> Path:
    """The folder that all processes of one test session share; pytest-xdist gives each worker a folder in it."""
    base = factory.getbasetemp()
    return base.parent if base.name.startswith("popen-") else base


def workdir_place(root: Path, name: str = "") -> Path:
    """Where a workdir goes: a path of one length, so that copies can be relocated."""
    name = name or uuid.uuid4().hex[:NAME_LENGTH]
    assert len(name) == NAME_LENGTH
    return root / "runs" / name


def relocated_copy(source: Path, target: Path, leave_out: tuple[str, ...] = ()) -> Path:
    """Copy a workdir without the folders named, and make the absolute paths in its files those of the copy."""
    old, new = str(source).encode(), str(target).encode()
    assert len(old) == len(new), f"{source} and {target} have paths of two lengths; take both from workdir_place"
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(*leave_out))
    for file in target.rglob("*"):
        if file.is_file() and old in (content := file.read_bytes()):
            file.write_bytes(content.replace(old, new))
            if content.startswith(b"SQLite format 3\0"):
                with sqlite3.connect(file) as connection:
                    connection.execute("REINDEX")  # paths may sort otherwise now
                connection.close()
    return target


@contextmanager
def copied(root: Path, source: Path, leave_out: tuple[str, ...] = ()) -> Iterator[Path]:
    """A copy of a workdir to write to, deleted at the end."""
    place = workdir_place(root)
    try:
        yield relocated_copy(source, place, leave_out)
    finally:
        shutil.rmtree(place)


def digest_of(folder: Path) -> dict[str, str]:
    """File -> SHA-256 of its content."""
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not file.name.endswith(NOT_DIGESTED)
    }


def build_once(root: Path, name: str, build: Callable[[Path], dict[str, Any]]) -> Shared:
    """Build a workdir in the first process of the session that asks; the others wait for it and read what it left.

    A build that failed is not tried again: every test that needs it fails with the first one's words.
    """
    place, record = workdir_place(root, name), root / f"{name}.json"
    with FileLock(root / f"{name}.lock"):
        if not record.is_file():
            try:
                outcome = {"documents": build(place), "digest": digest_of(place)}
            except (AssertionError, OSError) as error:
                outcome = {"failed": str(error)}
            record.write_text(json.dumps(outcome))
    outcome = json.loads(record.read_text())
    if "failed" in outcome:
        pytest.fail(f"{name} could not be built: {outcome['failed']}", pytrace=False)
    return Shared(place, outcome["documents"], outcome["digest"])


def finished_run(root: Path) -> Shared:
    """Features and the first whole run of the tiny sample, made by the real command line, then copied for its readers.

    ``documents["run"]`` is what `run --json` printed.
    """

    def build(place: Path) -> dict[str, Any]:
        original = workdir_place(root, ORIGINAL)
        must(sqidflow("data", "sample", "--workdir", str(original), settings=TINY_SAMPLE))
        must(sqidflow("features", "--workdir", str(original)))
        run = must(sqidflow("run", "--json", "--workdir", str(original), settings=TINY_TRAINING)).out
        relocated_copy(original, place)
        return {"run": json.loads(run.replace(str(original), str(place)))}

    return build_once(root, FINISHED, build)


def indexed_run(root: Path, finished: Shared) -> Shared:
    """The finished run without TFX's files, and its product index; ``documents["index"]`` is `index --json`'s."""

    def build(place: Path) -> dict[str, Any]:
        relocated_copy(finished.workdir, place, WITHOUT_TFX)
        index = must(sqidflow("index", "--json", "--workdir", str(place))).json
        return {"index": index, "run": relocated_document(finished.documents["run"], finished.workdir, place)}

    return build_once(root, INDEXED, build)


def relocated_document(document: dict[str, Any], source: Path, target: Path) -> dict[str, Any]:
    """A verb's JSON with the paths of another workdir."""
    return json.loads(json.dumps(document).replace(str(source), str(target)))
