"""What the encoders with learned weights share."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any


def load(encoder: str, *modules: str) -> Any:
    """Import the modules, which an encoder needs beyond the project's own packages; returns the first.

    Raises:
        ValueError: one of them is not installed; names the encoder.
    """
    try:
        return [importlib.import_module(name) for name in modules][0]
    except ImportError as error:
        raise ValueError(
            f"the encoder {encoder} needs packages that are not installed ({error}); run: make encoders"
        ) from error


def no_model(encoder: str, model: str, error: Exception) -> ValueError:
    """The error of an encoder whose weights could not be opened."""
    return ValueError(
        f"no {encoder} model {model!r} ({str(error).splitlines()[0]}); name a folder that holds one, "
        "or a model of the hub on a machine that reaches it"
    )


def model_name(model: str) -> str:
    """What vectors are marked with: a hub's name as it is, of a folder its name and not where it lies."""
    return Path(model).resolve().name if Path(model).is_dir() else model


def batches(items: Sequence[Any], size: int) -> Iterator[tuple[int, Sequence[Any]]]:
    """Position of the first, and the items, of each batch."""
    for start in range(0, len(items), size):
        yield start, items[start : start + size]
