"""A guess at the language of a query: its script, and the small words and letters that one language has."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

UNTOLD = "latin, untold"
_SCRIPTS = {
    "HIRAGANA": "japanese", "KATAKANA": "japanese", "CJK": "chinese or japanese", "HANGUL": "korean",
    "CYRILLIC": "cyrillic", "ARABIC": "arabic", "HEBREW": "hebrew", "GREEK": "greek", "THAI": "thai",
    "DEVANAGARI": "devanagari",
}  # fmt: skip
_WORDS = {
    "english": "the and for with of without in on to from my best women men kids size large small set pack",
    "spanish": "de para con sin el la los las del una por mujer hombre niños niña negro blanco rojo azul zapatos",
    "german": "und für mit ohne der die das ein eine von zum zur damen herren kinder schwarz weiß rot grün größe",
    "french": "et pour avec sans le les des du une aux femme homme enfant noir blanc rouge bleu vert taille",
    "italian": "per con senza il lo gli di della dei una donna uomo bambino nero bianco rosso blu scarpe",
    "portuguese": "para com sem o os as do da dos das uma mulher homem criança preto branco vermelho azul sapatos",
    "dutch": "en voor met zonder de het een van dames heren kinderen zwart wit rood blauw groen maat",
}
_LETTERS = {"ñ": "spanish", "¿": "spanish", "ß": "german", "ã": "portuguese", "õ": "portuguese"}
_WORDS_OF = {
    word: [language for language, words in _WORDS.items() if word in words.split()]
    for word in {word for words in _WORDS.values() for word in words.split()}
}


def guess_language(text: str) -> str:
    """The language, a script that says little more, or ``UNTOLD``: most queries have no word that tells."""
    folded = unicodedata.normalize("NFC", text.casefold())
    scripts = {_script(letter) for letter in folded if letter.isalpha() and not letter.isascii()} - {None}
    for name in ("japanese", "korean", "chinese or japanese"):
        if name in scripts:
            return name
    if scripts:
        return sorted(str(name) for name in scripts)[0]
    votes: dict[str, float] = {}
    for word in folded.split():
        languages = _WORDS_OF.get(word, ())
        for language in languages:
            votes[language] = votes.get(language, 0.0) + 1 / len(languages)
    for letter in _LETTERS:
        if letter in folded:
            votes[_LETTERS[letter]] = votes.get(_LETTERS[letter], 0.0) + 1
    if not votes:
        return UNTOLD
    most = max(votes.values())
    best = [language for language, vote in votes.items() if vote == most]
    return best[0] if len(best) == 1 else UNTOLD


@lru_cache(maxsize=4096)
def _script(letter: str) -> str | None:
    name = unicodedata.name(letter, "")
    return next((language for script, language in _SCRIPTS.items() if name.startswith(script)), None)
