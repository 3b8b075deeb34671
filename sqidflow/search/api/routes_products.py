"""Products: what is known of one, its neighbours, its picture, its features."""

from __future__ import annotations

import hashlib
import logging
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Depends, Header, HTTPException, Query, Request
from fastapi.responses import Response
from pydantic import TypeAdapter, ValidationError

from sqidflow.core.errors import SqidflowError
from sqidflow.encoders.pictures import media_type_of
from sqidflow.search import schemas
from sqidflow.search.api.answers import picture_path
from sqidflow.search.api.dependencies import IndexDep, LookupsDep, PoolDep, ServiceDep
from sqidflow.search.api.parameters import known_parameters
from sqidflow.search.api.problems import documented
from sqidflow.search.api.versions import PREFIX
from sqidflow.search.index import ProductIndex
from sqidflow.search.state import Service

_LOG = logging.getLogger(__name__)
router = APIRouter(
    tags=["products"], responses=documented(404, 422, 429, 503), dependencies=[Depends(known_parameters)]
)

# A query parameter, not a part of the path: ids may have slashes and end like a route.
ProductId = Annotated[schemas.ProductId, Query(alias="id", description="a product's id")]
K = Annotated[int, Query(ge=1, le=schemas.MAX_RESULTS, description="most results")]


def _row(index: ProductIndex, product_id: str) -> int:
    row = index.row_of(product_id)
    if row is None:
        raise HTTPException(404, "There is no such product.")
    return row


def _attributes(index: ProductIndex, row: int) -> list[schemas.ProductAttribute]:
    columns = index.attributes.columns
    return [
        schemas.ProductAttribute(name=name, kind=columns[name].kind, unit=columns[name].unit, value=value)
        for name, value in index.attributes.of_row(row).items()
    ]


@router.get("/product/similar", summary="Products like one", response_model=schemas.SimilarResponse)
async def similar(
    product_id: ProductId,
    service: ServiceDep,
    index: IndexDep,
    pool: PoolDep,
    k: K = schemas.DEFAULT_RESULTS,
) -> Response:
    row = _row(index, product_id)
    neighbours = await pool.run(lambda: service.a.core.similar(row, k))
    ids = index.product_ids(np.array([at for at, _ in neighbours], np.int64))
    results = [
        schemas.SimilarProduct(
            product_id=other,
            title=index.cell("title", at) or "",
            brand=index.cell("brand", at),
            color=index.cell("color", at),
            image=picture_path(service.a, at, other),
            similarity=round(cosine, 6),
        )
        for other, (at, cosine) in zip(ids, neighbours)
    ]
    found = schemas.SimilarResponse(product_id=product_id, results=results, versions=service.a.versions)
    return Response(found.model_dump_json(), media_type="application/json")


@router.get(
    "/product/image",
    summary="A product's picture",
    response_class=Response,
    responses={
        200: {"content": {"image/*": {}}, "description": "the picture as it is in the data"},
        304: {"description": "as it was"},
    },
)
async def image(
    product_id: ProductId,
    service: ServiceDep,
    if_none_match: Annotated[str | None, Header(description="an ETag that the client has")] = None,
) -> Response:
    index = service.a.core.index
    if service.canary is not None and index.row_of(product_id) is None:
        index = service.canary.a.core.index  # a browser sends no id with pictures: it may be the canary's client
    content = index.picture(_row(index, product_id))
    if content is None:
        raise HTTPException(404, "This product has no picture.")
    tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    headers = {"ETag": tag, "Cache-Control": "public, max-age=86400"}
    if if_none_match is not None and tag in (each.strip().removeprefix("W/") for each in if_none_match.split(",")):
        return Response(status_code=304, headers=headers)
    kind = media_type_of(content)
    if kind is None:
        raise HTTPException(404, "This product's picture is of no type that is known.")
    return Response(content, headers=headers, media_type=kind)


@router.get("/product", summary="A product", response_model=schemas.Product)
async def product(product_id: ProductId, service: ServiceDep, index: IndexDep) -> Response:
    row = _row(index, product_id)
    found = schemas.Product(
        product_id=product_id,
        title=index.cell("title", row) or "",
        brand=index.cell("brand", row),
        color=index.cell("color", row),
        description=index.cell("description", row),
        bullet_points=index.cell("bullet_points", row),
        image=picture_path(service.a, row, product_id),
        attributes=_attributes(index, row),
        judged_for=[schemas.JudgedQuery(**judged) for judged in index.judged(row)],
        versions=service.a.versions,
    )
    return Response(found.model_dump_json(), media_type="application/json")


@router.get("/product/features", summary="A product's features", response_model=schemas.FeaturesResponse)
async def product_features(product_id: ProductId, service: ServiceDep, lookups: LookupsDep) -> Response:
    """As Feast's online store has them now, of the products that can be found."""
    _row(service.a.core.index, product_id)
    found = await lookups.run(lambda: _features(service, product_id))
    return Response(found.model_dump_json(), media_type="application/json")


@router.get("/features/{rest:path}", include_in_schema=False)
async def features_by_path(rest: str, service: ServiceDep, lookups: LookupsDep) -> Response:
    """As it was called before."""
    return await product_features(_id(rest), service, lookups)


@router.get("/products/{rest:path}", include_in_schema=False)
async def by_path(
    rest: str,
    request: Request,
    service: ServiceDep,
    index: IndexDep,
    pool: PoolDep,
    k: K = schemas.DEFAULT_RESULTS,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """A product, its neighbours or its picture, as they were called before.

    An id that is percent-encoded as a whole is unambiguous. In one with bare slashes a last part that is a route's name
    may be the id's own.
    """
    raw = request.scope.get("raw_path") or request.scope["path"].encode()
    parts = raw.decode("latin-1").partition("/products/")[2].split("/")
    before, _, last = rest.rpartition("/")
    is_part = last in ("similar", "image") and parts[-1] == last and len(parts) > 1
    if is_part:
        whole, shorter = (index.row_of(each) is not None for each in (rest, before))
        if whole and shorter and len(parts) > 2:
            raise HTTPException(404, f"This may be two products; ask {PREFIX}/product?id= with the whole id.")
        is_part = shorter or not whole
    if not is_part:
        return await product(_id(rest), service, index)
    if last == "image":
        return await image(_id(before), service, if_none_match)
    return await similar(_id(before), service, index, pool, k)


_ID = TypeAdapter(schemas.ProductId)


def _id(text: str) -> str:
    try:
        return _ID.validate_python(text)
    except ValidationError as error:
        raise HTTPException(422, f"product_id: {error.errors()[0]['msg']}") from error


def _features(service: Service, product_id: str) -> schemas.FeaturesResponse:
    try:
        row = service.features.read(product_id)
    except SqidflowError as error:
        _LOG.warning("features: %s", error.message)
        raise HTTPException(503, "The feature store does not answer.", {"Retry-After": "5"}) from error
    if row.text is None:
        raise HTTPException(404, "The feature store has no such product.")
    return schemas.FeaturesResponse(
        product_id=product_id,
        feature_service=service.a.versions.feature_service,
        has_image=row.image is not None,
        product_text_vec=row.text,
        product_image_vec=row.image,
        versions=service.a.versions,
    )
