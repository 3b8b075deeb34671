"""Names of the pipeline's nodes and splits; importing them imports neither TFX nor TensorFlow."""

from __future__ import annotations

SPLITS = ("train", "eval", "test")
HELD_OUT = "test"

NODES = (
    "CsvExampleGen",
    "FeatureJoin",
    "StatisticsGen",
    "SchemaGen",
    "CuratedSchema",
    "ExampleValidator",
    "AnomalyGate",
    "Transform",
    "Trainer",
    "LatestBlessed",
    "Evaluator",
    "RankingReport",
    "Pusher",
)
"""Node ids in the order of the graph."""
LOOK_UP = "LatestBlessed"
"""The resolver of the Evaluator's baseline; it computes nothing and is never cached."""
