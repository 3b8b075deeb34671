"""Pictures of an import: files by the ids of their products, packed as PNG or JPEG."""

from __future__ import annotations

import io
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from sqidflow.core.errors import DataError
from sqidflow.data import formats, readers
from sqidflow.data.digests import picture_digest
from sqidflow.data.import_report import ImportReport
from sqidflow.data.import_vectors import PRODUCTS, read_kept, rewritten
from sqidflow.data.staging import write_batches

_PICTURES_AT_ONCE = 256
_STORED_AS_THEY_ARE = (b"\x89PNG", b"\xff\xd8\xff")
_SUFFIXES = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".webp": "WEBP",
    ".gif": "GIF",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".avif": "AVIF",
    ".heic": "HEIF",
    ".heif": "HEIF",
}
_SHOWN = 3


def readable_suffixes() -> dict[str, str]:
    """Suffixes of picture files that the library here can read, and the format of each."""
    from PIL import Image

    Image.init()
    return {suffix: kind for suffix, kind in _SUFFIXES.items() if kind in Image.OPEN}


def import_urls(target: Path, path: Path) -> int:
    rows = 0
    with pacsv.CSVWriter(target, formats.IMAGE_URLS_SCHEMA) as writer:
        for batch in readers.read_image_urls(path):
            writer.write_batch(batch.filter(batch["image_url"].is_valid()))
            rows += batch.num_rows - batch["image_url"].null_count
    return rows


def import_pictures(folder: Path, old: Path | None, images_dir: Path, report: ImportReport) -> bool:
    """Packs the pictures of products into one parquet; each must decode. Those of other products are kept.

    A product's file has its id as name: ``<product_id>.png``, with what a file name cannot hold percent-encoded
    (``a%2Fb.png``) or as folders (``a/b.png``). PNG and JPEG files are stored as they are, other formats become PNG. A
    picture vector made of another picture than the one that is there now is dropped. Every file is counted.

    Returns whether product vectors were written to ``folder`` for that.

    Raises:
        DataError: a product with two files, a picture that cannot be decoded, no picture at all.
    """
    files = _files_by_product(_known_products(folder, old, images_dir), images_dir, report)
    before = old / formats.IMAGES_FILE if old is not None and (old / formats.IMAGES_FILE).exists() else None
    digests: dict[str, str] = {}

    def batches() -> Iterator[pa.RecordBatch]:
        names = list(files)
        for start in range(0, len(names), _PICTURES_AT_ONCE):
            part = names[start : start + _PICTURES_AT_ONCE]
            images = [_stored(files[name], report) for name in part]
            digests.update((name, picture_digest(image)) for name, image in zip(part, images, strict=True))
            yield pa.RecordBatch.from_arrays(
                [pa.array(part, pa.string()), pa.array(images, pa.binary())], schema=formats.IMAGES_SCHEMA
            )
        if before is not None:
            for batch in readers.read_images(before):
                kept = batch.filter(pc.invert(pc.is_in(batch["product_id"], pa.array(files, pa.string()))))
                report.pictures_kept += kept.num_rows
                yield kept

    written = write_batches(folder / formats.IMAGES_FILE, formats.IMAGES_SCHEMA, batches(), compression="none")
    report.pictures = written - report.pictures_kept
    if report.pictures_converted:
        report.note(f"{report.pictures_converted:,} pictures are stored as PNG: of several frames the first, upright")
    return _drop_outdated_vectors(folder, old, digests, _digests_before(before, files), report)


def _known_products(folder: Path, old: Path | None, images_dir: Path) -> set[str]:
    if not images_dir.is_dir():
        what = "is not a folder" if images_dir.exists() else "does not exist"
        raise DataError(what, file=images_dir, hint="name a folder of <product_id>.png or .jpg files")
    products_file = next(
        (d / formats.PRODUCTS_FILE for d in (folder, old) if d and (d / formats.PRODUCTS_FILE).exists()), None
    )
    if products_file is None:
        raise DataError("there are no products yet", file=images_dir, hint="import judgements and products first")
    return {key for batch in readers.read_products(products_file) for key in batch["product_id"].to_pylist()}


