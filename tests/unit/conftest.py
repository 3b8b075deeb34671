"""What unit tests share: TensorFlow, imported once a session, and an environment that no test changes for the next."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest


@pytest.fixture(scope="session")
def tf() -> Any:
    tensorflow = pytest.importorskip("tensorflow")
    tensorflow.get_logger().setLevel("ERROR")
    return tensorflow


@pytest.fixture(autouse=True)
def environment_stays() -> Iterator[None]:
    """Feast, once imported, sets the variable by which a service knows that it is one of several workers."""
    with mock.patch.dict(os.environ):
        yield
