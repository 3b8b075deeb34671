"""Names of what ``sqidflow.data.prepare`` writes: the pairs, and the sources that the feature store declares."""

from __future__ import annotations

FOLDER = "features"
"""Within artifacts/."""
QUERIES = "queries.parquet"
PRODUCTS = "products.parquet"
PAIRS = "prepared/pairs.csv"
"""Within artifacts/."""
CATALOGUE = "prepared/products.parquet"
"""Within artifacts/: every product of the catalogue, judged or not, with its texts."""
