"""What a query is before it is encoded: as it was, spelled by the catalogue's own words, or rewritten by Gemini."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from sqidflow.core.errors import SettingsError
from sqidflow.ranking.exclusion import OPPOSITES, WITHOUT, read_query
from sqidflow.ranking.languages import FUNCTION_WORDS, LANGUAGES
from sqidflow.ranking.words import DEFAULT_LANGUAGE, folded, terms_of, words

if TYPE_CHECKING:
    from sqidflow.core.settings import SearchSettings
    from sqidflow.search.index import ProductIndex

_LOG = logging.getLogger(__name__)

Mode = Literal["none", "local", "gemini"]
_LEAST_LETTERS = 5
"""Shorter words are near to too many others."""
_FAR_LETTERS = 8
_TOKEN = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")
_VOCABULARY_WORDS = 30_000
_PART_LETTERS = 3
_SHORT_PART, _SHORT_PART_PRODUCTS = 3, 10
"""A part of three letters is one where so many products have it: "hardhat" is hard hat."""
_WORD_LISTS = {"english": "frequency_dictionary_en_82_765.txt"}
"""Lists of a language's words, of those that come with symspellpy. Spelling is corrected in these languages alone."""
_UNITS = {
    "inches": "inch", "in.": "inch", "\u2033": "inch", '"': "inch", "''": "inch",
    "ounces": "oz", "ounce": "oz", "pounds": "lb", "pound": "lb", "lbs": "lb",
    "feet": "ft", "foot": "ft", "\u2032": "ft",
    "gigabytes": "gb", "gigabyte": "gb", "terabytes": "tb", "terabyte": "tb",
    "litres": "liter", "liters": "liter", "litre": "liter",
    "millimeters": "mm", "millimetres": "mm", "centimeters": "cm", "centimetres": "cm",
    "watts": "watt", "volts": "volt", "quarts": "quart", "gallons": "gallon",
}  # fmt: skip
_MEASURE = re.compile(
    r"(?<![\w.])(\d+(?:[.,]\d+)?)[ -]?("
    + "|".join(sorted((re.escape(unit) for unit in _UNITS), key=len, reverse=True))
    + r")(?!\w)",
    re.IGNORECASE,
)
_JOINED = re.compile(r"(?<![\w.])(\d+(?:[.,]\d+)?)(oz|lb|ft|gb|tb|mm|cm|inch|ml|kg|watt|volt)s?(?!\w)", re.IGNORECASE)


ChangeKind = Literal["spelling", "joined", "split", "synonym", "unit", "rewritten"]


@dataclass(frozen=True)
class Change:
    """A part of the query that was replaced."""

    original: str
    replacement: str
    kind: ChangeKind


@dataclass(frozen=True)
class Rewriting:
    """A query as it is searched, and what was changed in it.

    ``also``: terms that BM25 looks for besides those of the text: synonyms and compounds written otherwise.
    """

    original: str
    text: str
    changes: tuple[Change, ...] = ()
    also: tuple[str, ...] = ()

    @property
    def offers_original(self) -> bool:
        """Whether a word was changed, not its notation alone: who asked should be offered the query as it was."""
        return any(change.kind != "unit" for change in self.changes)


class Rewriter(Protocol):
    """Rewrites a cleaned query; never raises, never answers an empty text for one that was not."""

    name: str

    def rewriting(self, query: str) -> Rewriting: ...

    def rewrite(self, query: str) -> str: ...


class NoRewriter:
    name = "none"

    def rewriting(self, query: str) -> Rewriting:
        return Rewriting(query, query)

    def rewrite(self, query: str) -> str:
        return query


@lru_cache(maxsize=len(_WORD_LISTS))
def language_words(language: str) -> frozenset[str]:
    """The words of a language, none where there is no list of them."""
    if language not in _WORD_LISTS:
        return frozenset()
    text = (resources.files("symspellpy") / _WORD_LISTS[language]).read_text(encoding="utf-8-sig")
    return frozenset(line.split(" ", 1)[0] for line in text.splitlines())


