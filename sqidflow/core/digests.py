"""Digests of files, folders and source code, DVC's hash of a folder, and the checkout's commit."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqidflow.core.errors import DataError
from sqidflow.core.files import write_atomically
from sqidflow.core.settings import CHECKOUT
from sqidflow.core.workdir import Workdir

_CHUNK_BYTES = 1 << 20
NO_COMMIT = "none"
CHANGES = "+changes"


def file_md5(file: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def file_sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class FileDigests:
    """File digests, cached by size, modification time and inode, so that a large file is read once.

    Args:
        digest: computes the digest of one file.
        memory: JSON file that keeps the digests between calls; None disables it.
    """

    def __init__(self, digest: Callable[[Path], str], memory: Path | None = None) -> None:
        self._digest, self._memory = digest, memory
        self._known = self._read()
        self._seen: dict[str, list[Any]] = {}

    def _read(self) -> dict[str, list[Any]]:
        try:
            known = json.loads(self._memory.read_text()) if self._memory and self._memory.is_file() else {}
        except ValueError:
            return {}  # after a truncated cache file, the files are hashed again
        return known if isinstance(known, dict) else {}

    def of(self, file: Path, name: str) -> str:
        """The digest of ``file``, cached under ``name``."""
        status = file.stat()
        key = [status.st_size, status.st_mtime_ns, status.st_ino]
        known = self._known.get(name)
        if not (isinstance(known, list) and len(known) == 4 and known[:3] == key):
            known = [*key, self._digest(file)]
        self._seen[name] = known
        return str(known[3])

    def note(self, file: Path, name: str, digest: str) -> None:
        """Remember the digest of a file that was just computed by somebody else."""
        status = file.stat()
        self._seen[name] = [status.st_size, status.st_mtime_ns, status.st_ino, digest]

    def save(self) -> None:
        """Write the digests that were asked for; drop the others."""
        if self._memory is not None and self._seen != self._known:
            # Where nothing may be written the files are read again next time.
            with suppress(OSError):
                write_atomically(self._memory, json.dumps(self._seen))


def folder_hash(folder: Path, memory: Path | None = None) -> str:
    """The hash that DVC 3 gives a folder: md5 over the sorted list of its files' md5s, ending in ``.dir``.

    Args:
        memory: a file that caches md5s by size and modification time, so that large files are read once.

    Raises:
        DataError: the folder does not exist or is empty.
    """
    files = sorted(file for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else []
    if not files:
        raise DataError(
            "the folder contains no data", file=folder, hint="run `sqidflow data sample` or `sqidflow data import`"
        )
    digests = FileDigests(file_md5, memory)
    names = {file.relative_to(folder).as_posix(): file for file in files}
    listing = [{"md5": digests.of(names[name], name), "relpath": name} for name in sorted(names)]
    digests.save()
    return hashlib.md5(json.dumps(listing, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"


def data_hash(workdir: Workdir) -> str:
    """The version of the data: the hash that ``data.dvc`` records after ``dvc add data``."""
    return folder_hash(workdir.data, workdir.var / "data_md5.json")


def git_output(folder: Path, *arguments: str) -> str | None:
    """What a git command prints in a folder; None where it fails or there is no git."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, errors="replace", timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def git_commit() -> str:
    """The checkout's commit, with the suffix ``+changes`` if files are modified; ``none`` outside git."""
    if not (CHECKOUT / ".git").exists() or not (commit := git_output(CHECKOUT, "rev-parse", "HEAD")):
        return NO_COMMIT
    return commit + (CHANGES if git_output(CHECKOUT, "status", "--porcelain", "--untracked-files=no") else "")
