"""Names of the feature store's parquet sources: ``sqid.prepare`` writes them, ``feature_repo`` declares them."""

from __future__ import annotations

FOLDER = "features"
"""Within artifacts/."""
QUERIES = "queries.parquet"
PRODUCTS = "products.parquet"
