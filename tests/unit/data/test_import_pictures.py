"""Folders of pictures: every file is used, or counted and named."""

from __future__ import annotations

import io
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from sqidflow.core.errors import DataError
from sqidflow.data import formats
from sqidflow.data.check import check_folder
from sqidflow.data.encode import encode_missing
from sqidflow.data.import_pictures import readable_suffixes
from sqidflow.data.importing import import_files
from sqidflow.encoders.offline import OfflineEncoder

IDS = ("P1", "P2", "P3", "a/b", "50% off", "Café-8", "x.y")
RED, BLUE = (200, 10, 10), (10, 10, 200)


def packed(kind: str, colour: tuple[int, int, int] = RED, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (24, 24), colour).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A catalogue without pictures."""
    rows = "".join(f'lamp,"{key}",E,title {key}\n' for key in IDS)
    (tmp_path / "j.csv").write_text("query,product_id,esci_label,product_title\n" + rows)
    import_files(tmp_path / "work" / "data", tmp_path / "j.csv")
    return tmp_path / "work" / "data"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    return folder


def stored(data: Path) -> dict[str, bytes]:
    return {row["product_id"]: row["image"] for row in pq.read_table(data / formats.IMAGES_FILE).to_pylist()}


@pytest.mark.parametrize("kind", ["WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_other_formats_are_stored_as_png(data: Path, folder: Path, kind: str) -> None:
    suffix = {"TIFF": ".tif"}.get(kind, f".{kind.lower()}")
    if suffix not in readable_suffixes():
        pytest.skip(f"Pillow here has no {kind}")
    (folder / f"P1{suffix}").write_bytes(packed(kind))
    report = import_files(data, images_dir=folder)
    assert (report.pictures, report.pictures_converted) == (1, 1)
    picture = Image.open(io.BytesIO(stored(data)["P1"]))
    assert picture.format == "PNG" and picture.size == (24, 24)
    assert np.abs(np.array(picture.getpixel((12, 12)))[:3] - RED).max() < 8
    assert not [line for file in check_folder(data) if file.file == formats.IMAGES_FILE for line in file.problems]


def test_of_an_animation_the_first_frame(data: Path, folder: Path) -> None:
    frames = [Image.new("RGB", (24, 24), colour) for colour in (RED, BLUE)]
    frames[0].save(folder / "P1.gif", save_all=True, append_images=frames[1:])
    import_files(data, images_dir=folder)
    red, _, blue = Image.open(io.BytesIO(stored(data)["P1"])).convert("RGB").getpixel((12, 12))
    assert red > 150 > 50 > blue


@pytest.mark.parametrize("mode", ["RGBA", "CMYK", "L", "I;16", "F", "P", "1"])
def test_pixels_of_every_kind(data: Path, folder: Path, mode: str) -> None:
    Image.new(mode, (24, 24)).save(folder / "P1.tiff")
    assert import_files(data, images_dir=folder).pictures == 1
    assert Image.open(io.BytesIO(stored(data)["P1"])).mode in ("RGB", "RGBA")


def test_png_and_jpeg_stay_byte_for_byte_whatever_they_are_called(data: Path, folder: Path) -> None:
    png, jpeg = packed("PNG"), packed("JPEG")
    (folder / "P1.JPG").write_bytes(png)
    (folder / "P2.jfif").write_bytes(jpeg)
    assert import_files(data, images_dir=folder).pictures_converted == 0
    assert stored(data) == {"P1": png, "P2": jpeg}


def test_every_file_is_counted_and_what_is_left_out_is_named(data: Path, folder: Path) -> None:
    for name in ("P1.png", "p2.png", "other.png", "more/P3.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(packed("PNG"))
    for name in ("P3.svg", "P2.svg", "notes.txt", "README"):
        (folder / name).write_bytes(b"no picture")
    report = import_files(data, images_dir=folder)
    assert (report.pictures, report.pictures_of_no_product, report.pictures_left_out) == (1, 3, 4)
    notes = " | ".join(report.notes)
    assert "1 .txt" in notes and "2 .svg" in notes and "1 README" in notes
    assert "p2.png (a product is called P2)" in notes


@pytest.mark.parametrize(
    ("name", "product"),
    [
        ("a%2Fb.png", "a/b"),
        ("a/b.png", "a/b"),
        ("50% off.png", "50% off"),
        ("50%25%20off.png", "50% off"),
        ("x.y.png", "x.y"),
        (unicodedata.normalize("NFD", "Café-8.png"), "Café-8"),
        ("Caf%C3%A9-8.png", "Café-8"),
    ],
)
def test_names_of_ids_that_a_file_cannot_be_called(data: Path, folder: Path, name: str, product: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(packed("PNG"))
    import_files(data, images_dir=folder)
    assert list(stored(data)) == [product]


def test_two_pictures_of_a_product_are_refused(data: Path, folder: Path) -> None:
    (folder / "P1.jpg").write_bytes(packed("JPEG", BLUE))
    (folder / "P1.png").write_bytes(packed("PNG"))
    with pytest.raises(DataError, match=r"product P1 has two pictures, P1.jpg and P1.png; keep one"):
        import_files(data, images_dir=folder)
    assert not (data / formats.IMAGES_FILE).exists()


@pytest.mark.parametrize("name", ["P1.webp", "P1.png"])
def test_a_damaged_picture_is_named(data: Path, folder: Path, name: str) -> None:
    (folder / name).write_bytes(packed("WEBP")[:30] if name.endswith("webp") else packed("PNG")[:40])
    with pytest.raises(DataError, match=f"{name}: not a whole"):
        import_files(data, images_dir=folder)


# --- vectors of pictures ----------------------------------------------------------------------------------------------


@pytest.fixture
def pictured(data: Path, folder: Path) -> Path:
    """P1 and P2 with pictures, and vectors of them."""
    for name in ("P1", "P2"):
        (folder / f"{name}.png").write_bytes(packed("PNG"))
    import_files(data, images_dir=folder)
    encode_missing(data, OfflineEncoder(16))
    return data


def picture_vectors(data: Path) -> dict[str, list[float] | None]:
    rows = pq.read_table(data / formats.PRODUCT_FEATURES_FILE).to_pylist()
    return {row["product_id"]: row["clip_image_features"] for row in rows}


@pytest.mark.parametrize("with_digest", [True, False])
def test_the_vector_of_a_replaced_picture_goes_and_comes_anew(
    pictured: Path, tmp_path: Path, with_digest: bool
) -> None:
    if not with_digest:
        path = pictured / formats.PRODUCT_FEATURES_FILE
        pq.write_table(pq.read_table(path).drop_columns(["image_digest", "text_digest"]), path)
    before = picture_vectors(pictured)
    newer = tmp_path / "newer"
    newer.mkdir()
    (newer / "P1.png").write_bytes(packed("PNG", BLUE))
    (newer / "P2.png").write_bytes(packed("PNG"))
    report = import_files(pictured, images_dir=newer)
    assert (report.pictures, report.picture_vectors_dropped) == (2, 1)
    assert picture_vectors(pictured) == {**before, "P1": None}
    encoded = encode_missing(pictured, OfflineEncoder(16))
    assert (encoded.pictures_encoded, encoded.pictures_kept, encoded.product_texts_encoded) == (1, 1, 0)
    expected = OfflineEncoder(16).encode_images([packed("PNG", BLUE)])[0].tolist()
    assert picture_vectors(pictured) == {**before, "P1": expected}


def test_the_same_pictures_again_change_no_vector(pictured: Path, folder: Path) -> None:
    before = (pictured / formats.PRODUCT_FEATURES_FILE).read_bytes()
    report = import_files(pictured, images_dir=folder)
    assert report.picture_vectors_dropped == 0
    assert (pictured / formats.PRODUCT_FEATURES_FILE).read_bytes() == before
