"""Pictures from outside, opened within bounds."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

MAX_IMAGE_BYTES = 20_000_000
MAX_IMAGE_PIXELS = 40_000_000
_MOST_PIXELS = {"WEBP": 20_000_000}
"""Lower bounds, by format: Pillow's reader of WebP holds four copies of a picture."""
_LARGE_PIXELS = 4_000_000
"""From here on pictures are decoded one at a time, and reduced before anything else is done with them."""
_LARGE_REDUCED_TO = 1024
_STRIP_LINES = 64
_ORIENTATION = 0x0112
_decoding = threading.Lock()


class PictureType(NamedTuple):
    """``format`` as Pillow calls it."""

    format: str
    media_type: str
    suffixes: tuple[str, ...]


_TYPES = (
    PictureType("PNG", "image/png", (".png",)),
    PictureType("JPEG", "image/jpeg", (".jpg", ".jpeg")),
    PictureType("WEBP", "image/webp", (".webp",)),
    PictureType("GIF", "image/gif", (".gif",)),
    PictureType("BMP", "image/bmp", (".bmp",)),
    PictureType("TIFF", "image/tiff", (".tif", ".tiff")),
)
_AVIF = PictureType("AVIF", "image/avif", (".avif",))
_HEIF = PictureType("HEIF", "image/heic", (".heic", ".heif"))


@cache
def picture_types() -> tuple[PictureType, ...]:
    """What :func:`open_picture` takes: AVIF where this Pillow has it, HEIC where pillow-heif is installed."""
    from PIL import features

    types: tuple[PictureType, ...] = _TYPES
    if features.check("webp") is False:
        types = tuple(each for each in types if each.format != "WEBP")
    if features.check("avif"):
        types += (_AVIF,)
    with suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()
        types += (_HEIF,)
    return types


_MAGIC = (
    (b"\x89PNG", "image/png"), (b"\xff\xd8", "image/jpeg"), (b"GIF8", "image/gif"), (b"BM", "image/bmp"),
    (b"II*\x00", "image/tiff"), (b"MM\x00*", "image/tiff"),
)  # fmt: skip
_BRANDS = {b"avif": "image/avif", b"avis": "image/avif", b"heic": "image/heic", b"heix": "image/heic"}


