"""The whole OpenAPI document against the service: no 5xx, no undocumented answer, whatever comes in."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.api.test_server import serve
from tests.web.openapi import DOCUMENT

__all__ = ["serve"]

# Left out: positive and negative data acceptance. Forms carry no types ("{}" is a brand like another), numbers stand
# for booleans in pydantic, and a string is not a picture though OpenAPI cannot say so.
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,"
    "response_headers_conformance,unsupported_method,missing_required_header"
)


def test_no_server_error_and_no_undocumented_answer(serve) -> None:
    server = serve("search.query_log=false", "search.write_rate_limit=null")
    done = subprocess.run(
        [
            sys.executable, "-m", "schemathesis.cli", "run", f"http://127.0.0.1:{server.port}/openapi.json",
            "--checks", CHECKS, "--max-examples", "15", "--seed", "7", "--phases", "examples,coverage,fuzzing",
            "--generation-database", "none", "--request-timeout", "300",  # the first look-up imports Feast
        ],
        capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    operations = sum(len(methods) for methods in json.loads(DOCUMENT.read_text())["paths"].values())
    assert f"Tested: {operations}" in done.stdout
    assert "Traceback" not in server.said
    assert server.get("/readyz")[0] == 200


def test_errors_are_described_as_problems(client) -> None:
    document = client.get("/openapi.json").json()
    described = 0
    for path, methods in document["paths"].items():
        for operation in methods.values():
            for status, answer in operation["responses"].items():
                if int(status) >= 400:
                    described += 1
                    assert "application/problem+json" in answer["content"], (path, status)
    assert described > 40
