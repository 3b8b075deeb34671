"""What the words say about a query and its candidates.

Product texts are encoded once (:class:`EncodedTexts`): words become numbers, so that a list of candidates costs a few
array operations. Judged lists and retrieved lists go through the same function. NumPy only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sqidflow.ranking.exclusion import Wish, asked_attributes, denied_terms, is_opposite, read_query
from sqidflow.ranking.languages import LANGUAGES
from sqidflow.ranking.runs import taken
from sqidflow.ranking.words import DEFAULT_LANGUAGE, NUMBER, goes_with, head, measures, named_noun, qualities, words

_FUZZY_WORD_LENGTH = 4
_FUZZY_CUT_OFF = 0.75
_GROUPS = sorted({group for language in LANGUAGES.values() for group in language.audiences.values()})
_LONGEST_COUNTED = 255
_NO_WORD = -1
_PRODUCTS_AT_ONCE = 16_384

LEXICAL_NAMES = (
    "token_overlap",  # share of the query's words that the product's text has
    "title_overlap",  # the same for the title alone
    "head_overlap",  # the same for the title's head, which names the product
    "fuzzy_overlap",  # mean over the query's words of the likeness to the nearest word of the product's text
    "fuzzy_head_overlap",  # the same for the title's head
    "jaccard",  # words in both over words in either (query, title)
    "trigram_overlap",  # share of the query's character trigrams that the product's text has
    "phrase_in_title",  # share of the query's word pairs that stand in the title in that order
    "noun_in_title",  # 1 where the thing that the query names is in the title
    "head_noun_match",  # 1 where the title's head names the thing that the query names: "phone case" is no phone
    "for_match",  # share of the query's words that stand only after for, compatible, fits: what it goes with
    "idf_overlap",  # overlap with words weighted by how rare they are among the candidates
    "idf_head_overlap",  # the same for the title's head
    "first_match",  # where in the title the first of the query's words stands: 1 at its start, 0 at its end or nowhere
    "brand_in_query",  # 1 where every word of the brand is in the query
    "brand_conflict",  # 1 where the query names another candidate's brand and not this one's
    "query_has_color",  # 1 where the query names a colour
    "color_match",  # share of the query's colours that title or colour field has
    "color_field_match",  # share of the query's colours that the colour field has
    "color_conflict",  # 1 where the query names a colour, the colour field (or else the title's head) another
    "query_has_number",  # 1 where the query names a number
    "number_match",  # share of the query's numbers that the product's text has
    "measure_match",  # share of the query's measures (a number and its unit) that the title has
    "measure_conflict",  # share of the query's measures whose unit the title has with another number
    "audience_match",  # share of the groups the query is for that the title names
    "audience_conflict",  # 1 where the query is for one group, the title for others alone
    "query_has_negation",  # 1 where the query excludes something ("without", "no", ...)
    "negated_present",  # share of the words the query excludes that the product's text has, and does not exclude too
    "negated_denied",  # share of the words the query excludes that the title says it is without
    "query_length",  # log(1 + words)
    "title_length",  # log(1 + words)
)
"""The columns of ``lexical_features``, in order."""


@dataclass(frozen=True)
class Ragged:
    """Rows of different lengths: row i is ``values[offsets[i]:offsets[i + 1]]``; ``offsets`` int64 [rows + 1]."""

    values: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(
        cls, lengths: Sequence[int] | np.ndarray, values: Sequence[int] | np.ndarray, kind: type = np.int32
    ) -> Ragged:
        offsets = np.zeros(len(lengths) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        return cls(np.asarray(values, kind), offsets)

    def take(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The values of some rows, one row after the other, and the position in ``rows`` each belongs to."""
        starts = self.offsets[rows]
        lengths = self.offsets[rows + 1] - starts
        owner = np.repeat(np.arange(len(rows)), lengths)
        first = np.cumsum(lengths) - lengths
        return self.values[np.arange(len(owner)) + np.repeat(starts - first, lengths)], owner

    def rows(self, rows: np.ndarray) -> Ragged:
        """Some rows, in the order that is asked for."""
        lengths = self.offsets[rows + 1] - self.offsets[rows]
        return Ragged.of(lengths, taken(self.values, self.offsets, rows), self.values.dtype.type)

    def joined(self, other: Ragged) -> Ragged:
        """These rows, then those of another."""
        return Ragged(
            np.concatenate([self.values, other.values]),
            np.concatenate([self.offsets, self.offsets[-1] + other.offsets[1:]]),
        )


