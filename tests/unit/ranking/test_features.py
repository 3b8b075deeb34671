"""What each lexical column means, and that a row depends on nothing it should not."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqidflow.ranking import features
from sqidflow.ranking.features import LEXICAL_NAMES, lexical_features
from sqidflow.ranking.retrieval import Fusion

FUSION = Fusion.of("lexical")
UNBOUNDED = {"query_length", "title_length"}
BY_CANDIDATES = {"idf_overlap", "idf_head_overlap", "brand_conflict", "noun_in_title", "head_noun_match"}
"""Rarity among the candidates, and the brands among them, which are no nouns."""
VOCABULARY = (
    "red",
    "blue",
    "shoe",
    "shoes",
    "running",
    "without",
    "no",
    "laces",
    "12",
    "3.5",
    "the",
    "for",
    "women's",
    "mug",
    "größe",
    "靴",
    "-",
    "",
    "!!",
)
texts = st.lists(st.sampled_from(VOCABULARY), max_size=6).map(" ".join)
any_text = st.one_of(texts, st.text(max_size=30))


def row(query: str, title: str, brand: str | None = "", color: str | None = "") -> dict[str, float]:
    """The features of one candidate alone, by name."""
    return dict(zip(LEXICAL_NAMES, lexical_features(query, [title], [brand], [color])[0].tolist()))


def test_classes_gains_and_ids_agree():
    assert features.CLASS_IDS == {"I": 0, "C": 1, "S": 2, "E": 3}
    assert features.CLASS_GAINS.tolist() == [0.0, 0.01, 0.1, 1.0]


def test_overlaps_are_shares_of_the_query():
    found = row("red running shoe", "Running shoe for men", brand="Acme", color="red")
    assert found["token_overlap"] == 1.0  # the colour field counts
    assert found["title_overlap"] == pytest.approx(2 / 3)
    assert found["jaccard"] == pytest.approx(2 / 5)  # red running shoe | running shoe for man -> 5 words in either
    assert found["phrase_in_title"] == pytest.approx(1 / 2)  # "running shoe", not "red running"
    assert found["noun_in_title"] == 1.0
    assert found["query_length"] == pytest.approx(np.log(4), abs=1e-6)
    assert found["title_length"] == pytest.approx(np.log(5), abs=1e-6)


def test_words_in_another_order_are_no_phrase():
    assert row("steel bottle", "bottle of steel")["phrase_in_title"] == 0.0
    assert row("steel bottle", "bottle of steel")["token_overlap"] == 1.0


def test_the_noun_that_the_query_names_wherever_it_stands():
    assert row("shoe laces", "shoe")["noun_in_title"] == 0.0
    assert row("laces for the shoe", "shoe")["noun_in_title"] == 0.0
    assert row("shoe with", "shoe")["noun_in_title"] == 1.0
    assert row("shoe red leather women", "Women shoe, leather")["noun_in_title"] == 1.0
    assert row("shoe red leather women", "Women bicycle leather red")["noun_in_title"] == 0.0


def test_a_brand_after_the_noun_is_not_the_noun():
    of_brand = row("kettle acme", "Acme kettle steel", brand="Acme")
    assert of_brand["noun_in_title"] == of_brand["head_noun_match"] == 1.0
    assert row("kettle acme", "Acme mug", brand="Acme")["noun_in_title"] == 0.0


def test_trigrams_find_a_word_that_is_spelt_a_little_otherwise():
    near, far = row("headphone", "headfone")["trigram_overlap"], row("headphone", "kettle")["trigram_overlap"]
    assert near > 0.4 > far == 0.0
    assert row("kettle", "kettle")["trigram_overlap"] == 1.0


def test_rare_words_weigh_more():
    found = lexical_features("blue kettle", ["blue mug", "blue pan", "kettle"], [""] * 3, [""] * 3)
    weights = found[:, LEXICAL_NAMES.index("idf_overlap")]
    overlap = found[:, LEXICAL_NAMES.index("token_overlap")]
    assert overlap.tolist() == [0.5, 0.5, 0.5]
    assert weights[2] > weights[0] == weights[1] > 0
    expected = np.log1p(3 / 3), np.log1p(3 / 2)  # blue in two of three, kettle in one
    assert weights[2] == pytest.approx(expected[1] / sum(expected))


def test_brand_needs_all_its_words():
    assert row("acme tools hammer", "x", brand="Acme Tools")["brand_in_query"] == 1.0
    assert row("acme hammer", "x", brand="Acme Tools")["brand_in_query"] == 0.0
    assert row("acme hammer", "x", brand="")["brand_in_query"] == 0.0


@pytest.mark.parametrize(
    ("query", "title", "color", "has", "match", "conflict"),
    [
        ("red shoe", "shoe", "Red", 1, 1, 0),
        ("red shoe", "red shoe", "", 1, 1, 0),
        ("red shoe", "shoe", "blue", 1, 0, 1),
        ("red shoe", "blue shoe", "", 1, 0, 1),  # without a colour field the title's head counts
        ("red shoe", "red shoe", "blue", 1, 1, 1),  # the field says more than the title
        ("red shoe", "shoe with blue laces", "", 1, 0, 0),  # what it comes with is not its colour
        ("red shoe", "shoe", "", 1, 0, 0),  # no colour named is no conflict
        ("red blue shoe", "shoe", "blue", 1, 0.5, 0),
        ("shoe", "shoe", "blue", 0, 0, 0),
        ("reds", "shoe", "red", 1, 1, 0),
    ],
)
def test_colors(query, title, color, has, match, conflict):
    found = row(query, title, color=color)
    assert (found["query_has_color"], found["color_match"], found["color_conflict"]) == (has, match, conflict)


def test_the_colour_field_has_a_column_of_its_own():
    assert row("red shoe", "red shoe", color="")["color_field_match"] == 0.0
    assert row("red blue shoe", "shoe", color="Red")["color_field_match"] == 0.5


@pytest.mark.parametrize(
    ("title", "head"),
    [
        ("Phone case for iPhone, with strap", 0.5),  # "phone case" names it, "iphone" is what it is for
        ("iPhone case (blue)", 1.0),
        ("Case - iPhone", 0.5),
        ("Case compatible with iPhone", 0.5),
        ("For iPhone: case", 1.0),  # a head that would be empty is the whole title
    ],
)
def test_the_head_of_a_title_names_the_product(title, head):
    assert row("iphone case", title)["head_overlap"] == head
    assert row("iphone case", title)["idf_head_overlap"] == pytest.approx(head)
    assert row("iphone case", title)["title_overlap"] == 1.0


def test_the_nearer_the_start_the_first_match_the_better():
    assert row("lamp", "lamp of brass")["first_match"] == 1.0
    assert row("lamp", "a brass lamp x")["first_match"] == pytest.approx(1 - 2 / 4)
    assert row("lamp", "kettle")["first_match"] == 0.0


def test_a_typo_is_near_and_another_word_is_not():
    assert row("hedphones", "headphones")["fuzzy_overlap"] > 0.75
    assert row("hedphones", "headphones")["token_overlap"] == 0.0
    assert row("kettle", "headphones")["fuzzy_overlap"] == 0.0
    assert row("kettle blue", "kettle")["fuzzy_overlap"] == 0.5
    assert row("cat", "car")["fuzzy_overlap"] == 0.0  # short words are near to too many
    assert row("model 12345", "model 12346")["fuzzy_overlap"] == 0.5  # another number is another product
    assert row("unscented", "scented")["fuzzy_overlap"] == 0.0  # the opposite is no typing error
    assert row("washable", "unwashable")["fuzzy_overlap"] == 0.0
    found = row("hedphones", "cable for headphones")
    assert found["fuzzy_overlap"] > 0.75 > found["fuzzy_head_overlap"] == 0.0


@pytest.mark.parametrize(
    ("query", "title", "match", "conflict"),
    [
        ("16 oz bottle", "16oz bottle", 1, 0),
        ("16 oz bottle", "32 oz bottle", 0, 1),
        ("16 oz bottle", "16 inch bottle", 0, 0),
        ("16 oz bottle", "set of 16 oz and 32 oz bottles", 1, 0),
        ("shoe size 9", "shoe size 9", 1, 0),
        ("shoe size 9", "shoe size 10", 0, 1),
        ("bottle", "16 oz bottle", 0, 0),
    ],
)
def test_measures_are_numbers_with_their_unit(query, title, match, conflict):
    found = row(query, title)
    assert (found["measure_match"], found["measure_conflict"]) == (match, conflict)


@pytest.mark.parametrize(
    ("query", "title", "match", "conflict"),
    [
        ("women's shoes", "shoe for ladies", 1, 0),
        ("womens shoes", "Men's shoe", 0, 1),
        ("womens shoes", "shoe for men and women", 1, 0),
        ("womens shoes", "shoe", 0, 0),
        ("shoes", "shoe for men", 0, 0),
        ("toys for dogs and babies", "puppy toy", 0.5, 0),
    ],
)
def test_for_whom_a_product_is(query, title, match, conflict):
    found = row(query, title)
    assert (found["audience_match"], found["audience_conflict"]) == (match, conflict)


def test_another_brand_than_the_one_asked_for_is_a_conflict():
    found = lexical_features("acme hammer", ["hammer"] * 3, ["Acme", "Bolt", None], [None] * 3)
    assert found[:, LEXICAL_NAMES.index("brand_in_query")].tolist() == [1, 0, 0]
    assert found[:, LEXICAL_NAMES.index("brand_conflict")].tolist() == [0, 1, 1]
    # Without a candidate of that brand nobody knows it is one.
    assert row("acme hammer", "hammer", brand="Bolt")["brand_conflict"] == 0.0


def test_numbers_must_be_the_same():
    assert row("usb cable 3.5 mm", "cable 3.5mm")["number_match"] == 1.0
    assert row("lamp 12 v", "lamp 120 v")["number_match"] == 0.0
    assert row("lamp 12 v", "lamp")["query_has_number"] == 1.0
    assert row("lamp", "lamp 12")["query_has_number"] == 0.0


@pytest.mark.parametrize("negation", ["without", "no", "not", "except", "minus", "WITHOUT"])
def test_what_is_excluded_is_not_asked_for(negation):
    query = f"shirt {negation} pocket"
    plain, pocket = row(query, "shirt"), row(query, "shirt pocket")
    assert plain["query_has_negation"] == pocket["query_has_negation"] == 1.0
    assert plain["token_overlap"] == 1.0
    assert (plain["negated_present"], pocket["negated_present"]) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("query", "named", "other"),
    [
        ("Non-Stick Pan 28 cm", "Non-Stick Pan 28 cm", "Cast Iron Pan 28 cm"),
        ("non stick pan", "Nonstick Pan", "Iron Pan"),
        ("No-Show Socks 6 Pack", "No-Show Socks 6 Pack", "Knee High Socks 6 Pack"),
        ("no show socks", "No-Show Socks", "Knee High Socks"),
        ("Non-Slip Bath Mat", "Non-Slip Bath Mat", "Plain Bath Mat"),
        ("no 7 face cream", "No 7 Face Cream", "No 5 Face Cream"),
        ("minus 20 sleeping bag", "Sleeping Bag Minus 20", "Sleeping Bag 20"),
        ("windbreaker jacket", "Wind\u200bbreaker Jacket", "Denim Jacket"),
        ("waterproof tent", "Water\u00adproof Tent", "Indoor Tent"),
        ("siyah deri cüzdan", "SİYAH DERİ CÜZDAN", "kahverengi deri cüzdan"),
        ("女性用腕時計", "女性用腕時計 黒", "男性用腕時計 黒"),
        ("1000 piece puzzle", "Puzzle 1,000 Piece", "Puzzle 500 Piece"),
        ("10000mah power bank", "Power Bank 10,000 mAh", "Power Bank 5,000 mAh"),
        ("1.5 liter jug", "Jug 1,5 Liter", "Jug 1,8 Liter"),
        ("men's rain poncho & hood", "Men&#39;s Rain Poncho &amp; Hood", "Women's Rain Poncho"),
        ("kettles", "Kettle", "Mug"),
        ("head phones", "Headphones", "Phone"),
    ],
)
def test_what_is_named_is_nearer_than_what_is_not(query, named, other):
    found = [row(query, title) for title in (named, other)]
    assert found[0]["token_overlap"] == found[0]["head_overlap"] == 1.0 > found[1]["token_overlap"]
    assert found[0]["negated_present"] == found[1]["negated_present"] == 0.0
    assert found[0]["measure_conflict"] == found[0]["audience_conflict"] == 0.0


@pytest.mark.parametrize(
    ("query", "title", "match", "conflict"),
    [
        ("1000 piece puzzle", "Puzzle 1,000 Piece", 1, 0),
        ("1000 piece puzzle", "Puzzle 500 Piece", 0, 1),
        ('24" monitor', "Monitor 24 inch", 1, 0),
        ("2 l kettle", "Kettle 2 litres", 1, 0),
    ],
)
def test_measures_are_compared_as_they_are_meant(query, title, match, conflict):
    found = row(query, title)
    assert (found["measure_match"], found["measure_conflict"]) == (match, conflict)


def test_what_the_title_excludes_too_is_not_there():
    assert row("mug without lid", "Mug without Lid")["negated_present"] == 0.0
    assert row("mug without lid", "Mug, lid-free")["negated_present"] == 0.0
    assert row("mug without lid", "Mug without Lid")["negated_denied"] == 1.0
    assert row("mug without lid or handle", "Mug without a Lid")["negated_denied"] == 0.5
    assert row("mug without lid", "Mug")["negated_denied"] == row("mug", "Mug without Lid")["negated_denied"] == 0.0
    assert row("mug without lids", "Mug with Lid")["negated_present"] == 1.0
    assert row("kettle not green", "Kettle", color="Green")["negated_present"] == 1.0


@pytest.mark.parametrize(
    ("query", "title", "head_last", "goes_with"),
    [
        ("phone", "Acme Phone, black", 1, 0),
        ("phone", "Phone Case", 0, 0),
        ("phone", "Case for Phone", 0, 1),
        ("red phone case", "Phone Case Red, for travel", 1, 0),
        ("iphone 13", "Case compatible with iPhone 13", 0, 1),
        ("phone case", "Case for phone", 1, 0.5),
        ("shoes for women", "Shoes for Women", 1, 0),  # for whom it is made is no other thing
        ("phone", "Phone case for phone", 0, 0),  # it stands before "for", too
        ("phone", "For phone: case", 0, 0),
        ("", "Case for phone", 0, 0),
    ],
)
def test_a_thing_and_what_goes_with_it(query, title, head_last, goes_with):
    found = row(query, title)
    assert (found["head_noun_match"], found["for_match"]) == (head_last, goes_with)


def test_two_words_after_the_negation_are_excluded_and_the_rest_is_asked_for():
    found = row("case without belt clip blue", "blue case belt")
    assert found["negated_present"] == 0.5
    assert found["token_overlap"] == 1.0
    assert found["color_match"] == 1.0


def test_an_excluded_color_is_not_asked_for():
    found = row("shoe not red", "shoe", color="blue")
    assert (found["query_has_color"], found["color_conflict"]) == (0.0, 0.0)


def test_a_negation_that_excludes_nothing_is_a_word():
    assert row("shoes without", "shoes without")["query_has_negation"] == 0.0
    assert row("shoes without", "shoes without")["token_overlap"] == 1.0


@pytest.mark.parametrize("query", ["", "?!", "the", "not red", "no"])
@pytest.mark.parametrize("title", ["", "--", "red shoe"])
def test_texts_without_words_are_zeros_not_errors(query, title):
    found = lexical_features(query, [title], [""], [""])
    assert found.shape == (1, len(LEXICAL_NAMES))
    assert np.isfinite(found).all()


def test_missing_brand_and_color_are_as_empty_ones():
    missing = lexical_features("red acme shoe", ["shoe", "red shoe"], [None, "acme"], [None, None])
    empty = lexical_features("red acme shoe", ["shoe", "red shoe"], ["", "acme"], ["", ""])
    np.testing.assert_array_equal(missing, empty)


def test_every_column_has_one_name():
    assert len(set(LEXICAL_NAMES)) == len(LEXICAL_NAMES)
    assert set(LEXICAL_NAMES) >= UNBOUNDED | BY_CANDIDATES


def test_the_contract_changes_with_the_columns(monkeypatch):
    before = features.contract()
    assert len(before) == 8
    monkeypatch.setattr(features, "LEXICAL_NAMES", LEXICAL_NAMES[::-1])
    assert features.contract() != before
    monkeypatch.undo()
    monkeypatch.setattr(features, "RELATIVE_NAMES", features.RELATIVE_NAMES[:-1])
    assert features.contract() != before


@pytest.mark.parametrize(
    ("has_image", "expected"),
    [([1, 1], "all with picture"), ([1, 0], "some without"), ([0, 0], "none with picture"), ([1], "all with picture")],
)
def test_slice_by_pictures(has_image, expected):
    assert features.pictures_slice(np.array(has_image)) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "1-2 words"),
        ("red shoe", "1-2 words"),
        ("a red shoe", "3-4 words"),
        ("a red-ish shoe", "3-4 words"),
        ("one two three four five", "5 words or more"),
    ],
)
def test_slice_by_query_length(query, expected):
    assert features.query_length_slice(query) == expected


@pytest.mark.parametrize(
    ("ratings", "expected"),
    [
        ([0, 1, 2], "no Exact"),
        ([3, 0, 0], "up to 1/3"),
        ([3, 0, 0, 0], "up to 1/3"),
        ([3, 0], "up to 2/3"),
        ([3, 3, 0], "up to 2/3"),
        ([3, 3, 3, 0], "above 2/3"),
        ([3], "above 2/3"),
    ],
)
def test_slice_by_share_of_exact_products(ratings, expected):
    assert features.exact_share_slice(np.array(ratings)).startswith(expected)


def test_no_candidates():
    assert lexical_features("shoe", [], [], []).shape == (0, len(LEXICAL_NAMES))


def test_lists_of_two_lengths_are_refused():
    with pytest.raises(ValueError, match="1, 2, 1"):
        lexical_features("shoe", ["a"], ["a", "b"], ["a"])


@settings(max_examples=150, deadline=None)
@given(any_text, st.lists(st.tuples(any_text, any_text, any_text), min_size=1, max_size=6))
def test_always_finite_and_in_range(query, products):
    found = lexical_features(query, *zip(*products))
    assert found.dtype == np.float32
    assert found.shape == (len(products), len(LEXICAL_NAMES))
    assert np.isfinite(found).all()
    assert (found >= 0).all()
    shares = [i for i, name in enumerate(LEXICAL_NAMES) if name not in UNBOUNDED]
    assert (found[:, shares] <= 1).all()


@settings(max_examples=100, deadline=None)
@given(texts, st.lists(st.tuples(texts, texts, texts), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_the_order_of_candidates_does_not_matter(query, products, random):
    order = list(range(len(products)))
    random.shuffle(order)
    found = lexical_features(query, *zip(*products))
    shuffled = lexical_features(query, *zip(*[products[i] for i in order]))
    np.testing.assert_array_equal(found[order], shuffled)


@settings(max_examples=100, deadline=None)
@given(texts, st.lists(st.tuples(texts, texts, texts), min_size=1, max_size=6))
def test_other_candidates_matter_to_rarity_and_brands_alone(query, products):
    together = lexical_features(query, *zip(*products))
    alone = np.concatenate([lexical_features(query, [t], [b], [c]) for t, b, c in products])
    rest = [i for i, name in enumerate(LEXICAL_NAMES) if name not in BY_CANDIDATES]
    np.testing.assert_array_equal(together[:, rest], alone[:, rest])


def test_the_same_bits_in_every_process():
    program = (
        "import hashlib; from sqidflow.ranking.features import lexical_features as f;"
        "t = [' '.join(f'w{(i * j) % 37}' for j in range(1, 12)) for i in range(1, 40)];"
        "print(hashlib.md5(b''.join(f(q, t, t[::-1], t).tobytes() for q in t)).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(digests) == 1


# --- among the other candidates ---------------------------------------------------------------------------------------


def cosine_rows(text: list[float], image: list[float] | None = None) -> np.ndarray:
    text_column = np.array(text, np.float32)
    image_column = text_column if image is None else np.array(image, np.float32)
    return np.stack([text_column, image_column, 0 * text_column, (text_column + image_column) / 2], axis=1)


def words_of(count: int, **columns: list[float]) -> np.ndarray:
    out = np.zeros((count, len(LEXICAL_NAMES)), np.float32)
    for name, values in columns.items():
        out[:, LEXICAL_NAMES.index(name)] = values
    return out


def relative(found: np.ndarray, name: str) -> list[float]:
    return found[:, features.RELATIVE_NAMES.index(name)].tolist()


def test_share_of_worse_candidates_and_distance_to_the_best():
    found = features.relative_features(
        cosine_rows([0.5, 0.9, 0.1, 0.5, 0.2]), np.ones(5), words_of(5, token_overlap=[1, 0, 0, 0, 1])
    )
    assert relative(found, "cosine_text_worse") == [0.625, 1.0, 0.0, 0.625, 0.25]  # of four others, ties half
    assert relative(found, "cosine_text_gap") == pytest.approx([0.4, 0.0, 0.8, 0.4, 0.7])
    assert relative(found, "token_overlap_worse") == [0.875, 0.25, 0.25, 0.25, 0.875]
    assert relative(found, "token_overlap_gap") == [0, 1, 1, 1, 0]
    assert relative(found, "idf_overlap_worse") == [0.5] * 5  # all equal


def test_a_missing_picture_is_as_good_as_the_mean_of_the_others():
    cosine = cosine_rows([0.5, 0.5, 0.5], [0.2, 0.6, 0.0])
    found = features.relative_features(cosine, np.array([1, 1, 0]), words_of(3))
    assert relative(found, "cosine_image_worse") == [0.0, 1.0, 0.5]
    assert relative(found, "cosine_image_gap") == pytest.approx([0.4, 0.0, 0.2])
    assert relative(found, "cosine_worse") == [0.0, 1.0, 0.5]
    nowhere = features.relative_features(cosine_rows([0.1, 0.2], [0, 0]), np.zeros(2), words_of(2))
    assert relative(nowhere, "cosine_image_worse") == [0.5, 0.5]
    assert relative(nowhere, "cosine_image_gap") == [0, 0]
    assert relative(nowhere, "cosine_worse") == [0, 1]


@pytest.mark.parametrize("count", [1, 4])
def test_one_candidate_and_equal_candidates_are_in_the_middle_and_the_best(count):
    found = features.candidate_features(
        "shoe", ["shoe"] * count, [None] * count, [None] * count,
        np.ones(8), np.ones((count, 8)), np.full((count, 8), 3.0), np.ones(count), FUSION,
    )  # fmt: skip
    half = len(features.COMPARED)
    np.testing.assert_array_equal(found[features.RELATIVE][:, :half], 0.5)
    np.testing.assert_array_equal(found[features.RELATIVE][:, half:], 0.0)
    np.testing.assert_array_equal(found[features.RETRIEVAL][:, features.RETRIEVAL_NAMES.index("f0")], 0.0)


def test_many_lists_at_once_are_each_on_its_own():
    rng = np.random.default_rng(2)
    cosine = rng.uniform(-1, 1, (30, 4)).astype(np.float32)
    lexical = rng.integers(0, 4, (30, len(LEXICAL_NAMES))).astype(np.float32) / 3
    has_image = rng.integers(0, 2, 30)
    bounds = np.array([0, 7, 8, 20, 30])
    together = features.relative_features(cosine, has_image, lexical, bounds)
    parts = [slice(start, end) for start, end in zip(bounds, bounds[1:])]
    alone = [features.relative_features(cosine[part], has_image[part], lexical[part]) for part in parts]
    np.testing.assert_array_equal(together, np.concatenate(alone))
    assert together.dtype == np.float32
    assert ((together >= 0) & (together <= 2)).all()
    order = rng.permutation(7)
    np.testing.assert_array_equal(
        features.relative_features(cosine[order], has_image[order], lexical[order]), alone[0][order]
    )


def test_a_longer_tail_leaves_the_distance_to_the_best():
    head, tail = [0.8, 0.7, 0.4], [0.05] * 80
    short = features.relative_features(cosine_rows(head), np.ones(3), words_of(3))
    long = features.relative_features(cosine_rows(head + tail), np.ones(83), words_of(83))
    np.testing.assert_array_equal(relative(long[:3], "cosine_text_gap"), relative(short, "cosine_text_gap"))


def test_no_candidates_and_lists_that_do_not_fit():
    nothing = np.zeros((0, 4))
    empty = features.candidate_features("shoe", [], [], [], np.ones(4), nothing, nothing, np.zeros(0), FUSION)
    assert empty[features.RETRIEVAL].shape == (0, len(features.RETRIEVAL_NAMES))
    assert empty[features.RELATIVE].shape == (0, len(features.RELATIVE_NAMES))
    assert empty[features.LEXICAL].shape == (0, len(LEXICAL_NAMES))
    for bounds in ([0, 2], [0, 1, 1, 3], [0, 4]):
        with pytest.raises(ValueError, match=r"3 cosines, 3 pictures, 3 lexical rows do not fill"):
            features.relative_features(cosine_rows([0, 0, 0]), np.ones(3), words_of(3), np.array(bounds))


def test_cosines_of_one_query_and_of_one_a_row_are_the_same_bits_and_a_missing_picture_may_hold_anything():
    rng = np.random.default_rng(1)
    query, texts, images = (rng.standard_normal(shape).astype(np.float32) * 13 for shape in (48, (9, 48), (9, 48)))
    has_image = np.array([1, 1, 0] * 3)
    images[2::3] = np.nan
    found = features.cosines(query, texts, images, has_image)
    np.testing.assert_array_equal(found, features.cosines(np.tile(query, (9, 1)), texts, images, has_image[:, None]))
    assert (found[2::3, 1:3] == 0).all()
    np.testing.assert_array_equal(found[2::3, 3], found[2::3, 0])
    assert features.cosines(np.zeros(4), np.zeros((1, 4)), np.zeros((1, 4)), np.ones(1)).tolist() == [[0, 0, 0, 0]]


@pytest.mark.parametrize("count", [1, 2, 3, 20, 100])
@pytest.mark.parametrize("decimals", [0, 1, 6])
def test_a_list_alone_and_among_others_has_the_same_bits(count: int, decimals: int) -> None:
    """One list, as in a search, is computed in another way than many, as in training."""
    rng = np.random.default_rng(count)
    cosine = np.round(rng.normal(size=(count, 4)), decimals).astype(np.float32)
    pictured = (rng.random(count) < 0.7).astype(np.float32)
    lexical = np.round(rng.random((count, len(LEXICAL_NAMES))), decimals).astype(np.float32)
    alone = features.relative_features(cosine, pictured, lexical)
    twice = [np.concatenate([each, each[:1]]) for each in (cosine, pictured, lexical)]
    among_others = features.relative_features(*twice, np.array([0, count, count + 1]))
    assert (alone == among_others[:count]).all()


def test_half_precision_is_widened_to_the_same_bits():
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    finite = every[np.isfinite(every)]
    np.testing.assert_array_equal(features.single(finite).view(np.uint32), finite.astype(np.float32).view(np.uint32))
    matrix = np.random.default_rng(0).standard_normal((5, 8)).astype(np.float16)
    np.testing.assert_array_equal(features.single(matrix[::2]), matrix[::2].astype(np.float32))
    assert features.single(np.zeros((0, 8), np.float16)).shape == (0, 8)
