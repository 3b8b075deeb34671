"""How a text is read as terms: scripts, invisible characters, numbers, units, plurals, compounds, languages."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqidflow.core.settings import Language as SettingsLanguage
from sqidflow.ranking.languages import LANGUAGES, language_of
from sqidflow.ranking.words import folded, goes_with, head, named_noun, qualities, surfaces, words

PLURALS = [
    "shoe/shoes", "kettle/kettles", "hat/hats", "knife/knives", "woman/women", "man/men", "child/children",
    "dress/dresses", "box/boxes", "battery/batteries", "watch/watches", "brush/brushes", "glass/glasses",
    "bus/buses", "lens/lenses", "lamp/lamps", "sofa/sofas", "phone/phones", "case/cases", "scarf/scarves",
    "shelf/shelves", "toy/toys", "potato/potatoes", "photo/photos", "piano/pianos", "radio/radios", "mouse/mice",
    "foot/feet", "couch/couches", "bench/benches", "tie/ties", "cookie/cookies", "hoodie/hoodies", "glove/gloves",
    "sleeve/sleeves", "horse/horses", "purse/purses", "vase/vases", "house/houses", "hose/hoses", "axe/axes",
    "bra/bras", "necklace/necklaces", "baby/babies", "valve/valves", "olive/olives", "stove/stoves",
    "mattress/mattresses", "compass/compasses", "fish/fishes", "bike/bikes", "canvas/canvases", "iris/irises",
    "quiz/quizzes", "cactus/cacti", "leaf/leaves", "wolf/wolves", "headphone/headphones", "backpack/backpacks",
    "raincoat/raincoats", "lady/ladies", "kid/kids", "puppy/puppies", "tooth/teeth", "orange/oranges",
    "peach/peaches", "tv/tvs", "leash/leashes", "wrench/wrenches", "harness/harnesses", "daisy/daisies",
]  # fmt: skip


@pytest.mark.parametrize("pair", PLURALS)
def test_a_plural_is_its_singular(pair: str) -> None:
    singular, plural = pair.split("/")
    assert words(singular) == words(plural) != ()
    assert words(f"red {singular}") == words(f"Red {plural.upper()}")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("shoe", "show"), ("lens", "lent"), ("bus", "bush"), ("case", "cast"), ("organic", "organ"), ("tan", "tanning"),
        ("silicone", "silver"), ("glass", "glasse x"), ("news", "new"), ("wireless", "wire"), ("scented", "unscented"),
        ("woman", "man"), ("female", "male"), ("universal", "university"), ("general", "generation"),
    ],
)  # fmt: skip
def test_words_of_another_meaning_stay_apart(one: str, other: str) -> None:
    assert words(one) != words(other)


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("हिन्दी किताब", ("हिन्दी", "किताब")),  # Devanagari: vowel signs and the virama belong to their words
        ("தமிழ் புத்தகம்", ("தமிழ்", "புத்தகம்")),  # Tamil
        ("বাংলা বই", ("বাংলা", "বই")),  # Bengali
        ("قَلَم", ("قلم",)),  # vocalised Arabic is as people type it
        ("سـاعة يد", ("ساعة", "يد")),  # the stretching stroke
        ("שָׁעוֹן", ("שעון",)),  # pointed Hebrew
        ("می\u200cخواهم", ("میخواهم",)),  # Persian with a zero-width non-joiner
        ("SİYAH DERİ CÜZDAN", ("siyah", "deri", "cuzdan")),  # Turkish
        ("ΡΟΛΌΙ ρολοι", ("ρολοι", "ρολοι")),  # Greek, with and without its accent
        ("Чёрный чайник", ("черный", "чайник")),  # Cyrillic: й is a letter of its own
        ("自転車", ("自", "転", "自転", "車", "転車")),  # ideographs and their pairs
        ("ワイヤレス", ("ワイ", "イヤ", "ヤレ", "レス")),  # kana in pairs
        ("ﾜｲﾔ", ("ワイ", "イヤ")),  # of half width
        ("무선이어폰", ("무선", "선이", "이어", "어폰")),  # Hangul in pairs
        ("เสื้อ", ("เสื้", "สื้อ")),  # Thai: a character with its marks counts as one
        ("靴", ("靴",)),
        ("cafe\u0301", ("cafe",)),
        ("STRASSE straße", ("strass", "strass")),
        ("ＦＵＬＬ　ｗｉｄｔｈ ﬁt", ("full", "width", "fit")),
        ("smørrebrød", ("smorrebrod",)),
        ("snake_case", ("snake", "case")),
        ("❤\ufe0f mug", ("mug",)),
        ("", ()),
        ("?! --", ()),
    ],
)
def test_scripts(text: str, terms: tuple[str, ...]) -> None:
    assert words(text, "none" if not text.isascii() and "STR" not in text else "english") == terms


@pytest.mark.parametrize(
    ("query", "title"),
    [
        ("腕時計", "男性用腕時計 黒"), ("自転車", "折りたたみ自転車 赤"), ("車", "自転車"),
        ("무선 이어폰", "무선이어폰"),
        ("เสื้อยืด", "เสื้อยืดสีแดง"), ("手机", "华为手机壳"),
    ],
)  # fmt: skip
def test_words_are_found_in_scripts_without_spaces(query: str, title: str) -> None:
    assert set(words(query, "none")) <= set(words(title, "none"))


@pytest.mark.parametrize("invisible", ["\u00ad", "\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\u061c", "\u034f"])
@pytest.mark.parametrize("language", ["english", "none"])
def test_invisible_characters_cut_no_word(invisible: str, language: str) -> None:
    assert words(f"Wind{invisible}breaker {invisible}jacket", language) == words("windbreaker jacket", language)


@pytest.mark.parametrize("text", ["Crème brûlée", "Ángel niño", "ガラス", "한국어", "ΰ", "Ḗ"])
def test_composed_and_decomposed_are_one(text: str) -> None:
    assert words(unicodedata.normalize("NFC", text)) == words(unicodedata.normalize("NFD", text))


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("1,000 piece", ("1000", "piece")),
        ("10000mah", ("10000", "mah")),
        ("10,000 mAh", ("10000", "mah")),
        ("1,234,567", ("1234567",)),
        ("1,00,000", ("100000",)),  # as in India
        ("1\u00a0000 g", ("1000", "gram")),
        ("10'000", ("10000",)),
        ("1,299.50", ("1299.5",)),
        ("1.299,50", ("1299.5",)),
        ("1,5 Liter", ("1.5", "liter")),
        ("1.50 l", ("1.5", "liter")),
        ("USB 3.0", ("usb", "3")),
        ("0,125", ("0.125",)),
        ("sizes 7,8,9", ("size", "7", "8", "9")),
        ("version 1.2.3", ("version", "1.2.3")),
        ("½ cup", ("0.5", "cup")),
        ("1½ cup", ("1.5", "cup")),
        ("1/2 cup", ("0.5", "cup")),
        ("1-1/2 cup", ("1.5", "cup")),
        ("1 1/2 cup", ("1.5", "cup")),
        ("24/7 and 1/2/3", ("24", "7", "and", "1", "2", "3")),
        ("007", ("007",)),
        ("١٠٠", ("100",)),
    ],
)
def test_a_number_is_written_one_way(text: str, terms: tuple[str, ...]) -> None:
    assert words(text) == terms


@pytest.mark.parametrize(
    ("ways", "terms"),
    [
        (['24"', "24 inch", "24in", "24-inch", "24 inches", "24″", "24''"], ("24", "inch")),
        (["24 in.", "24”", "24in.", "24-in"], ("24", "inch")),
        (["6 ft", "6ft", "6 feet", "6-foot", "6′"], ("6", "ft")),
        (["2 l", "2l", "2 liter", "2 litres", "2 Liters"], ("2", "liter")),
        (["5 kg", "5kg", "5 kilograms", "5kgs"], ("5", "kg")),
        (["6 pack", "6pk", "6-pack"], ("6", "pack")),
    ],
)  # fmt: skip
def test_a_unit_is_written_one_way(ways: list[str], terms: tuple[str, ...]) -> None:
    assert {words(way) for way in ways} == {terms}


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ('frame 5" x 7"', ("frame", "5", "inch", "x", "7", "inch")),
        ('"iphone 13" case', ("iphon", "13", "case")),  # a quotation mark that closes
        ("2-in-1 and 3 in 1", ("2", "in", "1", "and", "3", "in", "1")),
        ("5'10\"", ("5", "ft", "10", "inch")),
        ("6 in black", ("6", "in", "black")),
    ],
)
def test_what_looks_like_a_unit(text: str, terms: tuple[str, ...]) -> None:
    assert words(text) == terms


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Men&#39;s Rain Poncho &amp; Hood", "men's rain poncho & hood"),
        ("caf&eacute;", "café"),
        ("A &amp;amp; B", "A & B"),
        ("women’s", "womens"),
        ("Levi's jeans", "levis jeans"),
        ("l’oreal", "loreal"),
        ("head phones", "headphones"),
        ("Head-Phone", "headphones"),
        ("t-shirt", "tshirt"),
        ("T shirts", "tshirt"),
        ("non stick pan", "Nonstick Pan"),
        ("wi-fi", "WiFi"),
        ("rain coat", "raincoats"),
        ("grey colour", "gray color"),
        ("couch", "sofas"),
        ("television", "tv"),
        ("cell phone", "mobile phones"),
        ("cellphones", "cell-phone"),
    ],
)
def test_two_ways_to_write_one_thing(one: str, other: str) -> None:
    assert words(one) == words(other)


def test_entities_without_a_semicolon_are_text() -> None:
    assert words("black&notebook R&D") == ("black", "notebook", "r", "d")


def test_words_apart_by_a_comma_are_no_compound() -> None:
    assert words("head, phone") == ("head", "phone")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("zapatos rojos", "zapato rojo"), ("lápices", "lapiz"), ("luces", "luz"), ("sábanas", "sabana"),
        ("camión", "camiones"), ("niñas", "nina"), ("blanca", "blanco"), ("1.000 ml", "1000 ml"), ("mujeres", "mujer"),
        ("relojes", "reloj"),
    ],
)  # fmt: skip
def test_spanish(one: str, other: str) -> None:
    assert words(one, "spanish") == words(other, "spanish")


def test_without_a_language_nothing_is_stemmed() -> None:
    assert words("Running shoes", "none") == ("running", "shoes")
    assert words("laufende Schuhe", "german") == words("laufend Schuh", "german")


def test_the_language_follows_the_locale_unless_it_is_set() -> None:
    assert [language_of(None, locale) for locale in ("us", "es", "jp", None)] == [
        "english", "spanish", "none", "english",
    ]  # fmt: skip
    assert language_of("german", "us") == "german"


def test_settings_name_the_languages_there_are() -> None:
    assert set(get_args(SettingsLanguage)) == set(LANGUAGES)


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_every_language_reads_its_own_lists_as_they_stand(language: str) -> None:
    lists = LANGUAGES[language]
    for word in (*lists.stop_words, *lists.negations, *lists.audiences, *lists.materials, *lists.ingredients):
        assert words(word, language)[-1:] == (word,), word
    for word, term in lists.colors.items():
        assert words(word, language) == (term,)


def test_surfaces_are_what_is_written() -> None:
    assert surfaces("Women’s Running-Shoes, 1,000 g") == ["women", "running", "shoes", "1,000", "g"]


@pytest.mark.parametrize(
    ("title", "front", "beside"),
    [
        ("Phone case for iPhone 13, with strap", "Phone case ", " iPhone 13"),
        ("Cable compatible with Acme, fits Bolt", "Cable ", " with Acme,  Bolt"),
        ("For iPhone: case", "For iPhone: case", ""),
        ("Kettle with lid", "Kettle ", ""),  # what it comes with is not what it goes with
        ("Lamp", "Lamp", ""),
        ("Men&#39;s Poncho &amp; Hood", "Men's Poncho & Hood", ""),  # the semicolon of an entity ends nothing
        ("Puzzle 1,000 Piece, wood", "Puzzle 1,000 Piece", ""),  # nor does a comma within a number
        ("Ages 3–5 puzzle – wood", "Ages 3–5 puzzle ", ""),
        ("腕時計、男性用（黒）", "腕時計", ""),
    ],
)
def test_the_head_of_a_title_and_what_it_goes_with(title: str, front: str, beside: str) -> None:
    assert (head(title), goes_with(title)) == (front, beside)


@pytest.mark.parametrize(
    ("text", "noun"),
    [
        ("red phone case black", "case"),
        ("kettle 2 l", "kettl"),
        ("shoes women", "shoe"),
        ("12", None),
        ("", None),
        ("women", None),
        ("case for a phone", "case"),
        ("for kids a red bicycle", "bike"),
        ("mug with lid", "mug"),
        ("shoe size 8", "shoe"),
        ("kettle 10 cups", "kettl"),
        ("set of 4 mugs", "mug"),
        ("4 mugs", "mug"),
        ("lamp foldable", "lamp"),
        ("foldable", "foldabl"),
        ("phone 64 gb vintage", "phone"),
        ("mug 12 oz padded", "mug"),
        ("knee pad", "pad"),  # the same term as padded, and a thing
        ("padded seat pad", "pad"),
        ("beaded curtain beads", "bead"),
        ("corner sofabed", "sofab"),
        ("folding sunbed", "sunb"),
        ("pearl couscous", "couscous"),
        ("wooden toy locomotive", "locomot"),
        ("lab crucible", "crucibl"),
        ("cushion 10 inch reflective", "cushion"),
        ("stand adjustable", "stand"),
        ("led strip lights battery operated", "batteri"),
        ("bed", "bed"),
        ("hard drive", "drive"),
        ("spinning wheel speed", "speed"),
        ("turntable", "turntabl"),
        ("scrubbed", "scrub"),
        ("6 pairs of stockings", "stocking"),
        ("kitchen table", "tabl"),  # ends like an adjective and is a thing
        ("mug for my mother", "mug"),
    ],
)
def test_the_noun_that_a_text_names(text: str, noun: str | None) -> None:
    assert named_noun(words(text), adjectives=qualities(text)) == noun


def test_a_brand_is_no_noun_where_it_is_known() -> None:
    brand = words("acme")
    assert named_noun(words("kettle acme")) == brand[0]
    assert named_noun(words("kettle acme"), not_nouns=set(brand)) == "kettl"


def test_the_noun_of_a_spanish_text() -> None:
    terms = words("zapatos de cuero para mujer", "spanish")
    assert named_noun(terms, "spanish") == words("zapato", "spanish")[0]


@pytest.mark.parametrize(
    ("text", "thing"),
    [
        ("cafetera eléctrica portátil roja", "cafetera"),
        ("una cafetera eléctrica", "cafetera"),
        ("quiero zapatos", "zapatos"),
        ("busco una camiseta barata", "camiseta"),
        ("Gran sartén antiadherente", "sartén"),
        ("Nuevo reloj hombre", "reloj"),
        ("Mini ventilador portátil", "ventilador"),
    ],
)
def test_in_spanish_the_thing_stands_before_how_it_is(text: str, thing: str) -> None:
    terms = words(text, "spanish")
    assert named_noun(terms, "spanish", adjectives=qualities(text, "spanish")) == words(thing, "spanish")[0]


@pytest.mark.parametrize(
    ("text", "language", "thing"),
    [("une lampe", "french", "lampe"), ("una borsa", "italian", "borsa"), ("uma mesa", "portuguese", "mesa")],
)
def test_where_articles_are_not_known_the_thing_is_the_last_word(text: str, language: str, thing: str) -> None:
    assert named_noun(words(text, language), language) == words(thing, language)[0]


def test_long_texts_are_read_as_short_ones_are() -> None:
    long = "Women\u2019s running shoes, " * 500
    assert words(long) == words("women's running shoes") * 500


@pytest.fixture
def texts() -> Iterator[list[str]]:
    yield [f"Word{number} running shoes {number}ml größe{number}" for number in range(300)]


def test_many_threads_read_as_one_does(texts: list[str]) -> None:
    with ThreadPoolExecutor(8) as threads:
        read = list(threads.map(lambda text: words(text + " "), texts))
    assert read == [words(text) for text in texts]


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=40), st.sampled_from(sorted(LANGUAGES)))
def test_any_text_can_be_read(text: str, language: str) -> None:
    terms = words(text, language)
    assert all(terms) and all(term == "".join(term.split()) for term in terms)
    assert words(folded(text), language) == words(folded(folded(text)), language)
