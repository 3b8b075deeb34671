"""``bench typing``: what people get for what they type and show, on the sample's pushed model and index.

The sample alone says of each product which kind of thing it is. Whether it has a colour is asked of its own words.
"""

from __future__ import annotations

import io
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from sqidflow.core.errors import SqidflowError
from sqidflow.core.settings import Settings
from sqidflow.core.workdir import Workdir
from sqidflow.data.sample import category_of_products, is_sample
from sqidflow.data.sample_queries import plural
from sqidflow.encoders.shapes import SHAPES
from sqidflow.indexing.catalogue import read_catalogue
from sqidflow.ranking.words import words
from sqidflow.search.engine import Outcome, Request, SearchCore
from sqidflow.search.state import choose, open_core

COLOURS = ("black", "white", "red", "green", "blue", "pink", "orange", "brown")
AUDIENCES = ("women", "men", "kids")
_PICTURES = 58
_ALSO_IN = re.compile(r"\balso in \w+", re.IGNORECASE)
_SEED = 5


@dataclass(frozen=True)
class Shop:
    """The sample as it is searched: ``kind`` of each product id, ``text`` what a product says of itself."""

    core: SearchCore
    kind: dict[str, str]
    titles: dict[str, str]
    fields: dict[str, str]

    @cached_property
    def terms(self) -> dict[str, frozenset[str]]:
        """Of each product without the other colours that it comes in."""
        return {
            product: frozenset(words(f"{_ALSO_IN.sub('', title)} {self.fields[product]}"))
            for product, title in self.titles.items()
        }

    def first(self, query: str, image: bytes | None = None) -> tuple[Outcome, str | None]:
        outcome = self.core.search(Request(query, image))
        return outcome, outcome.hits[0].product_id if outcome.hits else None

    def has(self, product: str, word: str) -> bool:
        return words(word)[0] in self.terms[product]

    def of_kind(self, kind: str, word: str) -> bool:
        """Whether a product of a kind has a word."""
        return any(self.has(product, word) for product, own in self.kind.items() if own == kind)


def open_shop(workdir: Workdir, settings: Settings) -> Shop:
    """Raises SqidflowError where there is no sample with a pushed model and an index."""
    if not is_sample(workdir.data):
        raise SqidflowError(
            "is not the sample, whose products say which kind they are",
            where=workdir.data,
            hint="measure a workdir where `sqidflow data sample` and `make run` were run",
        )
    version, folder = choose(workdir, settings)
    core = open_core(workdir, version, folder, settings, settings.search.retrieval_a, {})
    catalogue = read_catalogue(workdir.artifacts)
    fields = [f"{brand or ''} {color or ''}" for brand, color in zip(catalogue.brands, catalogue.colors)]
    return Shop(
        core,
        category_of_products(workdir.data),
        dict(zip(catalogue.product_ids, catalogue.titles)),
        dict(zip(catalogue.product_ids, fields)),
    )