# --- names ------------------------------------------------------------------------------------------------------------


def _composed(text: str) -> str:
    """One form of accents: macOS writes file names decomposed."""
    return unicodedata.normalize("NFC", text)


@dataclass(frozen=True)
class _ProductNames:
    """Ids of products by how a file may be called."""

    composed: dict[str, str]
    folded: dict[str, str]

    @classmethod
    def of(cls, ids: set[str]) -> _ProductNames:
        composed = {_composed(product): product for product in sorted(ids)}
        return cls(composed, {name.casefold(): product for name, product in composed.items()})

    def product(self, name: str) -> str | None:
        """The product whose id ``name`` is, as it stands or percent-encoded."""
        return next((self.composed[n] for n in (_composed(name), _composed(unquote(name))) if n in self.composed), None)

    def near(self, name: str) -> str | None:
        """The product whose id differs in upper and lower case alone."""
        return self.folded.get(_composed(unquote(name)).casefold())


def _files_by_product(known: set[str], images_dir: Path, report: ImportReport) -> dict[str, Path]:
    names = _ProductNames.of(known)
    suffixes = readable_suffixes()
    files: dict[str, Path] = {}
    left_out: Counter[str] = Counter()
    strangers: list[str] = []
    for path in sorted(images_dir.rglob("*")):
        if not path.is_file():
            continue
        relative = path.relative_to(images_dir)
        if path.suffix.lower() not in suffixes:
            left_out[path.suffix.lower() or path.name] += 1
            continue
        product = names.product(relative.with_suffix("").as_posix())
        if product is None:
            near = names.near(relative.with_suffix("").as_posix())
            strangers.append(f"{relative} (a product is called {near})" if near else str(relative))
            continue
        if product in files:
            raise DataError(
                f"product {product} has two pictures, {files[product].relative_to(images_dir)} and {relative}",
                file=images_dir,
                hint="keep one of the two files",
            )
        files[product] = path
    report.pictures_of_no_product, report.pictures_left_out = len(strangers), left_out.total()
    if left_out:
        counted = ", ".join(f"{count:,} {suffix}" for suffix, count in sorted(left_out.items()))
        report.note(f"files left out, no pictures that can be read here: {counted}")
    if strangers:
        shown = sorted(strangers, key=lambda name: "(a product" not in name)[:_SHOWN]
        more = f" and {len(strangers) - len(shown):,} more" if len(strangers) > len(shown) else ""
        report.note(f"pictures of no product: {', '.join(shown)}{more}")
    if not files:
        raise DataError(
            "holds no picture of a product", file=images_dir, hint="name the files <product_id>.png or .jpg"
        )
    return files


# --- pictures ---------------------------------------------------------------------------------------------------------


def _stored(path: Path, report: ImportReport) -> bytes:
    """The bytes to store of a file."""
    picture = path.read_bytes()
    try:
        stored = storable(picture)
    except ValueError as error:
        raise DataError(str(error), file=path, hint="replace or remove the file") from error
    report.pictures_converted += not picture.startswith(_STORED_AS_THEY_ARE)
    return stored


def storable(picture: bytes) -> bytes:
    """A picture as it is stored: PNG and JPEG as they are, of others a PNG of the first frame.

    Raises:
        ValueError: it cannot be decoded, or is too large.
    """
    from sqidflow.encoders.offline import decode

    stored = picture if picture.startswith(_STORED_AS_THEY_ARE) else _as_png(picture)
    decode(stored)
    return stored


