"""Names of what lies in a pushed model's folder, for who writes it and who serves it."""

from __future__ import annotations

MODEL_CARD = "sqidflow.json"
"""What the model is, and what it was made of."""
VALIDATION_QUERIES = "validation_queries.json"
EXAMPLES_INPUT = "examples"
"""Input of the SavedModel's ``serving_default``: serialised pairs, string [n]."""
ONNX_FILE = "ranker.onnx"
PROBABILITIES = "probs"
"""The output of the ONNX graph, float32 [n, 4]."""
MAPPED_NORM = "mapped_norm"
"""Input float32 [n, 1]: length of a product's unit text vector after the map from texts to pictures."""
MAP_FILE = "text_to_picture.npy"
"""The map itself, float32 [d, d], from which the index computes ``MAPPED_NORM``; absent for a model without one."""
PUSHED_MARK = "pushed"
"""An empty file in a pushed model's folder, written when the push is known to be whole."""
