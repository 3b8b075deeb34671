"""The ``offline`` encoder: texts and pictures in one space without a download.

Text: distinct terms, as ``sqidflow.ranking.words`` reads them, and their character n-grams fall into signed buckets
(feature hashing, Weinberger et al. 2009), so that texts which share words are near each other, a plural is its singular
and a typing error costs little. Pictures: the product is cut from its
background, its colours become colour words, its silhouette the words of the nearest shape, and the picture's vector is
the vector of those words.

Everything is integer arithmetic until one last correctly rounded square root and division, so that vectors are the same
bits on every machine (pictures: for equal decoded pixels, which PNG guarantees and JPEG does not).
"""

from __future__ import annotations

import math
import threading
import zlib
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import chain

import numpy as np

from sqidflow.encoders.pictures import open_picture
from sqidflow.encoders.shapes import SHAPES, silhouette
from sqidflow.ranking.words import words

VERSION = "3"
"""Stands in the encoder's name, and so in every vector file: vectors of two versions are never mixed. Version 1, named
``offline`` alone, hashed words as they were written; version 2 read stockings as stock."""
_MAX_TOKEN_CHARS = 48  # a longer "word" is a key or a URL; its n-grams would cost time and say nothing
_WORD_POSITIONS = 4
_WORD_VALUE = 32  # a word's part has norm 64
_NGRAM_ENERGY = 4096  # the n-grams of a word together have norm 64: as much energy as the word itself
_NGRAM_SIZES = (3, 4)
_STOP_DIVISOR = 4
_STOP_WORDS = frozenset(
    ("a", "an", "and", "are", "at", "by", "for", "from", "in", "is", "it", "of", "on", "or", "our", "set")
    + ("the", "this", "to", "with", "your")
)
_CACHED_TOKENS = 100_000  # about 30 MB
_TEXTS_AT_ONCE = 2048

_COLOURS = ("black", "white", "gray", "red", "orange", "yellow", "green", "teal", "blue", "purple", "pink", "brown")
_PICTURE_PIXELS = 96  # pictures are reduced to at most about this many pixels a side
_BACKGROUND_DISTANCE = 54  # sum of absolute differences over red, green and blue
_SHAPE_GRID = 20
_SHAPE_OVERSAMPLING = 4
_SHAPE_LIMIT = _SHAPE_GRID * _SHAPE_GRID * _SHAPE_OVERSAMPLING**2 * 30 // 100  # farther: not one of the known shapes
_ASPECT_PENALTY = 14


def tokens(text: str) -> list[str]:
    """Distinct terms of ``text`` in order of appearance.

    In English whatever the data's language is, so that vectors do not depend on a setting: its stemmer takes an s off
    words of other languages too, and leaves other scripts alone.
    """
    return list(dict.fromkeys(term[:_MAX_TOKEN_CHARS] for term in words(text)))


def _mixed(values: np.ndarray) -> np.ndarray:
    """Finaliser of MurmurHash3 (32 bits): CRC-32 is linear, near strings would fall into related buckets."""
    h = values.astype(np.uint32)
    h ^= h >> np.uint32(16)
    h *= np.uint32(0x85EBCA6B)
    h ^= h >> np.uint32(13)
    h *= np.uint32(0xC2B2AE35)
    h ^= h >> np.uint32(16)
    return h


class _Growing:
    """An array of integers that grows at its end; what it holds is copied when its size doubles, not each time."""

    def __init__(self, dtype: type) -> None:
        self._buffer: np.ndarray = np.empty(1024, dtype)
        self._used = 0

    def extend(self, values: np.ndarray) -> None:
        end = self._used + len(values)
        if end > len(self._buffer):
            larger = np.empty(max(end, 2 * len(self._buffer)), self._buffer.dtype)
            larger[: self._used] = self.values
            self._buffer = larger
        self._buffer[self._used : end] = values
        self._used = end

    @property
    def values(self) -> np.ndarray:
        return self._buffer[: self._used]


