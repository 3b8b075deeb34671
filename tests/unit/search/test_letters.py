"""How usual letters are, and words that mean nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from sqidflow.search.letters import Letters

WORDS = ["kettle", "kitchen", "blanket", "bottle", "lamp", "leather", "backpack", "water", "wool", "women", "24"]


def test_words_of_the_catalogue_are_more_usual_than_keys_hit_at_random() -> None:
    letters = Letters.of(WORDS)
    usual = [letters.usual(text) for text in ("kettle", "battle", "leather bottle", "wxqzkj", "fghjk", "9999999999")]
    assert min(usual[:3]) > max(usual[3:])
    assert letters.usual("!?") == letters.usual("") == -10


def test_kept_and_read_again(tmp_path: Path) -> None:
    letters = Letters.of([*WORDS, "чайник", "やかん"])
    letters.save(tmp_path / "letters.txt")
    again = Letters.load(tmp_path / "letters.txt")
    assert [again.usual(word) for word in WORDS] == [letters.usual(word) for word in WORDS]
    assert again.shuffled(20, 1) == letters.shuffled(20, 1)


def test_a_damaged_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("abc many")
    with pytest.raises(ValueError, match="many"):
        Letters.load(tmp_path / "letters.txt")


def test_generated_words_have_the_catalogues_letters_and_are_none_of_its_words() -> None:
    letters = Letters.of(WORDS)
    shuffled, pronounceable = letters.shuffled(50, 1), letters.pronounceable(50, 1, WORDS)
    known = set("".join(WORDS))
    assert len(shuffled) == 50 and set("".join(shuffled)) <= known | {" "}
    assert pronounceable and not set(WORDS) & {word for text in pronounceable for word in text.split()}
    assert letters.shuffled(50, 2) != shuffled == letters.shuffled(50, 1)


def test_without_words_there_is_nothing_to_generate_from() -> None:
    assert Letters.of([]).shuffled(5, 1) == Letters.of([]).pronounceable(5, 1, ()) == []
