"""What the words of a language mean to a shop: colours, materials, audiences, negations, and forms that are one word.

Everything is written as people type it; ``sqidflow.ranking.words`` turns it into the terms that texts are made of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

_IN_EVERY_LANGUAGE = {"赤": "赤", "青": "青", "黒": "黒", "白": "白", "緑": "緑", "黄": "黄", "紫": "紫"}
_AUDIENCES_IN_EVERY_LANGUAGE = {"男": "men", "女": "women", "子供": "kids", "犬": "pets", "猫": "pets"}


@dataclass(frozen=True)
class Language:
    """The lists of one language. Words that are in none of them are stemmed by Snowball's algorithm ``stemmer``.

    ``colors``: word -> the one word for it. ``forms``: a form that stemming misses -> the word. ``synonyms``: word or
    two words -> the words that stand for them. ``joined``: compounds written apart or together, read as one word.
    ``after_noun``: what follows these words is not the thing itself. ``spoken``: what people say around a wish, and
    ``asking`` what such a sentence begins with. ``split``: compounds read as two words. ``decimal_comma``: whether
    ``1.000`` is a thousand. ``unstemmed``: words that their stem would make another thing, as a
    bearing a bear. ``qualities``: words that say how a thing is and not what it is, beside those that the
    expression ``quality`` finds by their ending. ``noun_first``: whether what a thing is stands before how it is.
    """

    stemmer: str | None = None
    stop_words: frozenset[str] = frozenset()
    negations: frozenset[str] = frozenset()
    names_with_negation: Mapping[str, frozenset[str]] = field(default_factory=dict)
    joins: frozenset[str] = frozenset()
    after_noun: frozenset[str] = frozenset()
    spoken: frozenset[str] = frozenset()
    asking: frozenset[str] = frozenset()
    colors: Mapping[str, str] = field(default_factory=lambda: dict(_IN_EVERY_LANGUAGE))
    materials: frozenset[str] = frozenset()
    ingredients: frozenset[str] = frozenset()
    audiences: Mapping[str, str] = field(default_factory=lambda: dict(_AUDIENCES_IN_EVERY_LANGUAGE))
    forms: Mapping[str, str] = field(default_factory=dict)
    synonyms: Mapping[str, str] = field(default_factory=dict)
    joined: tuple[str, ...] = ()
    split: tuple[str, ...] = ()
    decimal_comma: bool = False
    unstemmed: frozenset[str] = frozenset()
    qualities: frozenset[str] = frozenset()
    quality: str = "(?!)"
    noun_first: bool = False


def _listed(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _pairs(text: str) -> dict[str, str]:
    return dict(pair.split("=") for pair in text.split())


FUNCTION_WORDS = frozenset(
    _listed(
        "about affordable also and any anybody anyone asap aunt available bargain bargains because beginner "
        "beginners but best birthday boyfriend brother bucks budget buy cheap clearance corrected cost costs could "
        "dad daddy daughter deal deals discount discounted discounts does dollar dollars eur euro euros everyone "
        "expensive father find for friend from gbp get gift girlfriend give gonna good got gotta grandfather "
        "grandma grandmother grandpa great have hello help here hey hi husband inexpensive into just like lol "
        "looking love lowest many maybe mine mom mother much mum mummy need next nice offer offers ok okay ours "
        "perhaps please present price priced prices pricey really recommend sale sell sells should show sister "
        "some somebody something son stock suggest than thank thanks that the them then there these they thing "
        "this those uncle usd very wanna want week what when where which wife will with would your yours"
    )
)
"""What people write about a product and not of it. Also no catalogue's words, so they are not corrected into one."""
QUESTION_WORDS = frozenset(
    _listed("how what who whom whose when where why which is are does do did can could should will would was were")
)
ASKING = (QUESTION_WORDS - {"will"}) | frozenset(
    _listed(
        "i im looking need want searching show find please pls hello hi hey got any get give gimme recommend suggest"
    )
)
"""A query that begins with one of these is a sentence around a wish."""
PRONOUNS = frozenset(_listed("i im you am my me we us it be pls plz thx gimme a an the"))

