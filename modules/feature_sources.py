"""Names of what ``sqid.prepare`` writes: the feature store's parquet sources, which ``feature_repo`` declares, and the
pairs."""

from __future__ import annotations

FOLDER = "features"
"""Within artifacts/."""
QUERIES = "queries.parquet"
PRODUCTS = "products.parquet"
PAIRS = "prepared/pairs.csv"
"""Within artifacts/."""
