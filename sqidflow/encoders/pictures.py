"""Pictures from outside, opened within bounds."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_IMAGE_BYTES = 20_000_000
MAX_IMAGE_PIXELS = 40_000_000
FORMATS = ("PNG", "JPEG")


def open_picture(data: bytes, reduce_to: int | None = None) -> Image:
    """A PNG or JPEG file as a whole, upright picture (EXIF), RGB or RGBA; of an animation the first frame.

    Args:
        reduce_to: a JPEG may be decoded smaller, though not below this many pixels a side.

    Raises:
        ValueError: no whole picture, or over a bound: bytes or pixels. Pixels are counted before any is decoded.
    """
    import numpy as np
    from PIL import Image, ImageOps

    if len(data) > MAX_IMAGE_BYTES:
        raise ValueError(f"{len(data):,} bytes, more than {MAX_IMAGE_BYTES:,}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            if image.width * image.height > MAX_IMAGE_PIXELS:
                raise ValueError(f"{image.width} x {image.height} pixels, more than {MAX_IMAGE_PIXELS:,}")
            if reduce_to is not None:
                image.draft(None, (reduce_to, reduce_to))
            image = ImageOps.exif_transpose(image)
            if image.mode.startswith("I"):
                image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
            if image.mode in ("LA", "PA", "RGBa", "La") or "transparency" in image.info:
                image = image.convert("RGBA")
            elif image.mode != "RGBA":
                image = image.convert("RGB")
            image.load()
    except ValueError:
        raise
    except Image.DecompressionBombError as error:
        raise ValueError(f"more than {MAX_IMAGE_PIXELS:,} pixels") from error
    except Exception as error:  # Pillow raises many kinds, some of them bare, for damaged files
        raise ValueError(f"not a whole PNG or JPEG picture ({type(error).__name__})") from error
    return image


def open_rgb(images: Sequence[bytes], first: int = 0) -> list[Image]:
    """Encoded pictures as RGB, transparent parts on white; ``first`` is the position of the first one, for messages.

    Raises:
        ValueError: as :func:`open_picture`; names the position of the first that cannot be opened.
    """
    from PIL import Image

    opened = []
    for position, data in enumerate(images, first):
        try:
            image = open_picture(data)
        except ValueError as error:
            raise ValueError(f"picture {position}: {error}") from error
        if image.mode == "RGBA":
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image).convert("RGB")
        opened.append(image)
    return opened
