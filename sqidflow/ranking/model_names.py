"""The rankers' names, for what compares models without building one; ``modules.model`` builds them."""

from __future__ import annotations

DEFAULT_MODEL = "ladder"
TRAINED_MODELS = ("ladder", "linear", "pointwise", "listwise", "lambdamart", "ensemble", "query_mlp")
"""Models that learn from judgements, and so have a row of their own beside the baselines."""
