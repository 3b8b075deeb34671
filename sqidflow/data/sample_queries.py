"""How the sample's queries are typed: one kind of typing each, in the shares of ``KINDS``.

What is asked for and excluded is known apart from the text (``Wording``), so that labels follow from it: a plural, a
typing error, a price or a question changes no label.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqidflow.data.splitmix import Rng

PLAIN = "plain"
KINDS: tuple[tuple[str, int], ...] = (
    (PLAIN, 240),
    ("plural", 110),
    ("typing error", 90),
    ("word order", 60),
    ("synonym", 70),
    ("negation", 130),
    ("audience", 60),
    ("price", 50),
    ("brand misspelt", 50),
    ("joined", 50),
    ("question", 50),
    ("one word", 40),
)
"""Kind of typing, and its share of the queries in a thousandth."""
NOT = "not "
"""Begins the name of an attribute that a query excludes."""

_PLURALS = {
    "shirt": "shirts", "headphones": "headphones", "socks": "socks", "stockings": "stockings", "pants": "pants",
    "trousers": "trousers", "jeans": "jeans",
}  # fmt: skip
# What titles of the sample do not say; each is another name of the thing, or one that names its purpose too.
_OTHER_NAMES: Mapping[str, tuple[str, ...]] = {
    "phone": ("cell phone", "cellphone", "mobile phone"),
    "phone case": ("cell phone case", "mobile phone cover"),
    "charger": ("battery charger", "power supply adapter"),
    "headphones": ("earphones", "over ear headphones"),
    "shoe": ("running shoe", "pair of shoes"),
    "socks": ("sock", "pair of socks"),
    "mug": ("coffee mug", "tea cup"),
    "kettle": ("tea kettle", "water kettle"),
    "pan": ("frying pan", "cooking pan"),
    "spatula": ("kitchen spatula", "pan turner"),
    "sofa": ("loveseat sofa", "living room couch"),
    "cushion": ("throw cushion", "sofa cushion"),
    "lamp": ("table lamp", "reading lamp"),
    "backpack": ("knapsack", "school backpack"),
    "bottle": ("water bottle", "drinking bottle"),
    "camera": ("digital camera", "photo camera"),
    "tripod": ("camera tripod", "camera stand"),
    "bicycle": ("push bike", "city bike"),
    "helmet": ("bike helmet", "safety helmet"),
    "shirt": ("t-shirt", "tee shirt"),
    "pants": ("pair of trousers", "long pants"),
    "hat": ("sun hat", "fedora hat"),
    "guitar": ("acoustic guitar", "beginner guitar"),
    "amplifier": ("guitar amp", "guitar amplifier"),
}
_FOR_WHOM = {
    "men": ("mens {}", "men's {}", "{} for him", "{} for a man", "male {}"),
    "women": ("womens {}", "women's {}", "{} for her", "ladies {}", "{} for a woman"),
    "kids": ("kids {}", "childrens {}", "{} for children", "{} for a child", "{} for boys"),
}
_PRICES = (
    "cheap {}", "{} cheap", "affordable {}", "budget {}", "{} under 50 dollars", "{} under $30", "low cost {}",
    "{} less than 100 usd", "best price {}", "{} on sale", "inexpensive {}", "{} under 25",
)  # fmt: skip
_QUESTIONS = (
    "where can i buy a {}", "do you have {}", "what is a good {}", "which {} is the best", "i need a {}",
    "looking for a {}", "can you show me a {}", "what {} would you recommend",
)  # fmt: skip
_NEGATIONS = {
    "feature": ("without {}", "not {}"),
    "colour": ("not {}", "not in {}", "no {}", "except {}"),
    "material": ("not {}", "without {}", "no {}"),
    "brand": ("not {}", "except {}", "not by {}"),
    "number": ("not {}", "except {}"),
}
_SPLIT = {
    "headphones": "head phones", "headset": "head set", "smartphone": "smart phone", "backpack": "back pack",
    "rucksack": "ruck sack", "camcorder": "cam corder", "skillet": "skil let", "phone case": "phonecase",
    "phone cover": "phonecover", "power adapter": "poweradapter", "water boiler": "waterboiler",
    "throw pillow": "throwpillow", "desk light": "desklight", "hard hat": "hardhat",
}  # fmt: skip
# A sound that is written in another way, anywhere but at the start.
_MISHEARD = (("ll", "l"), ("c", "k"), ("k", "ck"), ("z", "s"), ("v", "w"), ("i", "y"), ("x", "ks"), ("o", "u"))
_KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_LONG_WORD = 5


@dataclass(frozen=True)
class Wording:
    """What a query asks for in words: ``name`` of the category and the ``noun`` that was chosen for it, attribute ->
    words for it, and the attribute and words that it excludes."""

    name: str
    noun: str
    asked: Mapping[str, str]
    excluded: tuple[str, str] | None = None


def typed(rng: Rng, kind: str, wording: Wording) -> str | None:
    """A query of a kind, in lower case; None where this wording has nothing to be typed so."""
    match kind:
        case "plural":
            return _phrase(rng, wording, plural(wording.noun))
        case "typing error":
            return _mistyped(rng, _phrase(rng, wording, wording.noun))
        case "word order":
            return _reordered(rng, wording)
        case "synonym":
            return _phrase(rng, wording, rng.choice(_OTHER_NAMES[wording.name]))
        case "negation":
            return None if wording.excluded is None else _with_negation(rng, wording)
        case "audience":
            return _for_whom(rng, wording)
        case "price":
            return rng.choice(_PRICES).format(_phrase(rng, wording, wording.noun))
        case "brand misspelt":
            return _with_brand_misspelt(rng, wording)
        case "joined":
            return _joined(rng, wording)
        case "question":
            return rng.choice(_QUESTIONS).format(_phrase(rng, wording, wording.noun))
        case "one word":
            noun = wording.noun if rng.chance(500) else plural(wording.noun)
            return noun if " " not in noun else None
        case _:
            return _phrase(rng, wording, wording.noun)


def plural(noun: str) -> str:
    """Of a noun of the sample; those that have no singular stay."""
    known = _PLURALS.get(noun)
    if known is not None:
        return known
    return f"{noun}es" if noun.endswith(("s", "x", "ch", "sh")) else f"{noun}s"


def _phrase(rng: Rng, wording: Wording, noun: str) -> str:
    """Brand, colour, material and feature in any order, the noun, then number and audience."""
    asked = wording.asked
    front = rng.some([name for name in asked if name in ("brand", "colour", "material", "feature")], 4)
    parts = [*(asked[name] for name in front), noun]
    parts += [asked["number"]] if "number" in asked else []
    parts += [f"for {asked['audience']}"] if "audience" in asked else []
    return " ".join(parts)


def _reordered(rng: Rng, wording: Wording) -> str | None:
    """The noun first or between, what is asked for around it; a number stays with its unit."""
    parts = [*wording.asked.values(), wording.noun]
    if len(parts) < 2:
        return None
    return " ".join(rng.some(parts, len(parts)))


def _with_negation(rng: Rng, wording: Wording) -> str:
    assert wording.excluded is not None
    attribute, word = wording.excluded
    denied = rng.choice(_NEGATIONS[attribute]).format(word)
    noun = wording.noun if rng.chance(700) else plural(wording.noun)
    return f"{_phrase(rng, wording, noun)} {denied}"


def _for_whom(rng: Rng, wording: Wording) -> str | None:
    audience = wording.asked.get("audience")
    if audience is None:
        return None
    rest = {name: word for name, word in wording.asked.items() if name != "audience"}
    noun = wording.noun if rng.chance(500) else plural(wording.noun)
    return rng.choice(_FOR_WHOM[audience]).format(_phrase(rng, Wording(wording.name, noun, rest), noun))


def _with_brand_misspelt(rng: Rng, wording: Wording) -> str | None:
    brand = wording.asked.get("brand")
    if brand is None:
        return None
    ways = []
    for written, heard in _MISHEARD:
        at = brand.find(written, 1)
        if at > 0:
            ways.append(brand[:at] + heard + brand[at + len(written) :])
    at = 1 + rng.below(len(brand) - 2)
    ways.append(brand[:at] + brand[at] + brand[at:])
    return _phrase(rng, Wording(wording.name, wording.noun, {**wording.asked, "brand": rng.choice(ways)}), wording.noun)


def _joined(rng: Rng, wording: Wording) -> str | None:
    """A compound in the other way, or a colour or material that is typed with the noun in one word."""
    other = _SPLIT.get(wording.noun)
    if other is not None:
        return _phrase(rng, wording, other)
    for name in ("colour", "material"):
        word = wording.asked.get(name)
        if word is not None and " " not in wording.noun:
            rest = {key: value for key, value in wording.asked.items() if key != name}
            return _phrase(rng, Wording(wording.name, wording.noun, rest), f"{word}{wording.noun}")
    return None


def _mistyped(rng: Rng, text: str) -> str | None:
    """A longer word with two letters swapped, one left out, one doubled, or the key beside it hit."""
    words = text.split(" ")
    long = [at for at, word in enumerate(words) if len(word) >= _LONG_WORD]
    if not long:
        return None
    chosen = rng.choice(long)
    words[chosen] = _slip(rng, words[chosen])
    return " ".join(words)


def _slip(rng: Rng, word: str) -> str:
    at = 1 + rng.below(len(word) - 3)
    way = rng.below(4)
    if way == 0:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if way == 1:
        return word[:at] + word[at + 1 :]
    if way == 2:
        return word[:at] + word[at] + word[at:]
    return word[:at] + _beside(rng, word[at]) + word[at + 1 :]


def _beside(rng: Rng, letter: str) -> str:
    """The key to the left or to the right of a letter; another character is doubled."""
    for row in _KEYS:
        at = row.find(letter)
        if at >= 0:
            return rng.choice(tuple(row[max(at - 1, 0) : at] + row[at + 1 : at + 2]))
    return letter + letter


def kind_for(rng: Rng, attempt: int, drawn: str) -> str:
    """The kind that was drawn; after many attempts without a new text, as of one word in a large sample, another."""
    return drawn if attempt < 60 else rng.weighted(KINDS)


def shares() -> Sequence[tuple[str, float]]:
    """Kinds with their shares of the queries, of 1."""
    total = sum(weight for _, weight in KINDS)
    return [(kind, weight / total) for kind, weight in KINDS]
