"""The documentation as a site: it builds without a warning, is searchable, and asks nobody else for anything."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sqidflow
from tests.browser import find_chromium
from tests.conftest import REPOSITORY
from tests.web.node import npm

LOADED = re.compile(r"""<(?:script|img|iframe|source)[^>]*\bsrc=["']?(https?:)?//|<link[^>]*\bhref=["']?(https?:)?//""")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "site"
    command = [Path(sys.executable).with_name("mkdocs"), "build", "--strict", "--site-dir", folder]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        [str(part) for part in command], cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_no_page_loads_anything_from_another_server(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        found = LOADED.search(page.read_text(encoding="utf-8"))
        assert found is None, f"{page.name}: {found and found[0]}"
        assert "unpkg.com" not in page.read_text(encoding="utf-8"), page.name
    for style in (site / "assets").rglob("*.css"):
        assert not re.search(r"url\(['\"]?https?:", style.read_text(encoding="utf-8")), style.name


def test_every_page_is_in_the_search(site: Path) -> None:
    documents = json.loads((site / "search" / "search_index.json").read_text())["docs"]
    found = {document["location"].split("#")[0] for document in documents}
    pages = {page.relative_to(site).as_posix() for page in site.rglob("*.html") if page.name != "404.html"}
    assert pages <= {location or "index.html" for location in found} | {"index.html"}


def test_the_references_have_every_operation_and_every_name(site: Path) -> None:
    api = (site / "reference" / "api.html").read_text(encoding="utf-8")
    for path in json.loads((REPOSITORY / "web" / "openapi.json").read_text())["paths"]:
        assert f"<code>{path}</code>" in api, path
    python = (site / "reference" / "python.html").read_text(encoding="utf-8")
    for name in sqidflow.__all__:
        assert f'id="{name.lower()}"' in python, name


LOOKED_AT = ("index.html", "start/shop.html", "cli.html", "reference/api.html")


def test_pages_in_a_browser_have_nothing_serious_for_axe(site: Path, packages: None) -> None:
    """At 360 and 1440 px, light and dark: one page of each kind. `npm run e2e:docs` in web/ looks at all."""
    if find_chromium() is None:
        pytest.skip("no Chromium")
    looked = npm("run", "e2e:docs", DOCS_SITE=str(site), DOCS_PAGES=",".join(LOOKED_AT))
    assert looked.returncode == 0, looked.stdout[-4000:]
