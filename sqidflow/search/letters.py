"""How usual a text's letters are for a catalogue, and words made of the catalogue's own letters that mean nothing."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path

import numpy as np

from sqidflow.ranking.words import surfaces

_BEFORE, _AFTER = "^^", "$"
_BACKED_OFF = 5.0
"""How many trigrams the shorter context is worth where a pair of letters was seen seldom."""
_LONGEST_WORD = 40
_UNSAID = -10.0


class Letters:
    """Counts of the letter trigrams of a catalogue's distinct words, each word once."""

    def __init__(self, trigrams: Mapping[str, int]) -> None:
        # Sorted, so that what is drawn does not depend on the order of counting.
        self._trigrams = dict(sorted(trigrams.items()))
        self._pairs: Counter[str] = Counter()
        self._singles: Counter[str] = Counter()
        for trigram, count in self._trigrams.items():
            self._pairs[trigram[:2]] += count
            self._singles[trigram[2]] += count
        self._total = sum(self._singles.values())

    @classmethod
    def of(cls, words: Iterable[str]) -> Letters:
        """Of distinct words as they are written, folded."""
        trigrams: Counter[str] = Counter()
        for word in words:
            framed = f"{_BEFORE}{word[:_LONGEST_WORD]}{_AFTER}"
            trigrams.update(framed[at - 2 : at + 1] for at in range(2, len(framed)))
        return cls(trigrams)

    def save(self, file: Path) -> None:
        lines = (f"{trigram} {count}" for trigram, count in self._trigrams.items())
        file.write_text("\n".join(lines), encoding="utf-8")

    @classmethod
    def load(cls, file: Path) -> Letters:
        """Raises ValueError where a line is no trigram and a count."""
        pairs = (line.rsplit(" ", 1) for line in file.read_text(encoding="utf-8").split("\n") if line)
        return cls({trigram: int(count) for trigram, count in pairs})

    def usual(self, text: str) -> float:
        """Mean log2 likelihood of a letter of the text's words; -10 where it has none."""
        words = [word[:_LONGEST_WORD] for word in surfaces(text)]
        letters = sum(map(len, words))
        if not letters:
            return _UNSAID
        return sum(self._of_word(word) * len(word) for word in words) / letters

    def _of_word(self, word: str) -> float:
        framed = f"{_BEFORE}{word}{_AFTER}"
        chances = [self._chance(framed[at - 2 : at], framed[at]) for at in range(2, len(framed))]
        return float(np.log2(chances).mean())

    def _chance(self, before: str, letter: str) -> float:
        alone = (self._singles[letter] + 0.5) / (self._total + 50)
        return (self._trigrams.get(before + letter, 0) + _BACKED_OFF * alone) / (self._pairs[before] + _BACKED_OFF)

    @cached_property
    def _alphabet(self) -> tuple[list[str], list[int]]:
        letters = [letter for letter in self._singles if letter.isalpha()]
        return letters, [self._singles[letter] for letter in letters]

    @cached_property
    def _following(self) -> dict[str, tuple[list[str], list[int]]]:
        out: dict[str, tuple[list[str], list[int]]] = {}
        for trigram, count in self._trigrams.items():
            letters, counts = out.setdefault(trigram[:2], ([], []))
            letters.append(trigram[2])
            counts.append(count)
        return out

    def shuffled(self, count: int, seed: int) -> list[str]:
        """One to three words a text, of the catalogue's letters as often as they are in it; none without letters."""
        letters, weights = self._alphabet
        if not letters:
            return []
        rng = random.Random(seed)
        return [
            " ".join("".join(rng.choices(letters, weights, k=rng.randrange(4, 12))) for _ in range(_words(rng)))
            for _ in range(count)
        ]

    def pronounceable(self, count: int, seed: int, known: Iterable[str]) -> list[str]:
        """One to three words a text that could be the catalogue's, by its trigrams, and are none of the ``known``."""
        rng, known = random.Random(seed), set(known)
        out: list[str] = []
        for _ in range(60 * count):
            words = [self._word(rng) for _ in range(_words(rng))]
            if all(len(word) >= 4 and word not in known for word in words):
                out.append(" ".join(words))
            if len(out) == count:
                break
        return out

    def _word(self, rng: random.Random) -> str:
        before, word = _BEFORE, ""
        while len(word) < 14 and before in self._following:
            letters, counts = self._following[before]
            letter = rng.choices(letters, counts)[0]
            if letter == _AFTER:
                break
            word, before = word + letter, before[1] + letter
        return word


def _words(rng: random.Random) -> int:
    return rng.choice((1, 1, 2, 3))
