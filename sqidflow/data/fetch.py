"""Brings the published files: downloads that resume, checked by size and SHA-256, and cut down to what SQID is of.

A file comes to be under its final name once it is whole and its checksum fits; until then ``.<name>.part`` is beside.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.compute as pc

from sqidflow.core.errors import ESCAPE, DataError, FetchError, shown_url
from sqidflow.data import formats, published, readers
from sqidflow.data.published import PublishedFile
from sqidflow.data.staging import disk_errors, staged_file, sync, write_batches

_PASSING = {408, 425, 429, 500, 502, 503, 504}
"""HTTP statuses that may be others in a moment."""
_MIRROR_MEND = (
    "check the network, name a mirror with --set fetch.mirror=URL, or bring the files yourself with --from DIR"
)

Watch = Callable[[PublishedFile, int, int | None], None]
"""Called with a file, the bytes that are there, and how many it will be (None: not known)."""


@dataclass(frozen=True)
class Limits:
    """``attempts``: how often in a row a server is asked without a byte more; ``timeout_s`` without a byte ends one;
    before the next there is a pause that doubles from ``pause_s`` on."""

    attempts: int = 5
    timeout_s: float = 30.0
    pause_s: float = 1.0


@dataclass
class FetchReport:
    """Names of files: ``downloaded`` now, ``there`` before, optional ones that are ``missing`` with the reason; and
    how many judgements and products were kept of how many."""

    downloaded: tuple[str, ...] = ()
    there: tuple[str, ...] = ()
    missing: dict[str, str] = field(default_factory=dict)
    judgements: int = 0
    judgements_published: int = 0
    products: int = 0
    products_published: int = 0


class _Passing(Exception):
    """A failure that another attempt may not meet; ``str`` says which."""


class _Final(Exception):
    """A failure that would come again from this server."""


def sha256_of(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def download(url: str, target: Path, wanted: PublishedFile, limits: Limits, watch: Watch) -> None:
    """Get one file from one server; a part that is there is continued, if a checksum can tell whether it fits.

    Raises:
        FetchError: with the reason; what has come so far stays as ``.<name>.part``, unless its checksum is wrong.
    """
    import tenacity

    part = target.with_name(f".{target.name}.part")
    if wanted.sha256 is None:
        part.unlink(missing_ok=True)  # of whichever server: nothing would notice a file of two halves
    place = shown_url(url, "fetch.mirror")
    progress = _Progress(part)
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(_Passing),
        stop=lambda state: progress.fruitless >= limits.attempts,
        wait=tenacity.wait_exponential(multiplier=limits.pause_s, max=30),
        before=lambda state: progress.look(),
        reraise=True,
    )
    try:
        with httpx.Client(timeout=limits.timeout_s, follow_redirects=True) as client:
            retrying(_attempt, client, url, part, wanted, watch)
    except (_Passing, _Final) as error:
        raise FetchError(str(error), where=place, hint=_MIRROR_MEND) from error
    except httpx.InvalidURL as error:
        # Its text may hold a part of the password.
        raise FetchError("not an address", where=place, hint=f"correct fetch.mirror; {ESCAPE}") from error
    found = sha256_of(part)
    if wanted.sha256 is not None and found != wanted.sha256:
        part.unlink()
        raise FetchError(
            f"{wanted.name} has SHA-256 {found}, {wanted.sha256} is expected",
            where=place,
            hint="it was deleted: fetch again, from another mirror if it is the same again",
        )
    sync(part)
    part.replace(target)


class _Progress:
    """How many attempts in a row have brought nothing."""

    def __init__(self, part: Path) -> None:
        self._part, self._seen, self.fruitless = part, -1, 0

    def look(self) -> None:
        size = self._part.stat().st_size if self._part.exists() else 0
        self.fruitless = self.fruitless + 1 if size <= self._seen else 1
        self._seen = max(size, self._seen)


def _attempt(client: httpx.Client, url: str, part: Path, wanted: PublishedFile, watch: Watch) -> None:
    """Ask once, from where the part ends."""
    have = part.stat().st_size if part.exists() else 0
    if wanted.size_bytes is not None and have >= wanted.size_bytes:
        if have == wanted.size_bytes:
            return
        part.unlink()  # longer than the file is: of something else
        have = 0
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
    try:
        with client.stream("GET", url, headers=headers) as answer:
            start, total = _check_answer(answer, have, part, wanted)
            with part.open("ab" if start else "wb") as stream:
                there = start
                watch(wanted, there, total)
                for chunk in answer.iter_raw():
                    stream.write(chunk)
                    there += len(chunk)
                    watch(wanted, there, total)
    except httpx.TransportError as error:
        raise _Passing(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__) from error
    except httpx.HTTPError as error:
        raise _Final(f"{type(error).__name__}: {error}") from error
    if total is not None and there < total:
        raise _Passing(f"the connection ended after {there:,} of {total:,} bytes")
    if total is not None and there > total:
        part.unlink()
        raise _Final(f"sent {there:,} bytes for {total:,}")


def _check_answer(answer: httpx.Response, have: int, part: Path, wanted: PublishedFile) -> tuple[int, int | None]:
    """Where the body begins and how long the whole file is."""
    status = answer.status_code
    if status == 416:
        part.unlink(missing_ok=True)  # what is there is longer than the server's file
        raise _Passing("the server has no bytes after those that are there")
    if status in _PASSING:
        raise _Passing(f"HTTP {status} {answer.reason_phrase}")
    if status not in (200, 206):
        raise _Final(f"HTTP {status} {answer.reason_phrase}")
    total: int | None = None
    start = 0
    if status == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
        if match is None or int(match[1]) != have:
            part.unlink(missing_ok=True)
            raise _Passing(f"answered with {answer.headers.get('Content-Range', 'no range')!r} for bytes {have}-")
        start, total = have, None if match[2] == "*" else int(match[2])
    elif "Content-Length" in answer.headers:
        total = int(answer.headers["Content-Length"])
    if wanted.size_bytes is not None and total is not None and total != wanted.size_bytes:
        raise _Final(f"has {total:,} bytes, {wanted.size_bytes:,} are expected")
    return start, wanted.size_bytes if total is None else total


def fetch(
    downloads: Path,
    *,
    mirror: str | None = None,
    files: Sequence[PublishedFile] = published.FILES,
    limits: Limits = Limits(),
    watch: Watch = lambda file, there, total: None,
) -> tuple[dict[str, Path], FetchReport]:
    """All published files in ``downloads``: what is there and whole is not fetched again.

    Returns:
        name -> file, and the report, without counts.

    Raises:
        FetchError: a file that is needed could not be had from any of its servers; names the last reason.
        DiskFullError: no room.
    """
    downloads.mkdir(parents=True, exist_ok=True)
    report, found = FetchReport(), {}
    with disk_errors(downloads):
        for wanted in files:
            target = downloads / wanted.name
            if target.is_file() and _why_not(target, wanted) is None:
                report.there = (*report.there, wanted.name)
                found[wanted.name] = target
                continue
            reasons: list[FetchError] = []
            for url in wanted.urls(mirror):
                try:
                    download(url, target, wanted, limits, watch)
                    break
                except FetchError as error:
                    reasons.append(error)
            else:
                if not wanted.optional:
                    last = reasons[-1]
                    others = "".join(f" ({error.where}: {error.what})" for error in reasons[:-1])
                    raise FetchError(f"{last.what}{others}", where=last.where, hint=last.hint) from last
                report.missing[wanted.name] = reasons[-1].what
                continue
            report.downloaded = (*report.downloaded, wanted.name)
            found[wanted.name] = target
    return found, report


def from_folder(
    folder: Path, *, files: Sequence[PublishedFile] = published.FILES
) -> tuple[dict[str, Path], FetchReport]:
    """The published files as they lie in a folder, by name or by their paths in the repositories; checked, not copied.

    Raises:
        FetchError: a needed file is missing, or one has another size or checksum; names both sums.
    """
    report, found = FetchReport(), {}
    for wanted in files:
        file = next((file for file in (folder / wanted.name, folder / wanted.path) if file.is_file()), None)
        if file is None:
            report.missing[wanted.name] = f"not in {folder}"
            continue
        wrong = _why_not(file, wanted)
        if wrong is not None:
            hint = "bring the published file, or import yours with `sqidflow data import`"
            raise FetchError(wrong, where=file, hint=hint)
        report.there = (*report.there, wanted.name)
        found[wanted.name] = file
    needed = [wanted.name for wanted in files if not wanted.optional and wanted.name in report.missing]
    if needed:
        raise FetchError(
            f"{', '.join(needed)} not there" + (f" (there: {', '.join(report.there)})" if report.there else ""),
            where=folder,
            hint="bring the missing files, or fetch without --from",
        )
    return found, report


def _why_not(file: Path, wanted: PublishedFile) -> str | None:
    size = file.stat().st_size
    if wanted.size_bytes is not None and size != wanted.size_bytes:
        return f"has {size:,} bytes, {wanted.size_bytes:,} are expected"
    if wanted.sha256 is not None and (found := sha256_of(file)) != wanted.sha256:
        return f"has SHA-256 {found}, {wanted.sha256} is expected"
    return None


def room_bytes(downloads: Path, files: Sequence[PublishedFile] = published.FILES) -> int:
    """Bytes that are still to come, with a tenth for what they are cut down to."""
    missing = sum(wanted.size_bytes or 0 for wanted in files if not (downloads / wanted.name).is_file())
    there = sum(file.stat().st_size for file in downloads.glob(".*.part")) if downloads.is_dir() else 0
    kept = sum(wanted.size_bytes or 0 for wanted in files)
    return max(missing - there, 0) + kept + kept // 10


def cut_to_sqid(found: dict[str, Path], folder: Path, report: FetchReport) -> dict[str, Path]:
    """ESCI's files cut to the US judgements of the small version's test split, and the products that these judge.

    Args:
        found: name -> published file.
        folder: the two smaller files are written there.
        report: gets the counts.

    Returns:
        ``found`` with the smaller files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    examples, products = folder / formats.EXAMPLES_FILE, folder / formats.PRODUCTS_FILE
    judged: list[Any] = []

    def judgements() -> Iterator[pa.RecordBatch]:
        for batch in readers.read_examples(found[formats.EXAMPLES_FILE], lenient=True):
            report.judgements_published += batch.num_rows
            kept = batch.filter(
                pc.and_(
                    pc.and_(
                        pc.equal(batch["product_locale"], published.LOCALE), pc.equal(batch["split"], published.SPLIT)
                    ),
                    pc.equal(batch["small_version"], 1),
                )
            )
            judged.append(kept["product_id"])
            yield kept.select(formats.EXAMPLES_SCHEMA.names)

    with staged_file(examples) as beside:
        report.judgements = write_batches(beside, formats.EXAMPLES_SCHEMA, judgements())
        if not report.judgements:
            raise DataError(
                f"no judgement of locale {published.LOCALE}, split {published.SPLIT}, small version",
                file=found[formats.EXAMPLES_FILE],
                hint="bring ESCI's own examples file",
            )
    ids = pc.unique(pa.chunked_array(judged))

    def of_judged() -> Iterator[pa.RecordBatch]:
        for batch in readers.read_products(found[formats.PRODUCTS_FILE], lenient=True):
            report.products_published += batch.num_rows
            yield batch.filter(
                pc.and_(pc.equal(batch["product_locale"], published.LOCALE), pc.is_in(batch["product_id"], ids))
            ).select(formats.PRODUCTS_SCHEMA.names)

    with staged_file(products) as beside:
        report.products = write_batches(beside, formats.PRODUCTS_SCHEMA, of_judged())
    return {**found, formats.EXAMPLES_FILE: examples, formats.PRODUCTS_FILE: products}


def forget(folder: Path) -> None:
    """Delete what was only between the downloads and ``data/``."""
    shutil.rmtree(folder, ignore_errors=True)
