"""Named types of what routes need. All are coroutines: FastAPI would send a plain function to a thread."""

from __future__ import annotations

import hmac
from typing import Annotated

from fastapi import Depends, Header, HTTPException, Request, Security
from fastapi.security import APIKeyHeader

from sqidflow.ranking.rankers import Ranker
from sqidflow.search import schemas
from sqidflow.search.api.answers import Answerer, Explainer, Visitor
from sqidflow.search.api.metrics import Metrics
from sqidflow.search.api.pool import Pool
from sqidflow.search.index import ProductIndex
from sqidflow.search.state import Service


async def _service(request: Request) -> Service:
    service: Service | None = getattr(request.app.state, "service", None)
    if service is None:
        raise HTTPException(503, "The service is not ready.", {"Retry-After": "1"})
    # A header that is no id still gets an answer here: routes that store it say what is wrong with it.
    client = request.headers.get("x-client-id", "")
    return service.for_client(client) if client else service


ServiceDep = Annotated[Service, Depends(_service)]


async def _index(service: ServiceDep) -> ProductIndex:
    return service.a.core.index


async def _ranker(service: ServiceDep) -> Ranker:
    return service.a.core.ranker


async def _answerer(
    request: Request,
    service: ServiceDep,
    x_client_id: Annotated[
        schemas.ClientId | None, Header(description="random id of the browser, not of the person; for the query log")
    ] = None,
    x_session_id: Annotated[schemas.ClientId | None, Header(description="random id of the visit")] = None,
) -> Answerer:
    if not x_client_id:
        service = service.for_client(request.state.request_id)
    visitor = Visitor(x_client_id or "", x_session_id or "")
    return Answerer(service, request.app.state.metrics, visitor, request.app.state.shadows)


async def _explainer(request: Request, service: ServiceDep) -> Explainer:
    return Explainer(request.app.state.service, service)


async def _request_id(request: Request) -> str:
    request_id: str = request.state.request_id
    return request_id


_API_KEY = APIKeyHeader(
    name="X-API-Key", auto_error=False, scheme_name="ApiKey", description="needed where SQIDFLOW_API_KEY is set"
)


async def _may_write(service: ServiceDep, x_api_key: Annotated[str | None, Security(_API_KEY)]) -> None:
    expected = service.settings.api_key
    if expected is None:
        return
    if x_api_key is None or not hmac.compare_digest(x_api_key.encode(), expected.get_secret_value().encode()):
        raise HTTPException(401, "Send the API key in X-API-Key.", {"WWW-Authenticate": "X-API-Key"})


async def _pool(request: Request) -> Pool:
    pool: Pool = request.app.state.pool
    return pool


async def _lookups(request: Request) -> Pool:
    lookups: Pool = request.app.state.lookups
    return lookups


async def _metrics(request: Request) -> Metrics:
    metrics: Metrics = request.app.state.metrics
    return metrics


IndexDep = Annotated[ProductIndex, Depends(_index)]
RankerDep = Annotated[Ranker, Depends(_ranker)]
ExplainerDep = Annotated[Explainer, Depends(_explainer)]
AnswererDep = Annotated[Answerer, Depends(_answerer)]
RequestIdDep = Annotated[str, Depends(_request_id)]
PoolDep = Annotated[Pool, Depends(_pool)]
LookupsDep = Annotated[Pool, Depends(_lookups)]
MetricsDep = Annotated[Metrics, Depends(_metrics)]
WriterDep = Annotated[None, Depends(_may_write)]
