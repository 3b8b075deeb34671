"""Create the project's virtual environment; do nothing if it is up to date with the lock.

Uses only the standard library, because it runs on a bare Python 3.11 before anything is installed. The targets of the
Makefile run it first.

Environment: ``SQIDFLOW_VENV`` is the folder of the environment, default ``.venv``.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
UV_REQUIREMENT = "uv>=0.9,<1"
NEEDED_DISK_BYTES = 6 * 1024**3


def environment_dir() -> Path:
    return Path(os.environ.get("SQIDFLOW_VENV", ROOT / ".venv")).absolute()


def wanted_stamp() -> str:
    """Digest of the lock, the project file, this checkout's path and the Python version."""
    digest = hashlib.sha256()
    for part in (LOCK.read_bytes(), (ROOT / "pyproject.toml").read_bytes(), str(ROOT).encode(), sys.version.encode()):
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()


def say(text: str) -> None:
    sys.stderr.write(f"set-up: {text}\n")
    sys.stderr.flush()


def fail(text: str) -> None:
    say(text)
    raise SystemExit(2)


def registry_environment(python: Path) -> dict[str, str]:
    """The process environment for uv, with pip's index and certificate, because uv does not read pip's settings.

    Extra indexes are not passed on: if a package is only on one of them, uv fails and pip is used.
    """
    environment = {**os.environ, "UV_COMPILE_BYTECODE": "1", "VIRTUAL_ENV": str(python.parents[1])}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    configured = subprocess.run(
        [python, "-m", "pip", "config", "get", "global.index-url"], capture_output=True, text=True
    )
    index = os.environ.get("PIP_INDEX_URL") or configured.stdout.strip()
    if index and not {"UV_DEFAULT_INDEX", "UV_INDEX_URL"} & environment.keys():
        environment["UV_DEFAULT_INDEX"] = index
    if "PIP_CERT" in environment:
        environment.setdefault("SSL_CERT_FILE", environment["PIP_CERT"])
    environment.setdefault("UV_HTTP_TIMEOUT", "300")
    return environment


def install(target: Path) -> None:
    """Install exactly the lock's packages and this project into ``target``, with compiled bytecode."""
    say(f"creating {target} ({LOCK.name}, about 3.5 GB; takes one to three minutes)")
    subprocess.run([sys.executable, "-m", "venv", "--clear", target], check=True)
    python = target / "bin" / "python"
    environment = registry_environment(python)
    subprocess.run([python, "-m", "pip", "install", "--quiet", UV_REQUIREMENT], check=True, env=environment)
    uv = [str(target / "bin" / "uv"), "pip"]
    # `install` and not `sync`, which would remove pip and uv, because the lock does not contain them.
    by_uv = subprocess.run([*uv, "install", "--no-deps", "--link-mode", "hardlink", "-r", LOCK], env=environment)
    if by_uv.returncode:
        say("uv could not install from this registry; trying pip (slower)")
        subprocess.run([python, "-m", "pip", "install", "--no-deps", "-r", LOCK], check=True, env=environment)
    subprocess.run(
        [*uv, "install", "--quiet", "--no-deps", "--no-build-isolation", "-e", ROOT], check=True, env=environment
    )


def ensure() -> None:
    if sys.version_info[:2] != (3, 11):
        fail(f"Python 3.11 is needed, this is {sys.version.split()[0]}; run: make PYTHON=/path/to/python3.11 ...")
    target = environment_dir()
    stamp = target / ".sqidflow-stamp"
    if stamp.is_file() and stamp.read_text() == wanted_stamp():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target.parent / f".{target.name.lstrip('.')}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of two targets at once, the second waits and then has nothing to do
        if stamp.is_file() and stamp.read_text() == wanted_stamp():
            return
        free = shutil.disk_usage(target.parent).free
        if free < NEEDED_DISK_BYTES and not target.exists():
            fail(
                f"{target.parent}: {free / 1e9:.1f} GB free, {NEEDED_DISK_BYTES / 1e9:.0f} GB are needed; "
                "free some space, or set SQIDFLOW_VENV to a folder on another disk"
            )
        started = time.monotonic()
        stamp.unlink(missing_ok=True)
        try:
            install(target)
        except subprocess.CalledProcessError as error:
            fail(
                f"the installation failed: {' '.join(map(str, error.cmd))} ended with {error.returncode}; "
                "check that the package registry is reachable, then run the same command again"
            )
        stamp.write_text(wanted_stamp())
        say(f"ready in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    ensure()
