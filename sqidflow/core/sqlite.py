"""SQLite files of other processes, opened so that nothing is created, locked for long or changed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path


@contextmanager
def read_only(file: Path, wait_s: float = 2.0) -> Iterator[sqlite3.Connection]:
    """A connection that reads a file which must exist; ``wait_s``: how long it waits for a writer.

    Raises:
        sqlite3.Error: there is no such file, it is no database, or its writer does not let go of it.
    """
    with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True, timeout=wait_s)) as connection:
        yield connection
