"""A registered model of sqidflow 0.1 is refused in one line."""

from __future__ import annotations

import pytest

from sqidflow.core.errors import SqidflowError


def test_the_pickle_of_an_older_model_says_what_to_do() -> None:
    """What its ``load_context`` runs."""
    from modules.registry import IdRanker, RankerConfig

    with pytest.raises(SqidflowError, match=r"feature contract 0a1b2c3d of sqidflow 0\.1.*`sqidflow run`") as refused:
        IdRanker("model", RankerConfig(dim=768, contract="0a1b2c3d", pairs="pairs.csv"))  # type: ignore[call-arg]
    assert "\n" not in refused.value.message
