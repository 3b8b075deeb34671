"""Cache keys for code: the project's source files that a step depends on, read from the import graph.

A step names its entry module. Its dependencies are the project modules which that module imports, at the top of a file
or inside a function, and everything those modules import in turn. Imports under ``TYPE_CHECKING`` do not count.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

SOURCE_ROOT = Path(__file__).resolve().parents[2]
"""The folder that contains the project's packages: the checkout, or site-packages."""
_PARTS_WITH_STATEMENTS = ("body", "orelse", "handlers", "finalbody", "cases")
PACKAGES = ("sqidflow", "pipeline", "components", "modules")


def code_digest(modules: Iterable[str], files: Iterable[Path] = (), root: Path = SOURCE_ROOT) -> str:
    """Sixteen hex digits over the source of ``modules``, of every project module they import, and of ``files``.

    Args:
        modules: dotted names of modules or packages; a package means every module in it.
        files: further files to hash. They must be below ``root``; the path relative to it is part of the digest.

    Raises:
        LookupError: a module does not exist.
    """
    digest = hashlib.sha256()
    for file in sorted({*imported_files(modules, root), *files}):
        digest.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def imported_files(modules: Iterable[str], root: Path = SOURCE_ROOT) -> set[Path]:
    """The files of ``modules`` and of every project module they import, including the packages' ``__init__`` files.

    Raises:
        LookupError: a module does not exist.
    """
    waiting: list[str] = []
    for name in modules:
        folder = root.joinpath(*name.split("."))
        waiting += (
            [_dotted(file, root) for file in folder.rglob("*.py")] if (folder / "__init__.py").is_file() else [name]
        )
    files: set[Path] = set()
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        file = _file(name, root)
        if file is None:
            raise LookupError(f"no module {name} below {root}")
        files.add(file)
        waiting += [name.rsplit(".", 1)[0]] if "." in name else []
        stat = file.stat()
        waiting += _imports(file, root, stat.st_mtime_ns, stat.st_size)
    return files


@lru_cache(maxsize=1024)
def _imports(file: Path, root: Path, modified_ns: int, size_bytes: int) -> tuple[str, ...]:
    """The project modules that a file imports. The last two arguments make a changed file miss the cache."""
    names = set()
    for node in _statements(ast.parse(file.read_bytes(), str(file))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = _dotted(file.parent / "__init__.py", root).split(".")
                base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])
            names.add(base)
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return tuple(sorted(name for name in names if name.split(".")[0] in PACKAGES and _file(name, root) is not None))


def _statements(tree: ast.AST) -> Iterator[ast.AST]:
    """All statements except those under ``if TYPE_CHECKING``. An expression contains none."""
    for part in _PARTS_WITH_STATEMENTS:
        for child in getattr(tree, part, ()):
            if isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
                for other in child.orelse:
                    yield other
                    yield from _statements(other)
                continue
            yield child
            yield from _statements(child)


def _file(name: str, root: Path) -> Path | None:
    place = root.joinpath(*name.split("."))
    if (place / "__init__.py").is_file():
        return place / "__init__.py"
    return place.with_suffix(".py") if place.with_suffix(".py").is_file() else None


def _dotted(file: Path, root: Path) -> str:
    return ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