_ENGLISH = Language(
    stemmer="english",
    stop_words=frozenset(_listed("a an and by for from in of on or the to with")),
    negations=frozenset(_listed("without no not non except excluding minus")),
    # After these words "no" and "non" begin a name, not a wish: no-show socks, a non-stick pan.
    names_with_negation={
        "no": frozenset(
            _listed(
                "show slip skid tie pull bark drill iron bake touch rinse sew spill tangle crease prep "
                "cook knead churn fog "
                "glare rust stick scratch stain fuss mess nonsense limit chew heat contact fault smoke sweat escape "
                "mow till noise brainer name bull bite choke dig lace poo hole"
            )
        ),
        "not": frozenset({"your"}),
    },
    joins=frozenset({"or", "and", "nor"}),
    after_noun=frozenset({"for", "with", "by"}),
    qualities=frozenset(
        _listed(
            "antique automatic big bluetooth casual classic compact cordless cute deluxe digital double dual durable "
            "easy elegant electric ergonomic extra fancy fashionable fast floral formal full genuine glossy half "
            "handmade heavy heavyweight high indoor large lightweight long luxury magnetic matte mini "
            "modern multi narrow natural original outdoor oval premium professional quick quiet rectangular retro "
            "rigid round rustic shiny single size slim small smart soft solid stretchy strong stylish sturdy "
            "super tall thermal thick thin tiny traditional transparent triple ultra unisex universal vintage warm "
            "waterproof wide wireless"
        )
    ),
    # Not what ends alike and is a thing: bed, speed, drive, table, vegetable.
    quality=(
        r"[a-z]{3,}(?<!e)(?<![adhlnrtwy]b)(?<!mop)(?<!sl)(?<!sh)ed|(?!locom|addit|lax|sed)[a-z]{2,}(?:ct|at|it|ot|ss|rs)ive"
        r"|(?!vegeta|turnt|timet|roundt|collect|const|cruc)[a-z]{4,}[ai]ble|(?!cousc)[a-z]{4,}(?:proof|less|ous|ful|resistant)"
    ),
    spoken=FUNCTION_WORDS | QUESTION_WORDS | PRONOUNS,
    asking=ASKING,
    colors={
        **{
            color: color
            for color in _listed(
                "beige black blue bronze brown burgundy copper coral cream cyan gold golden gray green "
                "indigo ivory khaki "
                "lavender lilac magenta maroon mint multicolor navy olive orange peach pink plum purple "
                "red rose silver "
                "tan teal turquoise violet white yellow"
            )
        },
        "grey": "gray",
        "multicolour": "multicolor",
        "multicolored": "multicolor",
        "multicoloured": "multicolor",
    },
    materials=frozenset(
        _listed(
            "leather wool cotton linen silk velvet suede denim nylon polyester spandex cashmere fleece "
            "fur felt canvas "
            "wood wooden bamboo rattan wicker oak pine teak metal steel iron aluminum brass chrome "
            "titanium zinc glass "
            "ceramic porcelain stone marble concrete plastic acrylic vinyl silicone rubber latex foam "
            "resin cork paper "
            "cardboard teflon bpa pvc"
        )
    ),
    ingredients=frozenset(
        _listed(
            "sugar salt gluten lactose dairy milk soy nut peanut egg caffeine alcohol fragrance paraben "
            "sulfate sodium fat "
            "meat pork wheat corn msg aspartame fluoride ammonia bleach dye perfume"
        )
    ),
    audiences={
        **dict.fromkeys(("man", "male", "gentleman", "him"), "men"),
        **dict.fromkeys(("woman", "female", "lady", "her"), "women"),
        **dict.fromkeys(("kid", "child", "toddler", "boy", "girl", "youth", "junior"), "kids"),
        **dict.fromkeys(("baby", "infant", "newborn"), "babies"),
        **dict.fromkeys(("dog", "puppy", "cat", "kitten", "pet"), "pets"),
    },
    forms=_pairs(
        # Plurals that are no word and an s, and words that end in an s.
        "men=man mens=man women=woman womens=woman gentlemen=gentleman gentlemens=gentleman children=child "
        "childrens=child ladies=lady ladys=lady feet=foot teeth=tooth geese=goose mice=mouse oxen=ox people=person "
        "persons=person knives=knife wives=wife lives=life leaves=leaf shelves=shelf halves=half "
        "loaves=loaf scarves=scarf wolves=wolf calves=calf thieves=thief hooves=hoof dwarves=dwarf elves=elf "
        "selves=self lens=lens lenses=lens bus=bus buses=bus "
        "busses=bus canvas=canvas canvases=canvas gas=gas gases=gas iris=iris irises=iris atlas=atlas atlases=atlas "
        "cactus=cactus cacti=cactus cactuses=cactus octopus=octopus octopuses=octopus virus=virus viruses=virus "
        "bonus=bonus bonuses=bonus campus=campus campuses=campus circus=circus circuses=circus walrus=walrus "
        "walruses=walrus chassis=chassis yes=yes quiz=quiz quizzes=quiz christmas=christmas texas=texas "
        "pajamas=pajama pyjamas=pajama pyjama=pajama shoes=shoe canoes=canoe toes=toe hoes=hoe "
        "radii=radius cherries=cherry movies=movie cookies=cookie brownies=brownie hoodies=hoodie beanies=beanie "
        "trainers=sneaker drapes=curtain selfies=selfie birdies=birdie smoothies=smoothie onesies=onesie "
        "rookies=rookie zombies=zombie bookies=bookie "
        "axes=axe gaming=gaming harness=harness harnesses=harness wilderness=wilderness bras=bra glasses=glass "
        "sunglasses=sunglass tvs=tv ties=tie pies=pie dies=die "
        # Where Snowball's rules meet words that are not related.
        "organic=organic organics=organic organizer=organizer organizers=organizer organiser=organizer "
        "organisers=organizer universal=universal general=general generic=generic news=news "
        "silicone=silicone silicon=silicon trainings=training wooden=wooden woolen=wool "
        "stockings=stocking bearings=bearing beddings=bedding coatings=coating icings=icing "
        # British spelling.
        "colour=color colours=color jewellery=jewelry aluminium=aluminum tyre=tire tyres=tire fibre=fiber "
        "fibres=fiber centre=center centres=center mould=mold moulds=mold moustache=mustache "
        "armour=armor flavour=flavor flavours=flavor harbour=harbor neighbour=neighbor plough=plow "
        "coloured=colored travelling=traveling doughnut=donut doughnuts=donut grey=gray greys=gray "
        "multicolour=multicolor multicolored=multicolor multicoloured=multicolor"
    ),
    unstemmed=frozenset(_listed("bearing bedding clothing coating icing stocking training")),
    synonyms={
        # Near-exact ones alone: whoever asks for the one is glad of the other.
        "couch": "sofa",
        "settee": "sofa",
        "television": "tv",
        "telly": "tv",
        "cellphone": "mobile phone",
        "cell phone": "mobile phone",
        "fridge": "refrigerator",
        "eyeglasses": "eyeglass",
        "eye glasses": "eyeglass",
        "bicycle": "bike",
        "nappy": "diaper",
        "pram": "stroller",
        "pushchair": "stroller",
        "rucksack": "backpack",
        "knapsack": "backpack",
        "garbage": "trash",
        "rubbish": "trash",
        "dustbin": "trash can",
        "faucet": "tap",
        "spanner": "wrench",
        "sellotape": "adhesive tape",
        "earbud": "earphone",
        "photo": "picture",
        "pic": "picture",
        "automobile": "car",
        "bathtub": "bath tub",
        "xmas": "christmas",
        "wellies": "rain boot",
        "tee shirt": "t shirt",
        "tees": "t shirt",
    },  # fmt: skip
    joined=_listed(
        "head-phone head-set head-band head-board head-lamp head-light ear-phone ear-bud ear-plug ear-ring ear-muff "
        "ear-piece micro-phone key-board note-book card-board skate-board surf-board white-board chalk-board "
        "dash-board back-pack back-yard back-rest back-splash water-proof leak-proof shock-proof wind-proof "
        "dust-proof bullet-proof child-proof fire-proof rust-proof spill-proof splash-proof sweat-proof sound-proof "
        "light-weight heavy-weight wi-fi hi-fi blue-tooth lap-top desk-top table-top smart-phone smart-watch web-cam "
        "cam-corder multi-color multi-purpose multi-tool multi-function micro-wave micro-fiber micro-fibre "
        "non-stick non-slip non-skid non-toxic anti-slip anti-bacterial over-size over-sized stain-less wire-less "
        "cord-less seam-less sleeve-less strap-less hand-made hand-held hand-bag "
        "home-made touch-screen wind-breaker wind-shield free-standing stand-alone die-cast air-tight zip-lock "
        "snow-board dart-board paint-ball soft-ball base-ball basket-ball foot-ball volley-ball blu-ray "
        "play-station flash-light trade-mark thermo-flask hover-board hydro-flask "
        "eye-shadow eye-liner eye-lash eye-brow lip-stick make-up tooth-brush tooth-paste sun-screen sun-glass "
        "sun-glasses hair-brush hair-spray hair-band  pin-wheel neck-lace under-wear pop-corn pan-cake cup-cake "
        "pine-apple blue-berry straw-berry black-berry butter-fly dragon-fly lady-bug dish-washer dead-bolt "
        "mouse-pad cup-holder hard-wood hard-cover paper-back off-road see-saw chain-saw band-saw "
        "screw-driver walkie-talkie ray-ban"
    ),
    split=_listed(
        "t-shirt rain-coat over-coat sweat-shirt sweat-pants sweat-band table-cloth key-chain key-ring pillow-case "
        "bed-spread bed-sheet bed-side night-stand night-gown sun-dress sun-hat bath-robe bath-mat wrist-band "
        "wrist-watch arm-chair high-chair wheel-chair book-shelf book-case book-end tea-pot tea-cup tea-bag "
        "coffee-pot coffee-maker flower-pot dog-bed cat-bed dog-house doll-house bird-house bird-cage fish-tank "
        "fire-place fire-wood snow-boot snow-suit rain-boot swim-suit swim-wear body-suit jump-suit track-suit "
        "sports-wear knee-pad elbow-pad phone-case phone-holder  car-seat tooth-pick "
        "door-mat door-bell door-knob door-stop drain-board sketch-book scrap-book hand-cuff candle-holder "
        "candle-stick lunch-box tool-box jewelry-box mail-box shoe-box shoe-lace shoe-rack lamp-shade paint-brush "
        "rifle-scope bath-bomb bean-bag side-walk foot-stool foot-rest pant-suit tank-top "
        "play-set play-room play-mat skin-care hair-care"
    ),
)

