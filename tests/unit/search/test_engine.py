"""The search core's parts that need no index."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from sqidflow.search.engine import SearchCore


class Encoder:
    """Decodes the first picture for as long as the second takes to be encoded."""

    name, dim, sees_pictures = "stand-in", 2, True

    def __init__(self, for_threads: bool) -> None:
        self.for_threads = for_threads
        self.decoding, self.another = threading.Event(), threading.Event()

    def encode_images(self, images: list[bytes]) -> np.ndarray:
        self.decoding.set()
        self.waited_for = self.another.wait(0.5)
        return np.ones((1, 2), np.float32)

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        self.another.set()
        return np.ones((1, 2), np.float32)


def passed_while_decoding(for_threads: bool) -> bool:
    core: Any = object.__new__(SearchCore)
    core.encoder, core.encoding = Encoder(for_threads), threading.Lock()
    decoding = threading.Thread(target=core.encode, args=("", b"picture"))
    decoding.start()
    core.encoder.decoding.wait()
    core.encode("words", None)
    decoding.join()
    return core.encoder.waited_for


def test_a_picture_that_is_decoded_keeps_no_words_waiting_where_the_encoder_is_for_threads() -> None:
    assert passed_while_decoding(True)


def test_any_other_encoder_is_used_by_one_thread_at_a_time() -> None:
    assert not passed_while_decoding(False)
