"""Texts as terms: the one place that reads what people and feeds write, for BM25, features, spelling and encoding.

``surfaces`` gives the words as they are written, folded; ``words`` the terms that are compared, in which a plural is
its singular, ``1,000`` is ``1000`` and ``24"`` is ``24 inch``. Training and search call the same functions.
"""

from __future__ import annotations

import html
import re
import threading
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache

from sqidflow.ranking.languages import LANGUAGES, UNITS, Language

NUMBER = re.compile(r"\d")
DEFAULT_LANGUAGE = "english"
# Where a title stops naming the product and begins to list what else it is for, comes in or goes with.
# A comma or dash between two digits is part of a number or a range.
_PART_END = r"[;|(\[；｜（［【、，]|(?<!\d)[,–—]|[,–—](?!\d)| - "
_HEAD_END = re.compile(rf"{_PART_END}|\bfor\b|\bwith\b|\bcompatibles?\b|\bfits\b|\bpara\b", re.IGNORECASE)
_GOES_WITH = re.compile(r"\bfor\b|\bcompatibles?\b|\bfits\b|\b(?:works|goes|used?) with\b|\bpara\b", re.IGNORECASE)
_GOES_WITH_END = re.compile(rf"{_PART_END}|[)\]）］】]")

_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,30});")
_POSSESSIVE = re.compile(r"(?<=[^\W\d_])['\u2019\u02bc]s(?![^\W_])")
_APOSTROPHE = re.compile(r"(?<=[^\W\d_])['\u2019\u02bc](?=[^\W\d_])")
_VULGAR = re.compile("[\u00bc-\u00be\u2150-\u215e\u2189]")
_FRACTION = re.compile(r"(?<![\d/.,])(?:(\d{1,4})(?:\s+|\s?-\s?|\s?&\s?))?(\d{1,2})[/\u2044](\d{1,2})(?![\d/])")
_DENOMINATORS = frozenset({2, 3, 4, 5, 6, 8, 10, 12, 16, 32, 64})
_SPACED_THOUSANDS = re.compile(r"(?<!\d)(?<!\d[.,])\d{1,3}(?:[\u00a0\u202f\u2009'\u2019]\d{3})+(?!\d)")
_FEET = re.compile(r"(?<=\d)(?:\s?\u2032(?!\u2032)|['\u2019](?=\s?\d))")
_INCHES = re.compile(
    r"(?<=\d)(?:(?P<mark>\s?(?:\"|\u201d|\u2033|''|\u2032\u2032|\u2019\u2019))|in(?![^\W_])\.?"
    r"|-in(?!\w|\s?-\s?\d)\.?|\s+in(?=\.(?:\s|$)|\s*$|\s*[,;)]|\s+x\s*\d))",
    re.IGNORECASE,
)
_ASCII_TOKEN = re.compile(r"\d+(?:[.,]\d+)*|[a-z]+|[,;:|/()\[\]]")
_BOUNDARIES = frozenset(",;:|/()[]")
_GROUPED = {
    ",": re.compile(r"(?!0)\d{1,3}(?:,\d{2,3})*,\d{3}"),
    ".": re.compile(r"(?!0)\d{1,3}(?:\.\d{3})+"),
}
_HAN = "\u2e80-\u2fdf\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_BIGRAM_SCRIPTS = _HAN + "\u3040-\u30ff\u31f0-\u31ff\u1100-\u11ff\u3130-\u318f\uac00-\ud7af"
# Thai, Lao, Myanmar and Khmer are written without spaces too.
_SYLLABLE_SCRIPTS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
_SCRIPT_RUN = re.compile(f"[{_BIGRAM_SCRIPTS}]+|[{_SYLLABLE_SCRIPTS}]+|[^{_BIGRAM_SCRIPTS}{_SYLLABLE_SCRIPTS}]+")
_IS_HAN = re.compile(f"[{_HAN}]")
_IN_BIGRAMS = re.compile(f"[{_BIGRAM_SCRIPTS}{_SYLLABLE_SCRIPTS}]")
_LETTERS_WITHOUT_DECOMPOSITION = {"ı": "i", "ø": "o", "đ": "d", "ł": "l", "æ": "ae", "œ": "oe", "ħ": "h", "ё": "е"}
_REMEMBERED_CHARS = 200
"""Longer texts are read anew each time: 20,000 of what a client may send would be some 200 MB."""
_REMEMBERED_WORDS = 200_000


