"""Records are counted from the files, and a difference is said with both numbers."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.record_counts import RecordCounts, count_records
from sqidflow.core.errors import DataError, PipelineError


def _write(file: Path, count: int) -> None:
    import tensorflow as tf

    file.parent.mkdir(parents=True, exist_ok=True)
    options = tf.io.TFRecordOptions("GZIP" if file.suffix == ".gz" else "")
    with tf.io.TFRecordWriter(str(file), options) as writer:
        for number in range(count):
            writer.write(b"x" * (number % 70))


@pytest.mark.parametrize("name", ["data_tfrecord-00000-of-00001", "data_tfrecord-00000-of-00001.gz"])
@pytest.mark.parametrize("count", [0, 1, 300])
def test_counts_what_tensorflow_wrote(tmp_path: Path, name: str, count: int) -> None:
    _write(tmp_path / name, count)
    assert count_records(tmp_path / name) == count


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_a_cut_file_is_named(tmp_path: Path, cut: int) -> None:
    plain, zipped = tmp_path / "data", tmp_path / "data.gz"
    _write(plain, 40)
    zipped.write_bytes(gzip.compress(plain.read_bytes()[:-cut]))
    plain.write_bytes(plain.read_bytes()[:-cut])
    for file in (plain, zipped):
        with pytest.raises(PipelineError, match=f"{file}: the file ends within a record; .*--no-cache"):
            count_records(file)


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    for split, count in {"train": 60, "eval": 20, "test": 25}.items():
        for node in ("CsvExampleGen", "FeatureJoin", "Transform"):
            if node != "Transform" or split != "test":
                _write(tmp_path / node / "Examples" / f"Split-{split}" / "data_tfrecord-00000-of-00001", count)
        _statistics(tmp_path, split, count)
    report = tmp_path / "RankingReport" / "Metrics" / "report.json"
    report.parent.mkdir(parents=True)
    report.write_text(json.dumps({"split": "test", "pairs": 25}))
    return tmp_path


def _statistics(root: Path, split: str, count: int) -> None:
    from tensorflow_metadata.proto.v0 import statistics_pb2

    file = root / "StatisticsGen" / "ExampleStatistics" / f"Split-{split}" / "FeatureStats.pb"
    file.parent.mkdir(parents=True, exist_ok=True)
    statistics = statistics_pb2.DatasetFeatureStatisticsList(
        datasets=[statistics_pb2.DatasetFeatureStatistics(num_examples=count)]
    )
    file.write_bytes(statistics.SerializeToString())


CHECKED = ("CsvExampleGen", "FeatureJoin", "StatisticsGen", "Transform", "RankingReport")


def _counts(root: Path, pairs: int = 105) -> RecordCounts:
    return RecordCounts(pairs, lambda node, kind: SimpleNamespace(uri=str(root / node / kind)))


def test_as_many_everywhere_is_no_word(artifacts: Path) -> None:
    counts = _counts(artifacts)
    for node in (*CHECKED, "Pusher"):
        counts.check(node)


def _lose(root: Path, node: str) -> None:
    if node == "StatisticsGen":
        _statistics(root, "eval", 19)
    elif node == "RankingReport":
        (root / node / "Metrics" / "report.json").write_text(json.dumps({"split": "test", "pairs": 24}))
    else:
        [file] = (root / node / "Examples" / "Split-eval").iterdir()
        _write(file, 19)


@pytest.mark.parametrize(
    ("node", "words"),
    [
        ("CsvExampleGen", "CsvExampleGen: 104 records for 105 pairs prepared: 1 lost"),
        ("FeatureJoin", "FeatureJoin, split 'eval': 19 records for 20 records of CsvExampleGen: 1 lost"),
        ("StatisticsGen", "StatisticsGen, split 'eval': 19 records for 20 records of FeatureJoin"),
        ("Transform", "Transform, split 'eval': 19 records for 20 records of FeatureJoin"),
        ("RankingReport", "RankingReport, split 'test': 24 records for 25 records of FeatureJoin"),
    ],
)
def test_a_lost_record_is_noticed_after_each_component(artifacts: Path, node: str, words: str) -> None:
    _lose(artifacts, node)
    counts = _counts(artifacts)
    for before in CHECKED[: CHECKED.index(node)]:
        counts.check(before)
    with pytest.raises(PipelineError) as raised:
        counts.check(node)
    assert raised.value.message.startswith(words)


def test_a_split_without_a_query_is_said_before_anything_fails_on_it(artifacts: Path) -> None:
    [file] = (artifacts / "CsvExampleGen" / "Examples" / "Split-eval").iterdir()
    file.unlink()
    with pytest.raises(DataError, match="no query falls into the split 'eval'; .*split.eval"):
        _counts(artifacts, pairs=85).check("CsvExampleGen")


def test_records_that_nobody_gave_are_noticed_too(artifacts: Path) -> None:
    with pytest.raises(PipelineError, match="105 records for 100 pairs prepared: 5 too many"):
        _counts(artifacts, pairs=100).check("CsvExampleGen")
