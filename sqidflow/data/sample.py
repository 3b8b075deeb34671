"""The synthetic sample: ``data/`` in the published formats without a download, the same bits on every machine.

Products have latent attributes (category, brand, colour, material, size, audience, features) that show, incompletely,
in title, fields and picture. Queries name a category by one of its synonyms and some attributes, typed as people type
(``sample_queries.KINDS``; the column ``query_kind`` says how). A label follows from
what matches: the right category with everything asked for is E, with a miss S (``IMPORTANCE`` says how often a miss of
each attribute counts), an accessory is C, the rest I; a few per cent are noise, so that no method can be perfect.

Integers only, down to the encoder's last division: a SplitMix64 generator, PNG with stored (not compressed) data
because zlib builds differ, Parquet without compression.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sqidflow.core.errors import DataError
from sqidflow.data import formats, sample_attributes
from sqidflow.data.sample_queries import KINDS, NOT, Wording, kind_for, typed
from sqidflow.data.splitmix import Rng
from sqidflow.data.staging import staged_folder
from sqidflow.encoders.offline import OfflineEncoder
from sqidflow.encoders.shapes import SHAPES, details, silhouette

NOTICE = "Synthetic sample made by sqidflow: no real queries, products or judgements."
_ROW_GROUP = 4096
_PICTURE_SIZE = 64
_PER_MILLE = 1000
_MILLION = 1_000_000
_EVEN = 500_000

BRANDS = tuple(
    ["Nordvik", "Acmera", "Tollen", "Brightway", "Kestrelo", "Umbrio", "Falko", "Zenmar", "Pinecrest", "Orvane"]
    + ["Luxora", "Havenly", "Steadfa", "Quillo", "Marbec", "Sundara", "Vantoro", "Hillmoor", "Jaspen", "Corvida"]
)
# colour: usual word first, then others for it; red, green and blue of the picture
COLOURS: tuple[tuple[tuple[str, ...], tuple[int, int, int]], ...] = (
    (("black",), (30, 30, 34)),
    (("white", "ivory"), (250, 250, 250)),
    (("gray", "grey", "silver"), (130, 130, 132)),
    (("red", "burgundy"), (204, 30, 36)),
    (("orange", "coral"), (244, 128, 22)),
    (("yellow", "gold"), (246, 216, 32)),
    (("green", "olive"), (42, 150, 62)),
    (("teal", "turquoise"), (0, 150, 152)),
    (("blue", "navy"), (36, 82, 204)),
    (("purple", "violet"), (124, 50, 172)),
    (("pink", "rose"), (250, 130, 182)),
    (("brown", "tan"), (120, 72, 36)),
)
MATERIALS = ("leather", "cotton", "steel", "plastic", "wooden", "nylon", "bamboo", "wool")
NUMBERS = (6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 128)
AUDIENCES = ("", "men", "women", "kids")
FEATURES = (
    ("waterproof", "foldable", "wireless", "lightweight", "vintage")
    + ("adjustable", "portable", "washable", "padded", "reflective")
)  # fmt: skip
# accessory: what it goes with; each is the other's complement
COMPLEMENTS: tuple[tuple[str, str], ...] = (
    ("phone case", "phone"),
    ("charger", "phone"),
    ("headphones", "phone"),
    ("socks", "shoe"),
    ("kettle", "mug"),
    ("spatula", "pan"),
    ("cushion", "sofa"),
    ("lamp", "sofa"),
    ("bottle", "backpack"),
    ("tripod", "camera"),
    ("helmet", "bicycle"),
    ("pants", "shirt"),
    ("hat", "shirt"),
    ("amplifier", "guitar"),
)
_UNITS = {
    "phone": "gb", "camera": "mp", "mug": "oz", "bottle": "oz", "kettle": "cups", "backpack": "liter",
    "charger": "watt", "headphones": "mm", "amplifier": "watt", "shoe": "size", "socks": "pairs", "shirt": "size",
    "pants": "size", "hat": "size",
}  # fmt: skip
_FILLERS = (
    "premium quality", "best gift", "new model", "bestseller", "everyday use", "durable design", "great value",
    "limited edition", "modern style", "for home and travel", "easy care", "top rated",
)  # fmt: skip
_BACKGROUNDS = ((214, 222, 230), (228, 220, 206), (206, 216, 206), (224, 210, 220), (210, 210, 214))

# chance, per mille, that a judge counts a miss of this attribute as a failed demand
IMPORTANCE = {"brand": 250, "colour": 950, "number": 970, "material": 150, "audience": 950, "feature": 100, "not": 970}
# attribute: weight with which queries ask for it
_ASKED = (("brand", 7), ("colour", 7), ("number", 6), ("material", 6), ("audience", 6), ("feature", 6))


@dataclass(frozen=True)
class SampleSpec:
    """How large the sample is. ``dim`` is that of the vectors; ``seed`` any integer."""

    queries: int = 2000
    products: int = 3000
    pairs_per_query: int = 20
    dim: int = 768
    seed: int = 7

    def __post_init__(self) -> None:
        if self.queries < 1 or self.pairs_per_query < 1 or self.products < max(2 * len(SHAPES), self.pairs_per_query):
            raise ValueError(f"too small to draw from (at least {2 * len(SHAPES)} products, 1 query, 1 pair): {self}")


@dataclass(frozen=True)
class SampleReport:
    """What was written."""

    folder: str
    queries: int
    products: int
    products_without_picture: int
    pairs: int
    dim: int
    labels: dict[str, int]
    bytes: int


@dataclass(frozen=True)
class _Palette:
    """What is usual in one category: products there share few values, so that queries have several matches."""

    brands: list[tuple[int, int]]
    colours: list[tuple[int, int]]
    materials: list[tuple[int, int]]
    numbers: list[tuple[int, int]]
    features: list[int]


@dataclass(frozen=True)
class _Product:
    product_id: str
    category: int
    brand: int
    colour: int
    material: int
    number: int
    audience: int
    features: tuple[int, ...]
    title: str
    description: str | None
    bullets: str | None
    color_field: str | None
    brand_field: str | None
    mentioned: frozenset[int]


@dataclass(frozen=True)
class _Query:
    query_id: int
    text: str
    kind: str
    category: int
    asked: dict[str, int]


@dataclass
class _Judgements:
    query_ids: list[int] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    product_ids: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    latent: list[int] = field(default_factory=list)


def write_sample(data_dir: Path, spec: SampleSpec = SampleSpec(), *, replace: bool = False) -> SampleReport:
    """Writes the sample to ``data_dir``, whole or not at all.

    Raises DataError when ``data_dir`` holds files that are not a sample's, unless ``replace``; DiskFullError.
    """
    data_dir = Path(data_dir)
    if not replace and _holds_other_data(data_dir):
        raise DataError(
            "holds data that is not the sample",
            file=data_dir,
            hint="choose another place with --workdir, or move it away first",
        )
    rng = Rng(spec.seed)
    palettes = _palettes(rng)
    products = _products(rng, palettes, spec.products)
    queries = _queries(rng, palettes, products, spec.queries)
    judged = _judge(rng, products, queries, spec.pairs_per_query)
    pictures = list(_pictures(rng, products))
    with staged_folder(data_dir) as folder:
        _write_texts(folder, products, judged, pictures)
        _write_vectors(folder, products, queries, pictures, spec.dim)
        report = SampleReport(
            folder=str(data_dir),
            queries=len(queries),
            products=len(products),
            products_without_picture=pictures.count(None),
            pairs=len(judged.labels),
            dim=spec.dim,
            labels={label: judged.labels.count(label) for label in formats.LABELS},
            bytes=sum(path.stat().st_size for path in folder.iterdir()),
        )
        (folder / formats.README_FILE).write_text(_readme(spec, report), encoding="utf-8")
    return report


def is_sample(data_dir: Path) -> bool:
    """Whether ``data_dir`` holds the synthetic sample."""
    readme = Path(data_dir) / formats.README_FILE
    return readme.is_file() and NOTICE in readme.read_text(encoding="utf-8", errors="replace")


def category_of_products(data_dir: Path) -> dict[str, str]:
    """Product id -> name of its category, for a sample: products are made of one category after the other."""
    products = pq.read_table(Path(data_dir) / formats.PRODUCTS_FILE, columns=["product_id"])["product_id"].to_pylist()
    return {product: SHAPES[place % len(SHAPES)].name for place, product in enumerate(products)}


def _holds_other_data(data_dir: Path) -> bool:
    return data_dir.is_dir() and any(data_dir.iterdir()) and not is_sample(data_dir)


def _palettes(rng: Rng) -> list[_Palette]:
    return [
        _Palette(
            brands=list(zip(rng.some(range(len(BRANDS)), 4), (8, 6, 4, 3), strict=True)),
            colours=list(zip(rng.some(range(len(COLOURS)), 5), (6, 5, 4, 3, 3), strict=True)),
            materials=list(zip(rng.some(range(len(MATERIALS)), 3), (5, 4, 3), strict=True)),
            numbers=list(zip(rng.some(range(len(NUMBERS)), 3), (5, 4, 3), strict=True)),
            features=rng.some(range(len(FEATURES)), 4),
        )
        for _ in SHAPES
    ]


def _products(rng: Rng, palettes: Sequence[_Palette], n: int) -> list[_Product]:
    seen: set[str] = set()
    products = []
    for index in range(n):
        category = index % len(SHAPES)
        palette = palettes[category]
        product_id = _product_id(rng)
        while product_id in seen:
            product_id = _product_id(rng)
        seen.add(product_id)
        attributes = {
            "brand": rng.weighted(palette.brands),
            "colour": rng.weighted(palette.colours),
            "material": rng.weighted(palette.materials),
            "number": rng.weighted(palette.numbers),
            "audience": rng.weighted(((0, 4), (1, 3), (2, 3), (3, 2))),
        }
        features = tuple(rng.some(palette.features, 1 + rng.below(2)))
        colour_word = rng.choice(COLOURS[attributes["colour"]][0])
        title = _title(rng, category, attributes, features, colour_word)
        products.append(
            _Product(
                product_id=product_id,
                category=category,
                features=features,
                title=title,
                description=_description(rng, category, attributes, features) if rng.chance(500) else None,
                bullets=_bullets(category, attributes, features) if rng.chance(850) else None,
                color_field=colour_word.title() if rng.chance(620) else None,
                brand_field=BRANDS[attributes["brand"]] if rng.chance(950) else None,
                mentioned=_mentioned(title),
                **attributes,
            )
        )
    return products


def _product_id(rng: Rng) -> str:
    alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return "B0" + "".join(rng.choice(alphabet) for _ in range(8))


def _size(category: int, number: int) -> str:
    unit = _UNITS.get(SHAPES[category].name, "inch")
    return f"size {NUMBERS[number]}" if unit == "size" else f"{NUMBERS[number]} {unit}"


def _neighbours(category: int) -> list[int]:
    names = [shape.name for shape in SHAPES]
    name = names[category]
    return [names.index(b if a == name else a) for a, b in COMPLEMENTS if name in (a, b)]


_NEIGHBOURS = tuple(tuple(_neighbours(category)) for category in range(len(SHAPES)))
_ACCESSORIES = frozenset(accessory for accessory, _ in COMPLEMENTS)


def _title(rng: Rng, category: int, has: dict[str, int], features: Sequence[int], colour_word: str) -> str:
    noun = rng.choice(SHAPES[category].words)
    brand = BRANDS[has["brand"]] if rng.chance(780) else ""
    audience = AUDIENCES[has["audience"]]
    colour = colour_word if rng.chance(480) else ""
    material = MATERIALS[has["material"]] if rng.chance(720) else ""
    size = _size(category, has["number"]) if rng.chance(930) else ""
    shown = [FEATURES[feature] for feature in features if rng.chance(750)]
    main = rng.choice(
        (
            (brand, *shown, colour, material, noun, f"for {audience}" if audience else "", size),
            (brand, audience, noun, size, material, *shown, colour),
            (*shown, material, noun, size, colour, f"by {brand}" if brand else "", audience),
            (brand, size, colour, audience, material, noun, *shown),
        )
    )
    parts = [" ".join(word for word in main if word)]
    if SHAPES[category].name in _ACCESSORIES and rng.chance(650):
        other = rng.choice(SHAPES[rng.choice(_NEIGHBOURS[category])].words)
        parts.append(rng.choice(("for {}", "compatible with {}", "goes with your {}")).format(other))
    if rng.chance(400):
        other = rng.choice(rng.choice(SHAPES).words)
        parts.append(rng.choice(("{} not included", "gift for {} lovers", "matches our {} range")).format(other))
    if rng.chance(300):
        parts.append(f"also in {rng.choice(COLOURS[rng.below(len(COLOURS))][0])}")
    parts.extend(rng.some(_FILLERS, rng.below(4)))
    return _capitals(rng, parts)


def _capitals(rng: Rng, parts: Sequence[str]) -> str:
    separator = rng.choice((", ", " - ", ", ", " | "))
    text = separator.join(parts)
    return text.title() if rng.chance(700) else text


def _description(rng: Rng, category: int, has: dict[str, int], features: Sequence[int]) -> str:
    noun = rng.choice(SHAPES[category].words)
    return (
        f"This {noun} from {BRANDS[has['brand']]} is made of {MATERIALS[has['material']]} parts. "
        f"It is {' and '.join(FEATURES[feature] for feature in features)}."
    )


def _bullets(category: int, has: dict[str, int], features: Sequence[int]) -> str:
    lines = [f"Size: {_size(category, has['number'])}", f"Material: {MATERIALS[has['material']]}"]
    lines.extend(f"{FEATURES[feature].capitalize()}: yes" for feature in features)
    return "\n".join(lines)


def _queries(rng: Rng, palettes: Sequence[_Palette], products: Sequence[_Product], n: int) -> list[_Query]:
    texts: set[str] = set()
    ids: set[int] = set()
    queries = []
    for _ in range(n):
        count = rng.weighted(((0, 3), (1, 20), (2, 40), (3, 37)))
        drawn = rng.weighted(KINDS)
        for attempt in range(1000):
            anchor = rng.choice(products)
            kind = kind_for(rng, attempt, drawn)
            # small samples run out of short queries: ask for more
            asked, wording = _wish(rng, anchor, palettes[anchor.category], kind, min(6, count + attempt // 20))
            text = typed(rng, kind, wording)
            if text is not None and text not in texts:
                break
        else:
            raise ValueError(f"cannot find {n} different queries among {len(products)} products")
        query_id = rng.below(130_000)
        while query_id in ids:
            query_id = rng.below(130_000)
        texts.add(text)
        ids.add(query_id)
        queries.append(_Query(query_id, text, kind, anchor.category, asked))
    return queries


def _wish(rng: Rng, anchor: _Product, palette: _Palette, kind: str, count: int) -> tuple[dict[str, int], Wording]:
    """What a query asks for and excludes, as latent attributes and in words."""
    asked: dict[str, int] = {}
    choices = [item for item in _ASKED if item[0] != "audience" or anchor.audience]
    needed = {"audience": "audience", "brand misspelt": "brand"}.get(kind)
    if kind == "one word":
        count = 0
    elif needed is not None and needed in dict(choices):
        asked[needed] = getattr(anchor, needed)
    for _ in range(min(count, len(choices)) - len(asked)):
        name = rng.weighted([item for item in choices if item[0] not in asked])
        asked[name] = rng.choice(anchor.features) if name == "feature" else getattr(anchor, name)
    words = {name: _word_for(rng, anchor.category, name, value) for name, value in asked.items()}
    excluded = None
    if kind == "negation":
        name, value = _excluded(rng, anchor, palette)
        asked[f"{NOT}{name}"] = value
        excluded = (name, _word_for(rng, anchor.category, name, value))
    shape = SHAPES[anchor.category]
    return asked, Wording(shape.name, rng.choice(shape.words), words, excluded)


def _excluded(rng: Rng, anchor: _Product, palette: _Palette) -> tuple[str, int]:
    """An attribute that others of the category have, and the anchor not."""
    name = rng.weighted((("feature", 35), ("colour", 30), ("material", 15), ("brand", 10), ("number", 10)))
    usual = {
        "feature": palette.features,
        "colour": [value for value, _ in palette.colours],
        "material": [value for value, _ in palette.materials],
        "brand": [value for value, _ in palette.brands],
        "number": [value for value, _ in palette.numbers],
    }[name]
    own = anchor.features if name == "feature" else (getattr(anchor, name),)
    return name, rng.choice([value for value in usual if value not in own])


def _word_for(rng: Rng, category: int, name: str, value: int) -> str:
    """An attribute's value as it is typed, in lower case."""
    match name:
        case "brand":
            return BRANDS[value].lower()
        case "colour":
            return rng.choice(COLOURS[value][0])
        case "number":
            return _size(category, value)
        case "material":
            return MATERIALS[value]
        case "audience":
            return AUDIENCES[value]
        case _:
            return FEATURES[value]