@dataclass(frozen=True)
class Vocabulary:
    """The distinct words of a catalogue, sorted by their UTF-8 bytes; a word's number is its place.

    ``letters`` uint8: all words one after the other; ``offsets`` int64 [words + 1]. Of each word: ``length`` uint8 in
    characters (at most 255), ``is_number`` and ``is_color`` bool, ``groups`` uint8, a bit for each group of people or
    animals it names, ``mask`` uint64, a bit for each character it has (by its code modulo 64).
    """

    letters: np.ndarray
    offsets: np.ndarray
    length: np.ndarray
    is_number: np.ndarray
    is_color: np.ndarray
    groups: np.ndarray
    mask: np.ndarray

    @classmethod
    def of(cls, distinct: Iterable[str], language: str) -> tuple[Vocabulary, dict[str, int]]:
        """The vocabulary, and the number of each word."""
        lists = LANGUAGES[language]
        ordered = sorted(distinct, key=str.encode)
        encoded = [word.encode() for word in ordered]
        offsets = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum([len(word) for word in encoded], out=offsets[1:])
        vocabulary = cls(
            letters=np.frombuffer(b"".join(encoded), np.uint8),
            offsets=offsets,
            length=np.array([min(len(word), _LONGEST_COUNTED) for word in ordered], np.uint8),
            is_number=np.array([bool(NUMBER.match(word)) for word in ordered], bool),
            is_color=np.array([word in lists.colors for word in ordered], bool),
            groups=np.array([_group_bits([word], language) for word in ordered], np.uint8),
            mask=np.array([_character_mask(word) for word in ordered], np.uint64),
        )
        return vocabulary, {word: number for number, word in enumerate(ordered)}

    def __len__(self) -> int:
        return len(self.length)

    def word(self, number: int) -> str:
        return self._bytes(number).decode()

    def number(self, word: str) -> int:
        """The word's number, -1 where no product has it."""
        wanted, low, high = word.encode(), 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if self._bytes(middle) < wanted:
                low = middle + 1
            else:
                high = middle
        return low if low < len(self) and self._bytes(low) == wanted else _NO_WORD

    def joined(self, other: Vocabulary, in_use: Iterable[np.ndarray]) -> tuple[Vocabulary, np.ndarray]:
        """The words of two vocabularies that are in use, as one.

        Args:
            in_use: numbers of words; those of ``other`` begin after the last of this one.

        Returns:
            The vocabulary, and int32 [words of both] the number of each word in it, -1 for one that is not in use.
        """
        used = np.zeros(len(self) + len(other), bool)
        for numbers in in_use:
            used[numbers] = True
        spelled = [*self._spelled(), *other._spelled()]
        place: dict[bytes, int] = {}
        for number in np.flatnonzero(used).tolist():
            place.setdefault(spelled[number], number)
        ordered = sorted(place)
        kept = np.array([place[word] for word in ordered], np.int64)
        number_of = {word: number for number, word in enumerate(ordered)}
        final = np.array([number_of.get(word, _NO_WORD) for word in spelled], np.int32)
        final[~used] = _NO_WORD
        offsets = np.zeros(len(ordered) + 1, np.int64)
        np.cumsum([len(word) for word in ordered], out=offsets[1:])
        columns = ("length", "is_number", "is_color", "groups", "mask")
        return Vocabulary(
            letters=np.frombuffer(b"".join(ordered), np.uint8),
            offsets=offsets,
            **{name: np.concatenate([getattr(self, name), getattr(other, name)])[kept] for name in columns},
        ), final

    def _spelled(self) -> list[bytes]:
        letters, offsets = self.letters.tobytes(), self.offsets.tolist()
        return [letters[start:end] for start, end in zip(offsets, offsets[1:])]

    def _bytes(self, number: int) -> bytes:
        return self.letters[self.offsets[number] : self.offsets[number + 1]].tobytes()


