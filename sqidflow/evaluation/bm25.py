"""BM25 over titles and brands: what a search engine without vectors would make of the same lists."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sqidflow.ranking.exclusion import terms_to_index, terms_to_search
from sqidflow.ranking.words import DEFAULT_LANGUAGE


def bm25_scores(
    queries: Sequence[str],
    product_ids: Sequence[str],
    catalogue: dict[str, str],
    language: str = DEFAULT_LANGUAGE,
) -> np.ndarray:
    """Score n pairs with Lucene's BM25 (k1 1.5, b 0.75; Kamphuis et al. 2020), on the terms of the lexical features.

    Of what a query excludes only products are found that say they are without it.

    Args:
        queries, product_ids: n texts and ids.
        catalogue: product id -> text, of every product that word frequencies are counted over; has all ids.
        language: the one that the texts are read in.

    Returns:
        float64 [n]; 0 where no word of the query is in the catalogue.
    """
    import bm25s

    scores = np.zeros(len(product_ids))
    texts = [terms_to_index(text, language) for text in catalogue.values()]
    known = {word for text in texts for word in text}
    if not known:
        return scores
    index = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
    index.index(texts, show_progress=False)
    place = {product: number for number, product in enumerate(catalogue)}
    rows = np.array([place[product] for product in product_ids])
    pairs_of: dict[str, list[int]] = {}
    for position, query in enumerate(queries):
        pairs_of.setdefault(query, []).append(position)
    for query, positions in pairs_of.items():
        asked = [word for word in terms_to_search(query, language) if word in known]
        if asked:
            scores[positions] = index.get_scores(asked)[rows[positions]]
    return scores


def product_text(title: str | None, brand: str | None) -> str:
    """What of a product is indexed."""
    return f"{title or ''} {brand or ''}"
