"""Fixtures that more than one package's tests use, and which tests are slow."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sqidflow.core.quiet import KERAS_3
from sqidflow.data.sample import SampleSpec, write_sample
from tests import workdirs
from tests.browser import find_chromium
from tests.fixtures.small_index import SmallIndex, build_small_index
from tests.web.node import why_no_node, why_no_packages
from tests.workdirs import Shared

REPOSITORY = Path(__file__).resolve().parents[1]
gc.disable()  # until all tests are collected: many files import TensorFlow, TFX or Feast
os.environ.update(KERAS_3)  # before any test imports TensorFlow: what tf.keras is is decided then
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # LightGBM's threads spin while another process has their core

Measured = Callable[[str, object], None]

SLOW_FOLDERS = tuple(
    REPOSITORY / "tests" / name
    for name in (
        *("pipeline", "api", "web", "notebooks"),
        *("unit/components", "unit/modules", "unit/feature_store", "unit/benches"),
    )
)
"""Their tests run the pipeline, a service, a browser or a notebook, train with TensorFlow, or start Feast."""
SLOW_FILES = frozenset(
    REPOSITORY / "tests" / name
    for name in (
        *("unit/pipeline/test_long_lists.py", "unit/pipeline/test_record_counts.py", "unit/pipeline/test_retrain.py"),
        *("unit/plots/test_feature_checks.py", "unit/plots/test_runs.py"),
        *("unit/tracking/test_killed.py", "unit/tracking/test_runs.py", "unit/tracking/test_ui.py"),
        *("unit/encoders/test_learned.py", "unit/core/test_code.py"),
        *(
            "unit/data/test_sample_queries.py",
            "unit/monitoring/test_drift.py",
            "docs/test_site.py",
            "docs/test_tutorials.py",
        ),
        *("unit/cli/test_serving.py", "unit/cli/test_quickstart.py"),
    )
)
"""Their tests import TensorFlow, Feast or torch, create an MLflow store, copy the code, or build samples, indexes or
the documentation."""
LONG_FILES = frozenset(
    REPOSITORY / "tests" / name
    for name in (
        *("docs/test_tutorials.py", "web/test_web.py", "api/test_from_nothing.py", "api/test_bench_catalogue.py"),
        *("pipeline/test_dvc.py", "pipeline/test_failures.py", "pipeline/test_portable.py"),
        *("pipeline/test_real_data.py", "pipeline/test_retrain.py", "pipeline/test_run_again.py"),
    )
)
"""They take a minute or more: one that begins last leaves the other process without work for as long."""
WRITES_THE_SAMPLE = "sample"
"""The fixture with the sample of the default size."""
RUNS_A_PIPELINE = frozenset({"shared_run", "shared_index"})
"""Fixtures that make a test wait for a whole run."""
FAST = "not slow"
"""What `make test-fast` chooses with -m."""


def is_slow(path: Path) -> bool:
    return path in SLOW_FILES or any(folder == path or folder in path.parents for folder in SLOW_FOLDERS)


def writes_the_sample(item: pytest.Item) -> bool:
    return WRITES_THE_SAMPLE in getattr(item, "fixturenames", ())


def waits_for_run(item: pytest.Item) -> bool:
    return bool(RUNS_A_PIPELINE & set(getattr(item, "fixturenames", ())))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave slow files alone where nothing of them is chosen: some import TFX when they are collected."""
    return True if config.option.markexpr == FAST and is_slow(collection_path) else None


@pytest.hookimpl(tryfirst=True)  # before pytest chooses by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is slow, and put files in the order in which two processes finish together.

    First comes one file that makes the run that many files read: one process makes it while the others do the slow
    files that need none. Of these and of those that wait for the run, the longest come first, and the quick files come
    last, so that no process ends long before the others.
    """
    for item in items:
        if is_slow(item.path) or waits_for_run(item) or writes_the_sample(item):
            item.add_marker(pytest.mark.slow)
    waits = {item.path for item in items if waits_for_run(item)}
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    first = next((item.path for item in items if item.path in waits), None)

    def place(item: pytest.Item) -> tuple[bool, ...]:
        path = item.path
        return path != first, path not in slow, path in waits, path not in LONG_FILES

    items.sort(key=place)


def pytest_collection_finish() -> None:
    """Leave what was imported out of all later collections, as `sqidflow run` does: it stays for the whole session."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(tryfirst=True)  # before any fixture
