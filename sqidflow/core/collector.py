"""Python's garbage collector while large libraries are imported."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_collections() -> Iterator[None]:
    """Import libraries inside: the collector stays off, and later passes over all that there is at the end.

    TensorFlow and TFX make millions of objects that live as long as the process. To look through them again and again
    takes a quarter of the time of their import, and more in each later collection. Where nothing is imported, nothing
    is passed over: what an earlier run in the process has left is not to stay for ever.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    before = len(sys.modules)
    try:
        yield
    finally:
        if len(sys.modules) > before:
            gc.freeze()
        gc.enable()
