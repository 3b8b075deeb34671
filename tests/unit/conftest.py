"""TensorFlow is imported once a session."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(scope="session")
def tf() -> Any:
    tensorflow = pytest.importorskip("tensorflow")
    tensorflow.get_logger().setLevel("ERROR")
    return tensorflow
