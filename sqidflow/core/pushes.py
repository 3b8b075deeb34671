"""Which models were pushed, in which order, and which of them is to be served.

TFX's Pusher names a folder by the time. A clock that is set back would make an older model the newest; so each push
that is known to be whole gets the next number, in a file of its folder. The newest push is served, unless a version is
pinned: ``delivery.json`` beside the folder of pushes says so. It is no part of that folder, which DVC restores.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from sqidflow.core.errors import SqidflowError
from sqidflow.core.files import may_write, write_atomically
from sqidflow.core.model_files import ONNX_FILE, PUSHED_MARK

DELIVERY_FILE = "delivery.json"
_LOCK_FILE = ".delivery.lock"
_LOCK_WAIT_S = 10.0
_KEPT_PUSHES = 3


@dataclass(frozen=True)
class Pin:
    """The version that is served until it is released, since when (ISO 8601, UTC), and which was served before."""

    version: str
    at: str
    instead_of: str | None = None


@dataclass(frozen=True)
class Delivery:
    """``passed_over``: versions that were pushed while another was pinned, and were never to be served."""

    pin: Pin | None = None
    passed_over: tuple[str, ...] = ()


def record_push(folder: Path) -> int:
    """Number a pushed model that is whole; one that has a number keeps it. Returns the number, from 1.

    Raises:
        SqidflowError: the delivery record is damaged or cannot be written.
    """
    number = push_number(folder)
    if number is None:
        if read_delivery(folder.parent).pin is not None:
            with _changing(folder.parent) as delivery:
                if delivery.pin is not None and folder.name not in (delivery.pin.version, *delivery.passed_over):
                    _write(folder.parent, replace(delivery, passed_over=(*delivery.passed_over, folder.name)))
        numbers = [push_number(other) or 0 for other in folder.parent.glob("[!.]*") if other.is_dir()]
        number = 1 + max(numbers, default=0)
        write_atomically(folder / PUSHED_MARK, f"{number}\n")
    return number


def push_number(folder: Path) -> int | None:
    """A pushed model's place in the order of pushes; None where it has none (pushed before there were numbers)."""
    try:
        number = int((folder / PUSHED_MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return number if number > 0 else None


def pushed_models(serving_dir: Path) -> list[Path]:
    """The folders that were pushed whole, the newest first."""
    whole = [folder for folder in serving_dir.glob("*") if folder.name.isdigit() and (folder / ONNX_FILE).is_file()]
    marked = [folder for folder in whole if (folder / PUSHED_MARK).is_file()]
    return sorted(marked or whole, key=push_order, reverse=True)


def push_order(folder: Path) -> tuple[int, int]:
    """Sorts pushed models, the newest last; folders without a number stand before those with one, by their names."""
    return push_number(folder) or 0, int(folder.name)


def newest_model(serving_dir: Path) -> Path | None:
    """The folder that was pushed last and whole, None where there is none."""
    return next(iter(pushed_models(serving_dir)), None)


def read_delivery(serving_dir: Path) -> Delivery:
    """The delivery record; an empty one where nothing was ever pinned.

    Raises:
        SqidflowError: the record is damaged. To take the newest push instead could undo a rollback unnoticed.
    """
    file = serving_dir.parent / DELIVERY_FILE
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        pin = Pin(**content["pin"]) if content["pin"] is not None else None
        if pin is not None and not (isinstance(pin.version, str) and pin.version):
            raise ValueError(pin.version)
        return Delivery(pin, tuple(map(str, content["passed_over"])))
    except FileNotFoundError:
        return Delivery()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SqidflowError(
            f"the delivery record cannot be read ({type(error).__name__})",
            where=file,
            hint="pin a version anew with `sqidflow rollback VERSION`, or delete the file to serve the newest push",
        ) from error


def delivery_stamp(serving_dir: Path) -> tuple[int, int, int] | None:
    """Changes with the delivery record, at the price of one look at its directory entry; None where there is none."""
    try:
        status = (serving_dir.parent / DELIVERY_FILE).stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def pinned_version(serving_dir: Path) -> str | None:
    """The version that is pinned; None where none is. Raises SqidflowError as :func:`read_delivery`."""
    pin = read_delivery(serving_dir).pin
    return pin.version if pin is not None else None


def pin_version(serving_dir: Path, version: str, instead_of: str | None) -> Pin:
    """Serve a version until it is released; a damaged record is replaced.

    Args:
        instead_of: the version that answers now.

    Raises:
        SqidflowError: the record cannot be written.
    """
    with _changing(serving_dir, repair=True) as delivery:
        pin = Pin(version, datetime.now(UTC).isoformat(timespec="seconds"), instead_of)
        _write(serving_dir, Delivery(pin, tuple(each for each in delivery.passed_over if each != version)))
    return pin


def release_pin(serving_dir: Path) -> Pin | None:
    """Serve the newest push again; returns the pin that was lifted, None where there was none.

    Raises:
        SqidflowError: the record is damaged or cannot be written.
    """
    with _changing(serving_dir) as delivery:
        if delivery.pin is None:
            return None
        newest = newest_model(serving_dir)
        passed_over = tuple(each for each in delivery.passed_over if newest is None or each != newest.name)
        _write(serving_dir, Delivery(None, passed_over))
    return delivery.pin


def served_before(serving_dir: Path, version: str) -> str | None:
    """The push before a version, of those that were to be served; None where there is none."""
    passed_over = read_delivery(serving_dir).passed_over
    names = [folder.name for folder in pushed_models(serving_dir)]
    older = names[names.index(version) + 1 :] if version in names else names
    return next((name for name in older if name not in passed_over), None)


def versions_to_keep(serving_dir: Path) -> set[str]:
    """Versions that a rollback or a release is likely to serve next: the last pushes, the pin, and what it replaced."""
    pin = read_delivery(serving_dir).pin
    kept = {folder.name for folder in pushed_models(serving_dir)[:_KEPT_PUSHES]}
    return kept | {version for version in (pin.version, pin.instead_of) if version} if pin is not None else kept


@contextmanager
def _changing(serving_dir: Path, *, repair: bool = False) -> Iterator[Delivery]:
    """The record, while no other process changes it. Not the workdir's lock: a run may hold that for hours."""
    from filelock import FileLock, Timeout

    with may_write(serving_dir.parent):
        serving_dir.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(serving_dir.parent / _LOCK_FILE)
        try:
            lock.acquire(timeout=_LOCK_WAIT_S)
        except Timeout as error:
            raise SqidflowError(
                f"another process has been changing the delivery record for {_LOCK_WAIT_S:g} s",
                where=serving_dir.parent / DELIVERY_FILE,
                hint="try again",
            ) from error
    try:
        try:
            delivery = read_delivery(serving_dir)
        except SqidflowError:
            if not repair:
                raise
            delivery = Delivery()
        yield delivery
    finally:
        lock.release()


def _write(serving_dir: Path, delivery: Delivery) -> None:
    with may_write(serving_dir.parent):
        write_atomically(serving_dir.parent / DELIVERY_FILE, json.dumps(asdict(delivery), indent=2) + "\n")
