"""The groups of features that are left out, one after the other."""

from __future__ import annotations

from modules.model import SHALLOW_NAMES, Dimensions, build_shallow
from pipeline.ablations import GROUPS
from sqidflow.ranking import features


def test_the_names_are_those_of_what_a_ranker_reads():
    assert len(SHALLOW_NAMES) == len(set(SHALLOW_NAMES)) == build_shallow(Dimensions(vector=8)).output_shape[1]


def test_groups_leave_out_what_they_say_and_every_column_is_in_one():
    assert GROUPS["all features"] == set()
    for columns in GROUPS.values():
        assert columns <= set(SHALLOW_NAMES)
    assert set().union(*GROUPS.values()) == set(SHALLOW_NAMES)
    pictures = GROUPS["without pictures"]
    assert {"cosine_image_gap", "cosine_worse", "mapped_query_image", "has_image"} <= pictures
    assert not pictures & {"cosine_text", "cosine_text_gap", *features.LEXICAL_NAMES}
    words = GROUPS["without lexical features"]
    assert "token_overlap_worse" in words and "cosine_gap" not in words
