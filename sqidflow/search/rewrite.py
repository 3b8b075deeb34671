"""What a query is before it is encoded: as it was, spelled by the catalogue's own words, or rewritten by Gemini."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Mapping
from typing import Any, Literal, Protocol

from sqidflow.ranking.words import words

_LOG = logging.getLogger(__name__)

Mode = Literal["none", "local", "gemini"]
_LEAST_LETTERS = 4
_FAR_LETTERS = 7
_TOKEN = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")
_VOCABULARY_WORDS = 30_000
_NEGATIONS = frozenset({"without", "no", "not", "non", "except", "minus", "never"})
# What people write about the product and not of it; also no catalogue's words, so they must not be "corrected"
# into one.
_FUNCTION_WORDS = frozenset(
    [
        "about",
        "also",
        "because",
        "buy",
        "could",
        "does",
        "find",
        "gift",
        "give",
        "hello",
        "help",
        "here",
        "into",
        "just",
        "like",
        "looking",
        "love",
        "need",
        "please",
        "present",
        "really",
        "recommend",
        "should",
        "show",
        "some",
        "something",
        "stock",
        "than",
        "thank",
        "thanks",
        "that",
        "them",
        "then",
        "there",
        "these",
        "they",
        "thing",
        "this",
        "those",
        "very",
        "want",
        "what",
        "when",
        "where",
        "which",
        "will",
        "would",
        "your",
        "yours",
        "mine",
        "ours",
        "with",
        "from",
        "have",
        "for",
        "the",
        "and",
        "any",
        "cheap",
        "best",
        "good",
        "nice",
        "great",
        "next",
        "week",
        "birthday",
        "sister",
        "brother",
        "mother",
        "father",
        "friend",
    ]
)
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


class Rewriter(Protocol):
    """Rewrites a cleaned query; never raises, never answers an empty text for one that was not."""

    name: str

    def rewrite(self, query: str) -> str: ...


class NoRewriter:
    name = "none"

    def rewrite(self, query: str) -> str:
        return query


class LocalRewriter:
    """Corrects spelling against the catalogue's vocabulary (SymSpell) and writes units one way.

    Words the catalogue has, short words, numbers, negations and function words stay as they are.
    """

    name = "local"

    def __init__(self, document_counts: Mapping[str, int]) -> None:
        """``document_counts``: word -> number of products that have it, the frequent first."""
        from symspellpy import SymSpell

        self._known = document_counts
        self._speller = SymSpell(max_dictionary_edit_distance=2, prefix_length=6)
        frequent = (item for item in document_counts.items() if len(item[0]) >= _LEAST_LETTERS and item[0].isalpha())
        for _, (word, count) in zip(range(_VOCABULARY_WORDS), frequent):
            self._speller.create_dictionary_entry(word, count)

    def rewrite(self, query: str) -> str:
        spelled = _TOKEN.sub(lambda found: self._corrected(found.group()), query)
        return units(spelled)

    def _corrected(self, token: str) -> str:
        from symspellpy import Verbosity

        folded = token.casefold()
        bare = words(token)
        if (
            len(folded) < _LEAST_LETTERS
            or folded in _NEGATIONS
            or folded in _FUNCTION_WORDS
            or any(word in self._known for word in bare)
        ):
            return token
        distance = 2 if len(folded) >= _FAR_LETTERS else 1
        found = self._speller.lookup(bare[0] if bare else folded, Verbosity.TOP, max_edit_distance=distance)
        return found[0].term if found else token


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
        if time.monotonic() < self._paused_until:
            return self._fallback.rewrite(query)
        try:
            answer = self._ask(query)
        except Exception as error:  # the SDK raises its own, httpx's and pydantic's; none may cost the search
            with self._lock:
                self._paused_until = time.monotonic() + self._pause_s
            _LOG.warning("Gemini: %s; spelling is corrected locally for %.0f s", type(error).__name__, self._pause_s)
            return self._fallback.rewrite(query)
        return answer or self._fallback.rewrite(query)

    def _ask(self, query: str) -> str:
        answer: Any = self._client.models.generate_content(model=self._model, contents=self._INSTRUCTION + query)
        text = " ".join((answer.text or "").split()).strip("\"' ")
        # A query stays a query: an essay is no rewriting.
        return text if 0 < len(text) <= max(200, 3 * len(query)) else ""
