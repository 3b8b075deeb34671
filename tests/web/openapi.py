"""Writes the service's OpenAPI document where the page's client is generated from: `python -m tests.web.openapi`."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from sqidflow.core.settings import Settings
from sqidflow.core.workdir import Workdir
from sqidflow.search.api.app import create_app
from tests.web.node import WEB

DOCUMENT = WEB / "openapi.json"


def document(workdir: Workdir, settings: Settings) -> dict[str, Any]:
    """The document as the service answers it; nothing of the workdir is read."""
    return create_app(workdir, settings).openapi()


def write(file: Path = DOCUMENT) -> None:
    with tempfile.TemporaryDirectory() as nowhere:
        content = document(Workdir(Path(nowhere)), Settings())
    file.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
