"""The encoder that makes vectors of what is searched for: the index's own, or the one that settings name."""

from __future__ import annotations

from encoders.base import Encoder
from encoders.registry import get_encoder
from pipeline.errors import SqidflowError


def make_encoder(name: str, model: str | None, dim: int) -> Encoder:
    """The encoder, ready. ``dim`` is the offline encoder's length, ``model`` what the others load (None: their own).

    Raises:
        SqidflowError: it cannot be made.
    """
    options = {"dim": dim} if name == "offline" else {"model": model} if model else {}
    try:
        return get_encoder(name, **options)
    except ValueError as error:
        raise SqidflowError(
            (str(error).splitlines() or [repr(error)])[0][:300], where=f"encoder {name}", mend="see docs/search.md"
        ) from error
