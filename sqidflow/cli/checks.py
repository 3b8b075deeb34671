"""Checks of the machine: Python, libraries, disk, memory and optional programs, with a hint for each missing one."""

from __future__ import annotations

import platform
import shutil
import sys
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

from pipeline.beam import PROFILES
from sqidflow.core.settings import CHECKOUT
from sqidflow.core.workdir import Workdir

PACKAGES = (
    "tfx",
    "tensorflow",
    "tensorflow-transform",
    "tensorflow-data-validation",
    "tensorflow-model-analysis",
    "tfx-bsl",
    "ml-metadata",
    "apache-beam",
    "keras",
    "mlflow",
    "codecarbon",
    "dvc",
    "feast",
    "pyarrow",
    "numpy",
)
OPTIONAL = {
    "redis-server": ("Redis server, for the online store", "apt-get install redis-server (or any Redis 6+)"),
    "node": ("Node, to build the web page", "install Node 20 or newer"),
    "java": ("Java, for Flink and Spark runners", "install a Java 17 runtime"),
}
NEEDED_DISK_BYTES = 2_000_000_000  # for a run, without the environment
NEEDED_MEMORY_BYTES = 4_000_000_000


@dataclass(frozen=True)
class Finding:
    """The result of one check. ``ok`` is False only if the pipeline cannot run because of it."""

    name: str
    value: str
    ok: bool = True
    hint: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def _locked_versions() -> dict[str, str]:
    lines = (CHECKOUT / "requirements.lock").read_text().splitlines()
    pins = (line.split(";")[0].strip().partition("==") for line in lines if "==" in line)
    return {name: version.strip() for name, _, version in pins}


def _package(name: str, locked: dict[str, str]) -> Finding:
    try:
        installed = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Finding(name, "missing", False, "run `make setup`")
    pinned = locked.get(name, installed)
    ok = installed == pinned
    return Finding(name, installed, ok, "" if ok else f"the lock pins {pinned}: run `make setup`")


def examine(workdir: Workdir) -> list[Finding]:
    """Check Python, glibc, disk, memory, packages and optional programs; imports none of the packages."""
    import psutil

    version = platform.python_version()
    libc, libc_version = platform.libc_ver()
    place = next(folder for folder in (workdir.root, *workdir.root.parents) if folder.exists())
    disk, memory = shutil.disk_usage(place).free, psutil.virtual_memory().available
    findings = [
        Finding(
            "Python", version, sys.version_info[:2] == (3, 11), "" if version.startswith("3.11") else "use Python 3.11"
        ),
        Finding(
            libc or "libc",
            libc_version or "unknown",
            libc == "glibc",
            "" if libc == "glibc" else "TensorFlow and ML Metadata ship wheels for glibc only: use a glibc Linux",
        ),
        Finding(
            "free disk",
            f"{disk / 1e9:.1f} GB at {place}",
            disk > NEEDED_DISK_BYTES,
            "" if disk > NEEDED_DISK_BYTES else "free 2 GB, or use --workdir on another disk",
        ),
        Finding(
            "free memory",
            f"{memory / 1e9:.1f} GB",
            memory > NEEDED_MEMORY_BYTES,
            "" if memory > NEEDED_MEMORY_BYTES else "close other programs: the sample needs 4 GB",
        ),
    ]
    locked = _locked_versions()
    findings += [_package(name, locked) for name in PACKAGES]
    for program, (what, hint) in OPTIONAL.items():
        path = shutil.which(program)
        findings.append(Finding(what, path or "not installed (optional)", True, "" if path else hint))
    findings += [_beam_profile(name) for name in PROFILES]
    return findings


def _beam_profile(name: str) -> Finding:
    """Whether the project's tests run the pipeline with this Beam profile."""
    if PROFILES[name].verified:
        return Finding(f"Beam runner {name}", "verified: the tests run the whole pipeline with it")
    hint = "see docs/platform.md for what it needs, and try it on a small sample first"
    return Finding(f"Beam runner {name}", "unverified: only its options are checked", True, hint)


def show(findings: list[Finding]) -> None:
    """Print the findings as a table."""
    from sqidflow.cli.console import console, table

    rows = [
        (
            finding.name,
            finding.value,
            "[green]ok[/]"
            if finding.ok and not finding.hint
            else ("[dim]optional[/]" if finding.ok else "[red]missing[/]"),
            finding.hint,
        )
        for finding in findings
    ]
    console().print(table("doctor", ("check", "result", "", "hint"), rows))