def bench(workdir: Workdir, settings: Settings, say: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """The document of ``bench typing --json``."""
    shop = open_shop(workdir, settings)
    rows: list[dict[str, Any]] = []
    for name, measure in (
        ("nouns", nouns), ("excluded colours", excluded_colours), ("one word", one_word),
        ("pictures with words", pictures_with_words), ("own pictures", own_pictures),
    ):  # fmt: skip
        say(name)
        rows += measure(shop)
    return {"ranker": shop.core.ranker.name, "version": shop.core.ranker.version, "rows": rows}


def _row(name: str, values: Sequence[bool], target: str = "") -> dict[str, Any]:
    share = float(np.mean(values)) if values else None
    return {"measure": name, "share": share, "queries": len(values), "target": target}


def nouns(shop: Shop) -> list[dict[str, Any]]:
    """Kind of the first product, for nouns alone, with an audience and with a colour; singular and plural."""
    rows = []
    for number, form in (("singular", str), ("plural", plural)):
        right, refused = [], []
        for shape in SHAPES:
            for noun in shape.words:
                named = form(noun)
                queries = [named]
                queries += [f"{named} for {each}" for each in AUDIENCES if shop.of_kind(shape.name, each)]
                queries += [f"{each} {named}" for each in COLOURS if shop.of_kind(shape.name, each)]
                for query in queries:
                    _, first = shop.first(query)
                    refused.append(first is None)
                    right.append(first is not None and shop.kind[first] == shape.name)
        targets = ("at least 95 %", "at most 2 %") if number == "plural" else ("", "")
        rows += [_row(f"{number} nouns: right kind first", right, targets[0])]
        rows += [_row(f"{number} nouns: refused", refused, targets[1])]
    return rows


def excluded_colours(shop: Shop) -> list[dict[str, Any]]:
    """How often the first product has the colour that is excluded, of those that a product of the kind has."""
    wrong, refused = [], []
    for shape in SHAPES:
        for noun in (shape.words[0], plural(shape.words[0])):
            for colour in COLOURS:
                if not shop.of_kind(shape.name, colour):
                    continue
                for negation in ("not", "not in", "no", "except"):
                    _, first = shop.first(f"{noun} {negation} {colour}")
                    refused.append(first is None)
                    wrong.append(first is not None and shop.has(first, colour))
    return [
        _row("excluded colour: first product has it", wrong, "at most 2 %"),
        _row("excluded colour: refused", refused),
    ]


def one_word(shop: Shop) -> list[dict[str, Any]]:
    """How often a noun by itself is answered as uncertain or not at all."""
    names = [form(noun) for shape in SHAPES for noun in shape.words if " " not in noun for form in (str, plural)]
    outcomes = [shop.first(name)[0] for name in dict.fromkeys(names)]
    return [
        _row("one word: said to be uncertain", [each.uncertain for each in outcomes], "at most 5 %"),
        _row("one word: refused", [each.refusal is not None for each in outcomes]),
    ]


def pictures_with_words(shop: Shop) -> list[dict[str, Any]]:
    """Pictures of products with a wish that another product of their kind meets."""
    refused, met = [], []
    for row in _pictured(shop):
        product = shop.core.index.product_ids(np.array([row]))[0]
        wishes = [
            (word, text)
            for words_of, template in ((COLOURS, "in {}"), (AUDIENCES, "for {}"))
            for word in words_of
            for text in (template.format(word),)
            if shop.of_kind(shop.kind[product], word) and not shop.has(product, word)
        ]
        for word, text in wishes[:4]:
            _, first = shop.first(text, shop.core.index.picture(row))
            refused.append(first is None)
            met.append(first is not None and shop.has(first, word))
    return [
        _row("picture with words: refused", refused, "at most 5 %"),
        _row("picture with words: the wish is met first", met, "at least 90 %"),
    ]


def own_pictures(shop: Shop) -> list[dict[str, Any]]:
    """Where a product's own picture finds it: the same bytes, and the same picture saved in other ways."""
    rows = []
    for name, change in (
        ("identical bytes", None), ("as JPEG", as_jpeg), ("half as large", halved), ("cropped by a tenth", cropped),
    ):  # fmt: skip
        first, ten = [], []
        for row in _pictured(shop):
            picture = shop.core.index.picture(row) or b""
            product = shop.core.index.product_ids(np.array([row]))[0]
            outcome = shop.core.search(Request("", picture if change is None else change(picture)))
            ids = [hit.product_id for hit in outcome.hits]
            first.append(ids[:1] == [product])
            ten.append(product in ids)
        if change is None:
            rows.append(_row(f"own picture, {name}: first", first, "at least 95 %"))
        else:
            rows.append(_row(f"own picture, {name}: among ten", ten, "at least 95 %"))
    return rows


def _pictured(shop: Shop) -> list[int]:
    rows = np.flatnonzero(shop.core.index.with_appearance).tolist()
    return sorted(random.Random(_SEED).sample(rows, min(_PICTURES, len(rows))))


def _saved(image: Any, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def opened(picture: bytes) -> Any:
    from PIL import Image

    return Image.open(io.BytesIO(picture)).convert("RGB")


def as_jpeg(picture: bytes) -> bytes:
    return _saved(opened(picture), "JPEG", quality=80)


def halved(picture: bytes) -> bytes:
    image = opened(picture)
    return _saved(image.resize((image.width // 2, image.height // 2)), "PNG")


def cropped(picture: bytes) -> bytes:
    image = opened(picture)
    width, height = image.width // 20, image.height // 20
    return _saved(image.crop((width, height, image.width - width, image.height - height)), "PNG")
