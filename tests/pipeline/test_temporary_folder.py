"""The machine's temporary folder is as clean after a verb as it was before, also after one that was killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.api.test_server import Server
from tests.command_line import TINY_SAMPLE, TINY_TRAINING, command, must, sqidflow, wait_until
from tests.unit.cli.conftest import write_products
from tests.workdirs import Shared, copied


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


def environment(temporary: Path) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(temporary)}


def left_in(temporary: Path) -> list[str]:
    return sorted(str(file.relative_to(temporary)) for file in temporary.rglob("*"))


VERBS = {
    "doctor": (["doctor"], ()),
    "data check": (["data", "check"], ()),
    "data sample": (["data", "sample"], TINY_SAMPLE),
    "features": (["features"], ()),
    "evaluate": (["evaluate"], ()),
    "evaluate --baselines": (["evaluate", "--baselines"], ()),
    "index": (["index"], ("search.candidates=90",)),
    "index --verify": (["index", "--verify"], ()),
    "compile": (["compile", "--out", "pipeline.yaml"], ()),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_leaves_nothing(verb: str, indexed_copy: Path, temporary: Path, tmp_path: Path) -> None:
    arguments, settings = VERBS[verb]
    if verb == "features":
        shutil.rmtree(indexed_copy / "artifacts" / "feast")  # so that it has something to do
    workdir = ("--workdir", str(indexed_copy)) if verb != "doctor" else ()
    must(sqidflow(*arguments, *workdir, settings=settings, env=environment(temporary), cwd=tmp_path))
    assert left_in(temporary) == []


def test_quickstart_and_encode_leave_nothing(tmp_path: Path, temporary: Path) -> None:
    products = write_products(tmp_path / "products.csv")
    shop = tmp_path / "shop"
    typed = ("quickstart", "--products", str(products), "--no-serve", "--workdir", str(shop))
    must(sqidflow(*typed, env=environment(temporary)))
    assert left_in(temporary) == []
    must(sqidflow("data", "encode", "--workdir", str(shop), env=environment(temporary)))
    assert left_in(temporary) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_serving_leaves_nothing(workers: int, indexed_copy: Path, temporary: Path) -> None:
    """Searches, a look-up in the feature store, which starts Feast in a process, and the runs of MLflow."""
    server = Server(indexed_copy, f"search.workers={workers}", environment={"TMPDIR": str(temporary)})
    try:
        status, answer = server.search("lamp")
        assert status == 200
        product = answer["results"][0]["product_id"]
        assert server.get(f"/v1/product/features?id={product}")[0] == 200
        assert server.get("/runs")[0] == 200
    finally:
        assert server.end() in (0, -signal.SIGTERM)
    assert left_in(temporary) == []
    must(sqidflow("monitor", "--mlflow", "--workdir", str(indexed_copy), env=environment(temporary)))
    assert left_in(temporary) == []


def test_a_run_leaves_nothing_however_it_ends(session_root: Path, shared_run: Shared, temporary: Path) -> None:
    from tests.pipeline.test_failures import wait_until_running

    with copied(session_root, shared_run.workdir) as workdir:
        typed = command("run", "--no-cache", "--to", "FeatureJoin", "--workdir", str(workdir), settings=TINY_TRAINING)

        def start() -> subprocess.Popen:
            process = subprocess.Popen(
                typed, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment(temporary)
            )
            wait_until_running(workdir, "FeatureJoin", process, 500)
            wait_until(lambda: left_in(temporary), "TensorFlow has written something")
            return process

        process = start()
        process.send_signal(signal.SIGTERM)
        assert process.wait(200) == -signal.SIGTERM
        assert left_in(temporary) == []

        process = start()
        process.kill()
        process.wait(200)
        assert left_in(temporary), "nothing can be removed by a process that is killed"

        must(sqidflow(*typed[3:], env=environment(temporary)))
        assert left_in(temporary) == [], "what the killed one left is gone too"
