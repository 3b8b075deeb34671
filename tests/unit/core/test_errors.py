"""What a message may say of an address."""

from __future__ import annotations

import pytest

from sqidflow.core.errors import shown_url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:secret@shop:6379/0", "redis://shop:6379/0"),
        ("https://user:secret@shop/files?token=secret", "https://shop/files"),
        ("redis://:sec/ret@shop:6379/0", "SETTING"),
        ("redis://:sec#ret@shop", "SETTING"),
        ("redis://:sec?ret@shop", "SETTING"),
        ("http://[shop", "SETTING"),
        ("sqlite:////data/var/mlflow.db", "sqlite:////data/var/mlflow.db"),
    ],
)
def test_no_password_is_shown(url: str, shown: str) -> None:
    assert shown_url(url, "SETTING") == shown
