"""Who may import whom, what may not be imported at all before it is needed, and what may not stand in a lock."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from sqidflow.core.code import imported_files
from sqidflow.core.settings import CHECKOUT

PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
PACKAGES = PROJECT["tool"]["importlinter"]["root_packages"]
HEAVY = (
    "tensorflow",
    "tfx",
    "feast",
    "mlflow",
    "pandas",
    "keras",
    "apache_beam",
    "codecarbon",
    "matplotlib",
    "sklearn",
)
# TFX's own building blocks cannot be declared without importing it.
DECLARE_TFX = (
    "components.",
    "pipeline.graph",
    "pipeline.portable_runner",
    "pipeline.reporting_runner",
    "modules.tfma_metrics",
    "modules.lambdamart",
)
# Nor can Feast's.
DECLARE_FEAST = ("sqidflow.feature_store.engine", "sqidflow.feature_store.redis_url")


LAYERS = "imports point downwards"
SERVING = "what serves knows nothing of what trains"


def modules_of(package: str) -> list[str]:
    files = sorted((CHECKOUT / package).rglob("*.py"))
    names = (".".join(file.relative_to(CHECKOUT).with_suffix("").parts) for file in files)
    return [name.removesuffix(".__init__") for name in names]


def light(name: str) -> bool:
    return not f"{name}.".startswith((*DECLARE_TFX, *DECLARE_FEAST))


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=root,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )


def imported_by(program: str) -> dict[str, list[str]]:
    """Which of the heavy packages, and which files opened for writing, a program in a fresh process ends with."""
    watch = (
        "import sys, json\n"
        "written = []\n"
        "def hook(event, arguments):\n"
        "    if event == 'open' and isinstance(arguments[1], str) and set(arguments[1]) & set('wax+'):\n"
        "        written.append(str(arguments[0]))\n"
        "    elif event in ('subprocess.Popen', 'socket.connect', 'os.mkdir', 'os.rename', 'os.remove'):\n"
        "        written.append(event + ' ' + str(arguments[0]))\n"
        "sys.addaudithook(hook)\n"
        f"{program}\n"
        f"heavy = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "sys.stderr.write('RESULT ' + json.dumps({'heavy': heavy, 'written': written}))\n"
    )
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", watch], capture_output=True, text=True, env=environment, cwd=CHECKOUT)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stderr.rpartition("RESULT ")[2])


def test_every_package_is_checked_and_packed():
    with_code = {
        file.parent.name for file in CHECKOUT.glob("*/__init__.py") if file.parent.name not in ("tests", "notebooks")
    }
    assert with_code == set(PACKAGES)
    assert set(PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) == set(PACKAGES)


def test_the_arrows_between_packages_hold():
    done = lint_imports(CHECKOUT)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "0 broken" in done.stdout


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("sqidflow/core/errors.py", "import sqidflow.ranking.words", LAYERS),
        ("sqidflow/ranking/metrics.py", "import sqidflow.data.formats", LAYERS),
        ("sqidflow/encoders/base.py", "import sqidflow.search.index", LAYERS),
        ("sqidflow/data/formats.py", "import sqidflow.indexing.build", LAYERS),
        ("sqidflow/feature_store/names.py", "import pipeline.graph", LAYERS),
        ("sqidflow/evaluation/held_out.py", "import modules.model", LAYERS),
        ("sqidflow/search/engine.py", "import modules.trainer", LAYERS),
        ("components/feature_join/join.py", "import pipeline.local_runner", LAYERS),
        ("pipeline/graph.py", "import sqidflow.cli.console", LAYERS),
        ("sqidflow/search/engine.py", "def late():\n    import tensorflow", SERVING),
        ("sqidflow/indexing/build.py", "def late():\n    import mlflow", SERVING),
        ("sqidflow/ranking/words.py", "import feast", SERVING),
    ],
)
def test_a_wrong_import_is_found(tmp_path, file, line, contract):
    for package in PACKAGES:
        shutil.copytree(CHECKOUT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(CHECKOUT / "pyproject.toml", tmp_path)
    with (tmp_path / file).open("a") as stream:
        stream.write(f"\n{line}\n")
    done = lint_imports(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    broken = [text for text in done.stdout.splitlines() if " BROKEN" in text]
    assert any(text.startswith(contract) for text in broken), done.stdout


STAGES = {
    "features": "pipeline.features",
    "run": "pipeline.local_runner",
    "evaluate": "sqidflow.evaluation.held_out",
    "index": "sqidflow.indexing.make",
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_dvc_stage_depends_on_all_the_code_that_its_verb_imports(stage):
    declared = yaml.safe_load((CHECKOUT / "dvc.yaml").read_text())["stages"]
    assert set(declared) == set(STAGES)
    deps = tuple(declared[stage]["deps"])
    files = [file.relative_to(CHECKOUT).as_posix() for file in imported_files([STAGES[stage]])]
    missing = [
        file
        for file in files
        if not file.endswith("__init__.py") and not any(file == dep or file.startswith(f"{dep}/") for dep in deps)
    ]
    assert not missing


@pytest.mark.parametrize("verb", ["", "run", "data", "features", "bench run"])
def test_help_imports_nothing_heavy(verb):
    program = (
        f"sys.argv = ['sqidflow', *{verb.split()!r}, '--help']\n"
        "from sqidflow.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
    )
    found = imported_by(program)
    assert found == {"heavy": [], "written": []}


def test_importing_does_no_work():
    """No file, process or connection is opened by importing, and nothing heavy is imported."""
    names = [name for package in PACKAGES for name in modules_of(package) if light(name)]
    assert "pipeline.local_runner" in names
    assert "modules.trainer" in names
    found = imported_by("import importlib\n" + f"for name in {names!r}: importlib.import_module(name)")
    assert found == {"heavy": [], "written": []}


@pytest.mark.parametrize("package", PACKAGES)
def test_library_code_keeps_the_house_rules(package):
    for file in (CHECKOUT / package).rglob("*.py"):
        assert file.stem not in ("utils", "util", "helpers"), file
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            where = f"{file}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.ExceptHandler):
                assert node.type is not None, f"bare except at {where}"
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id != "print", f"print at {where}"
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in ("sys.path.append", "sys.path.insert"), where


@pytest.mark.parametrize("file", sorted(CHECKOUT.glob("requirements*")), ids=lambda file: file.name)
def test_a_lock_names_versions_and_no_addresses(file):
    text = file.read_text()
    for sign in ("http:", "https:", "file:", "git+", "--index", "--find-links", "--extra-index", " @ "):
        assert sign not in text, sign
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    assert lines
    for line in lines:
        assert re.match(r"^[a-z0-9._\[\],-]+==[^\s;]+( ; .*)?$", line.strip(), re.IGNORECASE), line


def pins(requirements: list[str]) -> dict[str, str]:
    """name -> exact version of the requirements that have one."""
    found = {}
    for requirement in requirements:
        name, separator, version = requirement.partition("==")
        if separator:
            found[re.sub(r"\[.*\]", "", name).strip()] = version.strip()
    return found


def locked() -> dict[str, str]:
    lines = (CHECKOUT / "requirements.lock").read_text().splitlines()
    return pins([line.split(";")[0] for line in lines])


def test_the_lock_has_every_dependency_at_its_pin():
    project = PROJECT["project"]
    extras = project["optional-dependencies"]
    wanted, waiting = list(project["dependencies"]), ["dev"]
    while waiting:  # an extra may be made of others
        for requirement in extras[waiting.pop()]:
            inner = re.fullmatch(r"sqidflow\[(.*)\]", requirement)
            waiting += inner[1].split(",") if inner else []
            wanted += [] if inner else [requirement]
    found = locked()
    for requirement in wanted:
        name = re.split(r"[\[<>=!~ ]", requirement)[0]
        assert name in found, requirement
    for name, version in pins(wanted).items():
        assert found[name] == version


def test_every_override_is_in_the_lock_and_explained():
    explained = (CHECKOUT / "docs" / "platform.md").read_text()
    overrides = PROJECT["tool"]["uv"]["override-dependencies"]
    for name, version in pins(overrides).items():
        assert locked()[name] == version
    for override in overrides:
        name = re.split(r"[<>=!~ ]", override)[0]
        assert name in explained, f"docs/platform.md does not say why {override} is there"


def third_party_imports() -> set[str]:
    found = set()
    for package in PACKAGES:
        for file in (CHECKOUT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    found |= {alias.name.split(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    found.add(node.module.split(".")[0])
    return found - set(PACKAGES) - set(sys.stdlib_module_names)


def test_everything_imported_is_a_declared_dependency():
    """What only comes along with another package may go away with its next version."""
    from importlib.metadata import packages_distributions

    extras = PROJECT["project"]["optional-dependencies"]
    optional = [requirement for extra in extras if extra != "dev" for requirement in extras[extra]]
    declared = {
        re.split(r"[\[<>=!~ ]", requirement)[0].lower()
        for requirement in (*PROJECT["project"]["dependencies"], *optional)
    }
    # Parts of TensorFlow, TFX and FastAPI, whose versions those decide.
    along = {"keras", "protobuf", "tensorflow-metadata", "redis", "attrs", "starlette"}
    providers = packages_distributions()
    for name in third_party_imports():
        # Of a package that is not installed, as optional ones may be, the name is all there is.
        distributions = {re.sub("[_.]", "-", provider.lower()) for provider in providers.get(name, [name])}
        assert distributions & (declared | along), f"{name} ({distributions}) is imported and not declared"
