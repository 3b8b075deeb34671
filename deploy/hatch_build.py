"""Adds the page to the wheel if `make web` has built it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PageHook(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version != "editable" and (Path(self.root) / "web" / "dist" / "index.html").is_file():
            build_data["force_include"]["web/dist"] = "sqidflow/project/web/dist"
