"""File and tensor names of a pushed model, shared by the exporter and the service."""

from __future__ import annotations

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
"""An empty file in a pushed model's folder, written last: it marks a complete push."""
