"""Which data, which code: DVC's hash of a folder, the commit, and digests of source files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from sqidflow.core.digests import FileDigests, data_hash, file_md5, file_sha256
from sqidflow.core.errors import DataError, SqidflowError
from sqidflow.core.settings import Settings
from sqidflow.core.workdir import Workdir

if TYPE_CHECKING:
    from sqidflow.data.prepare import PrepareReport


def checked_preparation(workdir: Workdir, settings: Settings) -> PrepareReport:
    """What is prepared, after a look at the files: what a run learns from is what it will be said to have learned from.

    Raises:
        DataError: nothing is prepared; ``data/`` is not what ``data.dvc`` names; a raw file, a prepared one or a filter
            is another than the report names.
    """
    from sqidflow.data.prepare import load_report

    load_report(workdir.artifacts)  # where nothing is prepared, that is the thing to say
    verified_data_hash(workdir)  # and where DVC's cache is damaged, the cause before what follows from it
    digests = prepared_digests(workdir)

    def digest(file: Path) -> str:
        return digests.of(file, file.relative_to(workdir.root).as_posix())

    report = load_report(workdir.artifacts, workdir.data, digest=digest, **settings.preparation())
    digests.save()
    return report


def prepared_digests(workdir: Workdir) -> FileDigests:
    """SHA-256 of what is prepared and of what it was made from, by the files' place in the workdir."""
    return FileDigests(file_sha256, workdir.var / "prepared_sha256.json")


def recorded_hash(root: Path) -> str | None:
    """The version that ``data.dvc`` names; None where the workdir is no DVC repository or records no data."""
    file = root / "data.dvc"
    if not is_dvc_repository(root) or not file.is_file():
        return None
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))["outs"][0].get("md5")
    except (yaml.YAMLError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise DataError("is no file of DVC", file=file, hint="restore it: git checkout -- data.dvc") from error


def verified_data_hash(workdir: Workdir) -> str:
    """The data's version, compared with the one that ``data.dvc`` names.

    DVC trusts its cache: it hands out a file that somebody changed there, and says that all is well.

    Raises:
        DataError: there is no data, or it is not what ``data.dvc`` names; names the files where DVC's list is there.
    """
    found, recorded = data_hash(workdir), recorded_hash(workdir.root)
    if recorded is None or found == recorded:
        return found
    names = _differing_files(workdir, recorded)
    what = f" ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})" if names else ""
    raise DataError(
        f"is version {found}, data.dvc names {recorded}{what}",
        file=workdir.data,
        hint="`dvc add data` records it as it is; `dvc checkout --force data.dvc` goes back; if that brings the same "
        "files again, DVC's cache is damaged: delete .dvc/cache and `dvc pull`",
    )


def _differing_files(workdir: Workdir, recorded: str) -> list[str]:
    listing = workdir.root / ".dvc" / "cache" / "files" / "md5" / recorded[:2] / recorded[2:]
    try:
        wanted = {entry["relpath"]: entry["md5"] for entry in json.loads(listing.read_text())}
    except (OSError, ValueError, KeyError, TypeError):
        return []
    there = {file.relative_to(workdir.data).as_posix(): file for file in workdir.data.rglob("*") if file.is_file()}
    return sorted(
        name
        for name in wanted.keys() | there.keys()
        if name not in there or name not in wanted or file_md5(there[name]) != wanted[name]
    )


def stamp_by_content(file: Path) -> None:
    """Make a file's modification time a function of its content.

    CsvExampleGen's cache goes by size and modification time: this way the same pairs hit it on whatever day and by
    whatever command (``dvc checkout`` among them) they came to be there.
    """
    second = content_stamp(file)
    if int(file.stat().st_mtime) != second:
        os.utime(file, (second, second))


def content_stamp(file: Path) -> int:
    """The modification time that :func:`stamp_by_content` gives a file, in seconds of Unix time."""
    return 1_000_000_000 + int(file_md5(file)[:8], 16) % 500_000_000


def is_dvc_repository(root: Path) -> bool:
    return (root / ".dvc").is_dir()


def allow_no_git(root: Path) -> None:
    """Let DVC work in a copy without git: an unpacked archive has ``.dvc/`` and no history."""
    if not is_dvc_repository(root) or (root / ".git").exists():
        return
    local = root / ".dvc" / "config.local"
    if not local.is_file() or "no_scm" not in local.read_text():
        with local.open("a") as stream:
            stream.write("[core]\n    no_scm = true\n")


def dvc(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run DVC in ``root``, in a copy without git too.

    Raises:
        SqidflowError: DVC failed; carries its first line.
    """
    allow_no_git(root)
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=root,
        capture_output=True,
        text=True,
        env={**os.environ, "DVC_NO_ANALYTICS": "1"},
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
        raise SqidflowError(
            f"dvc {' '.join(arguments)} failed: {lines[0]}", where=root, hint="run the same command to see all it says"
        )
    return done


def record_data(workdir: Workdir) -> str | None:
    """Write the data's hash to data.dvc and keep its files in DVC's cache, where the workdir is a DVC repository.

    Returns:
        The hash, or None where the workdir is no DVC repository.
    """
    if not is_dvc_repository(workdir.root):
        return None
    dvc(workdir.root, "add", "data")
    return data_hash(workdir)