class _TokenTable:
    """Buckets of the tokens met so far: compressed sparse rows that grow, and begin anew at a bound."""

    def __init__(self, dim: int) -> None:
        self._dim = dim
        self.clear()

    def clear(self) -> None:
        self._rows: dict[str, int] = {}
        self._starts, self._buckets, self._values = _Growing(np.int64), _Growing(np.int32), _Growing(np.int32)
        self._starts.extend(np.zeros(1, np.int64))

    def rows(self, words: Iterable[str]) -> list[int]:
        """Row of every word; unknown ones are added."""
        words = list(words)
        new = [word for word in dict.fromkeys(words) if word not in self._rows]
        if new:
            if len(self._rows) + len(new) > _CACHED_TOKENS:
                self.clear()
                new = list(dict.fromkeys(words))
            self._add(new)
        return [self._rows[word] for word in words]

    def _add(self, words: Sequence[str]) -> None:
        hashes: list[int] = []
        values: list[int] = []
        counts: list[int] = []
        for word in words:
            before = len(hashes)
            divisor = _STOP_DIVISOR if word in _STOP_WORDS else 1
            first = zlib.crc32(word.encode())
            hashes.extend((first + 0x9E3779B9 * k) & 0xFFFFFFFF for k in range(_WORD_POSITIONS))
            values.extend([_WORD_VALUE // divisor] * _WORD_POSITIONS)
            framed = f"<{word}>"
            grams = {framed[i : i + n] for n in _NGRAM_SIZES for i in range(len(framed) - n + 1)}
            hashes.extend(zlib.crc32(gram.encode(), 0x5EED) for gram in sorted(grams))
            values.extend([max(1, math.isqrt(_NGRAM_ENERGY // max(1, len(grams))) // divisor)] * len(grams))
            counts.append(len(hashes) - before)
        mixed = _mixed(np.array(hashes, dtype=np.uint32))
        signs = 1 - 2 * (mixed >> np.uint32(31)).astype(np.int32)
        buckets = ((mixed & np.uint32(0x7FFFFFFF)) % np.uint32(self._dim)).astype(np.int32)
        for offset, word in enumerate(words, start=len(self._rows)):
            self._rows[word] = offset
        self._starts.extend(self._starts.values[-1] + np.cumsum(counts))
        self._buckets.extend(buckets)
        self._values.extend(signs * np.array(values, dtype=np.int32))

    def sums(self, owners: np.ndarray, rows: np.ndarray, n: int) -> np.ndarray:
        """Sums of token rows by owner: int64 ``[n, dim]``."""
        starts = self._starts.values[rows]
        lengths = self._starts.values[rows + 1] - starts
        shifts = np.repeat(starts - np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths)
        at = np.arange(shifts.size) + shifts
        flat = np.repeat(owners * self._dim, lengths) + self._buckets.values[at]
        # float64 sums of small integers are exact
        out = np.bincount(flat, weights=self._values.values[at], minlength=n * self._dim)
        return out.astype(np.int64).reshape(n, self._dim)


def _unit(sums: np.ndarray) -> np.ndarray:
    """Rows of integers to unit length, float32; a row of zeros becomes the constant empty bucket."""
    squares = (sums * sums).sum(axis=1)
    empty = squares == 0
    if empty.any():
        sums = sums.copy()
        sums[empty, 0] = 1
        squares[empty] = 1
    return (sums / np.sqrt(squares.astype(np.float64))[:, None]).astype(np.float32)


class OfflineEncoder:
    """Encoder without weights (see the module): deterministic, about 0.02 ms a title and 0.6 ms a small picture.

    Raises ValueError for ``dim`` outside 16 to 65,536. For use by many threads: a large picture that one decodes keeps
    no other waiting.
    """

    name = f"offline:{VERSION}"
    sees_pictures = True
    for_threads = True

    def __init__(self, dim: int = 768, model: str = VERSION) -> None:
        """``model``: the version that made the vectors at hand; raises ValueError for any but this code's."""
        if model != VERSION:
            raise ValueError(
                f"version {model} of the offline encoder is asked for, this code has {VERSION}; vectors of the two do "
                "not belong together: run `sqidflow data encode --force`"
            )
        if not 16 <= dim <= 65_536:
            raise ValueError(f"dim must be between 16 and 65536, not {dim}")
        self.dim = dim
        self._table = _TokenTable(dim)
        self._lock = threading.Lock()
        self._picture_vectors: dict[tuple[tuple[str, int], ...], np.ndarray] = {}

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors, float32 ``[n, dim]``; a text without words gets one constant vector."""
        out = np.empty((len(texts), self.dim), dtype=np.float32)
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            words = [tokens(text) for text in texts[start : start + _TEXTS_AT_ONCE]]
            owners = np.repeat(np.arange(len(words)), [len(w) for w in words])
            with self._lock:
                rows = np.array(self._table.rows(chain.from_iterable(words)), dtype=np.int64)
                sums = self._table.sums(owners, rows, len(words))
            out[start : start + len(words)] = _unit(sums)
        return out

    def encode_images(self, images: Sequence[bytes]) -> np.ndarray:
        """Unit vectors, float32 ``[n, dim]``, of PNG or JPEG files.

        Raises ValueError naming the index of a picture that cannot be decoded or is over the bounds of
        ``sqidflow.encoders.pictures``.
        """
        out = np.empty((len(images), self.dim), dtype=np.float32)
        for index, data in enumerate(images):
            try:
                pixels = decode(data)
            except ValueError as error:
                raise ValueError(f"picture {index}: {error}") from error
            described = describe(pixels)
            with self._lock:
                out[index] = self._words_vector(described)
        return out

    def _words_vector(self, weighted: tuple[tuple[str, int], ...]) -> np.ndarray:
        vector = self._picture_vectors.get(weighted)
        if vector is None:
            sums = np.zeros((1, self.dim), dtype=np.int64)
            for text, weight in weighted:
                rows = np.array(self._table.rows(tokens(text)), dtype=np.int64)
                sums += weight * self._table.sums(np.zeros(rows.size, dtype=np.int64), rows, 1)
            if len(self._picture_vectors) > 10_000:
                self._picture_vectors.clear()
            vector = self._picture_vectors[weighted] = _unit(sums)[0]
        return vector


def decode(data: bytes) -> np.ndarray:
    """A PNG or JPEG file as uint8 ``[h, w, 3]``: upright (EXIF), on white, reduced to about 96 pixels a side.

    Raises ValueError for what is no whole picture or is over a bound.
    """
    image = open_picture(data, 4 * _PICTURE_PIXELS)
    factor = max(1, max(image.size) // _PICTURE_PIXELS)
    if factor > 1:
        image = image.reduce(factor)
    pixels = np.asarray(image)
    if pixels.shape[2] == 4:
        alpha = pixels[:, :, 3:].astype(np.int32)
        pixels = ((pixels[:, :, :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return pixels


def describe(pixels: np.ndarray) -> tuple[tuple[str, int], ...]:
    """Words a picture stands for, with integer weights: its colours and its category, never empty.

    ``pixels``: uint8 ``[h, w, 3]``.
    """
    mask = foreground(pixels)
    words: list[tuple[str, int]] = []
    if mask.any():
        words.extend(_category_words(mask))
    words.extend(_colour_words(pixels[mask] if mask.any() else pixels.reshape(-1, 3)))
    return tuple(words)


def foreground(pixels: np.ndarray) -> np.ndarray:
    """Where the product is: bool ``[h, w]``, what differs from the median colour of the border; specks removed."""
    height, width, _ = pixels.shape
    rim = max(1, min(height, width) // 32)
    border = np.concatenate(
        [side.reshape(-1, 3) for side in (pixels[:rim], pixels[-rim:], pixels[:, :rim], pixels[:, -rim:])]
    )
    # the lower median is one of the values, so no division is involved
    background = np.sort(border, axis=0)[(len(border) - 1) // 2].astype(np.int32)
    far = np.abs(pixels.astype(np.int32) - background).sum(axis=2) > _BACKGROUND_DISTANCE
    padded = np.zeros((height + 2, width + 2), dtype=np.int8)
    padded[1:-1, 1:-1] = far
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    return rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:] >= 5


def _colour_words(pixels: np.ndarray) -> list[tuple[str, int]]:
    counts = np.bincount(colour_classes(pixels), minlength=len(_COLOURS))
    order = np.argsort(-counts, kind="stable")
    words = [(_COLOURS[order[0]], 4)]
    if counts[order[1]] * 10 >= len(pixels) * 3:
        words.append((_COLOURS[order[1]], 2))
    return words


def colour_classes(pixels: np.ndarray) -> np.ndarray:
    """Index into the colour words of every pixel, int64 ``[n]``; ``pixels`` uint8 ``[n, 3]``. Integer HSV."""
    p = pixels.astype(np.int32)
    r, g, b = p[:, 0], p[:, 1], p[:, 2]
    top = p.max(axis=1)
    spread = top - p.min(axis=1)
    divisor = np.maximum(spread, 1)
    # hue in degrees: red 0, yellow 60, green 120, cyan 180, blue 240, magenta 300
    hue = np.select(
        [top == r, top == g],
        [60 * (g - b) // divisor % 360, 120 + 60 * (b - r) // divisor],
        240 + 60 * (r - g) // divisor,
    )
    name = _COLOURS.index
    edges = np.array([14, 42, 70, 162, 200, 258, 295, 344])
    wheel = np.array([name(c) for c in ("red", "orange", "yellow", "green", "teal", "blue", "purple", "pink", "red")])
    out = wheel[np.searchsorted(edges, hue, side="right")]
    warm = (hue >= 8) & (hue < 48)
    out[warm & (top < 175)] = name("brown")
    reddish = (hue < 14) | (hue >= 330)
    out[reddish & (top >= 190) & (spread * 100 < 62 * top)] = name("pink")
    pale = spread * 100 < 16 * top
    out[pale] = name("gray")
    out[pale & (top >= 212)] = name("white")
    out[top < 62] = name("black")
    return out


def _descriptor(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Coverage of the mask's bounding box on a small grid, int32 ``[grid * grid]``, and its aspect in -64..64."""
    rows, columns = _extent(mask.sum(axis=1)), _extent(mask.sum(axis=0))
    fine = _SHAPE_GRID * _SHAPE_OVERSAMPLING
    steps = 2 * np.arange(fine) + 1
    height, width = rows[1] - rows[0], columns[1] - columns[0]
    sampled = mask[np.ix_(rows[0] + steps * height // (2 * fine), columns[0] + steps * width // (2 * fine))]
    blocks = sampled.reshape(_SHAPE_GRID, _SHAPE_OVERSAMPLING, _SHAPE_GRID, _SHAPE_OVERSAMPLING)
    return blocks.sum(axis=(1, 3)).astype(np.int32).ravel(), 64 * (width - height) // (width + height)


def _extent(counts: np.ndarray) -> tuple[int, int]:
    """First and one past the last line with more than a speck of mask in it."""
    lines = np.flatnonzero(counts > 1)
    if not lines.size:
        lines = np.flatnonzero(counts)
    return int(lines[0]), int(lines[-1]) + 1


@cache
def _templates() -> tuple[np.ndarray, np.ndarray]:
    """Descriptors of all shapes and their mirror images: grids int32 ``[2 * shapes, n]``, aspects ``[2 * shapes]``."""
    grids, aspects = [], []
    for index in range(len(SHAPES)):
        mask = silhouette(index, _PICTURE_PIXELS)
        for view in (mask, mask[:, ::-1]):
            grid, aspect = _descriptor(view)
            grids.append(grid)
            aspects.append(aspect)
    return np.stack(grids), np.array(aspects)


def _category_words(mask: np.ndarray) -> list[tuple[str, int]]:
    grid, aspect = _descriptor(mask)
    grids, aspects = _templates()
    distances = np.abs(grids - grid).sum(axis=1) + _ASPECT_PENALTY * np.abs(aspects - aspect)
    best = int(np.argmin(distances))
    if distances[best] > _SHAPE_LIMIT:
        return []
    name, *others = SHAPES[best // 2].words
    return [(name, 4), *((word, 1) for word in others)]
