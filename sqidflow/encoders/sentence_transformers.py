"""The ``sentence-transformers`` encoder: texts alone, by any model of that library."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sqidflow.encoders.learned import load, model_name, no_model

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
"""384 dimensions; the SBERT row of SQID's published table is of another of these models."""
_TEXTS_AT_ONCE = 64


class SentenceTransformersEncoder:
    """A sentence-transformers model from the hub or from a local folder."""

    sees_pictures = False

    def __init__(self, model: str | None = None) -> None:
        """Load the model.

        Args:
            model: name on the Hugging Face hub, or a folder.

        Raises:
            ValueError: the packages are missing, or there is no such model; says how to fix it.
        """
        model = model or DEFAULT_MODEL
        library = load("sentence-transformers", "sentence_transformers")
        try:
            self._model = library.SentenceTransformer(
                model, device="cpu", trust_remote_code=False, model_kwargs={"use_safetensors": True}
            )
        except (OSError, ValueError) as error:
            raise no_model("sentence-transformers", model, error) from error
        self.name = f"sentence-transformers:{model_name(model)}"
        # The older name warns in newer versions of the library.
        dimension = (
            getattr(self._model, "get_embedding_dimension", None) or self._model.get_sentence_embedding_dimension
        )
        self.dim = int(dimension())

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """float32 ``[n, dim]``, as the model gives them."""
        if not len(texts):
            return np.zeros((0, self.dim), np.float32)
        return self._model.encode(
            list(texts), batch_size=_TEXTS_AT_ONCE, convert_to_numpy=True, show_progress_bar=False
        ).astype(np.float32)

    def encode_images(self, images: Sequence[bytes]) -> np.ndarray:
        """Raises ValueError: these models read texts alone."""
        raise ValueError(f"{self.name} reads texts alone, no pictures; use the encoder clip or offline for those")
