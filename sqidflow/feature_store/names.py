"""Names that the feature store gives to things; the features' own names live in ``sqidflow.ranking.features``."""

from __future__ import annotations

PROJECT = "sqidflow"

QUERY_ENTITY = "query"
PRODUCT_ENTITY = "product"

QUERY_VIEW = "query_embeddings"
PRODUCT_VIEW = "product_embeddings"

HINT = "run `sqidflow features`"
"""What to type when the store is missing or behind its sources."""
