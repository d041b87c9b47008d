"""Encoders of transformers and sentence-transformers on small checkpoints made here."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from helip.common.errors import InvalidArgumentError
from helip.encoders.registry import image_encoder, text_encoder
from support.encoder_samples import CAPTIONS, close, offline, picture, pictures  # noqa: F401 (fixture)

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "cat", "dog", "on", "mat", "and"]


def save_vision(path: Path, kind: str, **options) -> torch.nn.Module:
    import transformers

    torch.manual_seed(1)
    classes = {
        "dinov2": (transformers.Dinov2Config, transformers.Dinov2Model),
        "registers": (
            transformers.Dinov2WithRegistersConfig,
            transformers.Dinov2WithRegistersModel,
        ),
        "vit": (transformers.ViTConfig, transformers.ViTModel),
    }
    config_class, model_class = classes[kind]
    config = config_class(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=28,
        patch_size=14,
    )
    model = model_class(config, **options).eval()
    model.save_pretrained(path)
    transformers.ViTImageProcessor(size={"height": 28, "width": 28}).save_pretrained(path)
    return model


def test_dinov2_rows_are_its_pooled_cls_token(tmp_path):
    model = save_vision(tmp_path, "dinov2")
    encoder = image_encoder(f"hf:{tmp_path}")
    images = pictures(encoder)
    assert images.shape == (3, 3, 28, 28)
    assert images.dtype == torch.float32
    with torch.no_grad():
        expected = model(pixel_values=images).pooler_output
    assert encoder.dim == 16
    close(encoder.encode(images), expected)


def test_pictures_are_normalised_by_the_models_own_processor(tmp_path):
    import transformers

    save_vision(tmp_path, "vit")
    encoder = image_encoder(f"hf:{tmp_path}")
    processor = transformers.ViTImageProcessor.from_pretrained(tmp_path)
    expected = processor(images=picture(), return_tensors="pt")["pixel_values"][0]
    close(encoder.preprocess(picture()), expected)


def test_mean_pooling_of_pictures_leaves_out_cls_and_register_tokens(tmp_path):
    model = save_vision(tmp_path, "registers")
    encoder = image_encoder(f"hf:{tmp_path}?pooling=mean")
    images = pictures(encoder)
    with torch.no_grad():
        hidden = model(pixel_values=images).last_hidden_state
    assert hidden.shape[1] == 1 + 4 + 4
    close(encoder.encode(images), hidden[:, 5:].mean(1))


def test_a_pooler_without_weights_is_refused_and_cls_needs_none(tmp_path):
    save_vision(tmp_path, "vit", add_pooling_layer=False)
    assert image_encoder(f"hf:{tmp_path}").dim == 16
    with pytest.raises(InvalidArgumentError, match="pooler"):
        image_encoder(f"hf:{tmp_path}?pooling=pooler")


def save_bert(path: Path) -> torch.nn.Module:
    import transformers

    torch.manual_seed(2)
    path.mkdir(exist_ok=True)
    config = transformers.BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=24,
    )
    model = transformers.BertModel(config).eval()
    model.save_pretrained(path)
    (path / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    transformers.BertTokenizer(str(path / "vocab.txt")).save_pretrained(path)
    return model


def bert_states(model: torch.nn.Module, caption: str) -> torch.Tensor:
    """States [tokens, dim] of one caption, alone and so without padding."""
    ids = [2, *(WORDS.index(word) for word in caption.split()), 3]
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).last_hidden_state[0]


def test_bert_rows_are_means_over_tokens_without_padding(tmp_path):
    model = save_bert(tmp_path)
    encoder = text_encoder(f"hf:{tmp_path}")
    expected = torch.stack([bert_states(model, caption).mean(0) for caption in CAPTIONS])
    assert encoder.dim == 16
    close(encoder.encode(CAPTIONS), expected)


def test_bert_rows_are_cls_tokens_where_asked(tmp_path):
    model = save_bert(tmp_path)
    expected = torch.stack([bert_states(model, caption)[0] for caption in CAPTIONS])
    close(text_encoder(f"hf:{tmp_path}?pooling=cls").encode(CAPTIONS), expected)


def test_bert_rows_have_unit_length_where_asked(tmp_path):
    save_bert(tmp_path)
    rows = text_encoder(f"hf:{tmp_path}?normalize=1").encode(CAPTIONS)
    close(rows.norm(dim=1), torch.ones(4))


def test_captions_are_cut_at_the_models_length_or_the_option(tmp_path):
    model = save_bert(tmp_path)
    long = "a cat on a mat " * 20
    assert text_encoder(f"hf:{tmp_path}").encode([long]).isfinite().all()
    row = text_encoder(f"hf:{tmp_path}?max_length=4").encode([long])[0]
    close(row, bert_states(model, "a cat").mean(0))


def test_weights_that_lack_a_tensor_are_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    save_bert(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    del state["encoder.layer.1.output.dense.weight"]
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InvalidArgumentError, match=r"encoder\.layer\.1\.output\.dense\.weight"):
        text_encoder(f"hf:{tmp_path}")


def test_a_model_of_the_other_modality_is_refused(tmp_path):
    save_bert(tmp_path / "bert")
    save_vision(tmp_path / "vit", "vit")
    with pytest.raises(InvalidArgumentError, match="reads no pictures"):
        image_encoder(f"hf:{tmp_path}/bert")
    with pytest.raises(InvalidArgumentError, match="reads no captions"):
        text_encoder(f"hf:{tmp_path}/vit")


def test_sentence_transformers_rows_are_the_models_own(tmp_path):
    import sentence_transformers

    save_bert(tmp_path / "bert")
    # A bare transformers directory gets mean pooling.
    sentence_transformers.SentenceTransformer(str(tmp_path / "bert")).save(str(tmp_path / "st"))
    encoder = text_encoder(f"st:{tmp_path}/st")
    close(encoder.encode(CAPTIONS), text_encoder(f"hf:{tmp_path}/bert").encode(CAPTIONS))
