"""The last report of `sqidflow monitor`, for the page."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Depends, HTTPException
from fastapi.responses import Response
from pydantic import ValidationError

from sqidflow.search import schemas
from sqidflow.search.api.dependencies import LookupsDep, ServiceDep
from sqidflow.search.api.parameters import known_parameters
from sqidflow.search.api.problems import documented
from sqidflow.search.api.routes_operations import REPORT_POLICY
from sqidflow.search.state import MONITORING_PAGE, MONITORING_REPORT

router = APIRouter(dependencies=[Depends(known_parameters)])
_NO_REPORT = "There is no report on the searches: run `sqidflow monitor`."


@router.get(
    "/monitoring",
    summary="The last report on what was searched",
    response_model=schemas.MonitoringReport,
    tags=["operations"],
    responses=documented(404, 422, 429, 503),
)
async def monitoring(service: ServiceDep, lookups: LookupsDep) -> Response:
    """Volume, latency, results, clicks, drift from the training data, and alarms with what to do."""
    report = await lookups.run(lambda: _report(service.workdir.artifacts / MONITORING_REPORT))
    return Response(report.model_dump_json(by_alias=True), media_type="application/json")


def _report(file: Path) -> schemas.MonitoringReport:
    try:
        return schemas.MonitoringReport.model_validate_json(file.read_bytes())
    except OSError as error:
        raise HTTPException(404, _NO_REPORT) from error
    except ValidationError as error:
        raise HTTPException(404, "The report is of another version: run `sqidflow monitor` again.") from error


@router.get("/monitoring/page", include_in_schema=False)
async def monitoring_page(service: ServiceDep, lookups: LookupsDep) -> Response:
    """The report as a page of its own, with its style in it and no script."""
    try:
        page = await lookups.run((service.workdir.artifacts / MONITORING_PAGE).read_bytes)
    except OSError as error:
        raise HTTPException(404, _NO_REPORT) from error
    headers = {"Content-Security-Policy": REPORT_POLICY, "Cache-Control": "no-cache"}
    return Response(page, media_type="text/html; charset=utf-8", headers=headers)
