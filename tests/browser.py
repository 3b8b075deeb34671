"""The browser that tests look at pages with. Playwright drives it: web/e2e."""

from __future__ import annotations

import shutil

NAMES = ("chromium", "chromium-browser", "google-chrome")


def find_chromium() -> str | None:
    """The browser's program, or None where none is installed."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)