def pytest_runtest_setup() -> None:
    """Undo what Feast sets where a fixture imports it: a service takes itself for one of several workers then."""
    for name in ("PROMETHEUS_MULTIPROC_DIR", "PROMETHEUS_MULTIPROCESS_DIR"):
        os.environ.pop(name, None)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print what tests have measured; pytest-xdist brings it here from its processes."""
    for report in terminalreporter.stats.get("passed", []):
        for name, value in report.user_properties:
            terminalreporter.write_line(f"{name}: {value}")


@pytest.fixture
def measured(record_property: Measured) -> Measured:
    """Takes the name and the value of something measured; it is printed at the end of the session."""
    return record_property


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with excerpts of the published data; tests that need it are skipped where it is not."""
    folder = Path(os.environ.get("SQIDFLOW_REAL_DATA") or REPOSITORY.parent / "shared" / "real")
    if not (folder / "esci_us_train_sample.csv").is_file():
        pytest.skip(f"no real data in {folder}: set SQIDFLOW_REAL_DATA to a folder with it")
    return folder


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small synthetic sample: 40 queries, 300 products, 400 pairs, vectors of 64. Not to be written to."""
    folder = tmp_path_factory.mktemp("tiny") / "data"
    write_sample(folder, SampleSpec(queries=40, products=300, pairs_per_query=10, dim=64))
    return folder


@pytest.fixture(scope="session")
def small_index(tmp_path_factory: pytest.TempPathFactory) -> SmallIndex:
    """An index of fifty invented products and what searches it, made without training. Not to be written to."""
    return build_small_index(tmp_path_factory.mktemp("small") / "index")


@pytest.fixture(scope="session")
def session_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that all processes of the test session share."""
    return workdirs.session_root(tmp_path_factory)


@pytest.fixture(scope="session")
def shared_run(session_root: Path) -> Iterator[Shared]:
    """The session's one finished run. Fails at the end where a test has written into it."""
    shared = workdirs.finished_run(session_root)
    yield shared
    shared.assert_unchanged()


@pytest.fixture(scope="session")
def shared_index(session_root: Path, shared_run: Shared) -> Iterator[Shared]:
    """The session's one index, in a copy of the finished run. Fails at the end where a test has written into it."""
    shared = workdirs.indexed_run(session_root, shared_run)
    yield shared
    shared.assert_unchanged()


@pytest.fixture(scope="session")
def prepared(shared_run: Shared) -> Path:
    """The workdir of the finished run of the tiny sample. Not to be written to: see the fixtures that copy it."""
    return shared_run.workdir


@pytest.fixture(scope="session")
def first_run(shared_run: Shared) -> dict[str, Any]:
    """What `run --json` printed in ``prepared``."""
    return shared_run.documents["run"]


@pytest.fixture
def prepared_copy(session_root: Path, prepared: Path) -> Iterator[Path]:
    """A workdir of the test's own with the tiny sample and its features, and no run yet."""
    with workdirs.copied(session_root, prepared, workdirs.WITHOUT_RUN) as workdir:
        yield workdir


@pytest.fixture
def indexed_copy(session_root: Path, shared_index: Shared) -> Iterator[Path]:
    """A copy of the indexed run, the test's own."""
    with workdirs.copied(session_root, shared_index.workdir) as workdir:
        yield workdir


@pytest.fixture(scope="session")
def packages() -> None:
    """Node and the page's packages; what needs them is skipped where they are not to be had, in CI it fails."""
    if missing := why_no_node():
        pytest.skip(missing)
    if failed := why_no_packages():
        if os.environ.get("CI"):
            pytest.fail(failed)
        pytest.skip(failed)


@pytest.fixture(scope="session")
def chromium() -> str:
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium is installed: `make test-web` installs it on Debian")
    return program