@dataclass(frozen=True)
class EncodedTexts:
    """The texts of n products as numbers of a vocabulary's words.

    ``title`` in order, with repeats; ``head``, ``brand``, ``color`` distinct words; ``companions`` distinct words that
    stand only where the title says what the product goes with, ``denied`` those that it says it is without;
    ``trigrams`` distinct places in ``trigram_codes`` (int64, sorted) of the character trigrams of title, brand and
    colour; ``title_distinct`` int32 [n]; ``head_noun`` int32 [n], the thing that the title's head names, -1 where it
    names none. ``language`` is the one they were read in.
    """

    vocabulary: Vocabulary
    title: Ragged
    head: Ragged
    brand: Ragged
    color: Ragged
    trigrams: Ragged
    companions: Ragged
    denied: Ragged
    trigram_codes: np.ndarray
    title_distinct: np.ndarray
    head_noun: np.ndarray
    language: str

    @classmethod
    def of(
        cls,
        titles: Sequence[str | None],
        brands: Sequence[str | None],
        colors: Sequence[str | None],
        language: str = DEFAULT_LANGUAGE,
    ) -> EncodedTexts:
        """Encode n products; None or an empty string where one has no such text.

        Raises:
            ValueError: the three lists differ in length.
        """
        if not len(titles) == len(brands) == len(colors):
            lengths = f"{len(titles)}, {len(brands)}, {len(colors)}"
            raise ValueError(f"titles, brands and colors must be as long as each other: {lengths}")
        parts = {name: _Column() for name in ("title", "head", "brand", "color", "companions", "denied")}
        # As they stand, with repeats: neighbours matter to the trigrams across words.
        in_order = {name: _Column() for name in ("brand", "color")}
        title_distinct, nouns = [], []
        for title, brand, color in zip(titles, brands, colors):
            title, in_brand, in_color = title or "", words(brand or "", language), words(color or "", language)
            in_title, front = words(title, language), head(title)
            in_head = in_title if front == title else words(front, language)
            parts["title"].add(in_title)
            parts["head"].add(dict.fromkeys(in_head))
            parts["brand"].add(dict.fromkeys(in_brand))
            parts["color"].add(dict.fromkeys(in_color))
            parts["companions"].add(_companions(title, in_title, language))
            parts["denied"].add(denied_terms(title, in_title, language))
            in_order["brand"].add(in_brand)
            in_order["color"].add(in_color)
            title_distinct.append(len(set(in_title)))
            nouns.append(named_noun(in_head, language, in_brand, qualities(front, language)))
        known = set().union(*(part.seen for part in parts.values()))
        vocabulary, numbers = Vocabulary.of(known, language)
        encoded = {name: part.ragged(numbers) for name, part in parts.items()}
        spelled = [encoded["title"], *(part.ragged(numbers) for part in in_order.values())]
        codes, trigrams = _trigrams_of(sorted(known, key=str.encode), spelled)
        return cls(
            vocabulary,
            **encoded,
            trigrams=trigrams,
            trigram_codes=codes,
            title_distinct=np.asarray(title_distinct, np.int32),
            head_noun=np.array([_NO_WORD if noun is None else numbers[noun] for noun in nouns], np.int32),
            language=language,
        )

    def with_rows(
        self,
        rows: np.ndarray,
        titles: Sequence[str | None],
        brands: Sequence[str | None],
        colors: Sequence[str | None],
    ) -> EncodedTexts:
        """The texts of another catalogue, equal to :meth:`of` its texts; only those that are new are read.

        Args:
            rows: int64 [n], for each product the row of this catalogue that has its three texts, -1 where none has.
            titles, brands, colors: of the m products whose row is -1, in their order.

        Raises:
            ValueError: there are not as many new texts as rows of -1.
        """
        new = np.flatnonzero(rows < 0)
        if len(titles) != len(new):
            raise ValueError(f"{len(new)} rows are new, {len(titles)} titles were given")
        fresh = type(self).of(titles, brands, colors, self.language)
        source = np.where(rows < 0, 0, rows)
        source[new] = len(self) + np.arange(len(new))
        # Numbers of fresh words begin after those of this catalogue, so do places of trigrams.
        shift, columns = len(self.vocabulary), {}
        for name in _RAGGED:
            other: Ragged = getattr(fresh, name)
            moved = other.values + np.int32(len(self.trigram_codes) if name == "trigrams" else shift)
            columns[name] = getattr(self, name).joined(Ragged(moved, other.offsets)).rows(source)

        trigrams = columns.pop("trigrams")
        both = np.concatenate([self.trigram_codes, fresh.trigram_codes])
        in_use = np.zeros(len(both), bool)
        in_use[trigrams.values] = True
        codes = _distinct(both[in_use])
        renumbered = Ragged(np.searchsorted(codes, both).astype(np.int32)[trigrams.values], trigrams.offsets)

        vocabulary, final = self.vocabulary.joined(fresh.vocabulary, [column.values for column in columns.values()])
        nouns = np.concatenate([self.head_noun, np.where(fresh.head_noun < 0, _NO_WORD, fresh.head_noun + shift)])[
            source
        ]
        return type(self)(
            vocabulary,
            **{name: Ragged(final[column.values], column.offsets) for name, column in columns.items()},
            trigrams=renumbered,
            trigram_codes=codes,
            title_distinct=np.concatenate([self.title_distinct, fresh.title_distinct])[source],
            head_noun=np.append(final, np.int32(_NO_WORD))[nouns],  # -1 is the last
            language=self.language,
        )

    def __len__(self) -> int:
        return len(self.title_distinct)

    def save(self, folder: Path) -> None:
        """Write each array as a ``.npy`` file of its own, for :meth:`load` to map."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, array in self._arrays().items():
            np.save(folder / f"{name}.npy", array, allow_pickle=False)

    @classmethod
    def load(cls, folder: Path) -> EncodedTexts:
        """Map what :meth:`save` wrote: pages are read when they are looked at, and shared by processes.

        Raises:
            FileNotFoundError: a file is missing.
        """

        def mapped(name: str) -> np.ndarray:
            # A plain array over the map: numpy's own memmap class costs time in each operation.
            return np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False))

        return cls(
            Vocabulary(**{name: mapped(f"vocabulary_{name}") for name in Vocabulary.__dataclass_fields__}),
            **{name: Ragged(mapped(f"{name}_values"), mapped(f"{name}_offsets")) for name in _RAGGED},
            trigram_codes=mapped("trigram_codes"),
            title_distinct=mapped("title_distinct"),
            head_noun=mapped("head_noun"),
            language=str(mapped("language")),
        )

    def _arrays(self) -> dict[str, np.ndarray]:
        arrays = {f"vocabulary_{name}": getattr(self.vocabulary, name) for name in Vocabulary.__dataclass_fields__}
        for name in _RAGGED:
            ragged = getattr(self, name)
            arrays |= {f"{name}_values": ragged.values, f"{name}_offsets": ragged.offsets}
        return arrays | {
            "trigram_codes": self.trigram_codes,
            "title_distinct": self.title_distinct,
            "head_noun": self.head_noun,
            "language": np.array(self.language),
        }


_RAGGED = ("title", "head", "brand", "color", "companions", "denied", "trigrams")


def _companions(title: str, in_title: Sequence[str], language: str) -> dict[str, None]:
    """The distinct words that stand only in what the title says the product goes with."""
    part = goes_with(title)
    if not part:
        return {}
    beside = words(part, language)
    left = Counter(in_title)
    left.subtract(beside)
    lists = LANGUAGES[language]
    # For whom a thing is made is not what it goes with.
    said_otherwise = (lists.stop_words, lists.audiences)
    return dict.fromkeys(word for word in beside if left[word] <= 0 and not any(word in of for of in said_otherwise))


class _Column:
    """Rows of words, gathered one after the other."""

    def __init__(self) -> None:
        self.seen: dict[str, int] = {}
        self._lengths: list[int] = []
        self._values: list[int] = []

    def add(self, row: Iterable[str]) -> None:
        before = len(self._values)
        seen = self.seen
        self._values.extend([seen.setdefault(word, len(seen)) for word in row])
        self._lengths.append(len(self._values) - before)

    def ragged(self, numbers: dict[str, int]) -> Ragged:
        """The rows with each word replaced by its number."""
        final = np.array([numbers[word] for word in self.seen], np.int32)
        return Ragged.of(self._lengths, final[self._values] if self._values else ())


def _trigrams(text: Sequence[str]) -> set[str]:
    joined = f" {' '.join(text)} "
    return {joined[i : i + 3] for i in range(len(joined) - 2)}


def _trigram_code(trigram: str) -> int:
    first, second, third = trigram[0], trigram[1], trigram[2]
    return ord(first) << 42 | ord(second) << 21 | ord(third)


def _trigrams_of(distinct: Sequence[str], texts: Sequence[Ragged]) -> tuple[np.ndarray, Ragged]:
    """The trigrams of n products, each of several texts of words (numbers into ``distinct``).

    A text's trigrams are those of its words, each between two spaces, and those across two neighbours. So each word is
    spelled once, whatever the number of texts it stands in.

    Returns:
        all codes int64, sorted; for each product the distinct places in them.
    """
    of_word = Ragged.of(
        *_lengths_and_values([sorted(map(_trigram_code, _trigrams([word]))) for word in distinct]), np.int64
    )
    first = np.array([ord(word[0]) for word in distinct], np.int64)
    last = np.array([ord(word[-1]) for word in distinct], np.int64)
    count = len(texts[0].offsets) - 1
    lengths, parts = [], []
    for start in range(0, count, _PRODUCTS_AT_ONCE):
        rows = np.arange(start, min(start + _PRODUCTS_AT_ONCE, count))
        owners, codes = [], []
        for text in texts:
            word, owner = text.take(rows)
            code, of = of_word.take(word.astype(np.int64))
            same = np.flatnonzero(owner[1:] == owner[:-1])
            owners += [owner[of], owner[same]]
            codes += [code, last[word[same]] << 42 | ord(" ") << 21 | first[word[same + 1]]]
        owner, code = np.concatenate(owners), np.concatenate(codes)
        known = _distinct(code)
        place = np.searchsorted(known, code)
        distinct_of_product = _distinct(owner * len(known) + place)
        owner, place = np.divmod(distinct_of_product, max(len(known), 1))
        lengths.append(np.bincount(owner, minlength=len(rows)))
        parts.append(known[place])
    if not parts:
        return np.zeros(0, np.int64), Ragged.of((), ())
    every = _distinct(np.concatenate([_distinct(part) for part in parts]))
    places = np.concatenate([np.searchsorted(every, part).astype(np.int32) for part in parts])
    return every, Ragged.of(np.concatenate(lengths), places)


def _distinct(values: np.ndarray) -> np.ndarray:
    """The distinct values, sorted. By sorting: NumPy's own ``unique`` hashes, which is many times slower here."""
    ordered = np.sort(values)
    return ordered[np.concatenate([[True], ordered[1:] != ordered[:-1]])] if len(ordered) else ordered


