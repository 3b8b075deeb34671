"""The page: what it is built from, what it weighs, its components, and all of it in a browser over the real service."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sqidflow.core.settings import Settings
from sqidflow.core.workdir import Workdir
from sqidflow.search.api.app import create_app
from tests.conftest import REPOSITORY
from tests.web.node import WEB, lock, npm
from tests.web.openapi import DOCUMENT, document

MAX_JAVASCRIPT_BYTES = 250_000
SHOTS = REPOSITORY / "var" / "web-screenshots"


def test_client_is_made_from_the_services_own_document(packages: None, tmp_path: Path) -> None:
    """`python -m tests.web.openapi` and `npm run client` write both anew."""
    assert json.loads(DOCUMENT.read_text()) == document(Workdir(tmp_path), Settings())
    again = tmp_path / "schema.d.ts"
    made = npm("exec", "--", "openapi-typescript", str(DOCUMENT), "--output", str(again))
    assert made.returncode == 0, made.stderr
    assert again.read_text() == (WEB / "src" / "api" / "schema.d.ts").read_text()


def test_lock_names_no_address_and_every_package_is_pinned() -> None:
    packages = {name: entry for name, entry in lock().items() if name}
    assert len(packages) > 50
    assert [name for name, entry in packages.items() if "resolved" in entry] == []
    own = {name: entry for name, entry in packages.items() if not entry.get("inBundle")}
    assert [name for name, entry in own.items() if not {"version", "integrity"} <= entry.keys()] == []


def test_javascript_is_within_its_budget(dist: Path) -> None:
    scripts = sorted(dist.rglob("*.js"))
    compressed = {file.name: len(gzip.compress(file.read_bytes(), 9)) for file in scripts}
    assert sum(compressed.values()) > 50_000, f"that is no page: {compressed}"
    assert sum(compressed.values()) <= MAX_JAVASCRIPT_BYTES, compressed


def test_built_page_asks_this_server_alone(dist: Path) -> None:
    """Every address in the HTML and the style sheets is a path."""
    html = (dist / "index.html").read_text()
    addresses = re.findall(r'(?:src|href)="([^"]+)"', html)
    for sheet in dist.rglob("*.css"):
        addresses += re.findall(r"url\(\"?'?([^)\"']+)", sheet.read_text())
    assert len(addresses) > 5
    assert [address for address in addresses if not re.match(r"/(?!/)", address)] == []
    assert all((dist / address.lstrip("/")).is_file() for address in addresses)


def test_page_without_javascript_points_to_what_the_service_answers(tmp_path: Path) -> None:
    said = re.search(r"<noscript>.* (/[\w./]+)\.</noscript>", (WEB / "index.html").read_text())
    assert said
    answers = create_app(Workdir(tmp_path), Settings()).routes
    assert said[1] in {getattr(route, "path", None) for route in answers}


def test_readme_names_each_page_of_the_documentation_once() -> None:
    table = (REPOSITORY / "README.md").read_text().split("## Documentation")[1]
    pages = re.findall(r"^\| \[(docs/\w+\.md)\]", table, re.MULTILINE)
    assert len(pages) > 5 and sorted(set(pages)) == sorted(pages)


def test_style(packages: None) -> None:
    done = npm("run", "lint")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def test_components(packages: None) -> None:
    done = npm("test")
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    assert re.search(r"Tests +\d{2,} passed", done.stdout), done.stdout[-500:]


def test_in_a_browser_over_the_real_service(dist: Path, chromium: str, indexed_copy: Path) -> None:
    """Screenshots are left in var/web-screenshots/."""
    serve = [sys.executable, "-m", "sqidflow.cli", "serve", "--workdir", str(indexed_copy), "--port", "{port}"]
    try:
        done = npm("run", "e2e", timeout=850, E2E_SERVER=json.dumps(serve), E2E_SHOTS=str(SHOTS), CHROMIUM=chromium)
    except subprocess.TimeoutExpired as late:
        pytest.fail(f"the browser's tests did not end: {(late.stdout or b'')[-3000:]!r}")
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-3000:]
    assert re.search(r"Tests +\d{2,} passed", done.stdout), done.stdout[-500:]
    assert {width for file in SHOTS.glob("search-*.png") for width in re.findall(r"-(\d+)-", file.name)} == {
        "360", "768", "1440",
    }  # fmt: skip
