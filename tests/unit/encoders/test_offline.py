from __future__ import annotations

import hashlib
import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from sqidflow.data.sample import COLOURS
from sqidflow.encoders.base import Encoder
from sqidflow.encoders.offline import OfflineEncoder, colour_classes, decode, describe
from sqidflow.encoders.registry import encoder_names, get_encoder
from sqidflow.encoders.shapes import SHAPES, details, silhouette

BACKGROUND = (214, 222, 230)


def cosine(encoder: OfflineEncoder, a: str, b: str) -> float:
    first, second = encoder.encode_texts([a, b])
    return float(first @ second)


def draw(
    shape: int,
    colour: int,
    *,
    size: int = 64,
    scale: float = 0.9,
    offset: tuple[int, int] = (0, 0),
    noise: int = 0,
    striped: bool = False,
    background: tuple[int, int, int] = BACKGROUND,
) -> np.ndarray:
    """A product's picture, uint8 [size, size, 3], drawn otherwise than the sample draws it."""
    rgb = np.array(COLOURS[colour][1])
    drawn = int(size * scale)
    picture = np.empty((size, size, 3), np.int64)
    picture[:] = background
    top, left = ((size - drawn) // 2 + shift for shift in offset)
    inside = picture[top : top + drawn, left : left + drawn]
    inside[silhouette(shape, drawn)] = rgb
    if striped:
        stripes = silhouette(shape, drawn) & (np.arange(drawn)[:, None] // 3 % 4 == 0)
        inside[stripes] = rgb + (255 - rgb) // 2
    inside[details(shape, drawn)] = rgb * 9 // 10
    if noise:
        picture += np.random.default_rng(0).integers(-noise, noise + 1, picture.shape)
    return np.clip(picture, 0, 255).astype(np.uint8)


def encoded(picture: np.ndarray | Image.Image, kind: str = "PNG", **options: object) -> bytes:
    image = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


class TestTexts:
    def test_shape_type_and_length(self) -> None:
        vectors = OfflineEncoder(96).encode_texts(["red shoe", "", "沙发 sofa"])
        assert vectors.shape == (3, 96)
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
        assert OfflineEncoder(96).encode_texts([]).shape == (0, 96)

    def test_same_bits_everywhere(self) -> None:
        """The digest was computed once: a change of it changes data.dvc and every stored vector."""
        vectors = OfflineEncoder().encode_texts(["Red running shoe, size 10", "Ärmelloses Kleid", "", "ＷＩＤＥ １２"])
        assert hashlib.sha256(vectors.tobytes()).hexdigest() == (
            "61cf68ff022b6fd28ec3c054b6a57cbf05901a2283f5fbffaddbf043d5aef0ab"
        )

    def test_does_not_depend_on_company_or_history(self) -> None:
        encoder = OfflineEncoder()
        alone = encoder.encode_texts(["blue sofa"])[0]
        many = encoder.encode_texts([f"text {i}" for i in range(5000)] + ["blue sofa"])
        assert np.array_equal(many[-1], alone)
        assert np.array_equal(OfflineEncoder().encode_texts(["blue sofa"])[0], alone)

    def test_shared_words_bring_texts_near(self) -> None:
        encoder = OfflineEncoder()
        assert cosine(encoder, "red shoe", "red leather shoe for men") > 0.5
        assert cosine(encoder, "red shoe", "blue sofa") < 0.1
        assert cosine(encoder, "red shoe", "red shoe size 10") > cosine(encoder, "red shoe", "blue shoe size 10")

    @pytest.mark.parametrize(
        ("word", "typo"),
        [("headphones", "headphonse"), ("kettle", "kettel"), ("umbrella", "umbrela"), ("sofa", "soffa")],
    )
    def test_typing_errors_cost_little(self, word: str, typo: str) -> None:
        encoder = OfflineEncoder()
        others = [cosine(encoder, word, other) for other in ("blanket", "ceramic mug", "toaster", "drill")]
        assert cosine(encoder, word, typo) > 0.2 > max(others)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("shoe", "shoes"), ("knife", "knives"), ("woman", "Women"), ("head phones", "headphone"), ("1,000", "1000"),
            ('24"', "24 inches"), ("Wind\u200bbreaker", "windbreaker"), ("zapato", "zapatos"), ("SİYAH", "siyah"),
        ],
    )  # fmt: skip
    def test_a_plural_and_another_notation_are_the_same(self, one: str, other: str) -> None:
        assert cosine(OfflineEncoder(), one, other) == pytest.approx(1)

    def test_scripts_without_spaces_share_their_words(self) -> None:
        encoder = OfflineEncoder()
        watch = cosine(encoder, "腕時計", "男性用腕時計 黒")
        assert watch > 0.5 > cosine(encoder, "腕時計", "折りたたみ自転車 赤")

    def test_another_version_is_refused(self) -> None:
        with pytest.raises(ValueError, match="version 1 of the offline encoder.*data encode --force"):
            get_encoder("offline:1")

    def test_case_width_order_and_repetition_do_not_matter(self) -> None:
        encoder = OfflineEncoder()
        assert cosine(encoder, "RED Shoe", "shoe, red! red") == pytest.approx(1)
        assert cosine(encoder, "ＳＨＯＥ", "shoe") == pytest.approx(1)

    @pytest.mark.parametrize("text", ["", "   ", "!!!", "—", "\x00", "___", "☃"])
    def test_text_without_words_is_one_constant_vector(self, text: str) -> None:
        vector = OfflineEncoder(32).encode_texts([text])[0]
        assert vector[0] == 1 and not vector[1:].any()

    def test_memory_of_words_is_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sqidflow.encoders.offline._CACHED_TOKENS", 50)
        encoder = OfflineEncoder(64)
        texts = [f"word{i} other{i}" for i in range(200)]
        one_by_one = np.concatenate([encoder.encode_texts([text]) for text in texts])
        assert len(encoder._table._rows) <= 50
        assert np.array_equal(one_by_one, OfflineEncoder(64).encode_texts(texts))

    def test_a_new_word_costs_the_same_however_many_are_known(self) -> None:
        encoder = OfflineEncoder(64)
        encoder.encode_texts([f"word{number}" for number in range(60_000)])
        before = encoder._table._buckets._buffer
        for number in range(200):
            encoder.encode_texts([f"other{number}"])
        assert encoder._table._buckets._buffer is before  # nothing of it was copied

    def test_many_threads_get_the_vectors_that_one_gets(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sqidflow.encoders.offline._CACHED_TOKENS", 50)  # begins anew all the time
        texts = [f"word{number} other{number % 7} red shoe" for number in range(400)]
        alone = OfflineEncoder(64).encode_texts(texts)
        shared = OfflineEncoder(64)
        with ThreadPoolExecutor(8) as threads:
            found = list(threads.map(lambda text: shared.encode_texts([text])[0], texts))
        assert np.array_equal(np.stack(found), alone)

    @pytest.mark.parametrize("dim", [0, 15, 70_000])
    def test_dim_out_of_range(self, dim: int) -> None:
        with pytest.raises(ValueError, match=str(dim)):
            OfflineEncoder(dim)


@pytest.fixture(scope="module")
def combinations() -> tuple[list[tuple[int, int]], np.ndarray]:
    pairs = [(shape, colour) for shape in range(len(SHAPES)) for colour in range(len(COLOURS))]
    texts = [f"{COLOURS[colour][0][0]} {SHAPES[shape].name}" for shape, colour in pairs]
    return pairs, OfflineEncoder().encode_texts(texts)


class TestPictures:
    @pytest.mark.parametrize(
        ("drawing", "kind", "share"),
        [
            ({}, "PNG", 0.99),
            ({"scale": 0.6, "offset": (5, -7)}, "PNG", 0.98),
            ({"noise": 14}, "PNG", 0.99),
            ({"striped": True}, "PNG", 0.95),
            ({"size": 320, "scale": 0.75}, "JPEG", 0.98),
        ],
        ids=["plain", "small and aside", "noise", "stripes", "large JPEG"],
    )
    def test_picture_finds_its_words_among_all_others(
        self, combinations: tuple, drawing: dict, kind: str, share: float
    ) -> None:
        pairs, texts = combinations
        pictures = [encoded(draw(shape, colour, **drawing), kind) for shape, colour in pairs]
        cosines = OfflineEncoder().encode_images(pictures) @ texts.T
        ranks = (cosines > cosines.diagonal()[:, None] + 1e-6).sum(axis=1)
        assert (ranks == 0).mean() >= share
        assert np.median(cosines.diagonal()) > 0.5

    def red_shoe(self) -> Image.Image:
        return Image.fromarray(draw(4, 3, size=200, background=(255, 255, 255)))

    def words(self, data: bytes) -> set[str]:
        return {word for word, _ in describe(decode(data))}

    def test_transparent_background(self) -> None:
        image = self.red_shoe().convert("RGBA")
        pixels = np.array(image)
        pixels[(pixels[:, :, :3] == 255).all(axis=2), 3] = 0
        pixels[pixels[:, :, 3] == 0, :3] = 0
        assert {"shoe", "red"} <= self.words(encoded(pixels))

    def test_cmyk_jpeg(self) -> None:
        assert {"shoe", "red"} <= self.words(encoded(self.red_shoe().convert("CMYK"), "JPEG", quality=92))

    def test_palette_and_gray(self) -> None:
        assert {"shoe", "red"} <= self.words(encoded(self.red_shoe().convert("P", palette=Image.Palette.ADAPTIVE)))
        assert {"shoe", "gray"} <= self.words(encoded(self.red_shoe().convert("L")))

    def test_sixteen_bit_gray(self) -> None:
        deep = np.array(self.red_shoe().convert("L")).astype(np.uint16) << 8
        assert "shoe" in self.words(encoded(deep))

    def test_rotation_in_exif_is_undone(self) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise
        sideways = self.red_shoe().transpose(Image.Transpose.ROTATE_90)
        data = encoded(sideways, "JPEG", exif=exif, quality=92)
        assert {"shoe", "red"} <= self.words(data)

    def test_unknown_shape_has_colour_only(self) -> None:
        rng = np.random.default_rng(3)
        pixels = np.full((96, 96, 3), 255, np.uint8)
        for x, y in rng.integers(8, 80, (25, 2)):
            pixels[y : y + 7, x : x + 7] = (36, 82, 204)
        assert self.words(encoded(pixels)) == {"blue"}

    @pytest.mark.parametrize("value", [0, 255])
    def test_plain_picture_still_has_a_vector(self, value: int) -> None:
        vector = OfflineEncoder().encode_images([encoded(np.full((8, 8, 3), value, np.uint8))])[0]
        assert np.linalg.norm(vector) == pytest.approx(1)

    def test_one_pixel(self) -> None:
        assert self.words(encoded(np.array([[[250, 0, 0]]], np.uint8))) == {"red"}

    def test_colours_are_named(self) -> None:
        pixels = np.array([rgb for _, rgb in COLOURS], np.uint8)
        assert [COLOURS[i][0][0] for i in colour_classes(pixels)] == [words[0] for words, _ in COLOURS]

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b"", "not a whole"),
            (b"not a picture", "not a whole"),
            (encoded(np.zeros((64, 64, 3), np.uint8))[:60], "not a whole"),
            (encoded(np.zeros((64, 64, 3), np.uint8), "PPM"), "not a whole"),
        ],
        ids=["empty", "text", "truncated", "other format"],
    )
    def test_bad_picture_is_named(self, data: bytes, message: str) -> None:
        good = encoded(draw(4, 3))
        with pytest.raises(ValueError, match=f"picture 1: {message}"):
            OfflineEncoder().encode_images([good, data])

    def test_too_large_is_refused_before_decoding(self) -> None:
        huge = encoded(Image.new("1", (8000, 6000)))
        with pytest.raises(ValueError, match="picture 0: 8000 x 6000 pixels"):
            OfflineEncoder().encode_images([huge])

    def test_no_pictures(self) -> None:
        assert OfflineEncoder(32).encode_images([]).shape == (0, 32)


class TestShapes:
    def test_every_shape_is_drawn_within_the_grid(self) -> None:
        for index, shape in enumerate(SHAPES):
            mask = silhouette(index, 64)
            assert 0.08 < mask.mean() < 0.8, shape.name
            assert not (mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any()), shape.name
            assert not (details(index, 64) & ~mask).any()

    def test_names_are_distinct(self) -> None:
        words = [word for shape in SHAPES for word in shape.words]
        assert len(words) == len(set(words))


class TestRegistry:
    def test_offline_follows_the_protocol(self) -> None:
        encoder = get_encoder("offline", dim=64)
        assert isinstance(encoder, Encoder)
        assert (encoder.name, encoder.dim) == ("offline:3", 64)
        assert get_encoder(encoder.name, dim=64).name == encoder.name

    def test_unknown_name_lists_the_known(self) -> None:
        with pytest.raises(ValueError, match="unknown encoder 'clap'; known encoders: .*offline"):
            get_encoder("clap")
        assert "offline" in encoder_names()

    def test_unknown_option(self) -> None:
        with pytest.raises(ValueError, match="offline.*size"):
            get_encoder("offline", size=3)