def _lengths_and_values(rows: Sequence[Sequence[int]]) -> tuple[list[int], list[int]]:
    return [len(row) for row in rows], [value for row in rows for value in row]


def _group_bits(text: Iterable[str], language: str) -> int:
    """A bit for each group that the words name, see ``sqidflow.ranking.languages``."""
    audiences, bits = LANGUAGES[language].audiences, 0
    for word in text:
        if word in audiences:
            bits |= 1 << _GROUPS.index(audiences[word])
    return bits


def _character_mask(word: str) -> int:
    mask = 0
    for character in word:
        mask |= 1 << (ord(character) & 63)
    return mask


class _Asked:
    """A query, read once: the words it asks for and excludes, and their numbers in a vocabulary."""

    def __init__(self, query: str, vocabulary: Vocabulary, language: str) -> None:
        lists = LANGUAGES[language]
        read = read_query(query, language)
        self.all_words, self.excluded = read.terms, read.excluded
        self.words = [word for word in read.asked if word not in lists.stop_words] or list(read.asked)
        # Sorted: a sum of floats must not depend on the order of a set, which differs from process to process.
        self.distinct = sorted(set(self.words))
        self.numbers = np.array([vocabulary.number(word) for word in self.distinct], np.int64)
        self._column = {word: column for column, word in enumerate(self.distinct)}
        self.repeats = np.bincount([self._column[word] for word in self.words], minlength=len(self.distinct))
        self.is_color = np.array([word in lists.colors for word in self.distinct], bool)
        self.is_number = np.array([bool(NUMBER.match(word)) for word in self.distinct], bool)
        self.pairs = set(zip(self.words, self.words[1:]))
        self.measures = measures(self.words, lists.stop_words)
        self.groups = _group_bits(self.words, language)
        self.in_order = read.asked

    def number(self, word: str) -> int:
        """Of a word that is asked for."""
        return int(self.numbers[self._column[word]])


