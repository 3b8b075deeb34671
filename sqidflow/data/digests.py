"""What a vector was made from, as the digest that stands beside it."""

from __future__ import annotations

import hashlib


def text_digest(text: str) -> str:
    """SHA-256 of a text's UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()


def picture_digest(picture: bytes) -> str:
    """SHA-256 of a picture's bytes."""
    return hashlib.sha256(picture).hexdigest()
