"""The objects that ``feast apply`` finds when it is run in this folder.

Feast imports this file and collects what stands at its top level. The sources are those of the workdir that
``SQIDFLOW_WORKDIR`` names, or else of the checkout. The project's own code calls ``definitions()`` and never
imports this file.
"""

import os
from pathlib import Path

from feature_repo.definitions import definitions
from modules import feature_sources

_workdir = Path(os.environ.get("SQIDFLOW_WORKDIR") or Path(__file__).resolve().parent.parent)
_defined = definitions(_workdir / "artifacts" / feature_sources.FOLDER)

query, product = _defined.entities
queries, products = _defined.sources
query_embeddings, product_embeddings = _defined.views
(ranker,) = _defined.services