def _misses(query: _Query, product: _Product) -> list[str]:
    """Asked attributes that the product does not have."""
    missed = []
    for name, value in query.asked.items():
        attribute = name.removeprefix(NOT)
        has = value in product.features if attribute == "feature" else getattr(product, attribute) == value
        if has == name.startswith(NOT):
            missed.append(name)
    return missed


def _importance(name: str) -> int:
    return IMPORTANCE["not"] if name.startswith(NOT) else IMPORTANCE[name]


def _chances(query: _Query, product: _Product) -> tuple[int, int, int, int]:
    """Chances of E, S, C, I in parts per million."""
    if product.category == query.category:
        exact = 972_000
        missed = _misses(query, product)
        for name in missed:
            exact = exact * (_PER_MILLE - _importance(name)) // _PER_MILLE
        irrelevant = 10_000 + 90_000 * max(0, len(missed) - 1)
        irrelevant = min(irrelevant, _MILLION - exact)
        return exact, _MILLION - exact - irrelevant, 0, irrelevant
    if product.category in _NEIGHBOURS[query.category]:
        return 5_000, 35_000, 760_000, 200_000
    return 2_000, 18_000, 10_000, 970_000


def _judge(rng: Rng, products: Sequence[_Product], queries: Sequence[_Query], pairs: int) -> _Judgements:
    by_category: list[list[_Product]] = [[] for _ in SHAPES]
    for product in products:
        by_category[product.category].append(product)
    judged = _Judgements()
    for query in queries:
        for product in sorted(_candidates(rng, products, by_category, query, pairs), key=lambda p: p.product_id):
            chances = _chances(query, product)
            judged.query_ids.append(query.query_id)
            judged.queries.append(query.text)
            judged.kinds.append(query.kind)
            judged.product_ids.append(product.product_id)
            judged.labels.append(rng.weighted(list(zip(formats.LABELS, chances, strict=True))))
            # gains 1, 0.1, 0.01, 0 of the mean judge, in hundred-millionths
            judged.latent.append(chances[0] * 100 + chances[1] * 10 + chances[2])
    return judged