def _as_png(picture: bytes) -> bytes:
    from PIL import Image, ImageOps

    from sqidflow.encoders.pictures import MAX_IMAGE_BYTES, MAX_IMAGE_PIXELS, refuse_too_many_pixels

    if len(picture) > MAX_IMAGE_BYTES:
        raise ValueError(f"{len(picture):,} bytes, more than {MAX_IMAGE_BYTES:,}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image: Image.Image = Image.open(io.BytesIO(picture), formats=sorted(set(readable_suffixes().values())))
            refuse_too_many_pixels(image)
            image.seek(0)
            image = ImageOps.exif_transpose(image)
            transparent = image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info
            if image.mode == "F" or image.mode.startswith("I"):
                extrema: Any = image.getextrema()  # a pair: these modes have one band
                low, high = extrema
                scale = 255 / max(high - low, 1)
                image = image.convert("F").point(lambda value: (value - low) * scale)
            image = image.convert("RGBA" if transparent else "L" if image.mode == "F" else "RGB").convert(
                "RGBA" if transparent else "RGB"
            )
            packed = io.BytesIO()
            image.save(packed, "PNG")
    except ValueError:
        raise
    except Image.DecompressionBombError as error:
        raise ValueError(f"more than {MAX_IMAGE_PIXELS:,} pixels") from error
    except Exception as error:  # Pillow raises many kinds, some of them bare, for damaged files
        raise ValueError(f"not a whole picture ({type(error).__name__})") from error
    return packed.getvalue()


# --- vectors of pictures ----------------------------------------------------------------------------------------------


def _digests_before(before: Path | None, files: dict[str, Path]) -> dict[str, str]:
    if before is None:
        return {}
    digests: dict[str, str] = {}
    asked = pa.array(files, pa.string())
    for batch in readers.read_images(before):
        batch = batch.filter(pc.is_in(batch["product_id"], asked))
        rows = zip(batch["product_id"].to_pylist(), batch["image"].to_pylist(), strict=True)
        digests.update((product, picture_digest(image)) for product, image in rows)
    return digests


def _drop_outdated_vectors(
    folder: Path, old: Path | None, digests: dict[str, str], before: dict[str, str], report: ImportReport
) -> bool:
    """Null in the place of each picture vector of a picture that is another one now; whether there were any."""
    imported = (folder / PRODUCTS.file).exists()
    source = folder / PRODUCTS.file if imported else old / PRODUCTS.file if old is not None else None
    if source is None or not source.exists():
        return False
    replaced = {product for product, digest in digests.items() if before.get(product, digest) != digest}
    unproven = 0

    def outdated(product: str, made_from: str | None) -> bool:
        nonlocal unproven
        if product not in digests:
            return False
        if made_from is not None:
            return made_from != digests[product]
        if imported or product in replaced:
            return not imported
        unproven += product not in before
        return False

    masks = []
    for batch in read_kept(PRODUCTS, source):
        rows = zip(
            batch["product_id"].to_pylist(),
            batch[formats.IMAGE_DIGEST].to_pylist(),
            batch[formats.IMAGE_VECTOR].is_valid().to_pylist(),
            strict=True,
        )
        masks.append(pa.array([valid and outdated(product, made_from) for product, made_from, valid in rows]))
    report.picture_vectors_dropped = sum(pc.sum(mask).as_py() for mask in masks)
    if unproven:
        report.note(
            f"{unproven:,} products with a new picture have an older picture vector of unknown origin: "
            "the vector is kept until `sqidflow data encode --force`"
        )
    if not report.picture_vectors_dropped:
        return False
    report.note(
        f"{report.picture_vectors_dropped:,} picture vectors belonged to earlier pictures and were dropped: "
        "`sqidflow data encode` creates new ones"
    )

    remaining = iter(masks)

    def without_outdated(batch: pa.RecordBatch) -> pa.RecordBatch:
        dropped = next(remaining)
        for name in (formats.IMAGE_VECTOR, formats.IMAGE_DIGEST):
            column = pc.if_else(dropped, pa.scalar(None, batch.schema.field(name).type), batch[name])
            batch = batch.set_column(batch.schema.get_field_index(name), batch.schema.field(name), column)
        return batch

    rewritten(PRODUCTS, source, folder / PRODUCTS.file, without_outdated)
    return True
