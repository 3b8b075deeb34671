"""What watches the service: health and measures, under fixed paths without a version."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from sqidflow.search import schemas
from sqidflow.search.api.dependencies import IndexDep, MetricsDep
from sqidflow.search.api.problems import documented

router = APIRouter(tags=["operations"])


@router.get("/healthz", summary="Whether the process lives", response_model=schemas.Health)
async def healthz() -> Response:
    return Response(schemas.Health().model_dump_json(), media_type="application/json")


@router.get(
    "/readyz", summary="Whether searches are answered", response_model=schemas.Health, responses=documented(503)
)
async def readyz(index: IndexDep) -> Response:
    return Response(schemas.Health(index=index.meta.digest).model_dump_json(), media_type="application/json")


@router.get(
    "/metrics",
    summary="Measures for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "text exposition format"}},
)
async def prometheus(metrics: MetricsDep) -> Response:
    from prometheus_client import CONTENT_TYPE_LATEST

    return Response(metrics.text(), headers={"content-type": CONTENT_TYPE_LATEST})
