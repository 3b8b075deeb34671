"""The CLIP that made SQID's vectors, through ``transformers``: texts and pictures in one space.

ViT-L/14 has 768 values, ViT-B/32 512. Weights come from the hub, or from a local folder without any connection.
Needs the extra ``sqidflow[clip]``.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from encoders.offline import MAX_IMAGE_BYTES, MAX_IMAGE_PIXELS

DEFAULT_MODEL = "openai/clip-vit-large-patch14"
"""Whose vectors SQID publishes; they are not normalised, and neither are these."""
_AT_ONCE = 32


class ClipEncoder:
    """Encoder with CLIP's weights. Not for use by two threads at once.

    ``model``: a name on the hub or a local folder; a folder is never looked up on the hub. Raises ImportError naming
    the extra where ``transformers`` or ``torch`` is missing, OSError where the weights cannot be had.
    """

    name = "clip"

    def __init__(self, model: str = DEFAULT_MODEL) -> None:
        try:
            import torch
            from transformers import AutoTokenizer, CLIPImageProcessor, CLIPModel
        except ImportError as error:
            raise ImportError(f"{error.name} is not installed; install the extra sqidflow[clip]") from error
        local = Path(model).is_dir()
        self._torch = torch
        self._model = CLIPModel.from_pretrained(model, local_files_only=local).eval()
        self._tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=local)
        self._processor = CLIPImageProcessor.from_pretrained(model, local_files_only=local)
        self._longest = int(self._model.config.text_config.max_position_embeddings)
        self.dim = int(self._model.config.projection_dim)

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """float32 ``[n, dim]``, as CLIP's projection gives them; a longer text than CLIP reads is cut."""
        out = np.empty((len(texts), self.dim), np.float32)
        for start in range(0, len(texts), _AT_ONCE):
            part = list(texts[start : start + _AT_ONCE])
            tokens = self._tokenizer(
                part, padding=True, truncation=True, max_length=self._longest, return_tensors="pt"
            )
            with self._torch.inference_mode():
                hidden = self._model.text_model(**tokens).pooler_output
                out[start : start + len(part)] = self._model.text_projection(hidden).numpy()
        return out

    def encode_images(self, images: Sequence[bytes]) -> np.ndarray:
        """float32 ``[n, dim]``. Raises ValueError naming the index of a picture that cannot be used."""
        out = np.empty((len(images), self.dim), np.float32)
        for start in range(0, len(images), _AT_ONCE):
            part = images[start : start + _AT_ONCE]
            opened = [_open(data, start + at) for at, data in enumerate(part)]
            pixels = self._processor(images=opened, return_tensors="pt")
            with self._torch.inference_mode():
                hidden = self._model.vision_model(**pixels).pooler_output
                out[start : start + len(part)] = self._model.visual_projection(hidden).numpy()
        return out


def _open(data: bytes, index: int):  # -> PIL.Image.Image, imported where it is needed
    import warnings

    from PIL import Image, ImageOps

    if len(data) > MAX_IMAGE_BYTES:
        raise ValueError(f"picture {index}: {len(data):,} bytes, more than {MAX_IMAGE_BYTES:,}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=("PNG", "JPEG"))
            if image.width * image.height > MAX_IMAGE_PIXELS:
                raise ValueError(f"{image.width} x {image.height} pixels, more than {MAX_IMAGE_PIXELS:,}")
            return ImageOps.exif_transpose(image).convert("RGB")
    except ValueError as error:
        raise ValueError(f"picture {index}: {error}") from error
    except Exception as error:  # Pillow raises many kinds, some of them bare, for damaged files
        raise ValueError(f"picture {index}: not a whole PNG or JPEG picture ({type(error).__name__})") from error
