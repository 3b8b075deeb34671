"""What people saw and thought of answers, and what follows from it for the two variants."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Query
from fastapi.responses import Response

from sqidflow.search import schemas, ubi
from sqidflow.search.api.dependencies import MetricsDep, PoolDep, ServiceDep, WriterDep
from sqidflow.search.api.parameters import known_parameters
from sqidflow.search.api.problems import Unfit, documented
from sqidflow.search.api.taking import (
    ACCEPTED,
    DUPLICATE,
    REASONS,
    UNKNOWN_ANSWER,
    UNKNOWN_PRODUCT,
    Told,
    accept,
    reject,
    told_by,
)
from sqidflow.search.experiments import TEST, Comparison, client_name, wilson
from sqidflow.search.state import Service

router = APIRouter(dependencies=[Depends(known_parameters)])
_SIGNIFICANT = 0.05
_KEY_IS_OPTIONAL: dict[str, Any] = {"security": [{}]}
"""As OpenAPI says it: the key is needed only where the service has one."""
_MOST_JUDGEMENTS = 1000
_NEEDED = {
    "impression": (),
    "click": ("product_id",),
    "view": ("product_id",),
    "judgement": ("product_id", "label"),
    "vote": ("vote",),
}


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
    """That the page showed it, a click, a view of a product's page, a graded judgement, or a vote between two variants.

    A repeated delivery of an event id is accepted and changes nothing."""
    missing = [name for name in _NEEDED[body.kind] if getattr(body, name) is None]
    if missing:
        raise Unfit([schemas.FieldProblem(field=missing[0], detail=f"a {body.kind} needs it")])
    told = Told(
        body.kind, body.request_id, body.client or "", body.session or "", body.product_id, body.label, body.vote,
        body.blind, body.event_id, datetime.now(UTC),
    )  # fmt: skip
    (outcome,) = await pool.run(lambda: accept(service, [told]))
    if outcome == UNKNOWN_ANSWER and service.log.has_lost(body.request_id):
        raise HTTPException(503, "This answer could not be stored when it was given; no feedback on it can be taken.")
    if outcome == UNKNOWN_ANSWER:
        raise HTTPException(404, "There is no such answer, or it is too old.")
    if outcome == UNKNOWN_PRODUCT:
        raise Unfit([schemas.FieldProblem(field="product_id", detail="the answer has no such product")])
    (metrics.duplicates if outcome == DUPLICATE else metrics.feedback).labels(body.kind).inc()
    accepted = schemas.FeedbackAccepted(duplicate=outcome == DUPLICATE)
    return Response(accepted.model_dump_json(), 202, media_type="application/json")


@router.post(
    "/events",
    summary="What people did, as events of User Behavior Insights",
    status_code=202,
    response_model=schemas.EventsAccepted,
    tags=["experiments"],
    responses=documented(401, 408, 413, 415, 422, 429, 503),
    openapi_extra=_KEY_IS_OPTIONAL,
)
async def events(
    body: schemas.Events, _: WriterDep, service: ServiceDep, pool: PoolDep, metrics: MetricsDep
) -> Response:
    """Several at once, of the schema 1.3. Impressions, clicks, views, judgements and votes are feedback on an answer;
    other actions are logged. An event of an unknown answer is rejected by itself."""
    now = datetime.now(UTC)
    told = [told_by(event, now) for event in body.events]
    unfit = {number: why for number, each in enumerate(told) if (why := _missing(each))}
    for number, why in unfit.items():
        reject(service, told[number], why)
    fit = [number for number in range(len(told)) if number not in unfit]
    outcomes = dict(zip(fit, await pool.run(lambda: accept(service, [told[number] for number in fit]))))
    answer = schemas.EventsAccepted(accepted=0, duplicates=0, rejected=[])
    for number, each in enumerate(told):
        outcome = outcomes.get(number)
        # A counter of its own for each name that a client thinks of would grow without end.
        name = each.kind if each.kind in ubi.ACTIONS else "other"
        if outcome == ACCEPTED:
            answer.accepted += 1
            metrics.feedback.labels(name).inc()
        elif outcome == DUPLICATE:
            answer.duplicates += 1
            metrics.duplicates.labels(name).inc()
        else:
            code: Literal["unknown_answer", "unfit"] = "unknown_answer" if outcome == UNKNOWN_ANSWER else "unfit"
            metrics.rejected.labels(code).inc()
            detail = REASONS[outcome] if outcome is not None else unfit[number]
            answer.rejected.append(schemas.RejectedEvent(event=number, code=code, detail=detail))
        if each.clock_off_s is not None:
            metrics.clock_off.inc()
    return Response(answer.model_dump_json(), 202, media_type="application/json")


def _missing(told: Told) -> str | None:
    """What an event lacks of what its action needs."""
    if told.kind not in _NEEDED:
        return None
    if not told.query_id:
        return None if told.kind == ubi.VIEW and told.product_id else f"a {told.kind} needs query_id"
    return next((f"a {told.kind} needs {name}" for name in _NEEDED[told.kind] if getattr(told, name) is None), None)


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
                client=client_name(each.client),
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
