"""Silhouettes of common products: what the offline encoder recognises and the sample generator draws.

A shape is a list of strokes on a 1000 x 1000 grid (x to the right, y down), rasterised with integer arithmetic only, so
that masks are the same on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

GRID = 1000


@dataclass(frozen=True)
class Stroke:
    """One primitive: ``kind`` is rect, ellipse, line or polygon; ``cut`` takes it away from what lies below.

    ``at`` holds ``x0, y0, x1, y1`` (rect), ``cx, cy, rx, ry`` (ellipse), ``x0, y0, x1, y1, width`` (line) or the
    corners ``x, y, x, y, ...`` (polygon).
    """

    kind: str
    at: tuple[int, ...]
    cut: bool = False


@dataclass(frozen=True)
class Shape:
    """A category's silhouette.

    ``words`` are the texts the picture stands for, the usual name first; ``body`` makes the silhouette, ``detail`` lies
    on it in a darker shade and is no part of the silhouette.
    """

    name: str
    words: tuple[str, ...]
    body: tuple[Stroke, ...]
    detail: tuple[Stroke, ...] = ()


def _rect(*at: int) -> Stroke:
    return Stroke("rect", at)


def _oval(*at: int) -> Stroke:
    return Stroke("ellipse", at)


def _line(*at: int) -> Stroke:
    return Stroke("line", at)


def _poly(*at: int) -> Stroke:
    return Stroke("polygon", at)


def _cut(stroke: Stroke) -> Stroke:
    return Stroke(stroke.kind, stroke.at, cut=True)


def _round(x0: int, y0: int, x1: int, y1: int, r: int) -> tuple[Stroke, ...]:
    corners = [_oval(x, y, r, r) for x in (x0 + r, x1 - r) for y in (y0 + r, y1 - r)]
    return (_rect(x0 + r, y0, x1 - r, y1), _rect(x0, y0 + r, x1, y1 - r), *corners)


SHAPES: tuple[Shape, ...] = (
    Shape(
        "phone",
        ("phone", "smartphone", "mobile"),
        _round(280, 60, 720, 940, 70),
        (_rect(325, 150, 675, 820), _oval(500, 880, 32, 32)),
    ),
    Shape(
        "phone case",
        ("phone case", "phone cover"),
        (*_round(260, 60, 740, 940, 60), _cut(_rect(330, 130, 560, 340)), _cut(_rect(710, 430, 760, 580))),
        (_line(330, 860, 670, 860, 30),),
    ),
    Shape(
        "charger",
        ("charger", "power adapter"),
        (
            *_round(330, 60, 800, 480, 60),
            _rect(150, 140, 340, 200),
            _rect(150, 330, 340, 390),
            _line(565, 480, 565, 700, 60),
            _line(565, 700, 300, 760, 60),
            _line(300, 760, 300, 900, 60),
            _rect(225, 820, 375, 940),
        ),
        (_oval(620, 270, 60, 60),),
    ),
    Shape(
        "headphones",
        ("headphones", "headset"),
        (
            _oval(500, 520, 430, 440),
            _cut(_oval(500, 540, 340, 350)),
            _cut(_rect(0, 620, 1000, 1000)),
            *_round(60, 540, 280, 940, 80),
            *_round(720, 540, 940, 940, 80),
        ),
        (_rect(200, 600, 240, 880), _rect(760, 600, 800, 880)),
    ),
    Shape(
        "shoe",
        ("shoe", "sneaker", "trainer"),
        (
            _poly(90, 300, 330, 250, 420, 400, 640, 520, 880, 590, 930, 680, 930, 740, 70, 740),
            _rect(60, 700, 940, 790),
        ),
        (_line(400, 470, 480, 400, 26), _line(500, 530, 570, 460, 26), _line(80, 715, 930, 715, 34)),
    ),
    Shape(
        "socks",
        ("socks", "stockings"),
        (
            _rect(310, 60, 590, 640),
            _poly(310, 560, 590, 560, 820, 740, 860, 830, 800, 920, 640, 930, 330, 780),
            _oval(420, 700, 130, 130),
        ),
        (_rect(310, 130, 590, 180),),
    ),
    Shape(
        "mug",
        ("mug", "cup"),
        (_oval(700, 500, 230, 230), _cut(_oval(700, 500, 130, 130)), *_round(110, 180, 700, 860, 60)),
        (_line(150, 250, 660, 250, 30),),
    ),
    Shape(
        "kettle",
        ("kettle", "water boiler"),
        (
            _oval(520, 360, 330, 310),
            _cut(_oval(520, 360, 240, 220)),
            _cut(_rect(0, 420, 1000, 700)),
            _poly(270, 400, 770, 400, 860, 920, 180, 920),
            _poly(240, 620, 60, 440, 130, 400, 290, 520),
        ),
        (_oval(520, 430, 60, 34), _line(220, 840, 820, 840, 30)),
    ),
    Shape(
        "pan",
        ("pan", "skillet"),
        (_oval(330, 500, 270, 270), _line(560, 500, 930, 500, 90)),
        (_oval(330, 500, 190, 190),),
    ),
    Shape(
        "spatula",
        ("spatula", "turner"),
        (_poly(370, 60, 630, 60, 670, 430, 330, 430), _line(500, 430, 500, 900, 80), _oval(500, 900, 55, 55)),
        (_line(430, 140, 430, 370, 34), _line(500, 140, 500, 370, 34), _line(570, 140, 570, 370, 34)),
    ),
    Shape(
        "sofa",
        ("sofa", "couch", "settee"),
        (
            *_round(150, 260, 850, 620, 80),
            *_round(60, 420, 240, 780, 70),
            *_round(760, 420, 940, 780, 70),
            _rect(150, 560, 850, 780),
            _rect(110, 770, 180, 860),
            _rect(820, 770, 890, 860),
        ),
        (_line(240, 590, 760, 590, 26), _line(500, 300, 500, 760, 24)),
    ),
    Shape(
        "cushion",
        ("cushion", "throw pillow"),
        (
            _rect(90, 90, 910, 910),
            _cut(_oval(500, 60, 400, 110)),
            _cut(_oval(500, 940, 400, 110)),
            _cut(_oval(60, 500, 110, 400)),
            _cut(_oval(940, 500, 110, 400)),
        ),
        (_oval(500, 500, 45, 45),),
    ),
    Shape(
        "lamp",
        ("lamp", "desk light"),
        (
            _poly(340, 60, 660, 60, 820, 460, 180, 460),
            _line(500, 460, 500, 860, 70),
            _oval(500, 890, 230, 60),
        ),
        (_line(210, 430, 790, 430, 34),),
    ),
    Shape(
        "backpack",
        ("backpack", "rucksack"),
        (
            _oval(500, 170, 150, 120),
            _cut(_oval(500, 170, 80, 60)),
            *_round(230, 180, 770, 930, 160),
            *_round(120, 540, 260, 860, 50),
            *_round(740, 540, 880, 860, 50),
        ),
        (_line(300, 560, 700, 560, 30), _rect(340, 640, 660, 670), _line(300, 380, 700, 380, 24)),
    ),
    Shape(
        "bottle",
        ("bottle", "flask"),
        (
            _rect(420, 60, 580, 200),
            _poly(430, 190, 570, 190, 650, 330, 350, 330),
            *_round(350, 310, 650, 940, 50),
        ),
        (_rect(420, 170, 580, 200), _rect(350, 520, 650, 560), _rect(350, 760, 650, 800)),
    ),
    Shape(
        "camera",
        ("camera", "camcorder"),
        (*_round(60, 300, 940, 820, 60), _poly(330, 310, 400, 180, 600, 180, 670, 310), _rect(130, 240, 250, 310)),
        (_oval(500, 560, 190, 190), _oval(820, 400, 40, 40)),
    ),
    Shape(
        "tripod",
        ("tripod", "stand"),
        (
            _rect(380, 60, 620, 170),
            _line(500, 150, 500, 420, 90),
            _line(500, 380, 150, 930, 80),
            _line(500, 380, 850, 930, 80),
            _line(500, 380, 500, 930, 80),
        ),
        (_oval(500, 400, 50, 50),),
    ),
    Shape(
        "bicycle",
        ("bicycle", "bike"),
        (
            _oval(230, 620, 200, 200),
            _cut(_oval(230, 620, 130, 130)),
            _oval(770, 620, 200, 200),
            _cut(_oval(770, 620, 130, 130)),
            _line(230, 620, 380, 350, 54),
            _line(380, 350, 670, 350, 54),
            _line(380, 350, 480, 620, 54),
            _line(480, 620, 670, 350, 54),
            _line(230, 620, 480, 620, 54),
            _line(770, 620, 650, 270, 54),
            _line(590, 260, 720, 240, 60),
            _line(310, 300, 450, 300, 60),
        ),
    ),
    Shape(
        "helmet",
        ("helmet", "hard hat"),
        (
            _oval(500, 640, 420, 440),
            _cut(_rect(0, 650, 1000, 1000)),
            _rect(80, 620, 920, 700),
            _line(200, 690, 330, 830, 50),
            _line(640, 690, 330, 830, 50),
        ),
        (_line(500, 230, 500, 600, 34), _line(300, 300, 340, 600, 34), _line(700, 300, 660, 600, 34)),
    ),
    Shape(
        "shirt",
        ("shirt", "tee", "top"),
        (
            _poly(330, 110, 670, 110, 940, 300, 850, 480, 720, 410, 720, 910, 280, 910, 280, 410, 150, 480, 60, 300),
            _cut(_oval(500, 100, 120, 90)),
        ),
        (_line(310, 860, 690, 860, 24),),
    ),
    Shape(
        "pants",
        ("pants", "trousers", "jeans"),
        (_poly(300, 60, 700, 60, 790, 940, 580, 940, 500, 340, 420, 940, 210, 940),),
        (_rect(300, 110, 700, 140),),
    ),
    Shape(
        "hat",
        ("hat", "fedora"),
        (_oval(500, 700, 440, 120), _poly(290, 260, 710, 260, 760, 700, 240, 700), _oval(500, 265, 210, 70)),
        (_poly(252, 590, 748, 590, 758, 670, 242, 670),),
    ),
    Shape(
        "guitar",
        ("guitar", "ukulele"),
        (
            _oval(500, 770, 260, 190),
            _oval(500, 550, 190, 150),
            _rect(455, 100, 545, 500),
            _rect(420, 50, 580, 160),
        ),
        (_oval(500, 620, 70, 70), _rect(430, 800, 570, 830)),
    ),
    Shape(
        "amplifier",
        ("amplifier", "amp", "speaker"),
        (
            _rect(110, 190, 890, 880),
            _rect(170, 870, 280, 940),
            _rect(720, 870, 830, 940),
            _line(360, 130, 640, 130, 60),
            _rect(350, 110, 410, 200),
            _rect(590, 110, 650, 200),
        ),
        (_oval(500, 600, 220, 220), _rect(170, 250, 830, 310)),
    ),
)


def _inside(stroke: Stroke, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    at = stroke.at
    if stroke.kind == "rect":
        return (x >= at[0]) & (x < at[2]) & (y >= at[1]) & (y < at[3])
    if stroke.kind == "ellipse":
        cx, cy, rx, ry = at
        return (x - cx) ** 2 * ry**2 + (y - cy) ** 2 * rx**2 <= rx**2 * ry**2
    if stroke.kind == "line":
        x0, y0, x1, y1, width = at
        dx, dy = x1 - x0, y1 - y0
        length2 = dx * dx + dy * dy
        along = (x - x0) * dx + (y - y0) * dy
        across = (x - x0) * dy - (y - y0) * dx
        between = (along >= 0) & (along <= length2) & (4 * across**2 <= width * width * length2)
        ends = [4 * ((x - px) ** 2 + (y - py) ** 2) <= width * width for px, py in ((x0, y0), (x1, y1))]
        return between | ends[0] | ends[1]
    if stroke.kind == "polygon":
        inside = np.zeros(np.broadcast(x, y).shape, dtype=bool)
        corners = list(zip(at[::2], at[1::2], strict=True))
        for (xa, ya), (xb, yb) in zip(corners, corners[1:] + corners[:1], strict=True):
            if ya == yb:
                continue
            spans = (ya > y) != (yb > y)
            left = (x - xa) * (yb - ya) < (xb - xa) * (y - ya)
            inside ^= spans & (left if yb > ya else ~left)
        return inside
    raise ValueError(f"unknown stroke {stroke.kind!r}")


def _raster(strokes: Sequence[Stroke], size: int) -> np.ndarray:
    centres = (2 * np.arange(size, dtype=np.int64) + 1) * GRID // (2 * size)
    x, y = centres[None, :], centres[:, None]
    mask = np.zeros((size, size), dtype=bool)
    for stroke in strokes:
        if stroke.cut:
            mask &= ~_inside(stroke, x, y)
        else:
            mask |= _inside(stroke, x, y)
    return mask


@cache
def silhouette(index: int, size: int) -> np.ndarray:
    """Silhouette of ``SHAPES[index]``: bool ``[size, size]``, True on the product. Read only."""
    mask = _raster(SHAPES[index].body, size)
    mask.setflags(write=False)
    return mask


@cache
def details(index: int, size: int) -> np.ndarray:
    """Where ``SHAPES[index]`` is drawn darker: bool ``[size, size]``, inside the silhouette. Read only."""
    mask = _raster(SHAPES[index].detail, size) & silhouette(index, size)
    mask.setflags(write=False)
    return mask
