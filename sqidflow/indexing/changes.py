"""What changed in a catalogue since an index of it was built, and which older index can be updated."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sqidflow.core.errors import SqidflowError
from sqidflow.indexing.build import EXACT, EXACT_UP_TO, Catalogue, Reuse
from sqidflow.indexing.measured import Measured
from sqidflow.indexing.publish import verify
from sqidflow.ranking import features
from sqidflow.search.index import PRINTS_FILE, Meta, ProductIndex, index_folders

_ROWS_AT_ONCE = 8192
_TEXTS = ("title", "brand", "color")


@dataclass(frozen=True)
class Changes:
    """Products that are new, that have another title, brand, colour or vector, and that are gone."""

    added: int
    changed: int
    deleted: int

    @property
    def count(self) -> int:
        return self.added + self.changed + self.deleted


def newest_of(root: Path, basis: str) -> ProductIndex | None:
    """The index with the same ranker, encoder, settings and code that was asked for last; None where there is no whole
    one.

    Every byte of it is compared with its checksums: what is taken from it gets new ones.
    """
    for folder in index_folders(root):
        with suppress(SqidflowError):
            if Meta.read(folder).basis == basis:
                verify(folder)
                return ProductIndex(folder, checked=True)
    return None


def changes_since(old: ProductIndex, catalogue: Catalogue, prints: np.ndarray | None = None) -> tuple[Reuse, Changes]:
    """What an index has of a catalogue's products, and how many are others.

    Args:
        prints: uint64 [n], of the products' vectors. Where the index has those of its own, they are compared and not
            the vectors, which need not be there.
    """
    row_of = {product: row for row, product in enumerate(old.column("product_id"))}
    row = np.array([row_of.get(product, -1) for product in catalogue.product_ids], np.int64)
    text_row = np.where(_same_texts(old, catalogue, row), row, -1)
    before = prints_of_index(old) if prints is not None else None
    if prints is not None and before is not None:
        same = row >= 0
        same[same] = prints[same] == before[row[same]]
    else:
        same = _same_vectors(old, catalogue, row)
    vector_row = np.where(same, row, -1)
    known = row >= 0
    differs = known & ((text_row < 0) | (vector_row < 0))
    changes = Changes(int((~known).sum()), int(differs.sum()), len(old) - int(known.sum()))
    return Reuse(old, row, text_row, vector_row, Measured.read(old.folder)), changes


def prints_of_index(old: ProductIndex) -> np.ndarray | None:
    """uint64 [products], None where it was built without."""
    if PRINTS_FILE not in old.meta.files:
        return None
    prints: np.ndarray = np.load(old.folder / PRINTS_FILE, allow_pickle=False)
    return prints


def why_not(old: Meta, products: int, changes: Changes, most: float) -> str | None:
    """Why an index cannot be updated; None where it can.

    Args:
        products: of the new catalogue.
        most: share of the products of the last full build that may have changed since.
    """
    if not old.fit.weights:
        return "the old index is not calibrated"
    if (old.kind == EXACT) != (products <= EXACT_UP_TO):
        return f"{products:,} products are indexed in another way than {old.products:,}"
    total = old.changed_since_build + changes.count
    if total > most * old.built_products:
        share = total / old.built_products
        return f"{share:.1%} of the products changed since all of it was built, search.update_share is {most:.1%}"
    return None


def _same_texts(old: ProductIndex, catalogue: Catalogue, row: np.ndarray) -> np.ndarray:
    same = row >= 0
    for name, now in zip(_TEXTS, (catalogue.titles, catalogue.brands, catalogue.colors)):
        before = old.column(name)
        same &= np.fromiter((at >= 0 and before[at] == text for at, text in zip(row.tolist(), now)), bool, len(row))
    return same


def _same_vectors(old: ProductIndex, catalogue: Catalogue, row: np.ndarray) -> np.ndarray:
    has_image = np.asarray(catalogue.has_image, bool)
    same = row >= 0
    same[same] = np.asarray(old.has_image)[row[same]] == has_image[same]
    for start in range(0, len(row), _ROWS_AT_ONCE):
        rows = start + np.flatnonzero(same[start : start + _ROWS_AT_ONCE])
        same[rows] = _equal(old.text, row[rows], catalogue.text[rows])
        pictured = rows[has_image[rows] & same[rows]]
        same[pictured] = _equal(old.image, row[pictured], catalogue.image[pictured])
    return same


def _equal(before: np.ndarray, row: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """bool [n]: the index has these vectors, as far as float16 tells them apart."""
    units = features.unit(vectors).astype(np.float16)
    equal: np.ndarray = (before[row].view(np.uint16) == units.view(np.uint16)).all(axis=1)
    return equal
