"""What an import counts and says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class ImportReport:
    """Counts of what was brought in; ``notes`` say what was assumed, changed or is still missing.

    ``judgement_rows`` and ``judgement_lines`` (0: no CSV) differ where quoted fields hold line breaks, and so do those
    of products.
    """

    judgement_rows: int = 0
    judgement_lines: int = 0
    judgements: int = 0
    repeated_judgements_dropped: int = 0
    contradicting_judgements_dropped: int = 0
    queries: int = 0
    queries_numbered: int = 0
    query_ids_merged: int = 0
    query_spellings_merged: int = 0
    product_rows: int = 0
    product_lines: int = 0
    products: int = 0
    products_not_judged: int = 0
    repeated_products_dropped: int = 0
    differing_products_dropped: int = 0
    texts_freed_of_html: int = 0
    query_vectors: int = 0
    query_vectors_kept: int = 0
    query_vectors_not_judged: int = 0
    query_vectors_of_no_query: int = 0
    product_vectors: int = 0
    product_vectors_kept: int = 0
    product_vectors_completed: int = 0
    product_vectors_of_no_product: int = 0
    products_without_picture_vector: int = 0
    image_urls: int = 0
    pictures: int = 0
    pictures_kept: int = 0
    pictures_converted: int = 0
    pictures_of_no_product: int = 0
    pictures_left_out: int = 0
    picture_vectors_dropped: int = 0
    notes: tuple[str, ...] = ()

    def note(self, text: str) -> None:
        self.notes = (*self.notes, text)