def media_type_of(data: bytes) -> str | None:
    """The type of a picture's file by its first bytes; None for anything else."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12])
    return next((media_type for magic, media_type in _MAGIC if data.startswith(magic)), None)


def names_of_types() -> str:
    """The accepted formats for people: ``PNG, JPEG, ... or AVIF``."""
    names = [each.format for each in picture_types()]
    return f"{', '.join(names[:-1])} or {names[-1]}"


def open_picture(data: bytes, reduce_to: int | None = None) -> Image:
    """A picture's file as a whole, upright picture (EXIF), RGB or RGBA; of an animation the first frame.

    Args:
        reduce_to: a JPEG may be decoded smaller, though not below this many pixels a side.

    Raises:
        ValueError: no whole picture of one of :func:`picture_types`, or over a bound: bytes or pixels. Pixels are
            counted before any is decoded.
    """
    from PIL import Image

    types = picture_types()
    if len(data) > MAX_IMAGE_BYTES:
        raise ValueError(f"{len(data):,} bytes, more than {MAX_IMAGE_BYTES:,}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image: Image.Image = Image.open(io.BytesIO(data), formats=[each.format for each in types])
            refuse_too_many_pixels(image)
            with _decoding if image.width * image.height > _LARGE_PIXELS else nullcontext():
                if reduce_to is not None:
                    image.draft(None, (reduce_to, reduce_to))
                image.load()
                orientation = image.getexif().get(_ORIENTATION)
                image = _eight_bits(image)  # the original is let go before the next one is decoded
            return _upright(image, orientation)
    except ValueError:
        raise
    except Image.DecompressionBombError as error:
        raise ValueError(f"more than {MAX_IMAGE_PIXELS:,} pixels") from error
    except Exception as error:  # Pillow raises many kinds, some of them bare, for damaged files
        raise ValueError(f"not a whole {names_of_types()} picture ({type(error).__name__})") from error


def refuse_too_many_pixels(image: Image) -> None:
    """Raises ValueError for a picture with more pixels than its format may have; to be called before it is decoded."""
    most = min(MAX_IMAGE_PIXELS, _MOST_PIXELS.get(image.format or "", MAX_IMAGE_PIXELS))
    if image.width * image.height > most:
        raise ValueError(f"{image.width} x {image.height} pixels, more than {most:,}")


def _eight_bits(image: Image) -> Image:
    """RGB, or RGBA where parts are transparent; a large one reduced."""
    import numpy as np
    from PIL import Image

    if image.mode.startswith("I") or image.mode == "F":
        values, highest = _values(image)
        # What the file's numbers go up to is not said: 1 (float), 255, 65,535 or more.
        white = next((most for most in (1.0, 255.0, 65_535.0) if highest <= most), highest)
        if image.mode.startswith("I"):
            white = max(white, 65_535.0)
        image = Image.fromarray((np.clip(values, 0, None) * (255.0 / white)).astype(np.uint8))
    transparent = image.mode in ("LA", "PA", "RGBA", "RGBa", "La") or "transparency" in image.info
    if image.mode in ("P", "PA", "1"):
        image = image.convert("RGBA" if transparent else "RGB")
    if image.width * image.height > _LARGE_PIXELS:
        image = _reduced(image, max(2, max(image.size) // _LARGE_REDUCED_TO))
    if image.mode == "CMYK":
        return _from_cmyk(image)
    mode = "RGBA" if transparent else "RGB"
    return image if image.mode == mode else image.convert(mode)


def _values(image: Image) -> tuple[np.ndarray, float]:
    """The numbers of a picture with one of more than 8 bits a pixel, float32 [h, w], and the highest of them.

    A large picture is reduced, in strips: as float32 it would be several times as large as the file's own form.
    """
    import numpy as np

    width, height = image.size
    factor = max(1, max(image.size) // _LARGE_REDUCED_TO) if width * height > _LARGE_PIXELS else 1
    rows, highest = [], 0.0
    for top in range(0, height, _STRIP_LINES * factor):
        bottom = min(height, top + _STRIP_LINES * factor)
        strip: np.ndarray = np.asarray(image.crop((0, top, width, bottom))).astype(np.float32)
        highest = max(highest, float(strip.max(initial=0)))
        starts = np.arange(0, bottom - top, factor), np.arange(0, width, factor)
        for axis, start in enumerate(starts):
            size = np.diff(start, append=strip.shape[axis]).astype(np.float32)
            strip = np.add.reduceat(strip, start, axis) / (size[:, None] if axis == 0 else size)
        rows.append(strip)
    return np.concatenate(rows), highest


def _reduced(image: Image, factor: int) -> Image:
    """As ``image.reduce(factor)``, in strips: Pillow copies a transparent picture whole before it reduces it."""
    from PIL import Image

    width, height = image.size
    out = Image.new(image.mode, (-(-width // factor), -(-height // factor)))
    for top in range(0, height, _STRIP_LINES * factor):
        strip = image.crop((0, top, width, min(height, top + _STRIP_LINES * factor)))
        out.paste(strip.reduce(factor), (0, top // factor))
    out.info = dict(image.info)
    return out


def _from_cmyk(image: Image) -> Image:
    """By the file's own profile where it has one that can be read."""
    from PIL import ImageCms

    profile = image.info.get("icc_profile")
    if profile:
        with suppress(ImageCms.PyCMSError, OSError):
            converted = ImageCms.profileToProfile(
                image, ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
            if converted is not None:
                return converted
    return image.convert("RGB")


def _upright(image: Image, orientation: int | None) -> Image:
    from PIL.Image import Transpose

    turned = {
        2: Transpose.FLIP_LEFT_RIGHT, 3: Transpose.ROTATE_180, 4: Transpose.FLIP_TOP_BOTTOM, 5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270, 7: Transpose.TRANSVERSE, 8: Transpose.ROTATE_90,
    }.get(orientation or 1)  # fmt: skip
    return image if turned is None else image.transpose(turned)


def on_white(image: Image) -> Image:
    """RGB, transparent parts on white."""
    from PIL import Image

    if image.mode != "RGBA":
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def open_rgb(images: Sequence[bytes], first: int = 0) -> list[Image]:
    """Encoded pictures as RGB, transparent parts on white; ``first`` is the position of the first one, for messages.

    Raises:
        ValueError: as :func:`open_picture`; names the position of the first that cannot be opened.
    """
    opened = []
    for position, data in enumerate(images, first):
        try:
            opened.append(on_white(open_picture(data)))
        except ValueError as error:
            raise ValueError(f"picture {position}: {error}") from error
    return opened