class _Folding(dict[int, str | None]):
    """Character code -> what it is read as, for ``str.translate``; worked out when it is first met."""

    def __missing__(self, code: int) -> str | None:
        character = chr(code)
        value: str | None = character
        category = unicodedata.category(character)
        if character in _LETTERS_WITHOUT_DECOMPOSITION:
            value = _LETTERS_WITHOUT_DECOMPOSITION[character]
        elif category == "Cf" or character == "\u0640":
            value = None  # soft hyphen, zero-width characters, byte order mark; the Arabic stretching stroke
        elif category == "Nd":
            value = str(unicodedata.decimal(character))
        elif category == "Mn" and (
            0x300 <= code <= 0x36F or 0x591 <= code <= 0x6FF or 0xFE00 <= code <= 0xFE0F or code >= 0xE0100
        ):
            value = None  # accents that compose with nothing, Hebrew and Arabic vowel points, variation selectors
        elif category.startswith("L"):
            base = unicodedata.normalize("NFD", character)
            if len(base) > 1 and unicodedata.name(base[0], "").startswith(("LATIN", "GREEK")):
                value = base[0]
        self[code] = value
        return value


_FOLDING = _Folding()


@lru_cache(maxsize=1)
def _token_pattern() -> re.Pattern[str]:
    """Numbers, and letters with the marks that belong to them: Python's own classes leave combining marks out."""
    marks = [code for code in range(0x300, 0x1F000) if unicodedata.category(chr(code)) in ("Mn", "Mc")]
    ranges, start = [], marks[0]
    for code, following in zip(marks, [*marks[1:], -1]):
        if following != code + 1:
            ranges.append(f"{chr(start)}-{chr(code)}")
            start = following
    return re.compile(rf"\d+(?:[.,]\d+)*|(?:[^\W\d_]|[{''.join(ranges)}])+|[,;:|/()\[\]]")


def folded(text: str) -> str:
    """The text as it is compared: entities decoded, NFKC, case folded, without accents and invisible characters.

    Accents of Latin and Greek letters go (people type ``cafe``), and so do the vowel points of Arabic and Hebrew; the
    marks of other scripts are part of their words and stay. Fractions and thousands with a space become plain numbers.
    """
    if "&" in text:
        text = _without_entities(text)
    if "'" in text or not text.isascii():
        text = _SPACED_THOUSANDS.sub(lambda match: re.sub(r"\D", "", match[0]), text)
    if text.isascii():
        text = text.lower()
    else:
        text = _VULGAR.sub(lambda match: f" {unicodedata.normalize('NFKC', match[0])} ", text)
        inches = "\u2033" in text or "\u2032" in text
        if inches:
            text = _FEET.sub(" ft ", _inches(text))
        text = unicodedata.normalize("NFKC", text).casefold().translate(_FOLDING)
    if "/" in text or "\u2044" in text:
        text = _FRACTION.sub(_decimal, text)
    if '"' in text or "'" in text or "\u2019" in text or "in" in text or "\u201d" in text:
        text = _FEET.sub(" ft ", _inches(text))
    if "'" in text or "\u2019" in text or "\u02bc" in text:
        text = _APOSTROPHE.sub("", _POSSESSIVE.sub("", text))
    return text


def _without_entities(text: str) -> str:
    """HTML entities as the characters they stand for; also those that were encoded twice."""
    for _ in range(2):
        text = _ENTITY.sub(lambda match: html.unescape(match[0]), text)
    return text


def _decimal(match: re.Match[str]) -> str:
    whole, part, parts = int(match[1] or 0), int(match[2]), int(match[3])
    if parts not in _DENOMINATORS or not 0 < part < parts:
        return match[0]
    return f" {round(whole + part / parts, 4):g} "


def _inches(text: str) -> str:
    """``24"`` and ``24in`` with the unit as a word; a quotation mark that closes what one has opened is no inch."""
    inches = 0

    def one_way(match: re.Match[str]) -> str:
        nonlocal inches
        if match["mark"] and match["mark"].strip() in ('"', "\u201d"):
            opened = match.string.count('"', 0, match.start()) + match.string.count("\u201c", 0, match.start()) - inches
            if opened % 2:
                return match[0]
            inches += match["mark"].strip() == '"'
        return " inch "

    return _INCHES.sub(one_way, text)


