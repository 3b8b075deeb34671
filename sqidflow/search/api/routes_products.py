"""Products: what is known of one, its neighbours, its picture, its features."""

from __future__ import annotations

import hashlib
from typing import Annotated

from fastapi import APIRouter, Header, HTTPException, Path, Query
from fastapi.responses import Response

from sqidflow.core.errors import SqidflowError
from sqidflow.encoders.pictures import media_type_of
from sqidflow.ranking import features
from sqidflow.search import schemas
from sqidflow.search.api.answers import picture_path
from sqidflow.search.api.dependencies import IndexDep, LookupsDep, PoolDep, ServiceDep
from sqidflow.search.api.problems import documented
from sqidflow.search.index import ProductIndex
from sqidflow.search.state import Service

router = APIRouter(tags=["products"], responses=documented(404, 422, 429, 503))

ProductId = Annotated[schemas.ProductId, Path(description="a product's id", examples=["B0DV6UU54T"])]
# Ids may have slashes, which servers decode before a route is looked for: hence ":path", and what has a suffix first.


def _row(index: ProductIndex, product_id: str) -> int:
    row = index.row_of(product_id)
    if row is None:
        raise HTTPException(404, "There is no such product.")
    return row


@router.get("/products/{product_id:path}/similar", summary="Products like one", response_model=schemas.SimilarResponse)
async def similar(
    product_id: ProductId,
    service: ServiceDep,
    index: IndexDep,
    pool: PoolDep,
    k: Annotated[int, Query(ge=1, le=schemas.MAX_RESULTS)] = schemas.DEFAULT_RESULTS,
) -> Response:
    row = _row(index, product_id)
    neighbours = await pool.run(lambda: service.a.core.similar(row, k))
    ids = index.product_ids([at for at, _ in neighbours])
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
    found = schemas.SimilarResponse(product_id=product_id, results=results)
    return Response(found.model_dump_json(), media_type="application/json")


@router.get(
    "/products/{product_id:path}/image",
    summary="A product's picture",
    response_class=Response,
    responses={
        200: {"content": {"image/*": {}}, "description": "the picture as it is in the data"},
        304: {"description": "as it was"},
    },
)
async def image(
    product_id: ProductId, index: IndexDep, if_none_match: Annotated[str | None, Header()] = None
) -> Response:
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


@router.get("/products/{product_id:path}", summary="A product", response_model=schemas.Product)
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
        judged_for=[schemas.JudgedQuery(**judged) for judged in index.judged(row)],
        versions=service.a.versions,
    )
    return Response(found.model_dump_json(), media_type="application/json")


@router.get("/features/{product_id:path}", summary="A product's features", response_model=schemas.FeaturesResponse)
async def product_features(product_id: ProductId, service: ServiceDep, lookups: LookupsDep) -> Response:
    """As Feast's online store has them now."""
    found = await lookups.run(lambda: _features(service, product_id))
    return Response(found.model_dump_json(), media_type="application/json")


def _features(service: Service, product_id: str) -> schemas.FeaturesResponse:
    try:
        found = service.features.read(product_id)
    except SqidflowError as error:
        raise HTTPException(503, f"The feature store does not answer ({type(error).__name__}).") from error
    if not found.found[0]:
        raise HTTPException(404, "The feature store has no such product.")
    has_image = bool(found.present[features.IMAGE_VEC][0])
    image = found.vectors[features.IMAGE_VEC][0].tolist() if has_image else None
    return schemas.FeaturesResponse(
        product_id=product_id,
        feature_service=service.a.versions.feature_service,
        has_image=has_image,
        product_text_vec=found.vectors[features.TEXT_VEC][0].tolist(),
        product_image_vec=image,
    )
