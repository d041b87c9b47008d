"""Encoders of transformers: ``hf:NAME-or-DIRECTORY``, for pictures and for captions."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import torch
import transformers

from helip.common.errors import InvalidArgumentError, UnsupportedError
from helip.common.weights_digest import weights_digest
from helip.encoders.loading import Loaded, Network, check_keys, loading, ready, source_of
from helip.encoders.spec import EncoderSpec, MaxLength, read_options

_MEND = (
    "A name is looked up on the Hugging Face hub on first use: connect once, or download the "
    "repository and give hf:/path/to/its/directory"
)
# Vision transformers whose first token is the picture's summary; others pool in their own way.
_CLS_MODELS = (
    "vit",
    "vit_msn",
    "deit",
    "beit",
    "data2vec-vision",
    "dinov2",
    "dinov2_with_registers",
    "dinov3_vit",
)
_LONGEST_CAPTION = 512  # tokens, where neither the tokenizer nor the option sets less


def load_image(spec: EncoderSpec, device: torch.device) -> Loaded:
    """A vision model of transformers with its own image processor.

    ``pooling``: "cls" (the first token after the last norm; DINOv2's pooled output is the same),
    "mean" (over patch tokens), "pooler" (the model's own pooler). Default: cls where the model has
    such a token, else pooler.
    """
    options = read_options(spec, pooling=Literal["cls", "mean", "pooler"])
    source = source_of(spec)
    model, missing = _load_model(source)
    if not hasattr(model.config, "image_size") and model.main_input_name != "pixel_values":
        raise InvalidArgumentError(f"a {model.config.model_type} model reads no pictures")
    has_cls = model.config.model_type in _CLS_MODELS
    pooling = options.get("pooling", "cls" if has_cls else "pooler")
    if pooling == "cls" and not has_cls:
        raise InvalidArgumentError(
            f"a {model.config.model_type} model is not known to have a cls token; use "
            "pooling=pooler or pooling=mean"
        )
    unused = () if pooling == "pooler" else ("pooler.",)
    check_keys([key for key in missing if not key.startswith(unused)])
    with loading(mend="The directory needs the model's preprocessor_config.json"):
        processor = transformers.AutoImageProcessor.from_pretrained(source)
    skip = int(has_cls) + int(getattr(model.config, "num_register_tokens", 0) or 0)
    model = ready(model, device)

    network = Network(model, lambda m, images: _pooled(m(pixel_values=images), pooling, skip))
    used = weights_digest(model, names=lambda name: not name.startswith(unused))
    return Loaded(network=network, weights=used, preprocess=partial(_preprocess, processor))


def _preprocess(processor: Any, image: Any) -> torch.Tensor:
    return processor(images=image, return_tensors="pt")["pixel_values"][0].float()


def _pooled(output: Any, pooling: str, skip: int) -> torch.Tensor:
    """Features [n, dim] of a model's output; ``skip`` tokens come before the patches."""
    hidden = output.last_hidden_state  # [n, tokens, dim], or [n, dim, h, w] of a convnet
    if pooling == "pooler":
        pooled = getattr(output, "pooler_output", None)
        if pooled is None:
            raise UnsupportedError("this model has no pooler: use ?pooling=mean")
        return pooled.flatten(1)
    if hidden.ndim == 4:
        return hidden.mean(dim=(2, 3))
    return hidden[:, 0] if pooling == "cls" else hidden[:, skip:].mean(dim=1)


def load_text(spec: EncoderSpec, device: torch.device) -> Loaded:
    """A text model of transformers, pooled over its tokens.

    ``pooling``: "mean" over the attention mask (default) or "cls". ``normalize``: 1 for unit rows.
    ``max_length``: tokens a caption is cut to.
    """
    switch = Literal["0", "1", "false", "true"]
    options = read_options(
        spec, pooling=Literal["mean", "cls"], normalize=switch, max_length=MaxLength
    )
    options["normalize"] = options.get("normalize") in ("1", "true")
    return pooled_text(source_of(spec), device, **options)


def pooled_text(
    source: str,
    device: torch.device,
    *,
    pooling: str = "mean",
    normalize: bool = False,
    max_length: int | None = None,
) -> Loaded:
    """The text model in ``source``, a directory or a hub name; otherwise as :func:`load_text`."""
    model, missing = _load_model(source)
    if model.main_input_name != "input_ids":
        raise InvalidArgumentError(f"a {model.config.model_type} model reads no captions")
    check_keys([key for key in missing if not key.startswith("pooler.")])
    with loading(mend="The directory needs the model's tokenizer files"):
        tokenizer = transformers.AutoTokenizer.from_pretrained(source)
    if tokenizer.pad_token_id is None:
        raise UnsupportedError(
            "its tokenizer has no padding token, so captions of unlike length cannot share a "
            "batch; choose an encoder model such as BERT"
        )
    if model.config.is_encoder_decoder:
        model = model.get_encoder()
    model = ready(model, device)
    positions = getattr(model.config, "max_position_embeddings", None)
    if not positions or positions < 2:
        positions = _LONGEST_CAPTION
    longest = max_length or min(tokenizer.model_max_length, positions, _LONGEST_CAPTION)

    def tokenize(texts: list[str]) -> dict[str, torch.Tensor]:
        tokens = tokenizer(
            texts, padding=True, truncation=True, max_length=longest, return_tensors="pt"
        )
        return dict(tokens)

    names = list(tokenize(["a"]))

    def features(network: torch.nn.Module, *tensors: torch.Tensor) -> torch.Tensor:
        tokens = dict(zip(names, tensors, strict=True))
        hidden = network(**tokens).last_hidden_state.float()  # [n, tokens, dim]
        if pooling == "cls":
            pooled = hidden[:, 0]
        else:
            mask = tokens["attention_mask"].unsqueeze(-1).to(hidden.dtype)  # [n, tokens, 1]
            pooled = (hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1.0)
        return torch.nn.functional.normalize(pooled, dim=-1) if normalize else pooled

    # A pooler that the files lack starts at random, and is not used.
    used = weights_digest(model, names=lambda name: not name.startswith("pooler."))
    return Loaded(network=Network(model, features), weights=used, tokenize=tokenize)


def _load_model(source: str) -> tuple[Any, list[str]]:
    """The model, and the names of the parameters that its files lack."""
    with loading(mend=_MEND):
        config = transformers.AutoConfig.from_pretrained(source)
        if hasattr(config, "text_config") and hasattr(config, "vision_config"):
            raise UnsupportedError(
                f"a {config.model_type} model is of two modalities; unimodal encoders are wanted "
                "here, CLIP models load as open_clip:…"
            )
        model, report = transformers.AutoModel.from_pretrained(
            source, config=config, output_loading_info=True
        )
    mismatched = [str(key) for key in report.get("mismatched_keys", ())]
    return model, sorted(report["missing_keys"]) + mismatched
