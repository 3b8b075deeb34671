from sqidflow.core.errors import SqidflowError as SqidflowError
from sqidflow.search.engine import Hit as Hit
from sqidflow.search.engine import Outcome as Outcome
from sqidflow.search.engine import Request as Request
from sqidflow.search.engine import SearchCore as SearchCore
from sqidflow.search.index import ProductIndex as ProductIndex
from sqidflow.search.library import load_ranker as load_ranker
from sqidflow.search.library import ndcg as ndcg
from sqidflow.search.library import open_index as open_index
from sqidflow.search.library import open_search as open_search

__all__ = [
    "Hit",
    "Outcome",
    "ProductIndex",
    "Request",
    "SearchCore",
    "SqidflowError",
    "load_ranker",
    "ndcg",
    "open_index",
    "open_search",
]
