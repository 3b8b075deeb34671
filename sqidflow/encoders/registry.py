"""Encoders by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqidflow.encoders.base import Encoder


def _offline(**options: Any) -> Encoder:
    from sqidflow.encoders.offline import OfflineEncoder

    return OfflineEncoder(**options)


def _clip(**options: Any) -> Encoder:
    from sqidflow.encoders.clip import ClipEncoder

    return ClipEncoder(**options)


def _sentence_transformers(**options: Any) -> Encoder:
    from sqidflow.encoders.sentence_transformers import SentenceTransformersEncoder

    return SentenceTransformersEncoder(**options)


_FACTORIES: dict[str, Callable[..., Encoder]] = {
    "offline": _offline,
    "clip": _clip,
    "sentence-transformers": _sentence_transformers,
}


def encoder_names() -> tuple[str, ...]:
    """Names that :func:`get_encoder` knows, sorted."""
    return tuple(sorted(_FACTORIES))


def kind_of(name: str) -> str:
    """``clip`` of ``clip:openai/clip-vit-base-patch32``."""
    return name.partition(":")[0]


def get_encoder(name: str, **options: Any) -> Encoder:
    """The encoder called ``name``, made with ``options`` (``offline``: ``dim``; the others: ``model``).

    ``name`` may be the ``name`` of an encoder, which tells its model too: ``clip:openai/clip-vit-base-patch32``.

    Raises ValueError naming the known encoders for an unknown name, and naming the encoder for an unknown option.
    """
    name, _, model = name.partition(":")
    if model:
        options.setdefault("model", model)
    factory = _FACTORIES.get(name)
    if factory is None:
        raise ValueError(f"unknown encoder {name!r}; known encoders: {', '.join(encoder_names())}")
    try:
        return factory(**options)
    except TypeError as error:
        raise ValueError(f"encoder {name!r} does not take these options: {error}") from error
