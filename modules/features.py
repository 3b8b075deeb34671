"""The only home of feature names, classes, gains, and of the features that are not plain vectors.

What the ranker reads while it trains and while it serves comes from the same functions here: the component
``FeatureJoin`` calls :func:`lexical_features` for each judged list, a search service calls it for its candidates.
NumPy only, so that a service needs neither TensorFlow nor TFX.
"""

from __future__ import annotations

import hashlib

import numpy as np

from modules.lexical import LEXICAL_NAMES, lexical_features
from modules.words import words

__all__ = ["LEXICAL_NAMES", "lexical_features", "words"]

# The pair: what a judgement says, and of what.
QUERY_ID = "query_id"
PRODUCT_ID = "product_id"
LABEL = "esci_label"
RATING = "rating"
QUERY = "query"
TITLE = "product_title"
BRAND = "product_brand"
COLOR = "product_color"
EVENT_TIMESTAMP = "event_timestamp"

# The vectors, one FLOAT[d] feature each, as Feast serves them (not normalised).
QUERY_VEC = "query_vec"
TEXT_VEC = "product_text_vec"
IMAGE_VEC = "product_image_vec"
VECTORS = (QUERY_VEC, TEXT_VEC, IMAGE_VEC)
HAS_IMAGE = "has_image"

# What is computed from a query and the words of a product.
LEXICAL = "lexical_features"
# What Transform makes of the vectors: query-text, query-picture, text-picture, and the blend of the first two.
COSINES = "cosines"
COSINE_NAMES = ("cosine_text", "cosine_image", "cosine_text_image", "cosine")

# What results are sliced by: the same for all products of a query, as TFMA puts whole queries into slices. No ranker
# reads them; the share of Exacts tells of the labels.
PICTURES = "pictures"
QUERY_LENGTH = "query_length"
EXACT_SHARE = "exact_share"
SLICES = (PICTURES, QUERY_LENGTH, EXACT_SHARE)

FEATURE_SERVICE = "ranker_v1"
"""Feast's name of the features a model was trained on. A change of their meaning takes the next number."""

CLASSES = ("I", "C", "S", "E")
"""ESCI classes in the order of their ids: irrelevant 0, complement 1, substitute 2, exact 3."""
CLASS_IDS = {label: class_id for class_id, label in enumerate(CLASSES)}
GAINS = {"E": 1.0, "S": 0.1, "C": 0.01, "I": 0.0}
"""Linear gains of the ESCI shopping-queries task (Reddy et al. 2022, arXiv:2206.06588)."""
CLASS_GAINS = np.array([GAINS[label] for label in CLASSES])
"""float64 [4]: the gain of each class id."""

def pictures_slice(has_image: np.ndarray) -> str:
    """Whether all, some or none of a query's products (0 or 1, int64 [n]) have a picture."""
    return "all with picture" if has_image.all() else "some without" if has_image.any() else "none with picture"


def query_length_slice(query: str) -> str:
    """How many words a query has, in the three groups that reports slice by."""
    count = len(words(query))
    return "1-2 words" if count <= 2 else "3-4 words" if count <= 4 else "5 words or more"


def exact_share_slice(ratings: np.ndarray) -> str:
    """How many of a query's judged products (class ids int64 [n]) are Exact, in the groups that reports slice by."""
    exact = int(np.sum(ratings == CLASS_IDS["E"]))
    if not exact:
        return "no Exact"
    return (
        "up to 1/3 Exact"
        if 3 * exact <= len(ratings)
        else "up to 2/3"
        if 3 * exact <= 2 * len(ratings)
        else "above 2/3"
    )


def contract() -> str:
    """Eight hex digits over what a ranker reads: the service and the names and order of every computed column.

    Models of different contracts cannot score the same examples and are never compared with each other.
    """
    names = (FEATURE_SERVICE, *VECTORS, HAS_IMAGE, *COSINE_NAMES, *LEXICAL_NAMES)
    return hashlib.sha256("|".join(names).encode()).hexdigest()[:8]
