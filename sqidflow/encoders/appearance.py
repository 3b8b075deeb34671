"""What a picture looks like, whatever encoder is used: to know one again, and to tell a picture from none.

A picture that was saved anew, made smaller or cropped at its edges keeps the colours of its parts: twelve by twelve
cells' mean colours are its appearance. NumPy and Pillow only.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from sqidflow.encoders.pictures import on_white, open_picture

if TYPE_CHECKING:
    from PIL.Image import Image

GRID = 12
SIZE = 3 * GRID * GRID
"""Length of an appearance, uint8: the cells' red, green and blue, row by row."""
_LOOKED_AT = 384
_PER_CELL = 10
_LEAST_COVERED = 0.95
_ROWS_AT_ONCE = 8192
_CROPS = (
    (0.0, 0.0, 1.0, 1.0), (0.05, 0.05, 0.95, 0.95), (0.1, 0.1, 0.9, 0.9),
    (0.1, 0.0, 1.0, 1.0), (0.0, 0.0, 0.9, 1.0), (0.0, 0.1, 1.0, 1.0), (0.0, 0.0, 1.0, 0.9),
    (0.1, 0.1, 1.0, 1.0), (0.0, 0.0, 0.9, 0.9), (0.1, 0.0, 1.0, 0.9), (0.0, 0.1, 0.9, 1.0),
)  # fmt: skip
"""Parts of a picture that a crop by a tenth may have left: left, top, right, bottom."""
_BLANK_DEVIATION = 2.0
_COARSE = 32

Flaw = Literal["blank", "noise"]


@dataclass(frozen=True)
class Look:
    """A picture as it is compared.

    ``file`` and ``pixels``: 64 bits of the digests of its bytes and of what they decode to. ``cells`` float32
    [crops, SIZE] and ``covered`` bool [crops, SIZE]: its appearance were it one of the crops of a larger picture.
    """

    file: int
    pixels: int
    appearance: np.ndarray
    cells: np.ndarray
    covered: np.ndarray
    flaw: Flaw | None


def digest_of(content: bytes) -> int:
    """Never 0, which stands for no picture."""
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "little") or 1


def look_at(data: bytes) -> Look:
    """Decode a picture's file and look at it.

    Raises:
        ValueError: as :func:`sqidflow.encoders.pictures.open_picture`.
    """
    image = _opened(data)
    pairs = [_cells_within(image, crop) for crop in _CROPS]
    return Look(
        digest_of(data),
        _pixels_digest(image),
        appearance_of(image),
        np.stack([cells for cells, _ in pairs]),
        np.stack([covered for _, covered in pairs]),
        flaw_of(np.asarray(image)),
    )


def kept_of(data: bytes) -> tuple[int, int, np.ndarray]:
    """What an index keeps of a product's picture: both digests, and the appearance uint8 [SIZE]; raises ValueError."""
    image = _opened(data)
    return digest_of(data), _pixels_digest(image), appearance_of(image)


def _opened(data: bytes) -> Image:
    image = on_white(open_picture(data, _LOOKED_AT))
    factor = max(image.size) // _LOOKED_AT
    return image.reduce(factor) if factor > 1 else image


def _pixels_digest(image: Image) -> int:
    return digest_of(f"{image.size}".encode() + image.tobytes())


def appearance_of(image: Image) -> np.ndarray:
    """Mean colours of the cells of an RGB picture, uint8 [SIZE]."""
    from PIL.Image import Resampling

    return np.asarray(image.resize((GRID, GRID), Resampling.BOX), np.uint8).reshape(-1)


def _cells_within(image: Image, crop: tuple[float, float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """The cells of a larger picture of which ``image`` is the part ``crop``, float32 [SIZE], and which of them it has
    nearly wholly, bool [SIZE]."""
    from PIL.Image import Resampling

    side = GRID * _PER_CELL
    left, top, right, bottom = (round(edge * side) for edge in crop)
    canvas = np.zeros((side, side, 3), np.float32)
    part = image.resize((right - left, bottom - top), Resampling.BOX)
    canvas[top:bottom, left:right] = np.asarray(part, np.float32)
    covered = np.zeros((side, side), np.float32)
    covered[top:bottom, left:right] = 1

    def by_cell(values: np.ndarray) -> np.ndarray:
        return values.reshape(GRID, _PER_CELL, GRID, _PER_CELL, -1).mean(axis=(1, 3))

    whole = by_cell(covered) >= _LEAST_COVERED
    return by_cell(canvas).reshape(-1), np.repeat(whole.reshape(-1), 3)


def distances(look: Look, appearances: np.ndarray) -> np.ndarray:
    """Root mean square difference of a cell's colour to each of n pictures, 0 to 255, float32 [n]: the least of those
    that each crop gives.

    Args:
        appearances: uint8 [n, SIZE].
    """
    mask = look.covered.astype(np.float32)
    weighted, counts = (look.cells * mask).T.copy(), mask.sum(1)
    own = (look.cells**2 * mask).sum(1)
    out = np.empty(len(appearances), np.float32)
    for start in range(0, len(appearances), _ROWS_AT_ONCE):
        block = appearances[start : start + _ROWS_AT_ONCE].astype(np.float32)
        squares = (block**2) @ mask.T - 2 * (block @ weighted) + own
        out[start : start + len(block)] = np.sqrt(np.maximum((squares / counts).min(axis=1), 0))
    return out


def likeness(distance: np.ndarray) -> np.ndarray:
    """1 for the same picture, 0.37 where cells differ by 40 of 255, 0 for nothing in common; float32 [n]."""
    return np.exp(-np.asarray(distance, np.float32) / 40)


def flaw_of(pixels: np.ndarray) -> Flaw | None:
    """Whether a picture (uint8 [h, w, 3]) shows nothing: one colour, or noise, in which neighbours have nothing to do
    with each other, from near and from afar; None where it shows something."""
    grey = pixels.astype(np.float32).mean(axis=2)
    if pixels.reshape(-1, 3).std(axis=0).max() < _BLANK_DEVIATION:
        return "blank"
    factor = max(1, max(grey.shape) // _COARSE)
    height, width = (size // factor * factor for size in grey.shape)
    coarse = grey[:height, :width].reshape(height // factor, factor, width // factor, factor).mean(axis=(1, 3))
    near, afar = _likeness_of_neighbours(grey), _likeness_of_neighbours(coarse)
    if near < 0.5 and (afar < 0.35 or coarse.std() < 3):
        return "noise"
    return "noise" if afar < 0.2 and coarse.std() > 3 else None


def _likeness_of_neighbours(values: np.ndarray) -> float:
    """The lower correlation of those between a pixel and the one beside it, and the one below; 1 for too few."""
    if min(values.shape) < 8:
        return 1.0
    centred = values - values.mean()
    variance = float((centred**2).mean())
    if variance < 1e-6:
        return 1.0
    beside = float((centred[:, 1:] * centred[:, :-1]).mean()) / variance
    below = float((centred[1:] * centred[:-1]).mean()) / variance
    return (beside + below) / 2
