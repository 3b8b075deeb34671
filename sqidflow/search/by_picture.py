"""How well products go with a picture, and with a picture and words.

No ranker is asked: it learned from words. A product's own picture is to find it, so what a picture looks like counts
beside what the encoder says of it; what is asked for in words counts more than either.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sqidflow.ranking import features

_APPEARANCE_WEIGHT = 0.3
_AGAIN = 0.78
"""Likeness from which on two pictures look the same: cells differ by 10 of 255."""
_WORDS_WEIGHT = 0.6
_CONFLICT = 0.5
_CONFLICTS = [features.LEXICAL_NAMES.index(name) for name in ("color_conflict", "brand_conflict", "audience_conflict")]
_MATCHES = [features.LEXICAL_NAMES.index(name) for name in ("color_field_match", "head_overlap")]


def encoder_similarity(of_text: np.ndarray, of_image: np.ndarray, has_image: np.ndarray) -> np.ndarray:
    """Cosines of n products to a picture's vector, 0 to 1; one without a picture has its text's, shifted by what
    pictures are nearer than texts.

    Args:
        of_text, of_image: cosines [n]; ``of_image`` counts only where ``has_image`` is not 0.
    """
    pictured = np.asarray(has_image) > 0
    shift = float((of_image - of_text)[pictured].mean()) if pictured.any() else 0.0
    return np.clip(np.where(pictured, of_image, of_text + shift), 0.0, 1.0)


def alike(similarity: np.ndarray, likeness: np.ndarray, looked_at: np.ndarray, same: np.ndarray) -> np.ndarray:
    """How like the picture n products are, 0 to 1.

    Args:
        similarity: as :func:`encoder_similarity` [n]. likeness: of the pictures' appearance [n]. looked_at: bool [n],
            which products' pictures have one; the others get the middle of those. same: bool [n], the very picture.
    """
    if not looked_at.any():
        return similarity.astype(np.float32)
    appearance = np.where(looked_at, likeness, np.median(likeness[looked_at]))
    out = (1 - _APPEARANCE_WEIGHT) * similarity + _APPEARANCE_WEIGHT * appearance
    # The same picture saved anew, whatever the encoder makes of it.
    again = looked_at & (likeness >= _AGAIN)
    out = np.where(again, np.maximum(out, (1 - _APPEARANCE_WEIGHT) + _APPEARANCE_WEIGHT * likeness), out)
    return np.where(same, 1.0, out).astype(np.float32)


def words_met(coverage: np.ndarray, lexical: np.ndarray) -> np.ndarray:
    """How far n products are what the words ask for, 0 to 1: the share of the words that they have, less where they are
    of another colour, brand or audience, and a little more where it is their title's head or colour that says so.

    Args:
        coverage: share of the words' idf [n]. lexical: features [n, k].
    """
    conflict = lexical[:, _CONFLICTS].max(axis=1)
    said_first = lexical[:, _MATCHES].max(axis=1)
    fits: np.ndarray = (coverage * (1 - _CONFLICT * conflict) * (0.8 + 0.2 * said_first)).astype(np.float32)
    return fits


def with_words(likeness: np.ndarray, met: np.ndarray) -> np.ndarray:
    """Scores of n products for a picture and words."""
    return (_WORDS_WEIGHT * met + (1 - _WORDS_WEIGHT) * likeness).astype(np.float32)


def probabilities(score: np.ndarray) -> np.ndarray:
    """float32 [n, 4]: the score as the chance of an Exact, the rest Irrelevant; an order, nothing calibrated."""
    chances = np.zeros((len(score), len(features.CLASSES)), np.float32)
    chances[:, features.CLASS_IDS["E"]] = score
    chances[:, features.CLASS_IDS["I"]] = 1 - score
    return chances


def parts_of(alike: float, met: float | None) -> Sequence[tuple[str, str, float, float]]:
    """Name, label, value and contribution of what a score is the sum of."""
    if met is None:
        return [("picture", "like the picture", alike, alike)]
    words, picture = _WORDS_WEIGHT * met, (1 - _WORDS_WEIGHT) * alike
    parts = [("words", "what the words ask for", met, words), ("picture", "like the picture", alike, picture)]
    return sorted(parts, key=lambda part: -part[3])