class LocalRewriter:
    """Corrects spelling against the catalogue's vocabulary (SymSpell), joins and splits compounds as the catalogue has
    them, and writes units one way.

    A word that the catalogue or the language has is never corrected, nor is one of four letters or fewer, one that is
    not in Latin letters, a negation or a function word; and no correction adds or takes off a negative syllable.
    """

    name = "local"

    def __init__(
        self,
        document_counts: Mapping[str, int],
        language: str = DEFAULT_LANGUAGE,
        synonyms: Sequence[Sequence[str]] = (),
    ) -> None:
        """``document_counts``: word as it is written (``words.surfaces``) -> number of products that have it, the
        frequent first. ``synonyms``: groups of words and phrases, see :func:`read_synonyms`."""
        from symspellpy import SymSpell

        self._counts, self._language = document_counts, language
        self._words = language_words(language)
        self._terms = {term for word in document_counts for term in terms_of(word, language)}
        lists = LANGUAGES[language]
        self._fixed = FUNCTION_WORDS | lists.negations | lists.stop_words
        self._by_sound: dict[str, str] = {}
        self._speller = SymSpell(max_dictionary_edit_distance=2, prefix_length=6)
        if self._words:
            frequent = (item for item in document_counts.items() if len(item[0]) >= _LEAST_LETTERS - 1)
            frequent = (item for item in frequent if item[0].isalpha() and item[0].isascii())
            for _, (word, count) in zip(range(_VOCABULARY_WORDS), frequent):
                self._speller.create_dictionary_entry(word, count)
                self._by_sound.setdefault(_sound(word), word)
        self._synonyms: dict[tuple[str, ...], list[tuple[str, tuple[str, ...]]]] = {}
        self._longest = 1
        for group in synonyms:
            members = [(member, words(member, language)) for member in group]
            for member, terms in members:
                others = [other for other in members if other[1] != terms]
                self._synonyms.setdefault(terms, []).extend(others)
                self._longest = max(self._longest, len(member.split()))

    def rewrite(self, query: str) -> str:
        return self.rewriting(query).text

    def rewriting(self, query: str) -> Rewriting:
        """The query by the catalogue's words; letter case and blanks of what is not changed stay."""
        changes: list[Change] = []
        also: list[str] = []
        excluded = set(read_query(query, self._language).excluded_terms)
        text = self._with_synonyms(query, excluded, changes, also) if self._synonyms else query
        text = self._spelled(text, changes, also)
        one_way = units(text)
        if one_way != text:
            changes.append(Change(text, one_way, "unit"))
        return Rewriting(query, one_way, tuple(changes), tuple(dict.fromkeys(also)))

    def _spelled(self, query: str, changes: list[Change], also: list[str]) -> str:
        out, end, position = [], 0, 0
        tokens = list(_TOKEN.finditer(query))
        while position < len(tokens):
            token, following = tokens[position], tokens[position + 1] if position + 1 < len(tokens) else None
            position += 1
            replaced: Change | None = None
            until = token.end()
            if following is not None and query[token.end() : following.start()] in (" ", "-"):
                joined = self._joined(token.group(), following.group())
                if joined is not None and not (self._is_known(token.group()) and self._is_known(following.group())):
                    until = following.end()
                    replaced = Change(query[token.start() : until], joined, "joined")
                    position += 1
                elif joined is not None:
                    also.extend(terms_of(joined, self._language))
            if replaced is None:
                replaced = self._corrected(token.group())
            if replaced is not None:
                changes.append(replaced)
                out += [query[end : token.start()], replaced.replacement]
                end = until
        return "".join([*out, query[end:]])

    def _is_known(self, token: str) -> bool:
        return any(term in self._terms for term in words(token, self._language))

    def _joined(self, first: str, second: str) -> str | None:
        """The two as one word, where the catalogue has it so."""
        first, second = folded(first), folded(second)
        joined = first + second
        if not joined.isascii() or first in self._fixed or second in self._fixed or len(joined) < _LEAST_LETTERS:
            return None
        terms = terms_of(joined, self._language)
        has = len(terms) == 1 and terms[0] in self._terms and (len(first) > 1 or joined in self._counts)
        return joined if has else None

    def _corrected(self, token: str) -> Change | None:
        from symspellpy import Verbosity

        word = folded(token)
        if (
            len(word) < _LEAST_LETTERS
            or not (word.isascii() and word.isalpha())
            or word in self._fixed
            or word in self._words
            or not self._words
            or self._is_known(word)
        ):
            return None
        split = self._split(word)
        if split is not None:
            return Change(token, split, "split")
        distance = 2 if len(word) >= _FAR_LETTERS else 1
        near = self._speller.lookup(word, Verbosity.CLOSEST, max_edit_distance=distance)
        for suggestion in near:
            if _same_sense(word, suggestion.term):
                return Change(token, suggestion.term, "spelling")
        heard = self._by_sound.get(_sound(word))
        if heard is not None and abs(len(heard) - len(word)) <= _HEARD_LENGTHS and _same_sense(word, heard):
            return Change(token, heard, "spelling")
        return None

    def _split(self, word: str) -> str | None:
        """The word as two that the catalogue has; of several such the pair whose rarer word is most frequent."""
        best: tuple[int, str] | None = None
        for at in range(_PART_LETTERS, len(word) - _PART_LETTERS + 1):
            first, second = word[:at], word[at:]
            if first in self._fixed or second in self._fixed or first in OPPOSITES:
                continue
            rarer = min(self._products_with_part(first), self._products_with_part(second))
            if rarer and (best is None or rarer > best[0]):
                best = (rarer, f"{first} {second}")
        return best[1] if best else None

    def _products_with_part(self, part: str) -> int:
        count = self._counts.get(part, 0)
        return 0 if len(part) <= _SHORT_PART and count < _SHORT_PART_PRODUCTS else count

    def _with_synonyms(self, query: str, excluded: set[str], changes: list[Change], also: list[str]) -> str:
        """What the catalogue has not, as the synonym that it has; what it has, with its synonyms looked for too."""
        tokens = list(re.finditer(r"\S+", query))
        out, end, position = [], 0, 0
        while position < len(tokens):
            for length in range(min(self._longest, len(tokens) - position), 0, -1):
                last = tokens[position + length - 1]
                phrase = query[tokens[position].start() : last.end()]
                terms = words(phrase, self._language)
                others = self._synonyms.get(terms)
                if others is None or excluded.intersection(terms):
                    continue
                there = [(text, other) for text, other in others if all(term in self._terms for term in other)]
                if there and not all(term in self._terms for term in terms):
                    changes.append(Change(phrase, there[0][0], "synonym"))
                    out += [query[end : tokens[position].start()], there[0][0]]
                    end = last.end()
                    there = there[1:]
                also.extend(term for _, other in there for term in other)
                position += length
                break
            else:
                position += 1
        return "".join([*out, query[end:]])


