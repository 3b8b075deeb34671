"""The wheel alone, in a fresh environment: it serves, and nothing of training comes with it."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import wait_until
from tests.conftest import REPOSITORY, Measured

ONLY_FOR_TRAINING = ("tensorflow", "tfx", "apache-beam", "feast", "mlflow", "dvc", "streamlit")
MAX_MEGABYTES = 750


def registry_environment(python: Path) -> dict[str, str]:
    """The process environment for uv, as deploy/bootstrap.py makes it; nothing of this checkout is on the path."""
    spec = importlib.util.spec_from_file_location("bootstrap", REPOSITORY / "deploy" / "bootstrap.py")
    assert spec and spec.loader
    bootstrap = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bootstrap)
    environment = bootstrap.registry_environment(python)
    return {name: value for name, value in environment.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}


def run(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in arguments], capture_output=True, text=True, timeout=600, **options)


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with this checkout's wheel and what it requires, in the lock's versions."""
    folder = tmp_path_factory.mktemp("installation")
    built = run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=REPOSITORY)
    assert built.returncode == 0, built.stderr[-3000:]
    [wheel] = folder.glob("*.whl")
    assert run(sys.executable, "-m", "venv", folder / "venv").returncode == 0
    python, lock = folder / "venv" / "bin" / "python", REPOSITORY / "requirements.lock"
    environment = registry_environment(python)
    uv = Path(sys.executable).with_name("uv")
    installers = [
        *([[uv, "pip", "install", "--python", python]] if uv.is_file() else []),
        [python, "-m", "pip", "install", "--quiet"],
    ]
    for installer in installers:
        done = run(*installer, "-c", lock, wheel, env=environment, cwd=folder)
        if done.returncode == 0:
            return python
    reason = f"the wheel's requirements could not be installed: {done.stderr.strip()[-600:]}"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def test_nothing_of_training_is_installed(installation: Path) -> None:
    program = (
        "import importlib.metadata as m, json\n"
        "print(json.dumps(sorted(d.metadata['Name'].lower() for d in m.distributions())))"
    )
    listed = json.loads(run(installation, "-c", program, cwd=installation.parent).stdout)
    assert "sqidflow" in listed and "onnxruntime" in listed
    assert [name for name in ONLY_FOR_TRAINING if name in listed] == []


def test_it_is_small(installation: Path, measured: Measured) -> None:
    megabytes = sum(file.stat().st_size for file in installation.parents[1].rglob("*") if file.is_file()) / 1e6
    measured("serving installation, MB", round(megabytes))
    assert megabytes <= MAX_MEGABYTES


def test_it_serves_an_index_that_was_made_elsewhere(
    installation: Path, indexed_copy: Path, tmp_path: Path, measured: Measured
) -> None:
    [index] = (indexed_copy / "artifacts" / "index").iterdir()
    query = json.loads((index / "facets.json").read_text())["sample_queries"][0]
    environment = {
        name: value for name, value in os.environ.items() if name != "PYTHONPATH" and not name.startswith("SQIDFLOW_")
    }
    log, started = tmp_path / "serve.log", time.monotonic()
    with log.open("w") as stream:
        service = subprocess.Popen(
            [installation.with_name("sqidflow"), "serve", "--workdir", str(indexed_copy), "--port", "0"],
            stdout=stream,
            stderr=stream,
            cwd=tmp_path,
            env=environment,
        )
    try:

        def answers() -> bool:
            assert service.poll() is None, log.read_text()[-3000:]
            address = address_in(log.read_text())
            return address is not None and status_of(f"{address}/readyz") == 200

        wait_until(answers, "the service is ready")
        measured("serving installation, seconds to ready", round(time.monotonic() - started, 1))
        request = urllib.request.Request(
            f"{address_in(log.read_text())}/predict",
            json.dumps({"query": query}).encode(),
            {"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert json.load(answer)["results"]
    finally:
        service.terminate()
        service.wait(60)
    assert "Traceback" not in log.read_text()


def address_in(log: str) -> str | None:
    words = [word.rstrip(".,;") for word in log.split() if word.startswith("http://127.0.0.1:")]
    return words[0].rstrip("/") if words else None


def status_of(url: str) -> int | None:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status
    except OSError:
        return None
