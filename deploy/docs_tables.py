"""Write the tables of the documentation that come from metrics/.

    python deploy/docs_tables.py           # rewrite them
    python deploy/docs_tables.py --check   # exit status 1 if one differs from its source

A table stands between ``<!-- table: NAME, from FILE -->`` and ``<!-- end of table -->``. A test runs the check.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "docs/*.md", "docs/*/*.md")
METHODS = {
    "random": "random order",
    "bm25": "BM25, title and brand",
    "cosine": "zero-shot cosine, both",
    "cosine_text": "zero-shot cosine, text",
    "cosine_image": "zero-shot cosine, picture",
    "fusion": "vectors and words, not trained",
    "oracle": "oracle (the sample's own relevance)",
}
_MARKED = re.compile(r"(<!-- table: (\w+), from (\S+) -->\n).*?(<!-- end of table -->)", re.DOTALL)

Source = Mapping[str, Any]


def search_table(source: Source) -> str:
    """Search in the whole catalogue, of metrics/run.json."""
    rows = [
        (METHODS.get(name, f"**{name}**"), *(f"{of[key]:.3f}" for key in ("mrr", "recall_at_10", "ndcg_at_10")))
        for name, of in source["search"].items()
    ]
    return markdown(("method", "MRR", "recall@10", "NDCG@10"), rows)


def lists_table(source: Source) -> str:
    """NDCG of the judged lists, of metrics/evaluation.json."""
    rows = [(METHODS.get(name, f"**{name}**"), f"{value:.3f}") for name, value in source["ndcg"].items()]
    return markdown(("method", f"NDCG, {source['queries']:,} held-out queries"), rows)


TABLES: Mapping[str, Callable[[Source], str]] = {"search": search_table, "lists": lists_table}


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ("---", *("---:" for _ in head[1:])), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def rendered(text: str, root: Path) -> str:
    """The text with each marked table written again from its file below ``root``.

    Raises:
        KeyError: an unknown table. OSError: its file does not exist.
    """

    def table(match: re.Match[str]) -> str:
        begin, name, file, end = match.groups()
        return begin + TABLES[name](json.loads((root / file).read_text(encoding="utf-8"))) + end

    return _MARKED.sub(table, text)


def outdated(root: Path) -> dict[Path, str]:
    """Pages whose tables differ from their sources, with the text that they should have."""
    changed = {}
    for pattern in PAGES:
        for page in sorted(root.glob(pattern)):
            text = page.read_text(encoding="utf-8")
            new = rendered(text, root)
            if new != text:
                changed[page] = new
    return changed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 if a table differs")
    arguments = parser.parse_args()
    changed = outdated(CHECKOUT)
    for page, text in changed.items():
        name = page.relative_to(CHECKOUT)
        if arguments.check:
            sys.stderr.write(f"{name}: a table differs from its source; run `python deploy/docs_tables.py`\n")
        else:
            page.write_text(text, encoding="utf-8")
            sys.stdout.write(f"{name}: written\n")
    return 1 if changed and arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())