_SPANISH = Language(
    stemmer="spanish",
    stop_words=frozenset(_listed("a al con de del el en la las los o para por un una unas unos y u e")),
    negations=frozenset(_listed("sin no excepto menos salvo")),
    noun_first=True,
    spoken=frozenset(
        _listed(
            "quiero quisiera busco buscando buscar necesito necesitamos comprar compro deseo dame tengo hay donde como "
            "cual que quien me mi mis tu su sus nos es ser muy mas barato barata baratos baratas oferta ofertas "
            "precio precios regalo regalos favor gracias hola algo alguien"
        )
    ),
    qualities=frozenset(
        _listed(
            "gran grande grandes nuevo nueva nuevos nuevas mini micro maxi super ultra pequeno pequena pequenos "
            "pequenas buen bueno buena mejor mejores elegante moderno moderna clasico clasica autentico autentica "
            "autenticos original originales bonito bonita doble triple antiguo antigua verdadero verdadera practico "
            "practica comodo comoda premium vintage"
        )
    ),
    names_with_negation={"no": frozenset(_listed("show"))},
    joins=frozenset({"o", "y", "ni", "u", "e"}),
    after_noun=frozenset({"para", "con", "de", "por"}),
    colors={
        **_IN_EVERY_LANGUAGE,
        **{
            form: base
            for base, forms in {
                "rojo": "roja", "negro": "negra", "blanco": "blanca", "amarillo": "amarilla", "morado": "morada",
                "dorado": "dorada", "plateado": "plateada", "gris": "", "azul": "", "verde": "",
                "rosa": "rosado rosada",
                "naranja": "", "marron": "", "beige": "", "violeta": "", "turquesa": "", "granate": "", "lila": "",
                "crema": "", "caqui": "", "oro": "", "plata": "",
            }.items()
            for form in (base, *forms.split())
        },
    },
    materials=frozenset(
        _listed(
        "cuero piel lana algodon lino seda terciopelo ante nailon poliester madera bambu metal acero hierro aluminio "
        "laton vidrio cristal ceramica porcelana piedra marmol plastico silicona goma latex papel carton"
        )
    ),
    ingredients=frozenset(_listed("azucar sal gluten lactosa leche alcohol cafeina perfume parabenos sulfatos")),
    audiences={
        **_AUDIENCES_IN_EVERY_LANGUAGE,
        **dict.fromkeys(("hombre", "caballero", "masculino"), "men"),
        **dict.fromkeys(("mujer", "dama", "senora", "femenino"), "women"),
        **dict.fromkeys(("nino", "nina", "chico", "chica", "infantil", "juvenil"), "kids"),
        **dict.fromkeys(("bebe", "recien"), "babies"),
        **dict.fromkeys(("perro", "gato", "mascota", "cachorro"), "pets"),
    },
    forms=_pairs(
        "dulces=dulce enlaces=enlace envases=envase bases=base ninos=nino ninas=nina luces=luz "
        "lapices=lapiz peces=pez "
        "cruces=cruz voces=voz narices=nariz raices=raiz tapices=tapiz nueces=nuez actrices=actriz veces=vez "
        "marrones=marron grises=gris azules=azul mujeres=mujer"
    ),
    decimal_comma=True,
)  # fmt: skip

