"""When two texts are one query: the form that decides which split a query is in and which judgements are of it."""

from __future__ import annotations

import unicodedata

_VARIATION_SELECTORS = dict.fromkeys(range(0xFE00, 0xFE10))


def query_key(text: str) -> str:
    """The text without what a searcher does not mean to say: case, width, invisible characters, extra blanks.

    Two texts with equal keys are one query. Compatibility forms are folded (NFKC) and case is too; format characters
    (category Cf: zero-width blanks, soft hyphens, marks of direction) and variation selectors are dropped; each run of
    blanks and control characters is one space, none at either end. The Turkish ``İ`` is an ``i``.
    """
    if text.isascii() and text.isprintable():
        return " ".join(text.lower().split())
    folded = unicodedata.normalize("NFKC", text.translate(_VARIATION_SELECTORS)).casefold()
    folded = unicodedata.normalize("NFKC", folded.replace("i\u0307", "i"))
    kinds = ((char, unicodedata.category(char)) for char in folded)
    visible = "".join(" " if kind == "Cc" else char for char, kind in kinds if kind != "Cf")
    return " ".join(visible.split())