def local_rewriter(index: ProductIndex, settings: SearchSettings) -> LocalRewriter:
    """The rewriter of an index, with the synonyms that the settings name.

    Raises:
        SettingsError: the file of synonyms cannot be read.
    """
    synonyms = read_synonyms(Path(settings.synonyms)) if settings.synonyms else ()
    return LocalRewriter(index.document_counts, index.words.language, synonyms)


_HEARD_LENGTHS = 2
_SOUNDS = (
    ("ph", "f"), ("ght", "t"), ("ck", "k"), ("qu", "kw"), ("x", "ks"), ("c", "k"), ("z", "s"), ("w", "v"), ("y", "i"),
    ("ee", "i"), ("ea", "i"), ("ou", "u"), ("oo", "u"),
)  # fmt: skip


def _sound(word: str) -> str:
    """A word as it is heard, roughly: what sounds alike in English is one, doubled letters are single."""
    for written, heard in _SOUNDS:
        word = word.replace(written, heard)
    return re.sub(r"(.)\1", r"\1", word).rstrip("e")


def _same_sense(word: str, suggestion: str) -> bool:
    """Whether a correction is one of spelling: it keeps the word's beginning and negative syllables."""
    from rapidfuzz.distance import OSA

    swapped = word[:2] == suggestion[1::-1]
    if word[0] != suggestion[0] and not swapped:
        return False
    # "starz" is a name made of a word; "starr" is a slip of the finger.
    if word.startswith(suggestion) and set(word[len(suggestion) :]) != {suggestion[-1]}:
        return False
    for negative in OPPOSITES:
        for one, other in ((word, suggestion), (suggestion, word)):
            if (
                one.startswith(negative)
                and not other.startswith(negative)
                and OSA.distance(one[len(negative) :], other) <= 1
            ):
                return False
    if word.endswith(WITHOUT) != suggestion.endswith(WITHOUT):
        without, other = (word, suggestion) if word.endswith(WITHOUT) else (suggestion, word)
        return OSA.distance(without[: -len(WITHOUT)], other) > 1
    return True


_MOST_GROUPS, _MOST_MEMBERS, _MOST_BYTES = 10_000, 20, 2_000_000


