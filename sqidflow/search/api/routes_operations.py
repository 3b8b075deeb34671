"""Everything beside searching: feedback, experiments, facets, trainings, health, measures, versions."""

from __future__ import annotations

from importlib import metadata

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response

from sqidflow.encoders.pictures import MAX_IMAGE_BYTES, picture_types
from sqidflow.search import schemas
from sqidflow.search.api.answers import image_path
from sqidflow.search.api.dependencies import IndexDep, LookupsDep, MetricsDep, PoolDep, ServiceDep, WriterDep
from sqidflow.search.api.problems import documented
from sqidflow.search.experiments import wilson

router = APIRouter()
_FACETS = 200
_SAMPLES = 8
_SIGNIFICANT = 0.05
_FORM_BYTES = 64 * 1024
"""Room for what a form holds beside its picture."""


@router.post(
    "/feedback",
    summary="What a person thought of an answer",
    status_code=202,
    response_model=schemas.FeedbackAccepted,
    tags=["experiments"],
    responses=documented(401, 408, 413, 415, 422, 429, 503),
)
async def feedback(
    body: schemas.Feedback, _: WriterDep, service: ServiceDep, pool: PoolDep, metrics: MetricsDep
) -> Response:
    """A click, a graded judgement, or a vote between two variants."""
    wanted = {"click": ("product_id",), "judgement": ("product_id", "label"), "vote": ("vote",)}[body.kind]
    missing = [name for name in wanted if getattr(body, name) is None]
    if missing:
        raise HTTPException(422, f"{missing[0]}: a {body.kind} needs it.")
    await pool.run(
        lambda: service.experiments.accept(body.kind, body.request_id, body.product_id, body.label, body.vote)
    )
    metrics.feedback.labels(body.kind).inc()
    return Response(schemas.FeedbackAccepted().model_dump_json(), 202, media_type="application/json")


@router.get(
    "/experiments/report",
    summary="How the two variants compare",
    response_model=schemas.ExperimentReport,
    tags=["experiments"],
    responses=documented(429, 503),
)
async def report(service: ServiceDep, pool: PoolDep) -> Response:
    found = await pool.run(lambda: _report(service))
    return Response(found.model_dump_json(), media_type="application/json")


def _report(service: ServiceDep) -> schemas.ExperimentReport:
    service.log.flush()
    found = service.experiments.report(service.pair)
    variants = []
    for name, variant in service.variants.items():
        counts = found["counts"][name]
        share = wilson(min(counts["clicked"], counts["exposures"]), counts["exposures"])
        variants.append(
            schemas.VariantReport(
                variant=name,
                description=variant.core.description,
                exposures=counts["exposures"],
                clicks=counts["clicks"],
                click_rate=schemas.Interval(mean=share[0], low=share[1], high=share[2]) if share else None,
                wins=counts["wins"],
            )
        )
    a, b = (variant.wins for variant in variants)
    p = found["p"]
    if p is None:
        verdict = "No comparison yet: no interleaved answer was clicked, nobody has voted."
    elif p < _SIGNIFICANT:
        verdict = f"Variant {'a' if a > b else 'b'} is better ({max(a, b)} wins to {min(a, b)}, p {p:.3g})."
    else:
        verdict = f"No difference to be sure of ({a} wins of a, {b} of b, p {p:.2g})."
    return schemas.ExperimentReport(variants=variants, ties=found["ties"], sign_test_p=p, verdict=verdict)


@router.get(
    "/facets",
    summary="What can be filtered by, and what to begin with",
    response_model=schemas.Facets,
    tags=["products"],
    responses=documented(429, 503),
)
async def facets(service: ServiceDep, index: IndexDep) -> Response:
    def most(kind: str) -> list[schemas.Facet]:
        return [schemas.Facet(value=value, products=count) for value, count in index.facets[kind][:_FACETS]]

    found = schemas.Facets(
        products=index.meta.products,
        with_picture=index.meta.with_picture,
        brands=most("brands"),
        colors=most("colors"),
        sample_queries=index.facets.get("sample_queries", [])[:_SAMPLES],
        sample_pictures=[image_path(product) for product in index.facets.get("sample_pictures", [])[:_SAMPLES]],
        max_image_bytes=min(MAX_IMAGE_BYTES, max(0, service.settings.search.max_body_bytes - _FORM_BYTES)),
        picture_types=[each.media_type for each in picture_types()],
        synthetic=index.meta.synthetic,
    )
    return Response(found.model_dump_json(), media_type="application/json")


@router.get(
    "/runs",
    summary="Trainings, as MLflow has them",
    response_model=schemas.RunsResponse,
    tags=["models"],
    responses=documented(429, 503),
)
async def runs(service: ServiceDep, lookups: LookupsDep) -> Response:
    serving = {variant.versions.mlflow_run_id for variant in service.variants.values()}
    found = await lookups.run(lambda: service.runs.read({run for run in serving if run}))
    return Response(found.model_dump_json(), media_type="application/json")


@router.get("/healthz", summary="Whether the process lives", response_model=schemas.Health, tags=["operations"])
async def healthz() -> Response:
    return Response(schemas.Health(status="ok").model_dump_json(), media_type="application/json")


@router.get(
    "/readyz",
    summary="Whether searches are answered",
    response_model=schemas.Health,
    tags=["operations"],
    responses={503: {"model": schemas.Health, "description": "not yet"}},
)
async def readyz(request: Request) -> Response:
    ready = getattr(request.app.state, "service", None) is not None
    health = schemas.Health(status="ok") if ready else schemas.Health(status="starting")
    return Response(health.model_dump_json(), 200 if ready else 503, media_type="application/json")


@router.get(
    "/metrics",
    summary="Measures for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "text exposition format"}},
    tags=["operations"],
)
async def prometheus(metrics: MetricsDep) -> Response:
    from prometheus_client import CONTENT_TYPE_LATEST

    return Response(metrics.text(), headers={"content-type": CONTENT_TYPE_LATEST})


@router.get(
    "/version",
    summary="Versions of model, features, data and code",
    response_model=schemas.VersionResponse,
    tags=["operations"],
    responses=documented(429, 503),
)
async def version(service: ServiceDep) -> Response:
    found = schemas.VersionResponse(
        sqidflow=metadata.version("sqidflow"),
        variants=[
            schemas.VariantVersion(variant=name, description=variant.core.description, versions=variant.versions)
            for name, variant in service.variants.items()
        ],
    )
    return Response(found.model_dump_json(), media_type="application/json")
