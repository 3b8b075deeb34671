"""The files of ``data/``: names, columns and types as published by ESCI and SQID."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

EXAMPLES_FILE = "shopping_queries_dataset_examples.parquet"
PRODUCTS_FILE = "shopping_queries_dataset_products.parquet"
QUERY_FEATURES_FILE = "query_features.parquet"
PRODUCT_FEATURES_FILE = "product_features.parquet"
IMAGE_URLS_FILE = "product_image_urls.csv"
SUPP_IMAGE_URLS_FILE = "supp_product_image_urls.csv"
IMAGES_FILE = "product_images.parquet"
"""Ours, optional: the pictures themselves (``product_id``, ``image``: PNG or JPEG bytes)."""
ORACLE_FILE = "sample_oracle.parquet"
"""Of the synthetic sample only: the gain each pair would have without label noise."""
README_FILE = "README.md"

MOST_JUDGED_PRODUCTS = 10_000
"""LightGBM's bound for the rows of one query."""
LABELS = ("E", "S", "C", "I")
TEXT_VECTOR = "clip_text_features"
IMAGE_VECTOR = "clip_image_features"
TIMESTAMP = "event_timestamp"
TEXT_DIGEST = "text_digest"
IMAGE_DIGEST = "image_digest"
"""Ours, optional, beside the vectors that `data encode` made: SHA-256 of the text and of the picture they are of."""
QUERY_LOCALE = "query_locale"
"""The KDD Cup files' name for a judgement's locale."""
QUERY_KIND = "query_kind"
"""Ours, optional, of judgements: what kind a query is of, such as how it is typed; results are
reported by it, and no ranker reads it."""
NUMBERED_KEY = "sqidflow.numbered_queries"
"""Key in the judgements' metadata: the first and the last query_id that an import made up."""
ENCODER_KEY = "sqidflow.encoder"
"""Key in a feature file's metadata that names the encoder of its vectors, where all are of one."""
TIMESTAMP_TYPE = pa.timestamp("us", tz="UTC")
VECTOR_TYPE = pa.list_(pa.float32())

EXAMPLES_SCHEMA = pa.schema(
    [
        ("example_id", pa.int64()),
        ("query", pa.string()),
        ("query_id", pa.int64()),
        ("product_id", pa.string()),
        ("product_locale", pa.string()),
        ("esci_label", pa.string()),
        ("small_version", pa.int64()),
        ("large_version", pa.int64()),
        ("split", pa.string()),
    ]
)
PRODUCTS_SCHEMA = pa.schema(
    [
        ("product_id", pa.string()),
        ("product_title", pa.string()),
        ("product_description", pa.string()),
        ("product_bullet_point", pa.string()),
        ("product_brand", pa.string()),
        ("product_color", pa.string()),
        ("product_locale", pa.string()),
    ]
)
# the published file has the id as a string, ESCI as an integer; readers give int64
QUERY_FEATURES_SCHEMA = pa.schema([("query_id", pa.string()), (TEXT_VECTOR, VECTOR_TYPE)])
PRODUCT_FEATURES_SCHEMA = pa.schema(
    [("product_id", pa.string()), (TEXT_VECTOR, VECTOR_TYPE), (IMAGE_VECTOR, VECTOR_TYPE)]
)
IMAGE_URLS_SCHEMA = pa.schema([("product_id", pa.string()), ("image_url", pa.string())])
IMAGES_SCHEMA = pa.schema([("product_id", pa.string()), ("image", pa.binary())])
ORACLE_SCHEMA = pa.schema([("query_id", pa.int64()), ("product_id", pa.string()), ("latent_gain", pa.float64())])


def has_no_judgements(data_dir: Path) -> bool:
    """Whether a data folder is a catalogue without judgements: products, and no file about queries.

    Query vectors without judgements are no such folder: there the judgements are missing.
    """
    about_queries = (EXAMPLES_FILE, QUERY_FEATURES_FILE)
    return (data_dir / PRODUCTS_FILE).exists() and not any((data_dir / name).exists() for name in about_queries)
