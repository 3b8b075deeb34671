"""The ``clip`` encoder: OpenAI's CLIP through ``transformers``, texts and pictures in one space.

The published SQID vectors are of ViT-L/14 and not normalised; neither are these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sqidflow.encoders.learned import batches, load, model_name, no_model
from sqidflow.encoders.pictures import open_rgb

DEFAULT_MODEL = "openai/clip-vit-large-patch14"
"""What SQID's vectors were made with: 768 dimensions. ``openai/clip-vit-base-patch32`` is smaller: 512."""
_TEXTS_AT_ONCE = 256
_PICTURES_AT_ONCE = 32


class ClipEncoder:
    """CLIP from the hub or from a local folder."""

    sees_pictures = True

    def __init__(self, model: str | None = None) -> None:
        """Load model and processor.

        Args:
            model: name on the Hugging Face hub, or a folder with ``config.json`` and ``model.safetensors``.

        Raises:
            ValueError: the packages are missing, or there is no such model; says how to fix it.
        """
        model = model or DEFAULT_MODEL
        transformers = load("clip", "transformers", "torch")
        try:
            # Weights as safetensors alone: no pickle from outside is ever opened.
            self._model = transformers.CLIPModel.from_pretrained(model, use_safetensors=True).eval()
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(model)
            self._pictures = transformers.CLIPImageProcessor.from_pretrained(model)
        except (OSError, ValueError) as error:
            raise no_model("CLIP", model, error) from error
        self.name = f"clip:{model_name(model)}"
        self.dim = int(self._model.config.projection_dim)
        self._longest = int(self._model.config.text_config.max_position_embeddings)

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """float32 ``[n, dim]``, not normalised; what is longer than the model reads (77 tokens) is cut."""

        def encode(part: Sequence[str], _: int) -> Any:
            tokens = self._tokenizer(
                list(part), padding=True, truncation=True, max_length=self._longest, return_tensors="pt"
            )
            return self._model.get_text_features(**tokens)

        return self._encode(texts, _TEXTS_AT_ONCE, encode)

    def encode_images(self, images: Sequence[bytes]) -> np.ndarray:
        """float32 ``[n, dim]``, not normalised, of PNG or JPEG files.

        Raises:
            ValueError: names the position of a picture that cannot be decoded or is over a bound.
        """

        def encode(part: Sequence[bytes], first: int) -> Any:
            pixels = self._pictures(images=open_rgb(part, first), return_tensors="pt")
            return self._model.get_image_features(**pixels)

        return self._encode(images, _PICTURES_AT_ONCE, encode)

    def _encode(self, items: Sequence[Any], at_once: int, encode: Callable[[Sequence[Any], int], Any]) -> np.ndarray:
        import torch

        out = np.empty((len(items), self.dim), np.float32)
        with torch.inference_mode():
            for start, part in batches(items, at_once):
                found = encode(part, start)
                # transformers 5 answers a record, 4 the tensor itself.
                out[start : start + len(part)] = getattr(found, "pooler_output", found).numpy()
        return out
