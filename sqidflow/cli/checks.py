"""What this machine has, and a hint for what it lacks."""

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
NEEDED_DISK_BYTES = 2_000_000_000  # of a run; the environment is there already
NEEDED_MEMORY_BYTES = 4_000_000_000


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. ``ok`` is False only for what the pipeline cannot do without."""

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
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Finding(name, "missing", False, "run `make setup`")
    wanted = locked.get(name, found)
    return Finding(name, found, found == wanted, "" if found == wanted else f"the lock says {wanted}: run `make setup`")


def examine(workdir: Workdir) -> list[Finding]:
    """Look at Python, glibc, disk, memory, packages and optional parts; imports none of the packages."""
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
            "" if memory > NEEDED_MEMORY_BYTES else "4 GB are needed for the sample: close other programs",
        ),
    ]
    locked = _locked_versions()
    findings += [_package(name, locked) for name in PACKAGES]
    for program, (what, hint) in OPTIONAL.items():
        path = shutil.which(program)
        findings.append(Finding(what, path or "not there (optional)", True, "" if path else hint))
    findings += [_beam_profile(name) for name in PROFILES]
    return findings


def _beam_profile(name: str) -> Finding:
    """Whether this project has run the profile, and what of it is not here."""
    if PROFILES[name].verified:
        return Finding(f"Beam runner {name}", "the tests run the whole pipeline with it")
    hint = "docs/platform.md says what it needs; try it on a small sample first"
    return Finding(f"Beam runner {name}", "unverified: its options are checked, nobody has run it", True, hint)


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
    console().print(table("doctor", ("what", "found", "", "hint"), rows))
