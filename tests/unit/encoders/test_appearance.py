"""Knowing a picture again."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sqidflow.encoders import appearance
from tests.fixtures.small_index import drawn


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def test_digests_know_the_bytes_and_what_they_decode_to() -> None:
    look = appearance.look_at(drawn(1))
    same, pixels, cells = appearance.kept_of(drawn(1))
    again = appearance.look_at(saved(Image.open(io.BytesIO(drawn(1))), "BMP"))
    assert look.file == same != again.file and look.pixels == pixels == again.pixels
    assert appearance.distances(look, cells[None])[0] < 1
    assert appearance.kept_of(drawn(2))[1] != pixels


@pytest.mark.parametrize("crop", [(0.1, 0.1, 0.9, 0.9), (0.05, 0.05, 0.95, 0.95), (0.1, 0, 1, 1), (0, 0, 0.9, 0.9)])
def test_a_crop_is_nearest_to_what_it_was_cut_from(crop: tuple[float, ...]) -> None:
    kept = np.stack([appearance.kept_of(drawn(number))[2] for number in range(40)])
    for number in range(0, 40, 5):
        image = Image.open(io.BytesIO(drawn(number)))
        edges = tuple(round(edge * image.width) for edge in crop)
        distance = appearance.distances(appearance.look_at(saved(image.crop(edges), "JPEG", quality=70)), kept)
        assert distance.argmin() == number
    assert appearance.likeness(np.array([0.0, 40.0])) == pytest.approx([1, np.exp(-1)])


@pytest.mark.parametrize("size", [32, 96, 500])
def test_noise_and_blank_are_no_pictures(size: int) -> None:
    rng = np.random.default_rng(size)
    noise = Image.fromarray(rng.integers(0, 256, (size, size, 3), np.uint8))
    for image in (noise, noise.convert("L"), noise.resize((2 * size, 2 * size))):
        assert appearance.look_at(saved(image)).flaw == "noise"
    assert appearance.look_at(saved(noise, "JPEG", quality=60)).flaw == "noise"
    for image in (Image.new("RGB", (size, size), "navy"), Image.new("RGBA", (size, size), (9, 9, 9, 0))):
        assert appearance.look_at(saved(image)).flaw == "blank"


def test_pictures_of_things_are_none_of_these() -> None:
    for number in range(40):
        assert appearance.look_at(drawn(number)).flaw is None
    ramp = np.repeat(np.linspace(0, 255, 100, dtype=np.uint8)[None], 100, 0)
    assert appearance.look_at(saved(Image.fromarray(ramp))).flaw is None


def test_real_pictures_are_known_again(real_data: Path) -> None:
    files = sorted((real_data / "pictures").glob("*.jpg"))
    kept = np.stack([appearance.kept_of(file.read_bytes())[2] for file in files])
    for number, file in enumerate(files):
        image = Image.open(file).convert("RGB")
        width, height = image.size
        for changed in (
            saved(image, "JPEG", quality=60),
            saved(image.resize((width // 2, height // 2))),
            saved(image.crop((width // 10, height // 10, width * 9 // 10, height * 9 // 10))),
        ):
            look = appearance.look_at(changed)
            assert look.flaw is None and appearance.distances(look, kept).argmin() == number