def _numbers(token: str, decimal_comma: bool) -> tuple[str, ...]:
    """A number written one way: no thousands separator, a point for the decimals, no zeros at their end.

    ``1,2,3`` is three numbers; ``1.2.3``, a version, stays as it is.
    """
    comma, point = "," in token, "." in token
    if not comma and not point:
        return (token,)
    if comma and point:
        last = max(token.rfind(","), token.rfind("."))
        groups, separator = token[:last], "," if token[last] == "." else "."
        if (_GROUPED[separator].fullmatch(groups) or groups.isdecimal()) and token[last + 1 :].isdecimal():
            return (_plain(groups.replace(separator, "") + "." + token[last + 1 :]),)
        return tuple(number for part in token.split(",") for number in _numbers(part, False))
    separator = "," if comma else "."
    if (comma or decimal_comma) and _GROUPED[separator].fullmatch(token):
        return (token.replace(separator, ""),)
    if token.count(separator) == 1:
        return (_plain(token.replace(separator, ".")),)
    return tuple(token.split(",")) if comma else (token,)


def _plain(number: str) -> str:
    return number.rstrip("0").rstrip(".")


def _plural(word: str) -> tuple[str, ...]:
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return (word, word[:-1] + "ies")
    return (word, word + "es") if word.endswith(("s", "x", "ch", "sh")) else (word, word + "s")


class _Reader:
    """The rules of one language, and the terms of the words met so far."""

    def __init__(self, language: Language) -> None:
        self.language = language
        self._stemmer = None
        if language.stemmer:
            import Stemmer

            # No cache of its own: words are remembered here.
            self._stemmer = Stemmer.Stemmer(language.stemmer, 0)
        # A stemmer is not for several threads at a time.
        self._lock = threading.Lock()
        self._of: dict[str, tuple[str, ...]] = {}
        self._quality = re.compile(language.quality)
        self._is_quality: dict[str, bool] = {}
        self._kept = {
            **{word: word for word in language.stop_words | language.negations},
            **{word: word for word in (*language.materials, *language.ingredients, *language.audiences)},
            **language.colors,
        }
        self._of_stem: dict[str, str] = {}
        for word, term in self._kept.items():
            self._of_stem.setdefault(self._stem(word), term)
        self._synonyms: dict[str, tuple[str, ...]] = {}
        # First word -> second word -> the terms of the two.
        self.pairs: dict[str, dict[str, tuple[str, ...]]] = {}
        self._split: dict[str, tuple[str, ...]] = {}
        for compound in language.split:
            first, second = compound.split("-")
            for form in _plural(second):
                self._split[first + form] = (first, form)
        for compound in language.joined:
            first, second = compound.split("-")
            for form in _plural(second):
                self.pairs.setdefault(first, {})[form] = self._one(first + form)
        for written, read in language.synonyms.items():
            terms = tuple(term for word in read.split() for term in self._one(word))
            first, _, second = written.partition(" ")
            if second:
                for form in _plural(second):
                    self.pairs.setdefault(first, {})[form] = terms
            else:
                self._synonyms[self._one(first)[0]] = terms
        self._of.clear()
        for seconds in self.pairs.values():
            for second, terms in seconds.items():
                seconds[second] = tuple(read for term in terms for read in self._synonyms.get(term, (term,)))

    def _stem(self, word: str) -> str:
        return self._stemmer.stemWord(word) if self._stemmer else word

    def terms(self, word: str) -> tuple[str, ...]:
        """Of a folded word, which is no number."""
        known = self._of.get(word)
        if known is None:
            with self._lock:
                known = self._terms(word)
                if len(self._of) >= _REMEMBERED_WORDS:
                    self._of.clear()
                self._of[word] = known
        return known

    def is_quality(self, word: str) -> bool:
        """Whether a folded word says how a thing is; told of each word once."""
        known = self._is_quality.get(word)
        if known is None:
            if len(self._is_quality) >= _REMEMBERED_WORDS:
                self._is_quality.clear()
            known = word in self.language.qualities or self._quality.fullmatch(word) is not None
            self._is_quality[word] = known
        return known

    def _terms(self, word: str) -> tuple[str, ...]:
        if not word.isascii() and _IN_BIGRAMS.search(word):
            return tuple(term for run in _SCRIPT_RUN.findall(word) for term in self._run(run))
        return self._run(word)

    def _run(self, run: str) -> tuple[str, ...]:
        if not run.isascii() and _IN_BIGRAMS.match(run):
            return _bigrams(run)
        parts = self._split.get(run, (run,))
        return tuple(read for part in parts for term in self._one(part) for read in self._synonyms.get(term, (term,)))

    def _one(self, word: str) -> tuple[str, ...]:
        word = self.language.forms.get(word, word)
        kept = self._kept.get(word)
        if kept is not None:
            return (kept,)
        if word in self.language.unstemmed:
            return (word,)
        stem = self._stem(word) or word
        # "reds" is red; "tanning" is not tan, nor "creamed" cream.
        kept = self._of_stem.get(stem)
        if kept is not None:
            return (kept,) if word.endswith("s") else (word,)
        return (stem,)


