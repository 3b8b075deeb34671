"""data.dvc names the sample's hash on any machine, in a copy without git too."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
NOT_COPIED = frozenset(
    {".git", ".venv", "artifacts", "data", "var", "metrics", "web", "tests", "notebooks", ".hypothesis"}
)
"""Folders of the checkout that the stages do not read, or make."""


def copy_checkout(target: Path) -> None:
    ignored_anywhere = shutil.ignore_patterns("cache", "tmp", "config.local", "__pycache__", ".*_cache")

    def ignored(folder: str, names: list[str]) -> set[str]:
        at_top = NOT_COPIED & set(names) if Path(folder) == REPOSITORY else set()
        return at_top | ignored_anywhere(folder, names)

    shutil.copytree(REPOSITORY, target, ignore=ignored)


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
    copy_checkout(target)
    done = _in_copy(target, "sqidflow.cli", "data", "sample")
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


def test_push_and_pull_through_the_local_remote(copy: Path) -> None:
    assert _in_copy(copy, "dvc", "push", "data.dvc").returncode == 0
    shutil.rmtree(copy / ".dvc" / "cache")
    shutil.rmtree(copy / "data")
    done = _in_copy(copy, "dvc", "pull", "data.dvc")
    assert done.returncode == 0, done.stderr
    assert "up to date" in _in_copy(copy, "dvc", "status", "data.dvc").stdout


TINY = {
    "sample": {"queries": 40, "products": 200, "pairs_per_query": 10, "dim": 32},
    "train": {"model": "pointwise", "epochs": 1},
}


@pytest.fixture(scope="module")
def tiny_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project in git with a tiny sample in data/, committed as its first version."""
    target = tmp_path_factory.mktemp("versions") / "sqidflow"
    copy_checkout(target)
    (target / "dvc.lock").unlink(missing_ok=True)
    params = yaml.safe_load((target / "params.yaml").read_text())
    for section, changes in TINY.items():
        params[section] |= changes
    (target / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    _git(target, "init", "--quiet")
    _must(target, "sqidflow.cli", "data", "sample")
    _commit(target, "first version")
    return target


def _git(copy: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    return subprocess.run(["git", *identity, *arguments], cwd=copy, capture_output=True, text=True, check=True).stdout


def _commit(copy: Path, message: str) -> None:
    _git(copy, "add", "--all")
    _git(copy, "commit", "--quiet", "--message", message)


def _must(copy: Path, *arguments: str) -> str:
    done = _in_copy(copy, *arguments)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def _ndcg(copy: Path) -> dict[str, float]:
    return json.loads((copy / "metrics" / "run.json").read_text())["ndcg"]


def _version(copy: Path) -> str:
    return yaml.safe_load((copy / "data.dvc").read_text())["outs"][0]["md5"]


def test_repro_of_the_features_is_the_verb_and_is_kept(tiny_copy: Path) -> None:
    done = _in_copy(tiny_copy, "dvc", "repro", "features")
    assert done.returncode == 0, done.stderr + done.stdout
    assert (tiny_copy / "artifacts" / "prepared" / "pairs.csv").is_file()
    again = _in_copy(tiny_copy, "dvc", "repro", "features")
    assert "didn't change, skipping" in again.stdout


def test_going_back_to_older_data_gives_the_older_numbers(tiny_copy: Path) -> None:
    _must(tiny_copy, "dvc", "repro", "run")
    first, first_version = _ndcg(tiny_copy), _version(tiny_copy)
    _must(tiny_copy, "dvc", "push", "data.dvc")
    _commit(tiny_copy, "its run")

    params = tiny_copy / "params.yaml"
    params.write_text(params.read_text().replace("seed: 7", "seed: 8", 1))
    _must(tiny_copy, "sqidflow.cli", "data", "sample", "--force")
    _commit(tiny_copy, "second version")
    assert _version(tiny_copy) != first_version
    _must(tiny_copy, "dvc", "repro", "run")
    assert _ndcg(tiny_copy) != first
    _must(tiny_copy, "dvc", "push", "data.dvc")
    changed = json.loads(_must(tiny_copy, "dvc", "diff", "--json", "HEAD~1", "HEAD"))
    assert "data/query_features.parquet" in {entry["path"] for entry in changed["modified"]}

    # Back: from the remote alone, and with nothing left of the first run to take its numbers from.
    shutil.rmtree(tiny_copy / ".dvc" / "cache")
    shutil.rmtree(tiny_copy / "artifacts")
    _git(tiny_copy, "checkout", "HEAD~2", "--", "data.dvc", "params.yaml")
    _must(tiny_copy, "dvc", "pull", "--force", "data.dvc")
    assert _version(tiny_copy) == first_version
    _must(tiny_copy, "dvc", "repro", "--force", "run")
    assert _ndcg(tiny_copy) == first
    assert first_version == _data_hash_of_last_run(tiny_copy)


def _data_hash_of_last_run(copy: Path) -> str:
    return json.loads((copy / "var" / "run_context.json").read_text())["data_hash"]


def test_a_cache_that_was_tampered_with_is_noticed(tiny_copy: Path) -> None:
    """DVC itself hands the changed file out and says nothing."""
    wanted = (tiny_copy / "data" / "query_features.parquet").read_bytes()
    digest = hashlib.md5(wanted, usedforsecurity=False).hexdigest()
    cached = tiny_copy / ".dvc" / "cache" / "files" / "md5" / digest[:2] / digest[2:]
    cached.chmod(0o644)
    cached.write_bytes(wanted[:-200] + bytes([wanted[-200] ^ 1]) + wanted[-199:])
    shutil.rmtree(tiny_copy / "data")
    _in_copy(tiny_copy, "dvc", "checkout", "data.dvc")
    for verb in ("features", "run"):
        answer = _in_copy(tiny_copy, "sqidflow.cli", verb)
        assert answer.returncode == 2 and "Traceback" not in answer.stderr
        assert f"data.dvc names {_version(tiny_copy)} (query_features.parquet)" in answer.stderr
        assert "delete .dvc/cache and `dvc pull`" in answer.stderr


REMOTES = {
    "s3": ("s3://bucket/sqidflow", {"endpointurl": "https://s3.example.org", "region": "eu-central-1"}),
    "gdrive": ("gdrive://0AIac4JZqHhKmUk9PDA/sqidflow", {"gdrive_use_service_account": "true"}),
}


@pytest.mark.parametrize("name", sorted(REMOTES))
def test_documented_remotes_are_a_configuration_that_dvc_takes(copy: Path, name: str) -> None:
    """The commands of docs/tracking.md; without the extra nothing can be pushed, and DVC says which is missing."""
    url, options = REMOTES[name]
    page = (REPOSITORY / "docs" / "tracking.md").read_text()
    for command in ([f"dvc remote add {name} {url}"], *([f"dvc remote modify {name} {key}"] for key in options)):
        assert command[0] in page
    assert f"dvc[{name}]" in page
    _must(copy, "dvc", "remote", "add", name, url)
    for key, value in options.items():
        _must(copy, "dvc", "remote", "modify", name, key, value)
    [listed] = [line for line in _must(copy, "dvc", "remote", "list").splitlines() if line.startswith(name)]
    assert url in listed
    pushed = _in_copy(copy, "dvc", "push", "--remote", name, "data.dvc")
    if importlib.util.find_spec(f"dvc_{name}") is None:
        assert pushed.returncode != 0 and f"dvc_{name}" in pushed.stderr.replace("-", "_")


def test_every_declared_metric_and_plot_is_written_by_a_stage() -> None:
    stages = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]
    sources = (REPOSITORY / "pipeline" / "local_runner.py", REPOSITORY / "sqidflow" / "cli" / "progress.py")
    source = "".join(file.read_text() for file in sources)
    declared = [
        Path(next(iter(entry))).name
        for stage in stages.values()
        for entry in [*stage.get("metrics", []), *stage.get("plots", [])]
    ]
    assert declared and all(f'"{name}"' in source for name in declared)
