"""Every error that a user can fix, in one tree.

SqidflowError                 base: one line that says where, what and how to fix it; exit code 2, no traceback
├── SettingsError             params.yaml, SQIDFLOW_* or --set: an unknown key or an invalid value
├── DataError                 a raw or derived file is unusable; names file, row and column
├── FetchError                a published file could not be downloaded, or its content differs from the published one
├── WorkdirBusyError          another process is writing in the workdir
├── DiskFullError             a step ran out of disk space; names the free and the required space
├── FeatureStoreError         Feast: the store is not applied, not materialized, or not reachable
├── AnomalyError              the data's statistics violate the schema; names split and feature
└── PipelineError             a component of the pipeline failed; names it and the log

This module imports nothing of the project, so every package can raise these errors.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

ESCAPE = "in its password write / # ? @ as %2F %23 %3F %40"
"""Hint for an address with a password."""


class SqidflowError(Exception):
    """An error that the user can fix: ``what`` happened, ``where``, and a ``hint``, which is an instruction.

    Shown on stderr as one line, ``where: what; hint``.
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str | Path | None = None, hint: str | None = None) -> None:
        self.what, self.where, self.hint = what, where, hint
        super().__init__(self.message)

    def _render_traceback_(self) -> list[str]:
        """IPython calls this; a notebook then shows one line instead of a traceback."""
        return [f"{type(self).__name__}: {self.message}"]

    @property
    def message(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return " ".join(f"{text}; {self.hint}".split() if self.hint else text.split())


def shown_url(url: str, setting: str) -> str:
    """``url`` without user, password and query, safe to print in a message.

    Returns ``setting``, the name of the setting that holds the URL, if the parts cannot be told apart: an unescaped
    ``/``, ``#`` or ``?`` in a password ends the host part for every URL parser.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port  # a port that is not a number is also a sign of an unescaped password
    except ValueError:
        return setting
    if "@" in parts.path + parts.query + parts.fragment:
        return setting
    if not host:
        return url  # a file URL has no password
    return f"{parts.scheme}://{host}{f':{port}' if port else ''}{parts.path}"


class SettingsError(SqidflowError):
    """A setting does not exist, or its value is invalid."""


class DataError(SqidflowError):
    """A file is missing or its content is invalid.

    ``row`` counts data rows from 1 (a header is row 0); ``column`` is the column's name in the file.
    """

    def __init__(
        self, what: str, *, file: str | Path, hint: str, row: int | None = None, column: str | None = None
    ) -> None:
        self.file, self.row, self.column = Path(file), row, column
        place = str(file)
        if row is not None:
            place += f", row {row}"
        if column is not None:
            place += f", column {column}"
        super().__init__(what, where=place, hint=hint)


class FetchError(SqidflowError):
    """A published file could not be downloaded, or its content differs from the published one."""


class WorkdirBusyError(SqidflowError):
    """Another process is writing in this workdir."""


class DiskFullError(SqidflowError):
    """The disk has too little free space for the output of a step."""


class FeatureStoreError(SqidflowError):
    """The feature store is missing, stale or not reachable."""


class AnomalyError(SqidflowError):
    """ExampleValidator found the data's statistics outside the schema."""


class PipelineError(SqidflowError):
    """A component of the pipeline failed."""


class MissingInputError(DataError):
    """An input of a notebook does not exist yet. IPython shows one line and no traceback."""

    def _render_traceback_(self) -> list[str]:
        return [self.message]
