"""Damages every file of an index in every way: each must be refused in one line, and none answered from."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqidflow.core.errors import SqidflowError
from sqidflow.core.settings import Settings
from sqidflow.core.workdir import Workdir
from sqidflow.search.engine import Request, SearchCore
from sqidflow.search.state import choose, open_core

QUERIES = 8
"""Titles of products, from the whole index, that are searched for."""
REFUSED, OTHER_ERRORS, WRONG, SAME = "refused", "other_errors", "wrong", "same"


def _flipped(content: bytes, share: float) -> bytes:
    at = min(int(share * len(content)), len(content) - 1)
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


DAMAGE: dict[str, Callable[[bytes], bytes | None]] = {
    "deleted": lambda content: None,
    "cut in half": lambda content: content[: len(content) // 2],
    "one byte short": lambda content: content[:-1],
    "emptied": lambda content: b"",
    "one byte longer": lambda content: content + b"\0",
    "first byte flipped": lambda content: _flipped(content, 0.0),
    "middle flipped": lambda content: _flipped(content, 0.5),
    "last byte flipped": lambda content: _flipped(content, 1.0),
    "zeros": lambda content: bytes(len(content)),
}
"""Way of damage -> the content it makes of a file's, None for no file."""

Answers = list[list[tuple[str, float]]]


def bench(workdir: Workdir, settings: Settings) -> dict[str, Any]:
    """The document of ``bench damage --json``.

    Raises:
        SqidflowError: no index, or one that is damaged before anything was done to it.
    """
    version, index = choose(workdir, settings)

    def opened(folder: Path) -> SearchCore:
        return open_core(workdir, version, folder, settings, settings.search.retrieval_a, {})

    whole = opened(index)
    step = max(1, len(whole.index) // QUERIES)
    queries = [whole.index.cell("title", row) or "" for row in range(0, len(whole.index), step)][:QUERIES]
    expected = _answers(whole, queries)
    failures: list[str] = []
    rows = []
    with tempfile.TemporaryDirectory(prefix="sqidflow-bench-") as folder:
        copy = Path(shutil.copytree(index, Path(folder) / index.name))
        files = sorted(file for file in copy.rglob("*") if file.is_file())
        for way, damage in DAMAGE.items():
            outcomes: Counter[str] = Counter()
            for file in files:
                content = file.read_bytes()
                changed = damage(content) if content or way in ("deleted", "one byte longer") else content
                if changed == content:
                    continue  # an empty file has nothing to lose
                if changed is None:
                    file.unlink()
                else:
                    file.write_bytes(changed)
                outcome, what = _outcome(lambda: _answers(opened(copy), queries), file, expected)
                file.write_bytes(content)
                outcomes[outcome] += 1
                if outcome != REFUSED:
                    failures.append(f"{file.relative_to(copy)}, {way}: {outcome.replace('_', ' ')}{what}")
            counts = {key: outcomes[key] for key in (REFUSED, OTHER_ERRORS, WRONG, SAME)}
            rows.append({"damage": way, "files": outcomes.total(), **counts})
    return {
        "index": index.name,
        "rows": rows,
        "damaged": sum(row["files"] for row in rows),
        "refused": sum(row[REFUSED] for row in rows),
        "failures": failures,
    }


def _answers(core: SearchCore, queries: list[str]) -> Answers:
    answers = [core.search(Request(query, threshold=0)) for query in queries]
    return [[(hit.product_id, round(float(hit.score), 6)) for hit in answer.hits] for answer in answers]


def _outcome(search: Callable[[], Answers], file: Path, expected: Answers) -> tuple[str, str]:
    try:
        answers = search()
    except SqidflowError as error:
        named = str(file) in error.message and "\n" not in error.message
        return (REFUSED, "") if named else (OTHER_ERRORS, f": {error.message}")
    except Exception as error:  # whatever a reader of a damaged file raises is what is counted here
        return OTHER_ERRORS, f": {type(error).__name__}: {error}"
    return (SAME if answers == expected else WRONG), ""
