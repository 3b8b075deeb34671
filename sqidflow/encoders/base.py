"""The protocol every encoder follows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class Encoder(Protocol):
    """Maps texts and pictures into one space of ``dim`` dimensions.

    Both methods return one row per input, in order, never all zero; an empty input gives shape ``[0, dim]``.
    An encoder that is safe for concurrent threads has ``for_threads = True``; others are used by one thread at a time.
    """

    name: str
    dim: int
    sees_pictures: bool

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Text vectors, float32 ``[n, dim]``."""
        ...

    def encode_images(self, images: Sequence[bytes]) -> np.ndarray:
        """Picture vectors, float32 ``[n, dim]``, of encoded PNG or JPEG files.

        Raises ValueError naming the index of a picture that cannot be decoded or is over a bound, and for an encoder
        that does not see pictures.
        """
        ...
