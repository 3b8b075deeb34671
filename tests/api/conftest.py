"""The real application on the session's run and index."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import parse_qs, urlsplit

import pytest
from fastapi.testclient import TestClient

from sqidflow.core.settings import load_settings
from sqidflow.core.workdir import Workdir
from sqidflow.search.api.app import create_app
from tests import workdirs
from tests.workdirs import Shared


@pytest.fixture(autouse=True)
def environment_stays() -> Iterator[None]:
    """Feast, once imported, sets the variable by which a service knows that it is one of several workers."""
    with mock.patch.dict(os.environ):
        yield


@pytest.fixture(scope="session")
def index_document(shared_index: Shared) -> dict[str, Any]:
    """What `index --json` printed."""
    return shared_index.documents["index"]


@pytest.fixture(scope="session")
def indexed(shared_index: Shared) -> Path:
    """The workdir of the session's index. Not to be written to; a service logs its searches, so it gets a copy."""
    return shared_index.workdir


@pytest.fixture(scope="session")
def client(session_root: Path, indexed: Path) -> Iterator[TestClient]:
    """The application without a cache, so that every test is answered anew, on a copy of the index."""
    with workdirs.copied(session_root, indexed) as workdir:
        settings = load_settings(workdir, ["search.cache_entries=0", "search.write_rate_limit=null"], {})
        with TestClient(create_app(Workdir(workdir), settings), raise_server_exceptions=False) as client:
            yield client


@pytest.fixture(scope="session")
def facets(client: TestClient) -> dict[str, Any]:
    return client.get("/facets").json()


@pytest.fixture(scope="session")
def known_query(facets: dict[str, Any]) -> str:
    """A validation query: something fits it."""
    return facets["sample_queries"][0]


@pytest.fixture(scope="session")
def title(client: TestClient, facets: dict[str, Any]) -> str:
    """A product's title: a query that fits, whatever is put behind it."""
    return client.get("/v1/product", params={"id": product_of(facets["sample_pictures"][0])}).json()["title"]


@pytest.fixture(scope="session")
def picture(client: TestClient, facets: dict[str, Any]) -> bytes:
    """A product's picture, PNG."""
    return client.get(facets["sample_pictures"][0]).content


def product_of(picture: str) -> str:
    """The product whose picture has a path."""
    return parse_qs(urlsplit(picture).query)["id"][0]


def problem(answer: Any, status: int) -> dict[str, Any]:
    """The body of an error, after its form was checked."""
    assert answer.status_code == status, answer.text[:300]
    assert answer.headers["content-type"] == "application/problem+json"
    body = json.loads(answer.text)
    assert body["status"] == status and body["detail"] and body["title"]
    assert "Traceback" not in answer.text and "/tmp" not in answer.text and ".py" not in answer.text
    return body


def image_file(mode: str = "RGB", size: tuple[int, int] = (64, 64), kind: str = "PNG", **options: Any) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.new(mode, size, 128).save(stream, kind, **options)
    return stream.getvalue()
