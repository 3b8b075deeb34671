"""The objects that ``feast apply`` finds when it is run in this folder.

Feast imports this file and collects what stands at its top level. The sources are those of the workdir that
``SQIDFLOW_WORKDIR`` names, or else of the checkout. The project's own code calls ``definitions()`` and never
imports this file.
"""

import os
from pathlib import Path

from sqidflow.core import feature_files
from sqidflow.feature_store.definitions import definitions

_workdir = Path(os.environ.get("SQIDFLOW_WORKDIR") or Path(__file__).resolve().parent.parent)
_defined = definitions(_workdir / "artifacts" / feature_files.FOLDER)

query, product = _defined.entities
queries, products = _defined.sources
query_embeddings, product_embeddings = _defined.views
(ranker,) = _defined.services
