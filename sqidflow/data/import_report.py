"""What an import counts and says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class ImportReport:
    """Counts of what was brought in; ``notes`` say what was assumed, changed or is still missing.

    ``judgement_rows`` and ``judgement_lines`` (0: no CSV) differ where quoted fields hold line breaks, and so do those
    of products. ``judgements``, ``queries`` and ``products`` are those in the folder afterwards; a merge alone counts
    what was added, replaced, unchanged and removed.
    """

    judgement_rows: int = 0
    judgement_lines: int = 0
    judgements: int = 0
    repeated_judgements_dropped: int = 0
    contradicting_judgements_dropped: int = 0
    judgements_without_grade: int = 0
    judgements_added: int = 0
    judgements_replaced: int = 0
    judgements_unchanged: int = 0
    judgements_removed: int = 0
    queries: int = 0
    queries_numbered: int = 0
    query_ids_merged: int = 0
    query_spellings_merged: int = 0
    product_rows: int = 0
    product_lines: int = 0
    products: int = 0
    products_added: int = 0
    products_replaced: int = 0
    products_unchanged: int = 0
    products_removed: int = 0
    products_not_judged: int = 0
    repeated_products_dropped: int = 0
    differing_products_dropped: int = 0
    texts_freed_of_html: int = 0
    query_vectors: int = 0
    query_vectors_removed: int = 0
    query_vectors_kept: int = 0
    query_vectors_not_judged: int = 0
    query_vectors_of_no_query: int = 0
    product_vectors: int = 0
    product_vectors_kept: int = 0
    product_vectors_removed: int = 0
    text_vectors_dropped: int = 0
    product_vectors_completed: int = 0
    product_vectors_of_no_product: int = 0
    products_without_picture_vector: int = 0
    image_urls: int = 0
    image_urls_removed: int = 0
    pictures: int = 0
    pictures_removed: int = 0
    pictures_kept: int = 0
    pictures_converted: int = 0
    pictures_of_no_product: int = 0
    pictures_left_out: int = 0
    picture_vectors_dropped: int = 0
    attributes: tuple[str, ...] = ()
    columns_not_mapped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes = (*self.notes, text)
