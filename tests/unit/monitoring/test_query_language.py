"""A guess at the language, and none where nothing tells."""

from __future__ import annotations

import pytest

from sqidflow.monitoring.query_language import UNTOLD, guess_language


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("shoes for women", "english"),
        ("zapatos rojos de mujer", "spanish"),
        ("botas para niña", "spanish"),
        ("schuhe für damen", "german"),
        ("chaussures pour femme noir", "french"),
        ("scarpe da donna", "italian"),
        ("schoenen voor heren zwart", "dutch"),
        ("赤い靴", "japanese"),
        ("红色 鞋", "chinese or japanese"),
        ("빨간 신발", "korean"),
        ("красные туфли", "cyrillic"),
        ("حذاء أحمر", "arabic"),
        ("iphone 12", UNTOLD),
        ("", UNTOLD),
        ("123 !?", UNTOLD),
    ],
)
def test_guesses(text: str, language: str) -> None:
    assert guess_language(text) == language