def _bigrams(run: str) -> tuple[str, ...]:
    """Overlapping pairs of characters, and each ideograph by itself; one character with its marks counts as one."""
    clusters: list[str] = []
    for character in run:
        if clusters and unicodedata.category(character) in ("Mn", "Mc"):
            clusters[-1] += character
        else:
            clusters.append(character)
    if len(clusters) == 1:
        return (run,)
    out: list[str] = []
    for position, cluster in enumerate(clusters):
        if _IS_HAN.match(cluster):
            out.append(cluster)
        if position:
            out.append(clusters[position - 1] + cluster)
    return tuple(out)


@lru_cache(maxsize=len(LANGUAGES))
def _reader(language: str) -> _Reader:
    return _Reader(LANGUAGES[language])


def surfaces(text: str) -> list[str]:
    """The words of a text as they are written, folded; numbers among them, runs of Chinese or Thai in one piece."""
    text = folded(text)
    pattern = _ASCII_TOKEN if text.isascii() else _token_pattern()
    return [token for token in pattern.findall(text) if token not in _BOUNDARIES]


def words(text: str, language: str = DEFAULT_LANGUAGE) -> tuple[str, ...]:
    """The terms of a text in order, for one of ``languages.LANGUAGES``.

    Words are stemmed, but colours, materials, audiences, stop words and negations, which stay as they are written in
    the language's lists, in the singular. Compounds of the lists are written one way, so are numbers and units.
    Chinese, Japanese, Korean, Thai, Lao, Khmer and Burmese are cut into overlapping pairs of characters.
    """
    if len(text) <= _REMEMBERED_CHARS:
        return _remembered(text, language)
    return _read(text, language)


def _read(text: str, language: str) -> tuple[str, ...]:
    reader = _reader(language)
    text = folded(text)
    tokens = (_ASCII_TOKEN if text.isascii() else _token_pattern()).findall(text)
    out: list[str] = []
    known, pairs = reader._of, reader.pairs
    decimal_comma = reader.language.decimal_comma
    position, count = 0, len(tokens)
    while position < count:
        token = tokens[position]
        position += 1
        if token[0].isdigit():
            out += _numbers(token, decimal_comma)
            if position < count and tokens[position] in UNITS:
                out.append(UNITS[tokens[position]])
                position += 1
            continue
        seconds = pairs.get(token)
        if seconds is not None and position < count and tokens[position] in seconds:
            out += seconds[tokens[position]]
            position += 1
            continue
        terms = known.get(token)
        if terms is not None:
            out += terms
        elif token not in _BOUNDARIES:
            out += reader.terms(token)
    return tuple(out)


_remembered = lru_cache(maxsize=20_000)(_read)


def terms_of(surface: str, language: str = DEFAULT_LANGUAGE) -> tuple[str, ...]:
    """The terms of one of ``surfaces``, without what its neighbours make of it."""
    reader = _reader(language)
    return _numbers(surface, reader.language.decimal_comma) if surface[0].isdigit() else reader.terms(surface)


def head(title: str) -> str:
    """The part of a title that names the product; the whole title where the head would be empty."""
    if "&" in title:
        title = _without_entities(title)
    end = _HEAD_END.search(title)
    return title[: end.start()] if end and end.start() > 0 else title


