import json
import shutil
import subprocess
import sys

import pytest

from pipeline.local_runner import CURATED_SCHEMA, ENTRY_MODULES, component_code
from sqidflow.core.code import PACKAGES, SOURCE_ROOT, code_digest, imported_files

STEPS = {**ENTRY_MODULES, "index": ("sqidflow.indexing.make",), "features": ("sqidflow.data.prepare",)}


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """A copy of our packages that a test may edit."""
    root = tmp_path_factory.mktemp("source")
    for package in PACKAGES:
        shutil.copytree(SOURCE_ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    return root


def relative(files, root):
    return {file.relative_to(root).as_posix() for file in files}


@pytest.mark.parametrize("step", STEPS)
def test_an_edit_of_any_imported_file_changes_the_key_and_of_no_other(copied, step):
    modules = STEPS[step]
    before = code_digest(modules, root=copied)
    imported = imported_files(modules, copied)
    others = {file for package in PACKAGES for file in (copied / package).rglob("*.py")} - imported
    assert imported and others
    for file in sorted(imported | others):
        content = file.read_bytes()
        file.write_bytes(content + b"\n# edited\n")
        changed = code_digest(modules, root=copied) != before
        file.write_bytes(content)
        assert changed == (file in imported), file.relative_to(copied)
    assert code_digest(modules, root=copied) == before


@pytest.mark.parametrize("step", ["index", "features"])
def test_the_import_graph_has_every_module_that_python_imports(step):
    program = (
        "import importlib, json, sys\n"
        f"for name in {list(STEPS[step])!r}: importlib.import_module(name)\n"
        f"ours = [m.__file__ for n, m in sys.modules.items() if n.split('.')[0] in {PACKAGES!r} and m.__file__]\n"
        "print(json.dumps(ours))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=SOURCE_ROOT, capture_output=True, text=True, check=True)
    imported = {name for name in json.loads(done.stdout)}
    assert imported <= {str(file) for file in imported_files(STEPS[step])}


def test_the_steps_depend_on_what_they_are_known_to_use():
    index = relative(imported_files(STEPS["index"]), SOURCE_ROOT)
    assert {"sqidflow/search/ranker.py", "sqidflow/ranking/words.py", "sqidflow/encoders/offline.py"} <= index
    assert "modules/trainer.py" not in index
    assert "sqidflow/ranking/words.py" in relative(imported_files(ENTRY_MODULES["features"]), SOURCE_ROOT)
    assert "sqidflow/data/importing.py" not in relative(imported_files(ENTRY_MODULES["trainer"]), SOURCE_ROOT)


def small_tree(root):
    (root / "pipeline" / "inner").mkdir(parents=True)
    (root / "pipeline" / "__init__.py").write_text("")
    (root / "pipeline" / "inner" / "__init__.py").write_text("from . import one\n")
    (root / "pipeline" / "inner" / "one.py").write_text("from .two import name\n")
    (root / "pipeline" / "inner" / "two.py").write_text("def late():\n    import pipeline.lazy\n")
    (root / "pipeline" / "lazy.py").write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import pipeline.typed\nelse:\n    import pipeline.real\n"
    )
    (root / "pipeline" / "typed.py").write_text("import numpy\n")
    (root / "pipeline" / "real.py").write_text("import numpy\n")


def test_relative_lazy_and_typing_imports(tmp_path):
    small_tree(tmp_path)
    found = relative(imported_files(["pipeline.inner"], tmp_path), tmp_path)
    assert found == {
        "pipeline/__init__.py", "pipeline/inner/__init__.py", "pipeline/inner/one.py", "pipeline/inner/two.py",
        "pipeline/lazy.py", "pipeline/real.py",
    }  # fmt: skip


def test_a_module_that_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(LookupError, match=r"no module pipeline\.gone"):
        imported_files(["pipeline.gone"], tmp_path)


def test_the_curated_schema_is_part_of_the_schema_component_alone():
    assert CURATED_SCHEMA.is_file()
    assert component_code("schema") != code_digest(ENTRY_MODULES["schema"])
    assert component_code("transform") == code_digest(ENTRY_MODULES["transform"])
