"""Names of the files that ``sqidflow.data.prepare`` writes: the pairs, and the sources of the feature store."""

from __future__ import annotations

FOLDER = "features"
"""Relative to artifacts/."""
QUERIES = "queries.parquet"
PRODUCTS = "products.parquet"
PAIRS = "prepared/pairs.csv"
"""Relative to artifacts/."""
PAIRS_OF_SPLIT = "prepared/by_split/{split}.csv"
"""Relative to artifacts/: the pairs of one split, where the judgements' file says which split they are of."""
CATALOGUE = "prepared/products.parquet"
"""Relative to artifacts/: every product of the catalogue, judged or not, with its texts."""
