"""Names of the files that ``sqidflow.data.prepare`` writes: the pairs, and the sources of the feature store."""

from __future__ import annotations

FOLDER = "features"
"""Relative to artifacts/."""
QUERIES = "queries.parquet"
PRODUCTS = "products.parquet"
PAIRS = "prepared/pairs.csv"
"""Relative to artifacts/."""
CATALOGUE = "prepared/products.parquet"
"""Relative to artifacts/: every product of the catalogue, judged or not, with its texts."""
