"""Search from Python, without the HTTP service.

from sqidflow import Request, open_search

search = open_search("my-shop")
for hit in search.search(Request("red kettle", k=3)).hits:
    print(hit.score, search.index.cell("title", hit.row))
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sqidflow.core.settings import load_settings
from sqidflow.core.workdir import Workdir
from sqidflow.ranking.features import GAINS
from sqidflow.ranking.metrics import RankedLists, ndcg_per_query

if TYPE_CHECKING:
    from sqidflow.ranking.rankers import Ranker
    from sqidflow.search.engine import SearchCore
    from sqidflow.search.index import ProductIndex


def open_search(workdir: str | Path) -> SearchCore:
    """The search core that `sqidflow serve` would run first: newest ranker with an index, its encoder and its index.

    Args:
        workdir: folder with artifacts/; its params.yaml is read if it has one.

    Raises:
        SqidflowError: there is no index, it is damaged, or the parts do not belong together.
    """
    from sqidflow.search.state import choose, open_core

    place = _workdir(workdir)
    settings = load_settings(place.root)
    version, index = choose(place, settings)
    return open_core(place, version, index, settings, settings.search.retrieval_a, dict(os.environ))


def open_index(workdir: str | Path, version: str | None = None) -> ProductIndex:
    """The product index of a ranker.

    Args:
        version: of a pushed model, or ``zero-shot``; None takes the newest ranker that has an index.

    Raises:
        SqidflowError: there is no such index, or it is damaged.
    """
    from sqidflow.search.index import ProductIndex
    from sqidflow.search.state import choose, find_index

    place = _workdir(workdir)
    settings = load_settings(place.root)
    return ProductIndex(find_index(place, settings, version) if version else choose(place, settings)[1])


def load_ranker(workdir: str | Path, version: str | None = None, dim: int | None = None) -> Ranker:
    """A pushed ranker as ONNX, or the untrained one.

    Args:
        version: of a pushed model, or ``zero-shot``; None takes the newest push.
        dim: length of the vectors that it will read; None takes that of its index.

    Raises:
        SqidflowError: there is no such model, it is damaged, or it reads vectors of another length.
    """
    from sqidflow.search import ranker

    place = _workdir(workdir)
    if dim is None:
        dim = open_index(place.root, version).meta.dim
    return ranker.load_ranker(place.serving, version, dim)


def ndcg(
    query_ids: np.ndarray, product_ids: np.ndarray, labels: np.ndarray, scores: np.ndarray, k: int | None = None
) -> float:
    """Mean NDCG over the queries with at least one product of positive gain, with the gains of ESCI.

    NDCG is that of Järvelin and Kekäläinen (2002) with gains E 1, S 0.1, C 0.01, I 0, as in ESCI's publication. Equal
    scores are ranked by product id.

    Args:
        query_ids: int [n]. product_ids, labels (E, S, C or I): strings [n]. scores: float [n], higher ranks first.
        k: how many ranks count; None for all judged products.

    Returns:
        Between 0 and 1; NaN if no query has a product of positive gain.

    Raises:
        ValueError: the arrays differ in length, a label is unknown, or a score is not finite.
    """
    unknown = set(map(str, labels)) - GAINS.keys()
    if unknown:
        raise ValueError(f"unknown labels {sorted(unknown)}; known: {', '.join(GAINS)}")
    gains = np.array([GAINS[str(label)] for label in labels])
    per_query = ndcg_per_query(RankedLists.of(np.asarray(query_ids), np.asarray(product_ids)), gains, scores, k)
    known = per_query[~np.isnan(per_query)]
    return float(known.mean()) if len(known) else float("nan")


def _workdir(folder: str | Path) -> Workdir:
    return Workdir(Path(folder).expanduser().resolve())