def read_synonyms(file: Path) -> tuple[tuple[str, ...], ...]:
    """Groups of synonyms: one a line, words or phrases separated by commas; ``#`` begins a comment.

    Raises:
        SettingsError: the file cannot be read, is too large, or a line is no group; names the file and the line.
    """
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise SettingsError(
                f"larger than {_MOST_BYTES // 1_000_000} MB", where=file, hint="keep the groups that queries need"
            )
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SettingsError(
            f"cannot be read ({error.strerror})", where=file, hint="set search.synonyms to a text file, or to null"
        ) from error
    except UnicodeDecodeError as error:
        raise SettingsError("is not UTF-8", where=file, hint="save it as UTF-8") from error
    groups = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.partition("#")[0]
        if not line.strip():
            continue
        where = f"{file}, line {number}"
        members = tuple(" ".join(member.split()) for member in line.split(","))
        if not all(members) or len(members) < 2:
            raise SettingsError(
                f"no group of synonyms: {line.strip()[:80]!r}",
                where=where,
                hint="write two or more, separated by commas",
            )
        if len(members) > _MOST_MEMBERS:
            raise SettingsError(
                f"{len(members)} synonyms in one group", where=where, hint=f"at most {_MOST_MEMBERS} a line"
            )
        groups.append(members)
        if len(groups) > _MOST_GROUPS:
            raise SettingsError("too many groups", where=where, hint=f"at most {_MOST_GROUPS:,}")
    return tuple(groups)


def units(query: str) -> str:
    """Measures with their units written one way: ``5 inches``, ``5"`` and ``5in.`` become ``5 inch``.

    A quotation mark that closes what one has opened is no inch: ``"iphone 13" case``.
    """
    inches = 0

    def one_way(found: re.Match[str]) -> str:
        nonlocal inches
        if found[2] == '"':
            if (found.string.count('"', 0, found.start(2)) - inches) % 2:
                return found[0]
            inches += 1
        return f"{found[1]} {_UNITS[found[2].lower()]}"

    query = _MEASURE.sub(one_way, query)
    return _JOINED.sub(lambda found: f"{found[1]} {found[2].lower()}", query)


class GeminiRewriter:
    """Rewrites through Google's Gemini; whatever goes wrong, and after the time limit, the fallback answers.

    After a failure the model is left alone for ``pause_s``, so that an outage does not cost every query the limit.
    """

    name = "gemini"
    _INSTRUCTION = (
        "Rewrite this product search query: correct spelling, expand slang, keep brands, numbers, sizes, colours and "
        "what is excluded. Answer with the rewritten query alone.\nQuery: "
    )

    def __init__(
        self,
        key: str,
        model: str,
        fallback: Rewriter,
        timeout_s: float,
        base_url: str | None = None,
        pause_s: float = 30.0,
    ) -> None:
        from google import genai
        from google.genai import types

        options = types.HttpOptions(
            timeout=int(timeout_s * 1000), base_url=base_url, retry_options=types.HttpRetryOptions(attempts=1)
        )
        self._client = genai.Client(api_key=key, http_options=options)
        self._model, self._fallback, self._timeout_s, self._pause_s = model, fallback, timeout_s, pause_s
        self._paused_until = 0.0
        self._lock = threading.Lock()

    def rewrite(self, query: str) -> str:
        return self.rewriting(query).text

    def rewriting(self, query: str) -> Rewriting:
        if time.monotonic() < self._paused_until:
            return self._fallback.rewriting(query)
        try:
            answer = self._ask(query)
        except Exception as error:  # the SDK raises its own, httpx's and pydantic's; none may cost the search
            with self._lock:
                self._paused_until = time.monotonic() + self._pause_s
            _LOG.warning("Gemini: %s; spelling is corrected locally for %.0f s", type(error).__name__, self._pause_s)
            return self._fallback.rewriting(query)
        if not answer:
            return self._fallback.rewriting(query)
        return Rewriting(query, answer, (Change(query, answer, "rewritten"),) if answer != query else ())

    def _ask(self, query: str) -> str:
        answer: Any = self._client.models.generate_content(model=self._model, contents=self._INSTRUCTION + query)
        text = " ".join((answer.text or "").split()).strip("\"' ")
        # A query stays a query: an essay is no rewriting.
        return text if 0 < len(text) <= max(200, 3 * len(query)) else ""