class _Present:
    """Which of some words (numbers, -1 for one that no product has) stand in rows of a text."""

    def __init__(self, numbers: np.ndarray, vocabulary_size: int, rows: int) -> None:
        self._slots = np.full(vocabulary_size, -1, np.int16)
        known = numbers >= 0
        self._slots[numbers[known]] = np.flatnonzero(known)
        self._shape = (rows, len(numbers))

    def __call__(self, values: np.ndarray, owner: np.ndarray) -> np.ndarray:
        """bool [rows, words]."""
        slot = self._slots[values]
        hit = slot >= 0
        out = np.zeros(self._shape, bool)
        out[owner[hit], slot[hit]] = True
        return out


def _share(part: np.ndarray, whole: float | np.ndarray) -> np.ndarray:
    """part / whole, 0 where there is no whole; float64 [n]."""
    if isinstance(whole, np.ndarray):
        shares: np.ndarray = np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
        return shares
    return part / whole if whole else np.zeros(len(part))


def _nearest(
    asked: _Asked, vocabulary: Vocabulary, texts: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]
) -> list[np.ndarray]:
    """How like each asked word is to the nearest word of each text, float64 [rows, words]: 1 for the same, else
    rapidfuzz's Damerau-Levenshtein likeness where that is at least 0.75, else 0.

    Short words and numbers are like nothing but themselves, and no word is like its opposite.

    Args:
        texts: several texts of each row: bool [rows, words] which asked words it has, the numbers of its words, and
            the row that each of these belongs to. The words of the first contain those of the others.

    Returns:
        One array for each of ``texts``.
    """
    from rapidfuzz.distance import DamerauLevenshtein

    found = [present.astype(np.float64) for present, _, _ in texts]
    candidates = _distinct(texts[0][1])
    length = vocabulary.length[candidates].astype(np.int64)
    candidates = candidates[(length >= _FUZZY_WORD_LENGTH) & ~vocabulary.is_number[candidates]]
    length, mask = vocabulary.length[candidates].astype(np.int64), vocabulary.mask[candidates]
    for column, word in enumerate(asked.distinct):
        if len(word) < _FUZZY_WORD_LENGTH or asked.is_number[column]:
            continue
        # An edit changes at most two of the letters a word has: most words are ruled out before they are compared.
        edits = (np.maximum(length, len(word)) * (1 - _FUZZY_CUT_OFF)).astype(np.int64)
        differing = np.bitwise_count(mask ^ np.uint64(_character_mask(word)))
        near = (np.abs(length - len(word)) <= np.minimum(2, edits)) & (differing <= 2 * edits)
        for number in candidates[near].tolist():
            if number == asked.numbers[column]:
                continue
            other = vocabulary.word(number)
            likeness = DamerauLevenshtein.normalized_similarity(word, other, score_cutoff=_FUZZY_CUT_OFF)
            if likeness and not is_opposite(word, other):
                for out, (_, values, owner) in zip(found, texts):
                    rows = owner[values == number]
                    out[rows, column] = np.maximum(out[rows, column], likeness)
    return found


