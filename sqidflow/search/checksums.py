"""Whether the files of an index are those that were built.

Every file is named in ``meta.json`` with its size and SHA-256. Opening an index reads files of up to ``WHOLE_BYTES``
whole; of larger ones it compares the size and the first MiB, which holds what a reader would trip over.
`sqidflow index` and `sqidflow index --verify` read all of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sqidflow.core.errors import SqidflowError

WHOLE_BYTES = 64 << 20
"""Up to here a file is read whole whenever an index is opened: 0.1 s a file with SHA-256 at 500 MB/s."""
_HEAD_BYTES = 1 << 20
HINT = "delete the folder and run `sqidflow index`"


@dataclass(frozen=True)
class Checksum:
    """Of one file; ``head_sha256`` is of its first MiB."""

    size_bytes: int
    sha256: str
    head_sha256: str

    @classmethod
    def of(cls, file: Path) -> Checksum:
        return cls(file.stat().st_size, _sha256(file), _sha256(file, _HEAD_BYTES))


def checksums_of(folder: Path, but: str) -> dict[str, Checksum]:
    """Of every file below ``folder``, by its place in it; without the file ``but``."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    names = {file.relative_to(folder).as_posix(): file for file in files}
    return {name: Checksum.of(file) for name, file in names.items() if name != but}


def check_files(folder: Path, expected: Mapping[str, Checksum], *, whole: bool) -> None:
    """Compare an index's files with what was written.

    Args:
        whole: read large files whole too.

    Raises:
        SqidflowError: a file is missing, of another size or of other content; names it.
    """
    for name, checksum in expected.items():
        file = folder / name
        try:
            size_bytes = file.stat().st_size
            if size_bytes != checksum.size_bytes:
                what = f"has {size_bytes:,} bytes, {checksum.size_bytes:,} were written"
            elif whole or size_bytes <= WHOLE_BYTES:
                what = "" if _sha256(file) == checksum.sha256 else "is not what was written"
            else:
                what = "" if _sha256(file, _HEAD_BYTES) == checksum.head_sha256 else "is not what was written"
        except OSError as error:
            what = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        if what:
            raise SqidflowError(f"the index is damaged: the file {what}", where=file, hint=HINT)


def _sha256(file: Path, most_bytes: int | None = None) -> str:
    with file.open("rb") as stream:
        if most_bytes is not None:
            return hashlib.sha256(stream.read(most_bytes)).hexdigest()
        return hashlib.file_digest(stream, "sha256").hexdigest()
