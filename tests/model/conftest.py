from __future__ import annotations

import pytest

from sqidflow.benches.typing import Shop, open_shop
from sqidflow.core.settings import load_settings
from sqidflow.core.workdir import Workdir
from tests.workdirs import Shared


@pytest.fixture(scope="session")
def shop(shared_index: Shared) -> Shop:
    """The pushed model and the index of the session's sample. Not to be written to."""
    return open_shop(Workdir(shared_index.workdir), load_settings(shared_index.workdir, ()))
