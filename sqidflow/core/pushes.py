"""Which models were pushed, and in which order, whatever the clock said when a folder was named.

TFX's Pusher names a folder by the time. A clock that is set back would make an older model the newest; so each push
that is known to be whole gets the next number, in a file of its folder.
"""

from __future__ import annotations

from pathlib import Path

from sqidflow.core.files import write_atomically
from sqidflow.core.model_files import ONNX_FILE, PUSHED_MARK


def record_push(folder: Path) -> int:
    """Number a pushed model that is whole; one that has a number keeps it. Returns the number, from 1."""
    number = push_number(folder)
    if number is None:
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
