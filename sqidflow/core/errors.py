"""Every error a user can fix, in one tree.

SqidflowError                 base: one line that says what, where and how to fix it; exit code 2, no traceback
├── SettingsError             params.yaml, SQIDFLOW_* or --set: an unknown key, a value of the wrong kind
├── DataError                 a raw or derived file: names file, row and column
├── FetchError                a published file could not be had, or is not what was published
├── WorkdirBusyError          another run holds the workdir
├── DiskFullError             a step ran out of disk; names the free space and what is needed
├── FeatureStoreError         Feast: the store is not applied, not materialized, or cannot be reached
├── AnomalyError              the data's statistics broke the schema; names split and feature
└── PipelineError             a component of the pipeline failed; names it and the log

Imports nothing, so that every package may raise these.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

ESCAPE = "in its password write / # ? @ as %2F %23 %3F %40"


class SqidflowError(Exception):
    """What a user can fix: ``what`` happened, ``where``, and the ``hint``.

    Shown as ``where: what; hint`` on one line of stderr.
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str | Path | None = None, hint: str | None = None) -> None:
        self.what, self.where, self.hint = what, where, hint
        super().__init__(self.message)

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows instead of a traceback."""
        return [f"{type(self).__name__}: {self.message}"]

    @property
    def message(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return " ".join(f"{text}; {self.hint}".split() if self.hint else text.split())


def shown_url(url: str, setting: str) -> str:
    """``url`` as a message may have it, without user, password and query; ``setting``, where it is from, if it is not
    clear what of it is which: a ``/``, ``#`` or ``?`` within a password ends the address for every reader of URLs."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port  # a port that is no number is one of these passwords, too
    except ValueError:
        return setting
    if "@" in parts.path + parts.query + parts.fragment:
        return setting
    if not host:
        return url  # a file's: nobody's password
    return f"{parts.scheme}://{host}{f':{port}' if port else ''}{parts.path}"


class SettingsError(SqidflowError):
    """A setting that does not exist or does not fit."""


class DataError(SqidflowError):
    """A file that cannot be used as it is.

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
    """A published file could not be had, or is not what was published."""


class WorkdirBusyError(SqidflowError):
    """Another process is writing in this workdir."""


class DiskFullError(SqidflowError):
    """The disk has no room for what a step writes."""


class FeatureStoreError(SqidflowError):
    """The feature store is missing, stale or out of reach."""


class AnomalyError(SqidflowError):
    """ExampleValidator found the data's statistics outside the schema."""


class PipelineError(SqidflowError):
    """A component of the pipeline failed."""


class MissingInputError(DataError):
    """What a notebook reads has not been made yet. IPython shows its one line and no traceback."""

    def _render_traceback_(self) -> list[str]:
        return [self.message]
