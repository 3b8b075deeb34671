"""data.dvc names the sample's hash on any machine, in a copy without git too."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
NOT_COPIED = shutil.ignore_patterns(
    ".git",
    ".venv",
    "artifacts",
    "data",
    "var",
    "metrics",
    "cache",
    "tmp",
    "config.local",
    "__pycache__",
    "node_modules",
)


def _in_copy(copy: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a module of the copy, not of this checkout: the working directory comes first on the path."""
    variables = {key: value for key, value in os.environ.items() if not key.startswith("SQIDFLOW_")}
    path = str(Path(sys.executable).parent) + os.pathsep + variables["PATH"]
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=copy,
        capture_output=True,
        text=True,
        timeout=300,
        env={**variables, "PATH": path, "PYTHONPATH": str(copy), "DVC_NO_ANALYTICS": "1", **environment},
    )


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's files without its history, as an unpacked archive, with the sample in data/."""
    target = tmp_path_factory.mktemp("archive") / "sqidflow"
    shutil.copytree(REPOSITORY, target, ignore=NOT_COPIED)
    done = _in_copy(target, "pipeline.cli", "data", "sample")
    assert done.returncode == 0, done.stderr
    return target


def test_status_is_clean_right_after_the_sample(copy: Path) -> None:
    status = _in_copy(copy, "dvc", "status", "data.dvc")
    assert status.returncode == 0, status.stderr
    assert "up to date" in status.stdout


def test_the_committed_hash_is_the_sample_s(copy: Path) -> None:
    committed = yaml.safe_load((REPOSITORY / "data.dvc").read_text())["outs"][0]
    written = yaml.safe_load((copy / "data.dvc").read_text())["outs"][0]
    if not _is_sample_version(committed):
        pytest.skip("data.dvc of this checkout names data of the user's own")
    assert written == committed


def _is_sample_version(out: dict) -> bool:
    """The committed file, as git has it; a checkout with imported data has changed it."""
    git = subprocess.run(["git", "show", "HEAD:data.dvc"], cwd=REPOSITORY, capture_output=True, text=True)
    return git.returncode != 0 or yaml.safe_load(git.stdout)["outs"][0] == out


def test_a_changed_file_is_noticed_and_checked_out_again(copy: Path) -> None:
    file = copy / "data" / "query_features.parquet"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    assert "modified" in _in_copy(copy, "dvc", "status", "data.dvc").stdout
    done = _in_copy(copy, "dvc", "checkout", "--force", "data.dvc")
    assert done.returncode == 0, done.stderr
    assert file.read_bytes() == whole


def test_repro_of_the_features_is_the_verb_and_is_kept(copy: Path) -> None:
    done = _in_copy(copy, "dvc", "repro", "features")
    assert done.returncode == 0, done.stderr + done.stdout
    assert (copy / "artifacts" / "prepared" / "pairs.csv").is_file()
    again = _in_copy(copy, "dvc", "repro", "features")
    assert "didn't change, skipping" in again.stdout


def test_push_and_pull_through_the_local_remote(copy: Path) -> None:
    assert _in_copy(copy, "dvc", "push", "data.dvc").returncode == 0
    shutil.rmtree(copy / ".dvc" / "cache")
    shutil.rmtree(copy / "data")
    done = _in_copy(copy, "dvc", "pull", "data.dvc")
    assert done.returncode == 0, done.stderr
    assert "up to date" in _in_copy(copy, "dvc", "status", "data.dvc").stdout


def test_every_declared_metric_and_plot_is_written_by_a_stage() -> None:
    stages = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]
    source = "".join((REPOSITORY / "pipeline" / name).read_text() for name in ("local_runner.py", "progress.py"))
    declared = [
        Path(next(iter(entry))).name
        for stage in stages.values()
        for entry in [*stage.get("metrics", []), *stage.get("plots", [])]
    ]
    assert declared and all(f'"{name}"' in source for name in declared)