def _candidates(
    rng: Rng, products: Sequence[_Product], by_category: Sequence[Sequence[_Product]], query: _Query, pairs: int
) -> list[_Product]:
    """Distinct products to judge: matches, near misses, accessories, look-alikes of other categories, random ones."""
    same = by_category[query.category]
    matches = [product for product in same if _chances(query, product)[0] >= _EVEN]
    # those that miss one decisive thing first: near in words, yet only substitutes
    near = sorted(
        (product for product in same if _chances(query, product)[0] < _EVEN),
        key=lambda product: (len(_misses(query, product)) + rng.below(2), rng.bits()),
    )
    beside = [product for category in _NEIGHBOURS[query.category] for product in by_category[category]]
    alike = [
        product
        for product in rng.some(products, 2000)
        if product.category != query.category and product.category not in _NEIGHBOURS[query.category]
    ]
    alike.sort(key=lambda product: len(_misses(query, product)) - 3 * (query.category in product.mentioned))
    # of 20: 9 to 13 matches, an accessory, two to five look-alikes, a random one, near misses in what is left
    parts = [
        rng.some(matches, pairs * (9 + rng.below(5)) // 20),
        rng.some(beside, max(1, pairs // 20)),
        alike[: pairs * (2 + rng.below(4)) // 20],
        rng.some(products, max(1, pairs // 20)),
        near[: pairs * 9 // 20],
        rng.some(matches, pairs),
        rng.some(same, pairs),
        rng.some(products, pairs),
    ]
    chosen: dict[str, _Product] = {}
    for part in parts:
        for product in part:
            if len(chosen) < pairs:
                chosen.setdefault(product.product_id, product)
    return list(chosen.values())


def _mentioned(title: str) -> frozenset[int]:
    """Categories whose words stand in a title."""
    folded = title.lower()
    return frozenset(at for at, shape in enumerate(SHAPES) if any(word in folded for word in shape.words))


def _pictures(rng: Rng, products: Sequence[_Product]) -> Iterator[bytes | None]:
    for product in products:
        missing = rng.chance(50)
        picture = _picture(rng, product)
        yield None if missing else picture


def _picture(rng: Rng, product: _Product) -> bytes:
    """The product on a plain background, as a PNG of 16 colours."""
    size = _PICTURE_SIZE
    drawn = size * (72 + rng.below(25)) // 100
    left, top = (rng.below(size - drawn + 1) for _ in range(2))
    body, dark = silhouette(product.category, drawn), details(product.category, drawn)
    if rng.chance(400):
        body, dark = body[:, ::-1], dark[:, ::-1]
    colour = [max(0, min(255, channel + rng.below(17) - 8)) for channel in COLOURS[product.colour][1]]
    background = rng.choice(_BACKGROUNDS)
    shade = (
        [55, 55, 58] if max(colour) < 62 else [channel * (88 if min(colour) > 200 else 78) // 100 for channel in colour]
    )
    tint = [channel + (255 - channel) * 55 // 100 for channel in colour]
    indices = np.zeros((size, size), dtype=np.uint8)
    inside = indices[top : top + drawn, left : left + drawn]
    inside[body] = 1
    inside[body & _pattern(rng.below(8), drawn)] = 3
    inside[dark] = 2
    return _png(indices, (background, colour, shade, tint))


def _pattern(kind: int, size: int) -> np.ndarray:
    """Where a product is lighter: stripes, bars or dots, bool ``[size, size]``; nothing for most kinds."""
    y, x = np.arange(size)[:, None], np.arange(size)[None, :]
    if kind == 0:
        return np.broadcast_to(y % 9 < 2, (size, size))
    if kind == 1:
        return np.broadcast_to(x % 9 < 2, (size, size))
    if kind == 2:
        return (x % 7 < 3) & (y % 7 < 3)
    return np.zeros((size, size), dtype=bool)


def _png(indices: np.ndarray, palette: Sequence[Sequence[int]]) -> bytes:
    """PNG of 4-bit palette indices, uint8 ``[h, w]`` with even w, in stored deflate blocks."""
    height, width = indices.shape
    lines = np.zeros((height, 1 + width // 2), dtype=np.uint8)
    lines[:, 1:] = indices[:, ::2] << 4 | indices[:, 1::2]
    raw = lines.tobytes()
    blocks = bytearray(b"\x78\x01")
    for start in range(0, len(raw), 65_535):
        block = raw[start : start + 65_535]
        blocks += struct.pack("<BHH", start + 65_535 >= len(raw), len(block), len(block) ^ 0xFFFF) + block
    blocks += struct.pack(">I", zlib.adler32(raw))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 4, 3, 0, 0, 0))
        + chunk(b"PLTE", b"".join(bytes(colour) for colour in palette))
        + chunk(b"IDAT", bytes(blocks))
        + chunk(b"IEND", b"")
    )


def _write_texts(
    folder: Path, products: Sequence[_Product], judged: _Judgements, pictures: Sequence[bytes | None]
) -> None:
    n = len(judged.labels)
    examples = [
        pa.array(np.arange(n)),
        judged.queries,
        judged.query_ids,
        judged.product_ids,
        ["us"] * n,
        judged.labels,
        [1] * n,
        [1] * n,
        ["test"] * n,
        judged.kinds,
    ]
    schema = formats.EXAMPLES_SCHEMA.append(pa.field(formats.QUERY_KIND, pa.string()))
    _write(folder / formats.EXAMPLES_FILE, examples, schema)
    columns = [
        [product.product_id for product in products],
        [product.title for product in products],
        [product.description for product in products],
        [product.bullets for product in products],
        [product.brand_field for product in products],
        [product.color_field for product in products],
        ["us"] * len(products),
        *sample_attributes.columns_of(
            [product.product_id for product in products], [SHAPES[product.category].name for product in products]
        ),
    ]
    schema = pa.schema([*formats.PRODUCTS_SCHEMA, *sample_attributes.FIELDS])
    _write(folder / formats.PRODUCTS_FILE, columns, schema, sample_attributes.METADATA)
    pairs = [(product.product_id, picture) for product, picture in zip(products, pictures, strict=True) if picture]
    _write(folder / formats.IMAGES_FILE, [list(column) for column in zip(*pairs, strict=True)], formats.IMAGES_SCHEMA)
    latent = np.array(judged.latent, dtype=np.float64) / 100_000_000
    _write(folder / formats.ORACLE_FILE, [judged.query_ids, judged.product_ids, latent], formats.ORACLE_SCHEMA)
    main = len(pairs) * 98 // 100
    for name, part in ((formats.IMAGE_URLS_FILE, pairs[:main]), (formats.SUPP_IMAGE_URLS_FILE, pairs[main:])):
        rows = [f"{product_id},https://images.example.invalid/{product_id}.png" for product_id, _ in part]
        (folder / name).write_text("\n".join(["product_id,image_url", *rows]) + "\n", encoding="utf-8", newline="\n")


def _write_vectors(
    folder: Path, products: Sequence[_Product], queries: Sequence[_Query], pictures: Sequence[bytes | None], dim: int
) -> None:
    encoder = OfflineEncoder(dim)
    texts = encoder.encode_texts([query.text for query in queries])
    ids = [str(query.query_id) for query in queries]
    made_by = {formats.ENCODER_KEY: encoder.name}
    _write(folder / formats.QUERY_FEATURES_FILE, [ids, _lists(texts)], formats.QUERY_FEATURES_SCHEMA, made_by)
    present = np.array([picture is not None for picture in pictures])
    columns = [
        [product.product_id for product in products],
        _lists(encoder.encode_texts([product.title for product in products])),
        _lists(encoder.encode_images([picture for picture in pictures if picture is not None]), present),
    ]
    _write(folder / formats.PRODUCT_FEATURES_FILE, columns, formats.PRODUCT_FEATURES_SCHEMA, made_by)


def _lists(vectors: np.ndarray, present: np.ndarray | None = None) -> pa.ListArray:
    """Rows of a matrix as lists; ``present``, bool ``[rows]``, says where there is one (else null)."""
    lengths = np.full(len(vectors), vectors.shape[1]) if present is None else present * vectors.shape[1]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    mask = None if present is None else pa.array(~present)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(vectors.reshape(-1)), mask=mask)


def _write(path: Path, columns: Sequence[object], schema: pa.Schema, metadata: dict[str, str] | None = None) -> None:
    arrays = [
        column if isinstance(column, pa.ListArray) else pa.array(column, type=field.type)
        for column, field in zip(columns, schema, strict=True)
    ]
    with pq.ParquetWriter(
        path,
        schema,
        version="2.6",
        data_page_version="1.0",
        compression="NONE",
        use_dictionary=False,
        store_schema=False,
    ) as writer:
        writer.add_key_value_metadata({"sqidflow": NOTICE, **(metadata or {})})
        writer.write_table(pa.Table.from_arrays(arrays, schema=schema), row_group_size=_ROW_GROUP)


def _readme(spec: SampleSpec, report: SampleReport) -> str:
    return (
        f"# {NOTICE}\n\n"
        "Queries, products, pictures and judgements are invented by a program (`sqidflow data sample`), in the\n"
        "formats of ESCI and SQID; so are prices, ratings and stock. Brands do not exist. Vectors are those of the\n"
        "`offline` encoder, not of CLIP.\n"
        "Results on this sample say that the pipeline works; they say nothing about real search.\n\n"
        f"- made with {asdict(spec)}\n"
        f"- {report.pairs} judgements of {report.queries} queries: {report.labels}\n"
        f"- {report.products} products, {report.products_without_picture} without a picture\n"
        "- `sample_oracle.parquet`: the gain each pair would have from a judge without noise\n"
    )
