"""The whole OpenAPI document against the application: nothing undocumented, no 5xx, for whatever input."""

from __future__ import annotations

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.core.failures import Failure  # noqa: F401 - named in a failing test's output

from tests.api.conftest import problem

schema = schemathesis.pytest.from_fixture("api")


def test_the_document_describes_errors_as_problems(client) -> None:
    document = client.get("/openapi.json").json()
    for path, methods in document["paths"].items():
        for operation in methods.values():
            for status, answer in operation["responses"].items():
                if int(status) >= 400 and path not in ("/readyz",):
                    assert "application/problem+json" in answer["content"], (path, status)
    problem(client.get("/nowhere"), 404)
