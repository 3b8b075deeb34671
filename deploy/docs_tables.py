"""Write the tables and numbers of the documentation that come from metrics/.

    python deploy/docs_tables.py           # rewrite them
    python deploy/docs_tables.py --check   # exit status 1 if one differs from its source

A table stands between ``<!-- table: NAME, from FILE -->`` and ``<!-- end of table -->``; a number in a sentence between
``<!-- number: KEY.KEY FORMAT, from FILE -->`` and ``<!-- end -->``, where FORMAT is Python's, e.g. ``.1f``.
A test runs the check. `make reproduce` measures everything anew.
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
ENCODERS = {"offline": "`offline`", "sentence-transformers": "MiniLM"}
_MARKED = re.compile(r"(<!-- table: (\w+), from (\S+) -->\n).*?(<!-- end of table -->)", re.DOTALL)
_NUMBER = re.compile(r"(<!-- number: (\S+) (\S+), from (\S+) -->).*?(<!-- end -->)", re.DOTALL)

Source = Mapping[str, Any]


def search_table(source: Source) -> str:
    """Search in the whole catalogue, of metrics/run.json."""
    keys = ("mrr", "recall_at_10", "ndcg_at_10", "ndcg_at_10_judged")
    rows = [(_method(name), *(f"{of[key]:.3f}" for key in keys)) for name, of in source["search"].items()]
    return markdown(("method", "MRR", "recall@10", "NDCG@10", "NDCG@10, unjudged left out"), rows)


def lists_table(source: Source) -> str:
    """NDCG of the judged lists, of metrics/evaluation.json."""
    rows = [(_method(name), f"{value:.3f}") for name, value in source["ndcg"].items()]
    return markdown(("method", f"NDCG, {source['queries']:,} held-out queries"), rows)


def real_table(source: Source) -> str:
    """Search on excerpts of the published data, of `bench real`."""
    shown = ("BM25", "BM25, stemmed", "cosine", "fusion", "ours")
    rows = []
    for row in source["rows"]:
        by_method = {each["method"]: each for each in row["rows"]}
        cells = [
            f"{by_method[name]['mrr']['mean']:.3f} ({by_method[name]['recall_at_10']['mean']:.3f})" for name in shown
        ]
        rows.append((f"{row['encoder']}, {row['trained']}", *cells, signed(row["over_best_untrained"]["ours"])))
    head = ("vectors, trained on", "BM25", "stemmed", "cosine", "fusion", "`ladder`", "less the best untrained")
    return markdown(head, rows)


def sizes_table(source: Source) -> str:
    """What is chosen by the number of judgements, of `bench real`."""
    rows = [
        (
            f"{row['data']}, {row['encoder']}", f"{row['judgements']:,}", row["rung"], f"{row['mrr']:.3f}",
            signed(row["over_fusion"]),
        )
        for row in source["sizes"]
    ]  # fmt: skip
    return markdown(("judgements of", "number", "rung", "MRR", "less the fusion's"), rows)


def typing_table(source: Source) -> str:
    """What people get, of `bench typing`."""
    rows = [
        (
            row["measure"] + (f" ({row['target']})" if row["target"] else ""),
            f"{row['share']:.1%}",
            f"{row['queries']:,}",
        )
        for row in source["rows"]
    ]
    return markdown(("what", "share", "queries"), rows)


def cases_table(source: Source) -> str:
    """The hand-written queries, of `bench typing --cases`."""
    rows = [(row["kind"], f"{row['cases']}", f"{row['share']:.0%}", f"{row['bar']:.0%}") for row in source["rows"]]
    return markdown(("kind", "cases", "hold", "bar"), rows)


def fits_table(source: Source) -> str:
    """How often "nothing fits" is wrong, of `bench fits`."""
    shares = ("real_refused", "gibberish_answered", "off_catalogue_answered")
    rows = [
        (
            row["catalogue"],
            ENCODERS.get(row["encoder"].partition(":")[0], row["encoder"]),
            f"{row['validation']}",
            f"{row['queries']}",
            *(f"{row[key]:.1%}" for key in shares),
        )
        for row in source["rows"]
    ]
    head = (
        "catalogue", "vectors", "validation queries", "real queries", "refused", "gibberish answered",
        "off-catalogue answered",
    )  # fmt: skip
    return markdown(head, rows)


def ablations_table(source: Source) -> str:
    """Training without a group of features, of `evaluate --ablations`."""
    rows = [
        (
            row["left_out"],
            interval(row["ndcg"]) if row["ndcg"] else "",
            signed(row["difference"], 4) if row["difference"] else "",
            f"{row['classes']['macro_f1']:.3f}",
        )
        for row in source["rows"]
    ]
    return markdown(("features", "NDCG", "difference, paired by query", "macro F1"), rows)


def steps_table(source: Source) -> str:
    """Time and memory of each step that takes 0.2 s or more, of `bench run`, `pipeline` and `features`."""
    rows = [
        (
            row["step"], f"{row['seconds']:.1f}",
            f"{row['rows_per_second']:,}" if row["rows_per_second"] else "",
            f"{row['peak_rss_mb']:,}" if row["peak_rss_mb"] else "",
        )
        for row in source["rows"]
        if row["seconds"] >= 0.2
    ]  # fmt: skip
    return markdown(("step", "s", "rows/s", "peak MB"), rows)


def load_table(source: Source) -> str:
    """Latency of the service, of `bench search`."""
    rows = [
        (row["step"], f"{row['p50_ms']:.1f}", f"{row['p99_ms']:,.1f}", f"{row['answers_per_second']:,.1f}")
        for row in source["rows"]
    ]
    return markdown(("load", "p50 ms", "p99 ms", "answers/s"), rows)


def verbs_table(source: Source) -> str:
    """Time and memory of each verb, of `bench run`."""
    rows = [(f"`{row['step']}`", f"{row['seconds']:.1f}", f"{row['peak_rss_mb']:,}") for row in source["rows"]]
    return markdown(("verb", "s", "peak MB"), rows)


def switches_table(source: Source) -> str:
    """What each switch of the model did to the slowest answers, of `bench switch`."""
    keys = ("p99_before_ms", "p99_during_ms", "p99_after_ms")
    rows = [
        (row["step"], *(f"{row[key]:.1f}" for key in keys), f"{row['switched_after_s']:.2f}") for row in source["rows"]
    ]
    head = (
        "switch",
        "p99 in the 2 s before, ms",
        "in the 2 s of it",
        "in the 2 s after",
        "new version answers after, s",
    )
    return markdown(head, rows)


def change_table(source: Source) -> str:
    """A change of the catalogue beside the full path, of `bench catalogue`."""
    full, change = (
        {row["step"]: row["seconds"] for row in source["rows"] if row["path"] == path} for path in ("full", "change")
    )
    rows = [(step, f"{seconds:.1f}", _seconds(change.get(step))) for step, seconds in full.items()]
    rows.append(("all", f"{sum(full.values()):.1f}", f"{sum(change.values()):.1f}"))
    return markdown(("step", "full path, s", "the change, s"), rows)


def growth_table(source: Source) -> str:
    """Search in a catalogue that grows, of `bench catalogue`."""
    rows = [
        (
            f"{row['products']:,}", row["kind"], f"{row['nprobe'] or 'all'}", f"{row['p50_ms']:.1f}",
            f"{row['recall_at_10']:.3f}", f"{row['recall_at_100']:.3f}",
        )
        for row in source["sizes"]
    ]  # fmt: skip
    return markdown(("products", "index", "lists looked into", "p50 ms, one client", "recall@10", "recall@100"), rows)


TABLES: Mapping[str, Callable[[Source], str]] = {
    "search": search_table,
    "lists": lists_table,
    "real": real_table,
    "sizes": sizes_table,
    "typing": typing_table,
    "cases": cases_table,
    "fits": fits_table,
    "ablations": ablations_table,
    "steps": steps_table,
    "verbs": verbs_table,
    "load": load_table,
    "switches": switches_table,
    "change": change_table,
    "growth": growth_table,
}


def _method(name: str) -> str:
    return METHODS.get(name, f"**{name}**")


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def interval(of: Mapping[str, float], digits: int = 3) -> str:
    return f"{of['mean']:.{digits}f} [{of['low']:.{digits}f}, {of['high']:.{digits}f}]"


def signed(of: Mapping[str, float], digits: int = 3) -> str:
    return f"{of['mean']:+.{digits}f} [{of['low']:+.{digits}f}, {of['high']:+.{digits}f}]"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ("---", *("---:" for _ in head[1:])), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def value_of(source: Any, path: str) -> Any:
    """What stands at ``a.b.0.c`` in a JSON document."""
    for key in path.split("."):
        source = source[int(key)] if isinstance(source, list) else source[key]
    return source


def rendered(text: str, root: Path) -> str:
    """The text with each marked table and number written again from its file below ``root``.

    Raises:
        KeyError: an unknown table, or a key that the file does not have. OSError: the file does not exist.
    """

    def read(file: str) -> Any:
        return json.loads((root / file).read_text(encoding="utf-8"))

    def table(match: re.Match[str]) -> str:
        begin, name, file, end = match.groups()
        return begin + TABLES[name](read(file)) + end

    def number(match: re.Match[str]) -> str:
        begin, path, form, file, end = match.groups()
        return begin + format(value_of(read(file), path), form) + end

    return _NUMBER.sub(number, _MARKED.sub(table, text))


def outdated(root: Path) -> dict[Path, str]:
    """Pages whose tables or numbers differ from their sources, with the text that they should have."""
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