def goes_with(title: str) -> str:
    """What a title says after for, compatible, fits or works with, each up to a comma or bracket; mostly empty."""
    if "&" in title:
        title = _without_entities(title)
    parts, position = [], 0
    while match := _GOES_WITH.search(title, position):
        end = _GOES_WITH_END.search(title, match.end())
        position = end.start() if end else len(title)
        if match.start() > 0:  # at its start it introduces the thing itself: "For iPhone: case"
            parts.append(title[match.end() : position])
    return ", ".join(parts)


def qualities(text: str, language: str = DEFAULT_LANGUAGE) -> frozenset[str]:
    """The terms of those words of a text that say how a thing is and not what it is: "vintage", "padded".

    The words are looked at as they are written: as terms, a padded mug and a mouse pad have one in common. A term that
    another of the text's words has is none of them: in "padded seat pad" a pad is the thing.
    """
    reader = _reader(language)
    text = folded(text)
    tokens = (_ASCII_TOKEN if text.isascii() else _token_pattern()).findall(text)
    said = [token for token in tokens if reader.is_quality(token)]
    if not said:
        return frozenset()
    others = (each for each in tokens if each.isalpha() and not reader.is_quality(each))  # no numbers, no commas
    things = {term for token in others for term in reader.terms(token)}
    return frozenset(term for token in said for term in reader.terms(token) if term not in things)


def named_noun(
    terms: Sequence[str],
    language: str = DEFAULT_LANGUAGE,
    not_nouns: Collection[str] = frozenset(),
    adjectives: Collection[str] = frozenset(),
) -> str | None:
    """The thing that a text names: the last word of its first part that says what it is; the first in languages whose
    adjectives follow.

    A part ends at for, with or by. No thing are numbers, what is counted by one ("12 cups"), colours, audiences,
    materials, stop words, what people say around a wish, and the terms ``not_nouns``; ``adjectives``, which are the
    text's ``qualities``, only where there is nothing else.
    """
    lists = LANGUAGES[language]
    no_thing = (lists.colors, lists.audiences, lists.materials, lists.stop_words, spoken_terms(language), not_nouns)
    spare: str | None = None
    best: str | None = None
    for position, term in enumerate(terms):
        if term in lists.after_noun and (best or spare) is not None:
            break
        if len(term) < 2 or NUMBER.match(term) or any(term in of for of in no_thing):
            continue
        before = terms[position - 1] if position else ""
        counted = bool(NUMBER.match(before)) and (position < 2 or terms[position - 2] != "of")
        if counted and term in UNIT_TERMS:
            continue
        measured = term in _BEFORE_NUMBER and position + 1 < len(terms) and NUMBER.match(terms[position + 1])
        if counted or measured or term in adjectives:
            spare = term
        else:
            best = term
            if lists.noun_first:
                break
    return best if best is not None else spare


_BEFORE_NUMBER = frozenset({"size", "number", "talla"})


@lru_cache(maxsize=len(LANGUAGES))
def spoken_terms(language: str) -> frozenset[str]:
    """What people say around a wish, as terms."""
    return frozenset(term for word in LANGUAGES[language].spoken for term in words(word, language))


@lru_cache(maxsize=len(LANGUAGES))
def _asking_terms(language: str) -> frozenset[str]:
    return frozenset(term for word in LANGUAGES[language].asking for term in words(word, language))


def spoken_around(terms: Sequence[str], language: str = DEFAULT_LANGUAGE) -> frozenset[str]:
    """The terms of a query that are said around its wish, where it is a sentence ("where can i buy ..."); else none."""
    if not terms or terms[0] not in _asking_terms(language):
        return frozenset()
    return spoken_terms(language)


UNIT_TERMS = frozenset(UNITS.values())


def measures(
    text: Sequence[str], stop_words: Iterable[str] = LANGUAGES[DEFAULT_LANGUAGE].stop_words
) -> dict[str, set[str]]:
    """Unit -> numbers: the word after a number, or before it ("16 oz", "size 9")."""
    out: dict[str, set[str]] = {}
    for position, word in enumerate(text):
        if NUMBER.match(word):
            for unit in (text[position + 1 : position + 2], text[max(position - 1, 0) : position]):
                if unit and not NUMBER.match(unit[0]) and unit[0] not in stop_words:
                    out.setdefault(unit[0], set()).add(word)
    return out
