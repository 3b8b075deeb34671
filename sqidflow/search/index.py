"""The product index as it lies on disk: every file is mapped, so that several workers share one copy.

``artifacts/index/<digest>/``, rows in the order of product ids (so that ties by row are ties by id):

text.npy, image.npy      float16 [n, d], unit vectors (zeros where there is no picture)
has_image.npy            bool [n];  mapped_norm.npy  float32 [n], see ``modules.onnx_export.MAPPED_NORM``
vectors.faiss            the blend of both vectors: one inner product with it is the zero-shot cosine
words/                   BM25 over the terms of titles, brands and colours (bm25s); language.txt  what they were read in
texts/                   ``sqidflow.ranking.lexical.EncodedTexts``
products.arrow           ids and texts;  judged.arrow, judged_offsets.npy  what each product was judged for
brand.npy, color.npy     int32 [n], number of the folded value in facets.json, -1 where there is none
attributes/              further columns of the products, see ``sqidflow.search.attributes``
pictures.bin, pictures_offsets.npy
appearances.npy          uint8 [n, 432], picture_digests.npy uint64 [n, 2], see ``sqidflow.encoders.appearance``
off_catalogue.npy        float16 [questions, d], unit vectors of ``sqidflow.search.off_catalogue``
letters.txt              letter trigrams of the vocabulary, see ``sqidflow.search.letters``
vocabulary.txt           word as it is written and number of products, for spelling
surfaces.txt             the same without a bound, for the next update
vectors_print.npy        uint64 [n], see ``sqidflow.data.prints``, for the next update, as are measured_*.npy, see
                         ``sqidflow.indexing.measured``; not in every index
meta.json                versions, the recall that was measured, the calibrated cut-offs, a checksum of every file
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from sqidflow.core.errors import SqidflowError
from sqidflow.core.settings import SearchSettings
from sqidflow.encoders.registry import kind_of
from sqidflow.ranking.bm25 import WordIndex
from sqidflow.ranking.lexical import EncodedTexts
from sqidflow.ranking.retrieval import Fusion
from sqidflow.ranking.words import words
from sqidflow.search.attributes import FOLDER as ATTRIBUTES_FOLDER
from sqidflow.search.attributes import AttributeColumn, AttributeFilter, Attributes
from sqidflow.search.checksums import HINT, Checksum, check_files
from sqidflow.search.letters import Letters
from sqidflow.search.off_catalogue import OFF_CATALOGUE

META_FILE = "meta.json"
FACETS_FILE = "facets.json"
VECTORS_FILE = "vectors.faiss"
WORDS_FOLDER = "words"
TEXTS_FOLDER = "texts"
VOCABULARY_FILE = "vocabulary.txt"
SURFACES_FILE = "surfaces.txt"
LETTERS_FILE = "letters.txt"
APPEARANCES_FILE, DIGESTS_FILE, OFF_CATALOGUE_FILE = "appearances", "picture_digests", "off_catalogue"
PRINTS_FILE = "vectors_print.npy"
FORMAT = 5
_DOMAIN_STARTS = np.cumsum([0, *(len(queries) for queries in OFF_CATALOGUE.values())])[:-1]
COLUMNS = ("product_id", "title", "brand", "color", "description", "bullet_points")


@dataclass(frozen=True)
class Fit:
    """When a query is answered at all: the weighted sum of its signals must reach ``cutoff``.

    ``names`` of ``sqidflow.search.fitness.SIGNALS``; ``mean`` and ``scale`` standardise them.
    """

    names: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    weights: tuple[float, ...] = ()
    cutoff: float = -np.inf
    uncertain_below: float = -np.inf


@dataclass(frozen=True)
class Meta:
    """What an index was made of and how good it is.

    ``score_cutoff`` and ``picture_cutoff`` are None where there is nothing to calibrate them by; so is ``fit`` empty.
    ``products`` can be searched, ``not_judged`` of them are judged nowhere; ``without_vector`` more are in the
    catalogue and cannot be found. ``data_hash`` is the version of the data that its products are of,
    ``model_data_hash`` of the data that the model learned from. ``candidates`` and ``rewrite`` (whether queries are)
    are the settings that the cut-offs hold for.

    ``planned`` is the digest of all that the index is of, ``basis`` of that without the data. An index that was
    ``updated_from`` another has the lists and cut-offs of the last full build, which had ``built_products`` and the
    built recalls; ``changed_since_build`` counts the products that were added, changed or deleted since.

    ``files`` has every file but this one; empty while the index is built.
    """

    digest: str
    format: int
    products: int
    with_picture: int
    dim: int
    encoder: str
    encoder_model: str | None
    model_version: str
    model: str
    feature_contract: str
    feature_service: str
    data_hash: str | None
    git_commit: str | None
    mlflow_run_id: str | None
    synthetic: bool
    kind: str
    nprobe: int | None
    recall_at_10: float
    recall_at_100: float
    score_cutoff: float | None = None
    picture_cutoff: float | None = None
    fit: Fit = field(default_factory=Fit)
    calibration: dict[str, Any] = field(default_factory=dict)
    known_items: dict[str, float] | None = None
    candidates: int | None = None
    rewrite: bool | None = None
    not_judged: int = 0
    without_vector: int = 0
    model_data_hash: str | None = None
    fusion: Fusion = field(default_factory=lambda: Fusion.of("lexical"))
    planned: str = ""
    basis: str = ""
    updated_from: str | None = None
    built_products: int = 0
    built_recall_at_10: float = 0.0
    built_recall_at_100: float = 0.0
    changed_since_build: int = 0
    files: Mapping[str, Checksum] = field(default_factory=dict)

    def serves(self, version: str, settings: SearchSettings) -> bool:
        """Whether it is the index of a model and was built with these settings, as far as it says."""
        return (
            self.model_version == version
            and (settings.encoder is None or kind_of(settings.encoder) == kind_of(self.encoder))
            and self.encoder_model == settings.encoder_model
            and self.candidates in (None, settings.candidates)
            and self.rewrite in (None, settings.rewrite != "none")
        )

    def write(self, folder: Path) -> None:
        (folder / META_FILE).write_text(_as_written(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Meta:
        """Raises SqidflowError where there is no index, a damaged one, or one of another format."""
        file = folder / META_FILE
        try:
            text = file.read_text(encoding="utf-8")
            content = json.loads(text)
            if content.get("format") != FORMAT:
                raise SqidflowError(
                    f"index of format {content.get('format')}, this code reads {FORMAT}",
                    where=folder,
                    hint="run `sqidflow index`",
                )
            del content["checksum"]
            if text != _as_written(content):
                raise SqidflowError("the index is damaged: the file is not what was written", where=file, hint=HINT)
            fit: dict[str, Any] = {
                name: tuple(v) if isinstance(v, list) else v for name, v in content.pop("fit").items()
            }
            fusion = Fusion.read(content.pop("fusion"))
            files = {name: Checksum(**each) for name, each in content.pop("files").items()}
            return cls(**content, fit=Fit(**fit), fusion=fusion, files=files)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise SqidflowError(
                f"no readable product index ({type(error).__name__})", where=file, hint="run `sqidflow index`"
            ) from error


def _as_written(content: Mapping[str, Any]) -> str:
    """A meta file's text: its content and the SHA-256 of that."""
    checksum = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return json.dumps({"checksum": checksum, **content}, indent=2) + "\n"


