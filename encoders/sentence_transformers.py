"""Text encoders of the ``sentence-transformers`` library: better than CLIP's at texts, blind to pictures.

Needs the extra ``sqidflow[sentence-transformers]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"


class SentenceEncoder:
    """Encoder with a sentence model's weights. Not for use by two threads at once.

    ``model``: a name on the hub or a local folder. Raises ImportError naming the extra where the library is missing,
    OSError where the weights cannot be had.
    """

    name = "sentence-transformers"

    def __init__(self, model: str = DEFAULT_MODEL) -> None:
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise ImportError(
                f"{error.name} is not installed; install the extra sqidflow[sentence-transformers]"
            ) from error
        self._model = SentenceTransformer(model, device="cpu", local_files_only=Path(model).is_dir())
        dim = self._model.get_sentence_embedding_dimension()
        if dim is None:
            raise OSError(f"{model} does not say how long its vectors are")
        self.dim = int(dim)

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """float32 ``[n, dim]``."""
        if not len(texts):
            return np.empty((0, self.dim), np.float32)
        return self._model.encode(list(texts), show_progress_bar=False, convert_to_numpy=True).astype(np.float32)

    def encode_images(self, images: Sequence[bytes]) -> np.ndarray:
        """Raises ValueError for the first picture: such a model reads texts alone."""
        if len(images):
            raise ValueError("picture 0: encoder sentence-transformers reads no pictures; use offline or clip")
        return np.empty((0, self.dim), np.float32)
