"""Searches: by words, by a picture, by both; one variant, or the better of two."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Depends, File, Form, HTTPException, Query, UploadFile
from fastapi.responses import Response
from pydantic import Field

from sqidflow.search import schemas
from sqidflow.search.api.dependencies import AnswererDep, ExplainerDep, PoolDep, RequestIdDep, ServiceDep
from sqidflow.search.api.parameters import known_parameters
from sqidflow.search.api.pool import Pool
from sqidflow.search.api.problems import documented, problem_of
from sqidflow.search.attributes import AttributeFilter, UnfitRequest, filters_of
from sqidflow.search.engine import RELEVANCE, PictureError, Request

_LOG = logging.getLogger(__name__)
router = APIRouter(tags=["search"], responses=documented(422, 429, 503), dependencies=[Depends(known_parameters)])
_UPLOAD = documented(408, 413, 415)
_JSON: dict[str, Any] = {"response_model": schemas.SearchResponse}

Words = Annotated[
    str,
    Query(max_length=schemas.MAX_QUERY_CHARS, examples=[schemas.EXAMPLE_QUERY], description="what to search for"),
]
K = Annotated[int, Query(ge=1, le=schemas.MAX_RESULTS, description="most results")]
Threshold = Annotated[
    float | None, Query(ge=0, le=1, allow_inf_nan=False, description="lowest score; left out: the calibrated cut-off")
]
Verbatim = Annotated[bool, Query(description="search the words as they are: correct and rewrite nothing")]
Brands = Annotated[
    list[schemas.FilterValue] | None,
    Query(max_length=schemas.MAX_FILTER_VALUES, description="any of these brands, compared without case"),
]
Colors = Annotated[
    list[schemas.FilterValue] | None,
    Query(max_length=schemas.MAX_FILTER_VALUES, description="any of these colours, compared without case"),
]
WithPicture = Annotated[bool, Query(description="only products that have a picture")]
_FilterTexts = list[Annotated[str, Field(min_length=3, max_length=2 * schemas.MAX_FILTER_CHARS)]] | None
_FILTER: dict[str, Any] = {
    "alias": "filter",
    "max_length": schemas.MAX_FILTER_VALUES,
    "description": "an attribute and a value, name:value, or a range, name:10..20; several of one name are an or",
}
FilterTexts = Annotated[_FilterTexts, Query(**_FILTER)]
FormFilters = Annotated[_FilterTexts, Form(**_FILTER)]
Offset = Annotated[int, Query(ge=0, le=schemas.MAX_OFFSET, description="how many products are passed over")]
SortBy = Annotated[str, Query(min_length=1, max_length=110, description=schemas.SORT_MEANING)]
Counted = Annotated[bool, Query(description="count what the products that fit have of each attribute")]
Explain = Annotated[bool, Query(description="answer the parts of each score too")]
FormWords = Annotated[str, Form(max_length=schemas.MAX_QUERY_CHARS, description="words beside the picture")]
FormK = Annotated[int, Form(ge=1, le=schemas.MAX_RESULTS, description="most results")]
FormThreshold = Annotated[
    float | None, Form(ge=0, le=1, allow_inf_nan=False, description="lowest score; left out: the calibrated cut-off")
]
FormValues = Annotated[
    list[schemas.FilterValue] | None,
    Form(max_length=schemas.MAX_FILTER_VALUES, description="any of these, compared without case"),
]
Picture = Annotated[UploadFile, File(description="a picture of one of the types that /facets names")]


async def _answered(pool: Pool, work: Callable[[], bytes]) -> Response:
    try:
        return Response(await pool.run(work), media_type="application/json")
    except PictureError as error:
        too_large = "more than" in str(error)
        raise HTTPException(413 if too_large else 422, f"image: {error}") from error


@router.post("/predict", summary="Search by words", responses=_UPLOAD, **_JSON)
async def predict(
    body: schemas.SearchRequest, answerer: AnswererDep, pool: PoolDep, request_id: RequestIdDep
) -> Response:
    """Products that fit the query, best first; an empty list and a reason where nothing fits."""
    request = _request(body)
    return await _answered(pool, lambda: answerer.single(request, request_id))


def _request(body: schemas.SearchRequest) -> Request:
    return Request(
        body.query, None, body.k, body.threshold, tuple(body.filters.brand), tuple(body.filters.color),
        body.filters.with_picture, body.explain, body.verbatim, _attribute_filters(body.filters),
        body.sort, body.offset, body.facets,
    )  # fmt: skip


def _attribute_filters(filters: schemas.Filters) -> tuple[AttributeFilter, ...]:
    return tuple(
        AttributeFilter(name, tuple(each.any), each.min, each.max) for name, each in filters.attributes.items()
    )


@router.post("/search/batch", summary="Several searches by words", response_model=schemas.BatchResponse,
             responses=_UPLOAD)  # fmt: skip
async def search_batch(
    body: schemas.BatchRequest, answerer: AnswererDep, pool: PoolDep, service: ServiceDep, request_id: RequestIdDep
) -> Response:
    """Each is answered by itself, one after the other; what the time of a batch does not reach has a problem of its
    own. A search that is not well formed refuses the whole batch."""
    deadline = time.monotonic() + service.settings.search.batch_timeout_s
    answers: list[dict[str, Any]] = []
    for number, search in enumerate(body.searches, 1):
        request, name = _request(search), f"{request_id[:58]}-{number}"
        try:
            if time.monotonic() > deadline:
                raise HTTPException(503, f"A batch has {service.settings.search.batch_timeout_s:g} s; search it again.")
            answer = await pool.run(partial(answerer.single, request, name))
            answers.append({"answer": orjson.Fragment(answer), "problem": None})
        except (HTTPException, UnfitRequest) as error:
            answers.append({"answer": None, "problem": problem_of(error, name).model_dump()})
        except Exception:
            _LOG.exception("search %s of a batch failed", name)
            failed = HTTPException(500, "The service failed; its log says why.")
            answers.append({"answer": None, "problem": problem_of(failed, name).model_dump()})
    return Response(orjson.dumps({"answers": answers}), media_type="application/json")


async def _by_words(
    query: Words,
    k: K = schemas.DEFAULT_RESULTS,
    threshold: Threshold = None,
    brand: Brands = None,
    color: Colors = None,
    with_picture: WithPicture = False,
    explain: Explain = False,
    verbatim: Verbatim = False,
    filters: FilterTexts = None,
    sort: SortBy = RELEVANCE,
    offset: Offset = 0,
    facets: Counted = False,
) -> Request:
    return Request(
        query, None, k, threshold, tuple(brand or ()), tuple(color or ()), with_picture, explain, verbatim,
        filters_of(filters or ()), sort, offset, facets,
    )  # fmt: skip


async def _explained(pool: Pool, work: Callable[[], bytes | None]) -> Response:
    def explained() -> bytes:
        content = work()
        if content is None:
            raise HTTPException(404, "The answer to this search has no such product.")
        return content

    return await _answered(pool, explained)


@router.post(
    "/explain",
    summary="Why one product of an answer scores as it does",
    responses={**_UPLOAD, **documented(404)},
    response_model=schemas.Explained,
)
async def explain(body: schemas.ExplainRequest, explainer: ExplainerDep, pool: PoolDep) -> Response:
    """Exact Shapley values of the groups of features; they add up to the score less the baseline."""
    request = Request(
        body.query, None, 1, None, tuple(body.filters.brand), tuple(body.filters.color), body.filters.with_picture,
        verbatim=body.verbatim, filters=_attribute_filters(body.filters),
    )  # fmt: skip
    return await _explained(pool, lambda: explainer.explain(request, body.product_id, body.variant, body.model))


class Upload:
    """A search with a picture; the bytes are read where the search is done."""

    def __init__(self, image: UploadFile, query: str, rest: tuple[Any, ...]) -> None:
        self._image, self._query, self._rest = image, query, rest

    def request(self) -> Request:
        return Request(self._query, self._image.file.read(), *self._rest)


async def _by_picture(
    image: Picture,
    query: FormWords = "",
    k: FormK = schemas.DEFAULT_RESULTS,
    threshold: FormThreshold = None,
    brand: FormValues = None,
    color: FormValues = None,
    with_picture: Annotated[bool, Form(description="only products that have a picture")] = False,
    explain: Annotated[bool, Form(description="answer the parts of each score too")] = False,
    verbatim: Annotated[bool, Form(description="search the words as they are")] = False,
    filters: FormFilters = None,
    sort: Annotated[str, Form(min_length=1, max_length=110, description=schemas.SORT_MEANING)] = RELEVANCE,
    offset: Annotated[int, Form(ge=0, le=schemas.MAX_OFFSET, description="how many products are passed over")] = 0,
    facets: Annotated[bool, Form(description="count what the products that fit have of each attribute")] = False,
) -> Upload:
    rest = (
        k, threshold, tuple(brand or ()), tuple(color or ()), with_picture, explain, verbatim,
        filters_of(filters or ()), sort, offset, facets,
    )  # fmt: skip
    return Upload(image, query, rest)


@router.post(
    "/explain-image",
    summary="Why one product of an answer to a picture scores as it does",
    responses={**_UPLOAD, **documented(404)},
    response_model=schemas.Explained,
)
async def explain_image(
    upload: Annotated[Upload, Depends(_by_picture)],
    product_id: Annotated[schemas.ProductId, Form(description="the product whose score is explained")],
    explainer: ExplainerDep,
    pool: PoolDep,
    variant: Annotated[schemas.VariantName, Form(description="the variant that answered")] = "a",
    model: Annotated[
        schemas.ModelVersion | None, Form(description="`versions.model` of the answer; left out: what answers now")
    ] = None,
) -> Response:
    return await _explained(pool, lambda: explainer.explain(upload.request(), product_id, variant, model))


ByWords = Annotated[Request, Depends(_by_words)]
ByPicture = Annotated[Upload, Depends(_by_picture)]
Strategy = Annotated[Literal["zscore", "interleave"], Query(description="the better variant, or both interleaved")]
FormStrategy = Annotated[Literal["zscore", "interleave"], Form(description="the better variant, or both interleaved")]


@router.post(
    "/predict-image", summary="Search by a picture, with words beside it where wanted", responses=_UPLOAD, **_JSON
)
async def predict_image(upload: ByPicture, answerer: AnswererDep, pool: PoolDep, request_id: RequestIdDep) -> Response:
    return await _answered(pool, lambda: answerer.single(upload.request(), request_id))


@router.get("/search_a", summary="Variant a alone", **_JSON)
async def search_a(request: ByWords, answerer: AnswererDep, pool: PoolDep, request_id: RequestIdDep) -> Response:
    return await _answered(pool, lambda: answerer.single(request, request_id, "a"))


@router.get("/search_b", summary="Variant b alone", **_JSON)
async def search_b(request: ByWords, answerer: AnswererDep, pool: PoolDep, request_id: RequestIdDep) -> Response:
    return await _answered(pool, lambda: answerer.single(request, request_id, "b"))


@router.get("/search_best", summary="The better of both variants, or both interleaved", **_JSON)
async def search_best(
    request: ByWords,
    answerer: AnswererDep,
    pool: PoolDep,
    request_id: RequestIdDep,
    strategy: Strategy = "zscore",
) -> Response:
    """``zscore``: the variant whose best products' similarity stands out most. ``interleave``: team draft."""
    return await _answered(pool, lambda: answerer.best(request, request_id, strategy))


@router.post("/search_a_image", summary="Variant a alone, by a picture", responses=_UPLOAD, **_JSON)
async def search_a_image(upload: ByPicture, answerer: AnswererDep, pool: PoolDep, request_id: RequestIdDep) -> Response:
    return await _answered(pool, lambda: answerer.single(upload.request(), request_id, "a"))


@router.post("/search_b_image", summary="Variant b alone, by a picture", responses=_UPLOAD, **_JSON)
async def search_b_image(upload: ByPicture, answerer: AnswererDep, pool: PoolDep, request_id: RequestIdDep) -> Response:
    return await _answered(pool, lambda: answerer.single(upload.request(), request_id, "b"))


@router.post("/search_best_image", summary="The better of both, by a picture", responses=_UPLOAD, **_JSON)
async def search_best_image(
    upload: ByPicture,
    answerer: AnswererDep,
    pool: PoolDep,
    request_id: RequestIdDep,
    strategy: FormStrategy = "zscore",
) -> Response:
    return await _answered(pool, lambda: answerer.best(upload.request(), request_id, strategy))
