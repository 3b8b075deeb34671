"""The prepared catalogue as lists are retrieved from it."""

from __future__ import annotations

from pathlib import Path

from sqidflow.indexing.catalogue import read_catalogue
from sqidflow.indexing.kept_words import words_of
from sqidflow.ranking.retrieval import Fusion
from sqidflow.ranking.served import DEFAULT_CANDIDATES, ServedCatalogue
from sqidflow.ranking.words import DEFAULT_LANGUAGE


def read_served(
    artifacts_dir: Path, fusion: Fusion, candidates: int = DEFAULT_CANDIDATES, language: str = DEFAULT_LANGUAGE
) -> ServedCatalogue:
    """From the prepared products and their newest vectors."""
    catalogue = read_catalogue(artifacts_dir)
    return ServedCatalogue(catalogue, fusion, candidates, language, words_of(artifacts_dir, catalogue, language))
