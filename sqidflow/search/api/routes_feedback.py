"""What people saw and thought of answers, and what follows from it for the two variants."""

from __future__ import annotations

import hashlib
import time
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query
from fastapi.responses import Response

from sqidflow.search import schemas
from sqidflow.search.api.dependencies import MetricsDep, PoolDep, ServiceDep, WriterDep
from sqidflow.search.api.parameters import known_parameters
from sqidflow.search.api.problems import Unfit, documented
from sqidflow.search.experiments import TEST, Comparison, Opinion, wilson
from sqidflow.search.query_log import WRITTEN_EVERY_S
from sqidflow.search.state import Service

router = APIRouter(dependencies=[Depends(known_parameters)])
_SIGNIFICANT = 0.05
_KEY_IS_OPTIONAL: dict[str, Any] = {"security": [{}]}
"""As OpenAPI says it: the key is needed only where the service has one."""
_MOST_JUDGEMENTS = 1000
_NEEDED = {"impression": (), "click": ("product_id",), "judgement": ("product_id", "label"), "vote": ("vote",)}


@router.post(
    "/feedback",
    summary="What a person thought of an answer",
    status_code=202,
    response_model=schemas.FeedbackAccepted,
    tags=["experiments"],
    responses=documented(401, 404, 408, 413, 415, 422, 429, 503),
    openapi_extra=_KEY_IS_OPTIONAL,
)
async def feedback(
    body: schemas.Feedback, _: WriterDep, service: ServiceDep, pool: PoolDep, metrics: MetricsDep
) -> Response:
    """That the page showed it, a click, a graded judgement, or a vote between two variants."""
    missing = [name for name in _NEEDED[body.kind] if getattr(body, name) is None]
    if missing:
        raise Unfit([schemas.FieldProblem(field=missing[0], detail=f"a {body.kind} needs it")])
    await pool.run(lambda: _accept(service, body))
    metrics.feedback.labels(body.kind).inc()
    return Response(schemas.FeedbackAccepted().model_dump_json(), 202, media_type="application/json")


def _accept(service: Service, body: schemas.Feedback) -> None:
    products = _products_of(service, body.request_id)
    if products is None:
        raise HTTPException(404, "There is no such answer, or it is too old.")
    if body.product_id is not None and body.product_id not in products:
        raise Unfit([schemas.FieldProblem(field="product_id", detail="the answer has no such product")])
    opinion = Opinion(body.kind, body.request_id, body.client or "", body.product_id, body.label, body.vote, body.blind)
    service.experiments.accept(opinion, service.settings.data.locale)


def _products_of(service: Service, request_id: str) -> frozenset[str] | None:
    """The products of an answer; None where there is none. Answers are stored a moment after they are given."""
    products = service.experiments.products_of(request_id)
    if products is not None:
        return products
    service.log.flush()
    if service.settings.search.workers > 1 and service.experiments.products_of(request_id) is None:
        time.sleep(2 * WRITTEN_EVERY_S)  # another worker gave it
    return service.experiments.products_of(request_id)


@router.get(
    "/judgements",
    summary="Judgements that people gave, the newest first",
    response_model=schemas.JudgementsResponse,
    tags=["experiments"],
    responses=documented(401, 422, 429, 503),
    openapi_extra=_KEY_IS_OPTIONAL,
)
async def judgements(
    _: WriterDep,
    service: ServiceDep,
    pool: PoolDep,
    client: Annotated[schemas.ClientId | None, Query(description="only of this client")] = None,
    query: Annotated[
        str | None, Query(max_length=schemas.MAX_QUERY_CHARS, description="only for this query, compared without case")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=_MOST_JUDGEMENTS, description="most judgements")] = 100,
    offset: Annotated[int, Query(ge=0, le=2**31, description="how many to leave out first")] = 0,
) -> Response:
    """Of each client, query and product the newest. Clients are named by digests of their ids."""
    given, total = await pool.run(lambda: service.experiments.judgements(client, query, limit, offset))
    answer = schemas.JudgementsResponse(
        total=total,
        judgements=[
            schemas.GivenJudgement(
                at=datetime.fromisoformat(each.at),
                client=hashlib.sha256(each.client.encode()).hexdigest()[:12],
                query=each.query,
                picture=each.picture,
                product_id=each.product_id,
                label=each.label,
            )
            for each in given
        ],
    )
    return Response(answer.model_dump_json(), media_type="application/json")


@router.get(
    "/experiments/report",
    summary="How the two variants compare",
    response_model=schemas.ExperimentReport,
    tags=["experiments"],
    responses=documented(422, 429, 503),
)
async def report(service: ServiceDep, pool: PoolDep) -> Response:
    comparison = await pool.run(lambda: _report(service))
    return Response(comparison.model_dump_json(), media_type="application/json")


def _report(service: Service) -> schemas.ExperimentReport:
    service.log.flush()
    comparison = service.experiments.report(service.pair)
    variants = []
    for name, variant in service.variants.items():
        counts = comparison.counts[name]
        share = wilson(counts.clicked, counts.impressions)
        variants.append(
            schemas.VariantReport(
                variant=name,
                description=variant.core.description,
                exposures=counts.impressions,
                clicks=counts.clicks,
                click_rate=schemas.Interval(mean=share[0], low=share[1], high=share[2]) if share else None,
                wins=counts.queries,
                clients=counts.clients,
            )
        )
    return schemas.ExperimentReport(
        variants=variants,
        ties=comparison.tied_queries,
        undecided_clients=comparison.tied_clients,
        not_counted=comparison.not_counted,
        sign_test_p=comparison.p,
        test=TEST,
        verdict=_verdict(comparison),
    )


def _verdict(comparison: Comparison) -> str:
    a, b = (comparison.counts[name].clients for name in ("a", "b"))
    if comparison.p is None:
        return "No comparison yet: no client has preferred a variant while the names were hidden."
    clients = f"{a} client{'' if a == 1 else 's'} preferred a, {b} preferred b, p {comparison.p:.2g}"
    if comparison.p < _SIGNIFICANT:
        return f"Variant {'a' if a > b else 'b'} is better: {clients}."
    return f"No difference to be sure of: {clients}."
