"""Judgements by grade: TREC qrels and the CSV of Quepid; a rule turns grades into E, S, C and I."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sqidflow.core.errors import DataError, SqidflowError
from sqidflow.data import feeds, formats
from sqidflow.data.attributes import attribute_name
from sqidflow.data.csv_files import open_text, undecodable
from sqidflow.data.import_report import ImportReport
from sqidflow.data.sources import Source, check_file, open_source

USUAL_GRADES = {0.0: "I", 1.0: "C", 2.0: "S", 3.0: "E"}
"""Of the scale 0 to 3 that TREC and Quepid use most; a grade below 0 is I as well."""
_QRELS_LINE = re.compile(r"^\s*(\S+)\s+(\S+)\s+(\S+)\s+(-?\d+)\s*$")
_QUEPID = {"query": "query", "query_text": "query", "docid": "product_id", "doc_id": "product_id", "rating": "rating"}
_WHOLE = re.compile(r"\d{1,18}")


@dataclass(frozen=True)
class Grading:
    """How grades are read; ``grades`` None is the usual rule, ``queries`` a file with the texts of the queries."""

    grades: Mapping[float, str] | None = None
    queries: Path | None = None


def parse_grades(text: str) -> dict[float, str]:
    """``0=I,1=C,2=S,3=E`` as a rule. Raises SqidflowError."""
    rule: dict[float, str] = {}
    for part in text.split(","):
        grade, _, label = (piece.strip() for piece in part.partition("="))
        try:
            value = float(grade)
        except ValueError:
            value = float("nan")
        if value != value or label.upper() not in formats.LABELS:
            raise SqidflowError(
                f"{part.strip()!r} gives no grade a label", where="--grades", hint="write --grades 0=I,1=C,2=S,3=E"
            )
        if rule.setdefault(value, label.upper()) != label.upper():
            raise SqidflowError(f"grade {grade} has two labels", where="--grades", hint="keep one of the two")
    return rule


@dataclass
class _Labels:
    """The label of each grade, and which grades were met."""

    path: Path
    rule: Mapping[float, str] | None
    met: set[float] = field(default_factory=set)

    def of(self, grade: str, row: int, column: str) -> str:
        rule = USUAL_GRADES if self.rule is None else self.rule
        try:
            value = float(grade)
        except ValueError:
            value = float("nan")
        self.met.add(value)
        label = rule.get(value, "I" if self.rule is None and value < 0 else None)
        if label is None:
            raise DataError(
                f"no label is known for the grade {grade[:40]!r}",
                file=self.path,
                row=row,
                column=column,
                hint="name the labels of all grades, such as --grades 0=I,1=C,2=S,3=S,4=E",
            )
        return label

    def check_scale(self) -> None:
        """Grades 0 and 1 alone are two things: a scale of two, or a scale of four without a good result."""
        if self.rule is None and self.met and max(self.met) <= 1:
            raise DataError(
                "has no grade above 1: on the scale 0 to 3 nothing would be exact",
                file=self.path,
                hint="say --grades 0=I,1=E for relevant or not, or --grades 0=I,1=C,2=S,3=E",
            )


def open_judgements(path: Path, scratch: Path, report: ImportReport, grading: Grading) -> Source:
    """Judgements of a file in our columns: ours in CSV, parquet or JSON lines, TREC qrels, or Quepid's CSV.

    Raises:
        DataError: a grade without a label, qrels without the texts of their queries, a line that is none of qrels.
    """
    check_file(path)
    labels = _Labels(path, grading.grades)
    target = scratch / "judgements.parquet"
    if _is_qrels(path):
        texts = _query_texts(path, grading.queries)
        feed = feeds.Feed("TREC qrels", lambda: _qrels_rows(path, texts, labels), {})
        source = feeds.stored(path, feed, target, report)
    else:
        source = feeds.open_judgements(path, scratch, report)
        names = {_QUEPID.get(attribute_name(name)) for name in source.columns}
        if "esci_label" in source.columns or not {"query", "product_id", "rating"} <= names:
            return source
        table = source
        feed = feeds.Feed("Quepid judgements", lambda: _quepid_rows(table, labels, report), {})
        source = feeds.stored(path, feed, scratch / "graded.parquet", report)
    labels.check_scale()
    rule = USUAL_GRADES if grading.grades is None else grading.grades
    report.note("grades as labels: " + ", ".join(f"{grade:g} is {label}" for grade, label in sorted(rule.items())))
    return source


def _is_qrels(path: Path) -> bool:
    with path.open("rb") as file:
        if file.read(4) == b"PAR1":
            return False
    try:
        with open_text(path) as text:
            line = next((line for line in text if line.strip()), "")
    except (OSError, EOFError):
        return False  # whoever opens it says what is wrong with it
    return _QRELS_LINE.match(line) is not None


def _qrels_rows(path: Path, texts: Mapping[str, str], labels: _Labels) -> Iterator[tuple[int, feeds.Row]]:
    number = 0
    with open_text(path) as text:
        for line in text:
            if not line.strip():
                continue
            number += 1
            if undecodable(line):
                raise DataError("is not UTF-8", file=path, row=number, hint="save it as UTF-8")
            match = _QRELS_LINE.match(line)
            if match is None:
                hint = "write query, iteration, product and grade, with blanks between them"
                raise DataError("is no line of TREC qrels", file=path, row=number, hint=hint)
            topic, _, product, grade = match.groups()
            if topic not in texts:
                raise DataError(
                    f"the file of queries has no text of query {topic}",
                    file=path,
                    row=number,
                    hint="add it to --queries",
                )
            yield (
                number,
                {
                    "query_id": topic if _WHOLE.fullmatch(topic) else None,
                    "query": texts[topic],
                    "product_id": product,
                    "esci_label": labels.of(grade, number, "4"),
                },
            )


def _query_texts(qrels: Path, queries: Path | None) -> dict[str, str]:
    if queries is None:
        raise DataError(
            "TREC qrels name queries by number alone",
            file=qrels,
            hint="give their texts: --queries FILE (id, tab, text)",
        )
    source = open_source(queries)
    texts: dict[str, str] = {}

    def add(topic: str | None, text: str | None, row: int) -> None:
        topic, text = (topic or "").strip(), (text or "").strip()
        if not topic or not text:
            raise DataError("needs an id and a text", file=queries, row=row, hint="write id, tab, text on each line")
        if texts.setdefault(topic, text) != text:
            hint = "keep one of the two"
            raise DataError(f"query {topic} has two texts", file=queries, row=row, hint=hint)

    if {"query_id", "query"} <= set(source.columns):
        row = 0
        for batch in source.batches(["query_id", "query"]):
            for topic, text in zip(batch["query_id"].to_pylist(), batch["query"].to_pylist(), strict=True):
                row += 1
                add(None if topic is None else str(topic), text, row)
        return texts
    with open_text(queries) as lines:
        for row, line in enumerate(filter(str.strip, lines), start=1):
            if undecodable(line):
                raise DataError("is not UTF-8", file=queries, row=row, hint="save it as UTF-8")
            topic, _, text = line.partition("\t")
            add(topic, text, row)
    return texts


def _quepid_rows(source: Source, labels: _Labels, report: ImportReport) -> Iterator[tuple[int, feeds.Row]]:
    """Rows with a rating; Quepid also exports unrated documents."""
    columns = {_QUEPID[attribute_name(n)]: n for n in source.columns if attribute_name(n) in _QUEPID}
    unrated = row = 0
    for batch in source.batches(list(columns.values())):
        for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            number = source.number(row)
            row += 1
            entry = {name: None if value is None else str(value) for name, value in zip(columns, values, strict=True)}
            rating = (entry.pop("rating") or "").strip()
            if not rating:
                unrated += 1
                continue
            yield number, {**entry, "esci_label": labels.of(rating, number, columns["rating"])}
    report.judgements_without_grade = unrated
