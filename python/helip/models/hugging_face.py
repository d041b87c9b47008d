"""CLIP models of transformers, trained and evaluated as open_clip's are.

`TransformersClip` wraps a `transformers.CLIPModel`, which is trained in place and can be saved by
its own ``save_pretrained``. Its tokenizer pads with 0 behind the end token, as open_clip's does:
under the causal mask nothing behind the end token reaches the caption's feature.
"""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from helip.common.errors import InvalidArgumentError, UnsupportedError
from helip.common.files import storage_errors

STANDARD_VOCABULARY = 49408  # of CLIP's byte pairs, which open_clip brings along


class TransformersClip(nn.Module):
    """A `transformers.CLIPModel` behind the interface of an open_clip model.

    Names of its state dict are those of transformers behind "model.".
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        if not is_transformers_clip(model):
            raise UnsupportedError(
                f"model is a {type(model).__name__}, must be a transformers.CLIPModel; other "
                "models of two modalities have other losses"
            )
        self.model = model

    def forward(self, image: Tensor | None = None, text: Tensor | None = None) -> dict[str, Any]:
        """Unit features [b, d] of both, None for what is not given, and the logit scale."""
        return {
            "image_features": None if image is None else self.encode_image(image, normalize=True),
            "text_features": None if text is None else self.encode_text(text, normalize=True),
            "logit_scale": self.model.logit_scale.exp(),
        }

    def encode_image(self, image: Tensor, normalize: bool = False) -> Tensor:
        features = self.model.visual_projection(self.raw_image_features(image))
        return F.normalize(features, dim=-1) if normalize else features

    def encode_text(self, text: Tensor, normalize: bool = False) -> Tensor:
        pooled = self.model.text_model(input_ids=text).pooler_output
        features = self.model.text_projection(pooled)
        return F.normalize(features, dim=-1) if normalize else features

    def raw_image_features(self, image: Tensor) -> Tensor:
        return self.model.vision_model(pixel_values=image).pooler_output

    @property
    def raw_image_width(self) -> int:
        return int(self.model.config.vision_config.hidden_size)

    @property
    def logit_scale(self) -> Tensor:
        return self.model.logit_scale

    @property
    def context_length(self) -> int:
        return int(self.model.config.text_config.max_position_embeddings)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        if enable:
            self.model.gradient_checkpointing_enable()
        else:
            self.model.gradient_checkpointing_disable()

    def lock_image_tower(self, unlocked_groups: int = 0, freeze_bn_stats: bool = False) -> None:
        tower = self.model.vision_model
        first = [tower.embeddings, tower.pre_layrnorm]
        _lock(first, tower, tower.post_layernorm, self.model.visual_projection, unlocked_groups)

    def lock_text_tower(self, unlocked_layers: int = 0, freeze_layer_norm: bool = True) -> None:
        tower = self.model.text_model
        first = [tower.embeddings]
        _lock(first, tower, tower.final_layer_norm, self.model.text_projection, unlocked_layers)


def is_transformers_clip(model: Any) -> bool:
    """Whether it is a `transformers.CLIPModel`; does not import transformers to say no."""
    kinds = type(model).__mro__
    return any(
        k.__name__ == "CLIPModel" and k.__module__.startswith("transformers.") for k in kinds
    )


class HFTokens:
    """Captions -> int64 [n, context] by a tokenizer of transformers, 0 behind the end token."""

    def __init__(self, tokenizer: Any, context_length: int) -> None:
        self.tokenizer = tokenizer
        self.context_length = context_length
        self.eot_token_id = tokenizer.eos_token_id

    def __call__(self, texts: str | list[str], context_length: int | None = None) -> Tensor:
        tokens = self.tokenizer(
            [texts] if isinstance(texts, str) else list(texts),
            padding="max_length",
            truncation=True,
            max_length=context_length or self.context_length,
            return_tensors="pt",
        )
        return tokens["input_ids"].masked_fill(tokens["attention_mask"] == 0, 0)


class HFTransform:
    """A PIL image -> [3, H, W] by an image processor of transformers."""

    def __init__(self, processor: Any) -> None:
        self.processor = processor

    def __call__(self, image: Any) -> Tensor:
        pixels = self.processor(images=image.convert("RGB"), return_tensors="pt")["pixel_values"]
        return pixels[0].float()


def model_from_config(config: Mapping[str, Any]) -> TransformersClip:
    """A random `TransformersClip` of a configuration as `CLIPConfig.to_dict` gives it."""
    import transformers

    try:
        return TransformersClip(transformers.CLIPModel(transformers.CLIPConfig(**config)))
    except (TypeError, ValueError, KeyError) as error:
        raise InvalidArgumentError(
            f"transformers cannot make a CLIPModel of this configuration: "
            f"{type(error).__name__}: {error}"
        ) from error


def clip_tokenizer(context_length: int, **options: Any) -> Any:
    """The tokenizer of CLIP, open_clip's ``SimpleTokenizer`` with these options. Reading its
    vocabulary takes some tenth of a second, so that all of the same options share it."""
    if "bpe_path" in options:  # another vocabulary, in a file that may change
        import open_clip

        return open_clip.SimpleTokenizer(context_length=context_length, **options)
    shared = _byte_pairs(json.dumps(options, sort_keys=True))
    tokenizer = copy.copy(shared)
    tokenizer.context_length, tokenizer.cache = context_length, dict(shared.cache)
    return tokenizer


@functools.cache
def _byte_pairs(options: str) -> Any:
    import open_clip

    return open_clip.SimpleTokenizer(**json.loads(options))


def load_processors(directory: Path | None, config: Any) -> tuple[Any, Any]:
    """(image processor, tokenizer) of a directory; where it has none, those that CLIP has.

    Raises UnsupportedError for a vocabulary that is not CLIP's without its tokenizer's files.
    """
    import transformers

    def has(*names: str) -> bool:
        return directory is not None and any((directory / name).is_file() for name in names)

    size, text = config.vision_config.image_size, config.text_config
    with storage_errors("load the processors", directory or "transformers"):
        if has("preprocessor_config.json", "processor_config.json"):
            processor = transformers.AutoImageProcessor.from_pretrained(str(directory))
        else:
            processor = transformers.CLIPImageProcessor(
                size={"shortest_edge": size}, crop_size={"height": size, "width": size}
            )
        tokenizer: Any
        context = text.max_position_embeddings
        if has("tokenizer.json", "vocab.json", "tokenizer_config.json"):
            own = transformers.AutoTokenizer.from_pretrained(str(directory))
            tokenizer = HFTokens(own, context)
        elif text.vocab_size == STANDARD_VOCABULARY:
            tokenizer = clip_tokenizer(context)
        else:
            raise UnsupportedError(
                f"{directory or 'the model'} brings no tokenizer, and its vocabulary of "
                f"{text.vocab_size} is not CLIP's {STANDARD_VOCABULARY}; put the "
                "tokenizer's files beside the weights"
            )
    return processor, tokenizer


def parts_of(
    model: TransformersClip, processor: Any, augmentation: dict[str, Any] | None
) -> tuple[Callable[[Any], Tensor], HFTransform, dict[str, Any]]:
    """(train_transform, eval_transform, configuration) of a bundle."""
    import open_clip
    from open_clip.transform import AugmentationCfg, PreprocessCfg, image_transform_v2

    size = model.model.config.vision_config.image_size
    preprocess = {
        "size": size,
        "mean": tuple(getattr(processor, "image_mean", None) or open_clip.OPENAI_DATASET_MEAN),
        "std": tuple(getattr(processor, "image_std", None) or open_clip.OPENAI_DATASET_STD),
    }
    train = image_transform_v2(
        PreprocessCfg(**preprocess), is_train=True, aug_cfg=AugmentationCfg(**(augmentation or {}))
    )
    config = {
        "transformers_cfg": json.loads(model.model.config.to_json_string(use_diff=False)),
        "preprocess_cfg": json.loads(json.dumps(preprocess)),
    }
    return train, HFTransform(processor), config


def bare_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of transformers or of `TransformersClip` under the names of the latter."""
    own = {
        name if name.startswith(("model.", "image_mlp.")) else f"model.{name}": tensor
        for name, tensor in state.items()
    }
    # Older versions of transformers kept these buffers in the state dict.
    return {name: tensor for name, tensor in own.items() if not name.endswith(".position_ids")}


def _lock(
    first: list[nn.Module], tower: Any, norm: nn.Module, projection: nn.Module, unlocked: int
) -> None:
    """Lock all but the last groups. Each layer is one; the norm goes with the last layer."""
    *layers, last = tower.encoder.layers
    groups = [first, *([layer] for layer in layers), [last, norm], [projection]]
    for number, group in enumerate(groups):
        for module in group:
            module.requires_grad_(number >= len(groups) - unlocked)
