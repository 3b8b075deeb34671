"""Names that the feature repository gives to things; the features' own names live in ``modules/features.py``."""

from __future__ import annotations

PROJECT = "sqidflow"

QUERY_ENTITY = "query"
PRODUCT_ENTITY = "product"

QUERY_VIEW = "query_embeddings"
PRODUCT_VIEW = "product_embeddings"

MEND = "run `sqidflow features`"
"""What to type when the store is missing or behind its sources."""