LANGUAGES: dict[str, Language] = {
    "none": Language(),
    "english": _ENGLISH,
    "spanish": _SPANISH,
    **{
        name: Language(stemmer=name, decimal_comma=True)
        for name in ("danish", "dutch", "finnish", "french", "german", "italian", "norwegian", "portuguese", "swedish")
    },
}
"""The languages that texts can be read in. Those without lists of their own are stemmed, and no more."""

LANGUAGE_OF_LOCALE = {"us": "english", "es": "spanish", "jp": "none"}
"""ESCI's locales; any other, and data of several, is read as English."""


def language_of(language: str | None, locale: str | None) -> str:
    """The language that texts are read in: the one that is set, else the locale's."""
    return language or LANGUAGE_OF_LOCALE.get(locale or "", "english")


UNITS = {
    "inches": "inch", "inch": "inch", "ounces": "oz", "ounce": "oz", "oz": "oz", "pounds": "lb", "pound": "lb",
    "lbs": "lb", "lb": "lb", "feet": "ft", "foot": "ft", "ft": "ft", "yards": "yard", "yard": "yard", "yd": "yard",
    "gigabytes": "gb", "gigabyte": "gb", "gb": "gb", "terabytes": "tb", "terabyte": "tb", "tb": "tb",
    "megabytes": "mb", "megabyte": "mb", "mb": "mb", "litres": "liter", "liters": "liter", "litre": "liter",
    "liter": "liter", "litros": "liter", "litro": "liter", "ltr": "liter", "l": "liter",
    "milliliters": "ml", "millilitres": "ml", "ml": "ml", "millimeters": "mm", "millimetres": "mm", "mm": "mm",
    "centimeters": "cm", "centimetres": "cm", "cm": "cm", "meters": "meter", "metres": "meter", "metre": "meter",
    "meter": "meter", "metros": "meter", "metro": "meter", "m": "meter", "kilograms": "kg", "kilogram": "kg",
    "kilos": "kg", "kilo": "kg", "kgs": "kg", "kg": "kg", "grams": "gram", "gram": "gram", "gramos": "gram",
    "gr": "gram", "g": "gram", "watts": "watt", "watt": "watt", "w": "watt", "volts": "volt", "volt": "volt",
    "v": "volt", "amps": "amp", "amp": "amp", "quarts": "quart", "quart": "quart", "qt": "quart",
    "gallons": "gallon", "gallon": "gallon", "gal": "gallon", "mah": "mah", "hz": "hz",
    "packs": "pack", "pack": "pack", "pk": "pack", "pieces": "piece", "piece": "piece", "pcs": "piece", "pc": "piece",
    "count": "count", "ct": "count",
}  # fmt: skip
"""After a number: how a unit is written -> the one way it is read. The same in every language."""
