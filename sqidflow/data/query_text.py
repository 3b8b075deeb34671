"""The one form of a query's text that decides what one query is."""

from __future__ import annotations

import unicodedata

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Format characters (Cf) are invisible: zero-width spaces and joiners, soft hyphens, marks of direction and order.
_DROPPED_CATEGORY = "Cf"
_VARIATION_SELECTORS = dict.fromkeys(range(0xFE00, 0xFE10))
_DOT_ABOVE = "\u0307"


def normal_text(text: str) -> str:
    """``text`` in Unicode's compatibility form (NFKC), case folded, without what is invisible; runs of blanks are one
    space, and there is none at the ends.

    Two texts are one query where this is the same: ``"Red  Shoe "`` and ``"red shoe"``.
    """
    if text.isascii():
        return " ".join(text.lower().split())
    visible = "".join(char for char in text if unicodedata.category(char) != _DROPPED_CATEGORY)
    folded = unicodedata.normalize("NFKC", visible.translate(_VARIATION_SELECTORS)).casefold()
    # the Turkish capital I folds into i and a dot above that no other spelling has
    folded = unicodedata.normalize("NFKC", folded.replace("i" + _DOT_ABOVE, "i"))
    return " ".join(folded.split())


def normal_codes(texts: pa.ChunkedArray) -> np.ndarray:
    """int64 [n]: equal numbers for texts of one normal form, in the order in which the forms first appear."""
    encoded = texts.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    forms = pa.array([normal_text(text) for text in encoded.dictionary.to_pylist()], pa.string())
    of_form = forms.dictionary_encode().indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return of_form[encoded.indices.to_numpy(zero_copy_only=False)]


def normal_texts(texts: pa.Array | pa.ChunkedArray) -> pa.Array:
    """The normal form of each text."""
    unique = pc.unique(texts)
    forms = pa.array([normal_text(text) for text in unique.to_pylist()], pa.string())
    return forms.take(pc.index_in(texts, unique))
