"""How a text is read as words."""

from __future__ import annotations

from sqidflow.ranking.words import _REMEMBERED_CHARS, _remembered, words


def test_long_texts_are_read_the_same_and_not_remembered() -> None:
    long = "Women\u2019s running shoes, " * (_REMEMBERED_CHARS // 10)
    _remembered.cache_clear()
    assert words(long)[:3] == words("women's running shoes") == ("women", "running", "shoe")
    assert words(long) == words(long) and len(words(long)) == 3 * (_REMEMBERED_CHARS // 10)
    assert _remembered.cache_info().currsize == 1
