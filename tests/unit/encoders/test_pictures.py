"""What is a picture, and what is made of it."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sqidflow.encoders import pictures
from sqidflow.encoders.pictures import media_type_of, on_white, open_picture, picture_types


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def halves(mode: str = "RGB") -> Image.Image:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", (40, 20), "red")
    image.paste("blue", (20, 0, 40, 20))
    return image.convert(mode)


def colors(image: Image.Image) -> list[tuple[int, ...]]:
    pixels = on_white(image)
    return [pixels.getpixel((5, 10)), pixels.getpixel((35, 10))]  # type: ignore[misc]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_every_type_that_is_named_is_opened(kind: str) -> None:
    if kind not in {each.format for each in picture_types()}:
        pytest.skip(f"this Pillow has no {kind}")
    data = saved(halves(), kind)
    np.testing.assert_allclose(colors(open_picture(data)), [(255, 0, 0), (0, 0, 255)], atol=30)
    assert media_type_of(data) == next(each.media_type for each in picture_types() if each.format == kind)


def test_other_types_are_refused_and_the_right_ones_named() -> None:
    with pytest.raises(ValueError, match="not a whole PNG, JPEG, WEBP, GIF, BMP, TIFF"):
        open_picture(saved(halves(), "PPM"))
    assert media_type_of(b"<svg/>") is None


def test_of_an_animation_the_first_frame() -> None:
    frames = [Image.new("RGB", (20, 20), color) for color in ("red", "blue")]
    for kind in ("GIF", "WEBP"):
        data = saved(frames[0], kind, save_all=True, append_images=frames[1:])
        np.testing.assert_allclose(on_white(open_picture(data)).getpixel((3, 3)), (255, 0, 0), atol=12)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_turned_as_its_exif_says(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = open_picture(saved(halves(), kind, exif=exif))
    assert image.size == (20, 40)
    np.testing.assert_allclose(
        [on_white(image).getpixel((10, 5)), on_white(image).getpixel((10, 35))], [(255, 0, 0), (0, 0, 255)], atol=30
    )


def test_sixteen_bits_are_scaled_not_cut() -> None:
    grey = np.full((20, 20), 32_768, np.uint16)
    grey[:, 10:] = 65_535
    for kind in ("PNG", "TIFF"):
        image = open_picture(saved(Image.fromarray(grey), kind))
        assert [image.getpixel((5, 5)), image.getpixel((15, 5))] == [(127,) * 3, (255,) * 3]
    white = saved(Image.fromarray(np.array([[0.0, 1.0]], np.float32)), "TIFF")
    assert open_picture(white).getpixel((1, 0)) == (255, 255, 255)


def test_cmyk_has_its_colors() -> None:
    np.testing.assert_allclose(colors(open_picture(saved(halves("CMYK"), "JPEG"))), [(254, 0, 0), (0, 0, 254)], atol=12)


def test_transparent_parts_are_white() -> None:
    image = halves().convert("RGBA")
    image.putalpha(Image.new("L", image.size, 0))
    for kind in ("PNG", "WEBP", "TIFF"):
        assert colors(open_picture(saved(image, kind))) == [(255, 255, 255)] * 2
    half = saved(Image.new("LA", (10, 10), (0, 128)), "PNG")
    assert on_white(open_picture(half)).getpixel((0, 0)) == (127, 127, 127)


def test_pixels_are_counted_before_they_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(halves(), "PNG")
    monkeypatch.setattr(pictures, "MAX_IMAGE_PIXELS", 799)
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(ValueError, match="40 x 20 pixels, more than 799"):
        open_picture(data)


def test_a_large_picture_is_reduced_before_anything_is_done_with_it() -> None:
    image = open_picture(saved(Image.new("RGBA", (3000, 2000), (255, 0, 0, 128)), "PNG"))
    assert max(image.size) <= 2048 and image.mode == "RGBA"
    np.testing.assert_allclose(on_white(image).getpixel((5, 5)), (255, 127, 127), atol=1)


@pytest.mark.parametrize("mode", ["I;16", "F"])
def test_a_large_picture_with_many_bits_is_reduced_in_strips(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Halves of known brightness keep it, whether the sides are multiples of the factor or not."""
    white = 65_535 if mode == "I;16" else 1.0
    values = np.full((2003, 3001), 0.25 * white, np.uint16 if mode == "I;16" else np.float32)
    values[:, 1500:] = white
    data = saved(Image.fromarray(values), "TIFF", compression="tiff_adobe_deflate")
    largest = []
    asarray = np.asarray
    monkeypatch.setattr(
        np, "asarray", lambda array, *more, **named: (largest.append(asarray(array).size), asarray(array))[1]
    )
    image = open_picture(data)
    assert max(largest) < 0.2 * values.size, "never whole as float32"
    assert image.mode == "RGB" and 1000 <= max(image.size) <= 2048
    pixels = np.array(image)[:, :, 0]
    width = image.size[0]
    assert set(pixels[:, : width // 2 - 1].ravel()) == {63}
    assert set(pixels[:, width // 2 + 1 :].ravel()) == {255}


def test_webp_may_have_fewer_pixels_than_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its reader holds four copies."""
    data = {kind: saved(Image.new("RGB", (5001, 4000), "red"), kind) for kind in ("WEBP", "PNG")}
    assert open_picture(data["PNG"]).getpixel((0, 0)) == (255, 0, 0)
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(ValueError, match="5001 x 4000 pixels, more than 20,000,000"):
        open_picture(data["WEBP"])