def _first_match(hit: np.ndarray, owner: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """1 where the first of a title's words is hit, falling to 0 at its end or where none is; float64 [rows]."""
    starts = np.cumsum(lengths) - lengths
    position = np.flatnonzero(hit)
    first = lengths.astype(np.float64)
    # Backwards, so that the first of a title's hits is written last.
    first[owner[position[::-1]]] = (position - starts[owner[position]])[::-1]
    return np.where(lengths > 0, 1.0 - _share(first, lengths), 0.0)


def _measures_matched(
    asked: _Asked, title: np.ndarray, owner: np.ndarray, vocabulary: Vocabulary, rows: int
) -> tuple[np.ndarray, np.ndarray]:
    """How many of the asked measures' units each title has with a number, and with an asked one; int64 [rows] each."""
    known, agreeing = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    if not asked.measures or not len(title):
        return known, agreeing
    # Neighbours in the same title, -1 where there is none.
    same = owner[1:] == owner[:-1]
    before = np.concatenate([[_NO_WORD], np.where(same, title[:-1], _NO_WORD)])
    after = np.concatenate([np.where(same, title[1:], _NO_WORD), [_NO_WORD]])
    for unit, numbers in asked.measures.items():
        at = np.flatnonzero(title == asked.number(unit))
        neighbours = np.stack([before[at], after[at]])
        is_number = (neighbours >= 0) & vocabulary.is_number[neighbours]
        wanted = np.isin(neighbours, [asked.number(number) for number in numbers]) & is_number
        known += np.bincount(owner[at[is_number.any(0)]], minlength=rows) > 0
        agreeing += np.bincount(owner[at[wanted.any(0)]], minlength=rows) > 0
    return known, agreeing


def lexical_features_of(query: str, texts: EncodedTexts, rows: np.ndarray) -> np.ndarray:
    """What the words say about one query and n candidates, judged or retrieved.

    Args:
        rows: int64 [n], the candidates' places in ``texts``.

    Returns:
        float32 [n, len(LEXICAL_NAMES)], finite, every column in 0..1 but the two lengths. A candidate's row depends
        on the other candidates only through the ``idf_`` columns, ``brand_conflict``, and the two of the noun, which
        none of their brands is.
    """
    rows = np.asarray(rows, np.int64)
    count, vocabulary = len(rows), texts.vocabulary
    asked = _Asked(query, vocabulary, texts.language)
    present = _Present(asked.numbers, len(vocabulary), count)

    title, of_title = texts.title.take(rows)
    head_words, of_head = texts.head.take(rows)
    brand, of_brand = texts.brand.take(rows)
    color, of_color = texts.color.take(rows)
    title_length = np.bincount(of_title, minlength=count)
    brand_length = np.bincount(of_brand, minlength=count)

    in_title, in_head, in_brand, in_field = (
        present(title, of_title), present(head_words, of_head), present(brand, of_brand), present(color, of_color)
    )  # fmt: skip
    in_text = in_title | in_brand | in_field
    text, of_text = np.concatenate([title, brand, color]), np.concatenate([of_title, of_brand, of_color])

    # Rarity among the candidates; +1 keeps a word that all of them have from weighing nothing.
    weights = np.log1p(count / (1 + in_text.sum(0)))
    total_weight = float(weights.sum())

    brand_named = (brand_length > 0) & (in_brand.sum(1) == brand_length)
    of_brands = {word for word, is_named in zip(asked.distinct, in_brand[brand_named].any(0)) if is_named}
    named = named_noun(asked.in_order, texts.language, of_brands, qualities(query, texts.language))
    noun = _NO_WORD if named is None else asked.number(named)

    colors_asked, numbers_asked = int(asked.is_color.sum()), int(asked.is_number.sum())
    in_color_field = in_field & asked.is_color
    field_has_color = np.bincount(of_color[vocabulary.is_color[color]], minlength=count) > 0
    head_has_color = np.bincount(of_head[vocabulary.is_color[head_words]], minlength=count) > 0
    has_color = field_has_color | head_has_color
    agrees = np.where(field_has_color, in_color_field.any(1), (in_head & asked.is_color).any(1))

    known, agreeing = _measures_matched(asked, title, of_title, vocabulary, count)

    groups = np.zeros(count, np.uint8)
    np.bitwise_or.at(groups, of_title, vocabulary.groups[title])
    groups_asked = int(asked.groups).bit_count()
    groups_shared = np.bitwise_count(groups & np.uint8(asked.groups))

    excluded = sorted({term for thing in asked.excluded for term in thing})
    excluded_present, excluded_denied = _excluded_in(excluded, texts, rows, text, of_text)
    companions, of_companion = texts.companions.take(rows)

    like_text, like_head = _nearest(asked, vocabulary, ((in_text, text, of_text), (in_head, head_words, of_head)))

    columns = {
        "token_overlap": _share(in_text.sum(1), len(asked.distinct)),
        "title_overlap": _share(in_title.sum(1), len(asked.distinct)),
        "head_overlap": _share(in_head.sum(1), len(asked.distinct)),
        "fuzzy_overlap": _share(like_text @ asked.repeats, len(asked.words)),
        "fuzzy_head_overlap": _share(like_head @ asked.repeats, len(asked.words)),
        "jaccard": _share(
            in_title.sum(1), len(asked.distinct) + texts.title_distinct[rows].astype(np.int64) - in_title.sum(1)
        ),
        "trigram_overlap": _trigram_overlap(asked, texts, rows),
        "phrase_in_title": _share(_phrases(asked, title, of_title, count), len(asked.pairs)),
        "noun_in_title": np.zeros(count) if named is None else in_title[:, asked.distinct.index(named)],
        "head_noun_match": (texts.head_noun[rows] == noun) & (noun >= 0),
        "for_match": _share(present(companions, of_companion).sum(1), len(asked.distinct)),
        "idf_overlap": _share(in_text @ weights, total_weight),
        "idf_head_overlap": _share(in_head @ weights, total_weight),
        "first_match": _first_match(np.isin(title, asked.numbers), of_title, title_length),
        "brand_in_query": brand_named,
        "brand_conflict": ~brand_named & brand_named.any(),
        "query_has_color": np.full(count, colors_asked > 0),
        "color_match": _share((in_text & asked.is_color).sum(1), colors_asked),
        "color_field_match": _share(in_color_field.sum(1), colors_asked),
        "color_conflict": has_color & ~agrees & (colors_asked > 0),
        "query_has_number": np.full(count, numbers_asked > 0),
        "number_match": _share((in_text & asked.is_number).sum(1), numbers_asked),
        "measure_match": _share(agreeing, len(asked.measures)),
        "measure_conflict": _share(known - agreeing, len(asked.measures)),
        "audience_match": _share(groups_shared, groups_asked),
        "audience_conflict": (groups > 0) & (groups_shared == 0) & (groups_asked > 0),
        "query_has_negation": np.full(count, bool(excluded)),
        "negated_present": _share(excluded_present.sum(1), len(excluded)),
        "negated_denied": _share(excluded_denied.sum(1), len(excluded)),
        "query_length": np.full(count, np.log1p(len(asked.all_words))),
        "title_length": np.log1p(title_length),
    }
    return np.stack([columns[name] for name in LEXICAL_NAMES], axis=1).astype(np.float32)


def _excluded_in(
    terms: Sequence[str], texts: EncodedTexts, rows: np.ndarray, text: np.ndarray, of_text: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which of the excluded terms each product has, and which its title says it is without; bool [rows, terms] each."""
    if not terms:
        return np.zeros((len(rows), 0), bool), np.zeros((len(rows), 0), bool)
    numbers = np.array([texts.vocabulary.number(term) for term in terms], np.int64)
    present = _Present(numbers, len(texts.vocabulary), len(rows))
    denied = present(*texts.denied.take(rows))
    return present(text, of_text) & ~denied, denied


def violates(
    query: str, texts: EncodedTexts, rows: np.ndarray, is_brand: Callable[[str], bool] = lambda term: False
) -> np.ndarray:
    """Which of n candidates have a thing that the query excludes, all words of it; bool [n].

    ``is_brand``: whether a term is a word of one of the catalogue's brands, see ``exclusion.read_query``.
    """
    rows = np.asarray(rows, np.int64)
    excluded = read_query(query, texts.language, is_brand).excluded
    out = np.zeros(len(rows), bool)
    if not excluded or not len(rows):
        return out
    terms = sorted({term for thing in excluded for term in thing})
    parts = [column.take(rows) for column in (texts.title, texts.brand, texts.color)]
    text, owner = (np.concatenate(arrays) for arrays in zip(*parts))
    present, _ = _excluded_in(terms, texts, rows, text, owner)
    for thing in excluded:
        out |= present[:, [terms.index(term) for term in thing]].all(axis=1)
    return out


def unmet_wishes(
    query: str, texts: EncodedTexts, rows: np.ndarray, is_brand: Callable[[str], bool] = lambda term: False
) -> tuple[Wish, ...]:
    """The attributes a query asks for that none of its n candidates has, among those that have the query's noun.

    Where no candidate has the noun, all are looked at. Numbers count as met only where the text has the very number.
    """
    rows = np.asarray(rows, np.int64)
    wishes = asked_attributes(query, texts.language, is_brand)
    if not wishes or not len(rows):
        return ()
    vocabulary = texts.vocabulary
    asked = read_query(query, texts.language, is_brand).asked
    brands = {term for term in asked if is_brand(term)}
    noun = named_noun(asked, texts.language, brands, qualities(query, texts.language))
    terms = [wish.term for wish in wishes] + ([noun] if noun is not None else [])
    parts = [column.take(rows) for column in (texts.title, texts.brand, texts.color)]
    values, owner = (np.concatenate(arrays) for arrays in zip(*parts))
    distinct = list(dict.fromkeys(terms))
    present = _Present(np.array([vocabulary.number(term) for term in distinct], np.int64), len(vocabulary), len(rows))(
        values, owner
    )
    looked_at = np.ones(len(rows), bool)
    if noun is not None and present[:, distinct.index(noun)].any():
        looked_at = present[:, distinct.index(noun)]
    return tuple(wish for wish in wishes if not present[looked_at, distinct.index(wish.term)].any())


def _trigram_overlap(asked: _Asked, texts: EncodedTexts, rows: np.ndarray) -> np.ndarray:
    """The share of the query's character trigrams that a product's title, brand or colour has; float64 [n]."""
    wanted = np.array(sorted(_trigram_code(trigram) for trigram in _trigrams(asked.words)), np.int64)
    values, owner = texts.trigrams.take(rows)
    if not len(values):
        return np.zeros(len(rows))
    places = np.minimum(np.searchsorted(texts.trigram_codes, wanted), len(texts.trigram_codes) - 1)
    table = np.zeros(len(texts.trigram_codes), bool)
    table[places[texts.trigram_codes[places] == wanted]] = True
    return _share(np.bincount(owner[table[values]], minlength=len(rows)), len(wanted))


def _phrases(asked: _Asked, title: np.ndarray, owner: np.ndarray, rows: int) -> np.ndarray:
    """How many of the query's word pairs stand in each title in that order; int64 [rows]."""
    found = np.zeros(rows, np.int64)
    for first, second in asked.pairs:
        numbers = asked.number(first), asked.number(second)
        if _NO_WORD not in numbers:
            at = (title[:-1] == numbers[0]) & (title[1:] == numbers[1]) & (owner[1:] == owner[:-1])
            found += np.bincount(owner[:-1][at], minlength=rows) > 0
    return found


def lexical_features(
    query: str,
    titles: Sequence[str | None],
    brands: Sequence[str | None],
    colors: Sequence[str | None],
    language: str = DEFAULT_LANGUAGE,
) -> np.ndarray:
    """:func:`lexical_features_of` for n candidates whose texts are not encoded yet.

    Args:
        titles, brands, colors: n texts each; None or an empty string where a product has none.

    Returns:
        float32 [n, len(LEXICAL_NAMES)].

    Raises:
        ValueError: the three lists differ in length.
    """
    texts = EncodedTexts.of(titles, brands, colors, language)
    return lexical_features_of(query, texts, np.arange(len(texts)))
