"""TFX's Transform with uncompressed output examples."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import apache_beam as beam
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx import components
from tfx.components.transform import executor as stock
from tfx.components.transform import labels
from tfx.dsl.components.base import executor_spec


@beam.ptransform_fn
def _encode_and_write(batches: Any, schema: schema_pb2.Schema, file_format: str, output_path: str) -> beam.pvalue.PDone:
    """The stock step of this name without gzip: vectors hardly shrink, and zlib took most of the time."""
    if file_format != labels.FORMAT_TFRECORD:
        raise NotImplementedError(f"examples can only be written as {labels.FORMAT_TFRECORD}, not as {file_format}")
    return (
        batches
        | "EncodeAndSerialize" >> beam.ParDo(stock.TransformProcessor._RecordBatchToExamplesFn(schema))
        | "ExtractExamples" >> beam.Values()
        | "WriteToTFRecord" >> beam.io.WriteToTFRecord(output_path)
    )


class _UncompressedProcessor(stock.TransformProcessor):
    _EncodeAndWrite = staticmethod(_encode_and_write)


@contextmanager
def _uncompressed_output() -> Iterator[None]:
    """Let the stock executor build ``_UncompressedProcessor`` inside this context: it has no setting for the class."""
    original = stock.TransformProcessor
    stock.TransformProcessor = _UncompressedProcessor
    try:
        yield
    finally:
        stock.TransformProcessor = original


class Executor(stock.Executor):
    """The stock executor, with a processor that writes its outputs uncompressed."""

    def Do(self, input_dict: dict, output_dict: dict, exec_properties: dict) -> None:
        with _uncompressed_output():
            super().Do(input_dict, output_dict, exec_properties)


class Transform(components.Transform):
    """TFX's Transform with ``Executor``; takes the same arguments."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)
