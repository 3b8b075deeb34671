"""Counts the records that each component wrote, after every run, to detect a Beam runner that loses records.

The counts come from the files, not from the components' own reports. A TFRecord is a length, a checksum of the length,
that many bytes and their checksum (TensorFlow's format), so an uncompressed file is counted by seeking from length to
length.
"""

from __future__ import annotations

import gzip
import io
import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipeline.nodes import HELD_OUT, SPLITS
from sqidflow.core.errors import DataError, PipelineError

_LENGTH = struct.Struct("<Q")
_LENGTH_CHECKSUM_BYTES = 4
_DATA_CHECKSUM_BYTES = 4

Find = Callable[[str, str], Any]
"""(node, type of artifact) -> the artifact of its newest execution, or None."""


def count_records(file: Path) -> int:
    """Number of records of a TFRecord file, gzipped if its name ends in ``.gz``.

    Raises:
        PipelineError: the file ends within a record.
    """
    if file.suffix == ".gz":
        with gzip.open(file) as stream:
            return sum(1 for _ in _lengths(stream, None, file))
    # Unbuffered: every seek would refill a buffer.
    with file.open("rb", buffering=0) as stream:
        return sum(1 for _ in _lengths(stream, file.stat().st_size, file))


def _lengths(stream: io.FileIO | gzip.GzipFile, size: int | None, file: Path) -> Iterator[int]:
    end = 0
    try:
        while head := stream.read(_LENGTH.size + _LENGTH_CHECKSUM_BYTES):
            length = _LENGTH.unpack_from(head)[0]
            end += len(head) + length + _DATA_CHECKSUM_BYTES
            if size is None:
                if len(stream.read(length + _DATA_CHECKSUM_BYTES)) < length + _DATA_CHECKSUM_BYTES:
                    raise EOFError
            elif end > size:
                raise EOFError
            else:
                stream.seek(end)
            yield length
    except (EOFError, struct.error) as error:
        raise PipelineError(
            "the file ends within a record", where=file, hint="delete its folder and run with --no-cache"
        ) from error


def count_by_split(folder: Path) -> dict[str, int]:
    """Split -> number of records in the folder of an Examples artifact."""
    return {
        split.name.removeprefix("Split-"): sum(count_records(file) for file in sorted(split.iterdir()))
        for split in sorted(folder.glob("Split-*"))
    }


class RecordCounts:
    """Compares the number of records that a component wrote with the number that it read.

    Args:
        pairs: number of prepared pairs.
        find: returns the newest artifact of a node.
    """

    def __init__(self, pairs: int, find: Find) -> None:
        self._pairs, self._find = pairs, find
        self._counts: dict[str, dict[str, int]] = {}

    def check(self, node: str) -> None:
        """Count the records that ``node`` has just written or taken from the cache.

        Raises:
            PipelineError: the number differs from the number that the node read; names both.
        """
        check = {
            "CsvExampleGen": self._example_gen,
            "FeatureJoin": self._feature_join,
            "StatisticsGen": self._statistics,
            "Transform": self._transform,
            "Evaluator": self._evaluator,
            "RankingReport": self._report,
        }.get(node)
        if check is not None:
            check()

    def _examples(self, node: str) -> dict[str, int]:
        """The counts of a node's examples, counted once per run."""
        if node not in self._counts:
            self._counts[node] = count_by_split(self._folder(node, "Examples"))
        return self._counts[node]

    def _folder(self, node: str, kind: str) -> Path:
        artifact = self._find(node, kind)
        if artifact is None:
            raise PipelineError(f"the component wrote no {kind}", where=node, hint="run with --no-cache")
        return Path(artifact.uri)

    def _example_gen(self) -> None:
        self._same("CsvExampleGen", "", sum(self._examples("CsvExampleGen").values()), self._pairs, "pairs prepared")
        for split in SPLITS:
            if not self._examples("CsvExampleGen").get(split):
                raise DataError(
                    f"no query falls into the split {split!r}",
                    file="CsvExampleGen",
                    hint=f"use more queries, or give the split a larger share, e.g. --set split.{split}=6",
                )

    def _feature_join(self) -> None:
        given, written = self._examples("CsvExampleGen"), self._examples("FeatureJoin")
        for split in given:
            self._same("FeatureJoin", split, written.get(split, 0), given[split], "records of CsvExampleGen")

    def _transform(self) -> None:
        given, written = self._examples("FeatureJoin"), self._examples("Transform")
        for split in written:
            self._same("Transform", split, written[split], given[split], "records of FeatureJoin")

    def _statistics(self) -> None:
        from tensorflow_metadata.proto.v0 import statistics_pb2

        folder = self._folder("StatisticsGen", "ExampleStatistics")
        for split, given in self._examples("FeatureJoin").items():
            statistics = statistics_pb2.DatasetFeatureStatisticsList.FromString(
                (folder / f"Split-{split}" / "FeatureStats.pb").read_bytes()
            )
            seen = int(statistics.datasets[0].num_examples) if statistics.datasets else 0
            self._same("StatisticsGen", split, seen, given, "records of FeatureJoin")

    def _evaluator(self) -> None:
        seen = evaluated_examples(self._folder("Evaluator", "ModelEvaluation"))
        self._same("Evaluator", HELD_OUT, seen, self._examples("FeatureJoin")[HELD_OUT], "records of FeatureJoin")

    def _report(self) -> None:
        report = json.loads((self._folder("RankingReport", "Metrics") / "report.json").read_text())
        given = self._examples("FeatureJoin")[report["split"]]
        self._same("RankingReport", report["split"], report["pairs"], given, "records of FeatureJoin")

    @staticmethod
    def _same(node: str, split: str, written: int, given: int, source: str) -> None:
        if written == given:
            return
        raise PipelineError(
            f"{written:,} records for {given:,} {source}: "
            f"{abs(given - written):,} {'lost' if written < given else 'too many'}",
            where=f"{node}, split {split!r}" if split else node,
            hint="run with --no-cache; if the error repeats, the Beam runner loses records: use --runner local",
        )


def evaluated_examples(folder: Path) -> int:
    """Number of examples in TFMA's overall slice of an evaluation's folder."""
    import tensorflow_model_analysis as tfma

    for slice_key, outputs in tfma.load_eval_result(str(folder)).slicing_metrics:
        if slice_key == ():
            for subkeys in outputs.values():
                for metrics in subkeys.values():
                    if "example_count" in metrics:
                        return int(metrics["example_count"]["doubleValue"])
    return 0
