"""The name runs are filed under: what may be compared shares it, what may not does not."""

from __future__ import annotations

from modules import features
from pipeline.local_runner import pipeline_name
from pipeline.settings import SplitSettings


def test_models_of_another_split_or_length_are_filed_apart() -> None:
    dims, split = {features.QUERY_VEC: 96}, SplitSettings()
    name = pipeline_name(dims, split)
    assert features.contract() in name
    assert pipeline_name(dims, SplitSettings()) == name
    others = [
        pipeline_name({features.QUERY_VEC: 768}, split),
        pipeline_name(dims, SplitSettings(train=split.train + 1)),
        pipeline_name(dims, SplitSettings(test=split.test + 1)),
    ]
    assert len({name, *others}) == 4
