"""Beside searching: facets, trainings, versions."""

from __future__ import annotations

import json
import logging
from importlib import metadata

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import Response

from sqidflow.core.errors import SqidflowError
from sqidflow.core.pushes import pinned_version
from sqidflow.core.workdir import Workdir
from sqidflow.encoders.pictures import MAX_IMAGE_BYTES, picture_types
from sqidflow.search import schemas
from sqidflow.search.api.answers import image_path
from sqidflow.search.api.dependencies import IndexDep, LookupsDep, ServiceDep
from sqidflow.search.api.parameters import known_parameters
from sqidflow.search.api.problems import documented
from sqidflow.search.state import Service, not_served

_LOG = logging.getLogger(__name__)
router = APIRouter(dependencies=[Depends(known_parameters)])
_FACETS = 200
REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
_SAMPLES = 8
_FORM_BYTES = 64 * 1024
"""Room for what a form holds beside its picture."""


@router.get(
    "/facets",
    summary="What can be filtered by, and what to begin with",
    response_model=schemas.Facets,
    tags=["products"],
    responses=documented(422, 429, 503),
)
async def facets(service: ServiceDep, index: IndexDep) -> Response:
    def most(kind: str) -> list[schemas.Facet]:
        return [schemas.Facet(value=value, products=count) for value, count in index.facets[kind][:_FACETS]]

    found = schemas.Facets(
        products=index.meta.products,
        with_picture=index.meta.with_picture,
        brands=most("brands"),
        colors=most("colors"),
        attributes=[
            schemas.AttributeInfo(
                name=each.name,
                kind=each.kind,
                unit=each.unit,
                facet=each.facet,
                sortable=each.kind in ("number", "date"),
            )
            for each in index.attributes.columns.values()
        ],
        sample_queries=index.facets.get("sample_queries", [])[:_SAMPLES],
        sample_pictures=[image_path(product) for product in index.facets.get("sample_pictures", [])[:_SAMPLES]],
        max_image_bytes=min(MAX_IMAGE_BYTES, max(0, service.settings.search.max_body_bytes - _FORM_BYTES)),
        picture_types=[each.media_type for each in picture_types()],
        synthetic=index.meta.synthetic,
        index=index.meta.digest,
        client_id_days=service.settings.search.client_id_days,
    )
    return Response(found.model_dump_json(), media_type="application/json")


@router.get(
    "/runs",
    summary="Trainings, as MLflow has them",
    response_model=schemas.RunsResponse,
    tags=["models"],
    responses=documented(422, 429, 503),
)
async def runs(service: ServiceDep, lookups: LookupsDep) -> Response:
    serving = {variant.versions.mlflow_run_id for variant in service.variants.values()}
    found = await lookups.run(lambda: service.runs.read({run for run in serving if run}))
    return Response(found.model_dump_json(), media_type="application/json")


@router.get("/audit", include_in_schema=False)
async def audit(service: ServiceDep, lookups: LookupsDep) -> Response:
    """The report of the last `sqidflow audit`: a page of its own, with its style in it and no script."""
    file = service.workdir.artifacts / "audit" / "index.html"
    try:
        page = await lookups.run(file.read_bytes)
    except OSError as error:
        raise HTTPException(404, "No model was audited: run `sqidflow audit`.") from error
    headers = {"Content-Security-Policy": REPORT_POLICY, "Cache-Control": "no-cache"}
    return Response(page, media_type="text/html; charset=utf-8", headers=headers)


@router.get(
    "/version",
    summary="Versions of model, features, data and code",
    response_model=schemas.VersionResponse,
    tags=["operations"],
    responses=documented(422, 429, 503),
)
async def version(request: Request, service: ServiceDep, lookups: LookupsDep) -> Response:
    found = schemas.VersionResponse(
        sqidflow=metadata.version("sqidflow"),
        delivery=await lookups.run(lambda: _delivered(request.app.state.service)),
        audit=await lookups.run(lambda: _audited(service.workdir)),
        variants=[
            schemas.VariantVersion(variant=name, description=variant.core.description, versions=variant.versions)
            for name, variant in service.variants.items()
        ],
    )
    return Response(found.model_dump_json(), media_type="application/json")


def _delivered(service: Service) -> schemas.Delivered:
    served = service.opened[0]
    try:
        pinned, note = pinned_version(service.workdir.serving) == served, not_served(service.workdir, served)
    except SqidflowError as error:
        _LOG.warning("delivery: %s", error.message)
        pinned, note = False, "The delivery record cannot be read; the service's log says why."
    canary = service.canary
    return schemas.Delivered(
        served=served,
        pinned=pinned,
        note=note,
        canary=canary.opened[0] if canary is not None else None,
        canary_share=service.settings.search.canary_share if canary is not None else 0.0,
        shadow=service.shadow.versions.model if service.shadow is not None else None,
    )


def _audited(workdir: Workdir) -> schemas.Audited | None:
    """What the last audit was of, and its verdict; None where there is no report that can be read."""
    if not (workdir.artifacts / "audit" / "index.html").is_file():
        return None
    try:
        document = json.loads((workdir.metrics / "audit.json").read_text(encoding="utf-8"))
        return schemas.Audited(model=document["model"]["version"], verdict=document["verdict"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
