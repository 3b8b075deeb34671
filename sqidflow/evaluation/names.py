"""Display names of the methods."""

from __future__ import annotations

METHOD_NAMES = {
    "random": "random order",
    "cosine_text": "zero-shot cosine, text",
    "cosine_image": "zero-shot cosine, picture",
    "cosine": "zero-shot cosine, both",
    "bm25": "BM25, title and brand",
    "fusion": "vectors and words, not trained",
    "lambdamart": "lambdamart (LightGBM)",
    "query_mlp": "query_mlp (sees the query alone)",
    "oracle": "oracle (the sample's own relevance)",
}
"""Method -> its name in tables and figures."""
