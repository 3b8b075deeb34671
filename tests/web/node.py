"""Node for the page's tests: whether it is there, the page's packages, the built page."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

WEB = Path(__file__).resolve().parents[2] / "web"
DIST = WEB / "dist"
_NEEDED = (20, 19)


def why_no_node() -> str | None:
    """What is missing for building the page, or None."""
    if not shutil.which("node") or not shutil.which("npm"):
        return "Node.js and npm are not installed"
    version = subprocess.run(["node", "--version"], capture_output=True, text=True).stdout.strip()
    found = re.match(r"v(\d+)\.(\d+)", version)
    if not found or (int(found[1]), int(found[2])) < _NEEDED:
        return f"Node.js {version or 'that answers'} is older than {'.'.join(map(str, _NEEDED))}"
    return None


def npm(*arguments: str, timeout: float = 900, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run npm in the page's folder."""
    return subprocess.run(
        ["npm", *arguments], cwd=WEB, capture_output=True, text=True, timeout=timeout,
        env={**os.environ, "NO_COLOR": "1", **environment},
    )  # fmt: skip


def why_no_packages() -> str | None:
    """Install the page's packages where they are missing or older than the lock; what went wrong, or None."""
    stamp, lock = WEB / "node_modules" / ".package-lock.json", WEB / "package-lock.json"
    with open(WEB / "package.json") as one_at_a_time:
        fcntl.flock(one_at_a_time, fcntl.LOCK_EX)
        if stamp.is_file() and stamp.stat().st_mtime >= lock.stat().st_mtime:
            return None
        done = npm("ci", "--no-progress", "--loglevel=error")
        if done.returncode:
            return f"npm ci failed: {done.stderr.strip()[-500:]}"
        os.utime(stamp)
    return None


def lock() -> dict[str, dict[str, object]]:
    return json.loads((WEB / "package-lock.json").read_text())["packages"]
