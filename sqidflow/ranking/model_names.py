"""The rankers' names, for what compares models without building one; ``modules.model`` builds them."""

from __future__ import annotations

DEFAULT_MODEL = "ensemble"
TRAINED_MODELS = ("pointwise", "listwise", "lambdamart", "ensemble", "query_mlp")
"""Models that learn from judgements, and so have a row of their own beside the baselines."""
