"""File and tensor names of a pushed model, shared by the exporter and the service."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MODEL_CARD = "sqidflow.json"
"""Name, inputs and versions (data, code, features, MLflow run) of the model."""
VALIDATION_QUERIES = "validation_queries.json"
EXAMPLES_INPUT = "examples"
"""Input of the SavedModel's ``serving_default``: serialised pairs, string [n]."""
ONNX_FILE = "ranker.onnx"
PROBABILITIES = "probs"
"""Output of the ONNX graph, float32 [n, 4]."""
MAPPED_NORM = "mapped_norm"
"""Input float32 [n, 1]: norm of a product's unit text vector after the text-to-picture map."""
MAP_FILE = "text_to_picture.npy"
"""The text-to-picture map, float32 [d, d]. The index computes ``MAPPED_NORM`` with it; some models have none."""
PUSHED_MARK = "pushed"
"""A file in a pushed model's folder, written after a complete push: its number in the order of pushes."""
ZERO_SHOT_VERSION = "zero-shot"
"""Used as a model version: the ranker that needs no training."""


def read_card(folder: Path) -> dict[str, Any]:
    """A pushed model's card; empty where the file is gone, cannot be read or is no card."""
    try:
        card = json.loads((folder / MODEL_CARD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return card if isinstance(card, dict) else {}