class ProductIndex:
    """An opened index; immutable, for use by many threads. Opening maps files and reads little."""

    def __init__(self, folder: Path, *, checked: bool = False) -> None:
        """Raises SqidflowError: a file is missing or not what was written; names it.

        Args:
            checked: its files have just been compared with their checksums.
        """
        import faiss

        self.folder = folder
        self.meta = Meta.read(folder)
        if not checked:
            check_files(folder, self.meta.files, whole=False)
        try:
            self.text, self.image = self._array("text"), self._array("image")
            self.has_image, self.mapped_norm = self._array("has_image"), self._array("mapped_norm")
            self.brand, self.color = self._array("brand"), self._array("color")
            self._ids = self._array("ids")
            self._picture_offsets, self._judged_offsets = self._array("pictures_offsets"), self._array("judged_offsets")
            self._pictures = self._bytes("pictures.bin")
            self._columns = _columns(folder / "products.arrow")
            self._judged = _columns(folder / "judged.arrow")
            self.texts = EncodedTexts.load(folder / TEXTS_FOLDER)
            self.facets: dict[str, Any] = json.loads((folder / FACETS_FILE).read_text(encoding="utf-8"))
            # Any: the stubs of FAISS name the base class alone.
            vectors_file = str(folder / VECTORS_FILE)
            vectors: Any = faiss.read_index(vectors_file, faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
            self.vectors = vectors
            self.words = WordIndex.load(folder / WORDS_FOLDER, self.meta.products)
            self.letters = Letters.load(folder / LETTERS_FILE)
            self.appearances, self._picture_digests = self._array(APPEARANCES_FILE), self._array(DIGESTS_FILE)
            self._off_catalogue = self._array(OFF_CATALOGUE_FILE).astype(np.float32)
            self.attributes = Attributes.load(
                folder / ATTRIBUTES_FOLDER,
                [
                    AttributeColumn(name, "string", values, labels=[value for value, _ in self.facets[kind]])
                    for name, kind, values in (("brand", "brands", self.brand), ("color", "colors", self.color))
                ],
            )
        except Exception as error:  # NumPy, Arrow, FAISS and bm25s each raise classes of their own for damage
            raise SqidflowError(
                f"the index is damaged: {(str(error).splitlines() or [repr(error)])[0][:200]}", where=folder, hint=HINT
            ) from error
        if self.meta.nprobe:
            vectors.nprobe = self.meta.nprobe
            lists = faiss.downcast_InvertedLists(vectors.invlists)
            if isinstance(lists, faiss.OnDiskInvertedLists):
                # 32 threads that read ahead cost more than the search where the file is in memory.
                lists.prefetch_nthread = 0
        if not len(self.texts) == len(self.text) == len(self.image) == self.meta.products:
            raise SqidflowError("its files are not of one index", where=folder, hint="run `sqidflow index`")
        if any(len(column.values) != self.meta.products for column in self.attributes.columns.values()):
            raise SqidflowError("its files are not of one index", where=folder, hint="run `sqidflow index`")

    def __len__(self) -> int:
        return self.meta.products

    def _array(self, name: str) -> np.ndarray:
        return np.asarray(np.load(self.folder / f"{name}.npy", mmap_mode="r", allow_pickle=False))

    def _bytes(self, name: str) -> np.ndarray:
        file = self.folder / name
        return np.asarray(np.memmap(file, np.uint8, "r")) if file.stat().st_size else np.zeros(0, np.uint8)

    def row_of(self, product_id: str) -> int | None:
        """The row of a product, None where there is no such."""
        wanted = product_id.encode()
        if len(wanted) > self._ids.dtype.itemsize:
            return None
        row = int(np.searchsorted(self._ids, wanted))
        return row if row < len(self._ids) and self._ids[row] == wanted else None

    def cell(self, column: str, row: int) -> str | None:
        """A product's text, None where it has none."""
        return self._columns[column][row].as_py() or None

    def product_ids(self, rows: np.ndarray) -> list[str]:
        return [self._ids[row].decode() for row in rows]

    def judged(self, row: int) -> list[dict[str, Any]]:
        """What a product was judged for: ``query_id``, ``query``, ``label``."""
        start, end = self._judged_offsets[row], self._judged_offsets[row + 1]
        names = ("query_id", "query", "label")
        return [{name: self._judged[name][at].as_py() for name in names} for at in range(start, end)]

    def picture(self, row: int) -> bytes | None:
        """The picture's file, as it was in the data; None where the index has none."""
        part = self._pictures[self._picture_offsets[row] : self._picture_offsets[row + 1]]
        return part.tobytes() or None

    def look_of(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """The two digests and the appearance of a product's picture, see ``sqidflow.encoders.appearance``."""
        return self._picture_digests[row], self.appearances[row]

    def column(self, name: str) -> list[str | None]:
        """A column of ``COLUMNS``, of all products."""
        cells: list[str | None] = self._columns[name].to_pylist()
        return cells

    def has_picture(self, row: int) -> bool:
        return bool(self._picture_offsets[row + 1] > self._picture_offsets[row])

    def allowed(
        self, brands: Sequence[str], colors: Sequence[str], with_picture: bool, filters: Sequence[AttributeFilter] = ()
    ) -> np.ndarray | None:
        """Which rows pass all filters, bool [n]; None where there is no filter.

        Raises:
            UnfitRequest: of an attribute that the index does not have, or a value that is not of its kind.
        """
        named = [AttributeFilter(name, tuple(each)) for name, each in (("brand", brands), ("color", colors)) if each]
        masks = self.attributes.passing([*named, *filters])
        if with_picture:
            masks.append(np.asarray(self.has_image, bool))
        return np.logical_and.reduce(masks) if masks else None

    def rows_with_picture(self, file: int, pixels: int) -> np.ndarray:
        """Rows whose picture has one of two digests, see ``sqidflow.encoders.appearance``; that of the file first."""
        return np.concatenate(
            [np.flatnonzero(self._picture_digests[:, column] == digest) for column, digest in ((0, file), (1, pixels))]
        )

    @property
    def with_appearance(self) -> np.ndarray:
        """Which products' pictures could be looked at, bool [n]."""
        pictured: np.ndarray = self._picture_digests[:, 0] != 0
        return pictured

    def off_catalogue(self, vector: np.ndarray) -> list[float]:
        """The highest cosine of a unit vector [d] to the questions of each domain of other things; empty where the
        index has none."""
        if not len(self._off_catalogue):
            return []
        likeness: list[float] = np.maximum.reduceat(self._off_catalogue @ vector, _DOMAIN_STARTS).tolist()
        return likeness

    def is_brand(self, term: str) -> bool:
        """Whether a term is mostly a word of a brand where products have it."""
        return self._brand_terms.get(term, 0) * 2 > self.words.count(term)

    @cached_property
    def _brand_terms(self) -> dict[str, int]:
        """Term of a brand -> number of products of such brands."""
        out: dict[str, int] = {}
        for brand, count in self.facets["brands"]:
            for term in set(words(brand, self.words.language)):
                out[term] = out.get(term, 0) + count
        return out

    @cached_property
    def document_counts(self) -> dict[str, int]:
        """Word -> number of products, the frequent first."""
        return read_counts(self.folder / VOCABULARY_FILE)


def read_counts(file: Path) -> dict[str, int]:
    """Word -> number of products, in the order of the file."""
    lines = file.read_text(encoding="utf-8").split("\n")
    return {word: int(count) for word, count in (line.split(" ") for line in lines if line)}


def _columns(file: Path) -> dict[str, Any]:
    import pyarrow as pa

    with pa.memory_map(str(file)) as source:
        table = pa.ipc.open_file(source).read_all()
    return {
        name: table[name].chunk(0) if table[name].num_chunks else pa.array([], pa.string())
        for name in table.column_names
    }


def index_folders(root: Path) -> list[Path]:
    """Whole indexes below ``root``, what was built or asked for last first."""
    whole = [file.parent for file in root.glob(f"*/{META_FILE}") if not file.parent.name.startswith(".")]
    return sorted(whole, key=lambda folder: folder.stat().st_mtime_ns, reverse=True)


def ask_for(folder: Path) -> None:
    """Make an index the one that was asked for last, whatever the clock says; nothing where it may not be written. The
    folder of all indexes says that there is something to look at."""
    others = [other.stat().st_mtime_ns for other in index_folders(folder.parent) if other != folder]
    now_ns = max(time.time_ns(), 1_000_000 + max(others, default=0))
    with suppress(OSError):
        os.utime(folder, ns=(now_ns, now_ns))
        os.utime(folder.parent, ns=(now_ns, now_ns))
