"""CLIP models with what belongs to them: transforms, tokenizer and configuration.

Models are open_clip's, or a CLIPModel of transformers. A model comes from an architecture name, a
configuration (dict or JSON file), or a directory that `save_model`, open_clip or transformers
wrote; weights come from a local checkpoint, a pretrained tag of open_clip, or a seeded random
start. No pickle is ever executed: ``.safetensors`` files hold tensors alone, and ``.pt`` files are
read with ``weights_only=True``.

A directory holds ``open_clip_config.json`` and ``model.safetensors``, so that open_clip opens it
too, as ``local-dir:PATH``.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from helip.common.errors import InvalidArgumentError, MismatchError, StorageError, UnsupportedError
from helip.common.files import storage_errors
from helip.common.hub.client import downloading
from helip.common.options import PrecisionOptions, Whole, keywords, method_keywords
from helip.data.image_transform import open_clip_train_transform
from helip.models.hugging_face import (
    HFTransform,
    TransformersClip,
    clip_tokenizer,
    load_processors,
    model_from_config,
    parts_of,
)
from helip.models.lora import add_lora, merge_lora
from helip.models.options import ModelOptions
from helip.models.pretrained import (
    FromPretrainedCall,
    PushModelCall,
    SavePretrainedCall,
    folder_of,
    push_model,
    save_pretrained,
)
from helip.models.slip import HEAD, add_ssl_head, register_small_tower, ssl_head_of
from helip.models.source import CONFIG_FILE, Source, resolve, with_checkpoint
from helip.models.weights import load_weights

_OPEN_CLIP_PRECISION = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
_DTYPE = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass
class ModelBundle:
    """A CLIP model with its transforms and tokenizer."""

    model: nn.Module
    train_transform: Callable[[Any], Tensor] | None  # PIL image -> [3, H, W], augmented
    eval_transform: Callable[[Any], Tensor] | None  # PIL image -> [3, H, W]
    tokenizer: Callable[[list[str]], Tensor] | None  # captions -> int64 [n, context]
    name: str
    config: dict[str, Any] = field(default_factory=dict)  # what `save_model` writes; {}: unknown
    precision: str = "float32"  # of the weights
    untrained: bool = False  # random weights of create_model, until a run of helip has ended

    def __repr__(self) -> str:
        count = sum(p.numel() for p in self.model.parameters())
        return f"ModelBundle({self.name!r}, {count:,} parameters in {self.precision})"

    @classmethod
    @method_keywords(FromPretrainedCall)
    def from_pretrained(cls, call: FromPretrainedCall) -> ModelBundle:
        """The model in a directory, or in a repository of a hub, whose safetensors are downloaded.

        Where a repository has files of open_clip and of transformers, those of open_clip are read.

        Raises:
            StorageError: there is neither, or the hub refuses. InvalidArgumentError: no name of a
                repository. MismatchError, CorruptError: weights that do not fit, or are damaged.
        """
        options = {name: getattr(call, name) for name in ("device", "precision")}
        return create_model(folder_of(call), **options)

    @method_keywords(SavePretrainedCall)
    def save_pretrained(self, call: SavePretrainedCall) -> Path:
        """Write the new directory ``folder``, which open_clip and transformers open, and a card.

        A self-supervised head, which neither knows, is left out; `helip.models.save_model` keeps
        it. All or nothing. Refuses a path that exists and a model without a configuration.

        Raises:
            UnsupportedError: ``layout`` names a library that has no such model.
        """
        return save_pretrained(self, call, None)

    @method_keywords(PushModelCall)
    def push_to_hub(self, call: PushModelCall) -> str:
        """Upload what `save_pretrained` writes, and no other file; the address of the commit.

        Raises:
            InvalidArgumentError: no name of a repository; metadata of a card that are refused;
                a path of this machine in it.
            StorageError: no token, one that may not write, a hub that cannot be reached.
        """
        return push_model(self, call, None)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def context_length(self) -> int | None:
        """Tokens a caption, where the model or the tokenizer says it."""
        text = getattr(self.model, "text", None)
        for owner in (self.model, text, self.tokenizer):
            length = getattr(owner, "context_length", None)
            if isinstance(length, int):
                return length
        return None

    def encode_image(self, images: Tensor | Sequence[Any], *, normalize: bool = True) -> Tensor:
        """Features [n, d] of a tensor [n, 3, H, W], or of PIL images through `eval_transform`."""
        if not isinstance(images, Tensor):
            if self.eval_transform is None:
                raise InvalidArgumentError("this model has no eval_transform; pass a tensor")
            images = torch.stack([self.eval_transform(image) for image in images])
        images = images.to(self.device, _DTYPE[self.precision])
        features = self.model.encode_image(images)  # type: ignore[operator]
        return nn.functional.normalize(features, dim=-1) if normalize else features

    def encode_text(self, texts: Tensor | Sequence[str], *, normalize: bool = True) -> Tensor:
        """Features [n, d] of token ids [n, context], or of captions through `tokenizer`."""
        if not isinstance(texts, Tensor):
            if self.tokenizer is None:
                raise InvalidArgumentError("this model has no tokenizer; pass token ids")
            texts = self.tokenizer(list(texts))
        features = self.model.encode_text(texts.to(self.device))  # type: ignore[operator]
        return nn.functional.normalize(features, dim=-1) if normalize else features


@dataclass(frozen=True, kw_only=True)
class ModelCall(ModelOptions, PrecisionOptions):
    """What `create_model` is asked; ``precision`` is that of the weights."""

    name_or_path: str | os.PathLike[str] = field(kw_only=False)
    """An architecture of open_clip (ViT-B-32), a directory with a saved model or a training
    checkpoint, the folder of a run (its newest checkpoint), a configuration file (.json), or a
    weights file that has its configuration beside it. With config it is only a label.
    hf-hub:owner/name is passed to open_clip, which downloads. slip:ViT-B-16 (-S-, -L-) is the
    architecture of SLIP's published checkpoints. hf:NAME, or a directory that transformers wrote,
    is a CLIPModel of transformers, which downloads a NAME that is no directory."""
    config: dict[str, Any] | str | os.PathLike[str] | None = None
    """A dict with embed_dim, vision_cfg and text_cfg (open_clip's), or a JSON file of it, or of
    {"model_cfg": ..., "preprocess_cfg": ...}."""
    device: str | torch.device = "cpu"
    """Where the model goes."""
    seed: Whole | None = 0
    """Of a random start; the caller's random state is left as it was. None draws from it."""
    augmentation: dict[str, Any] | None = None
    """Fields of open_clip's AugmentationCfg for train_transform."""


@keywords(ModelCall)
def create_model(call: ModelCall) -> ModelBundle:
    """Make a CLIP model.

    Without a ``checkpoint`` the weights are those of ``name_or_path``, a directory or a weights
    file. An architecture alone has none: a random start wants ``from_scratch=True``. Weights are
    float32 for training.

    Raises InvalidArgumentError for an unknown architecture or one without weights, StorageError for
    an absent file, MismatchError for weights that do not fit, CorruptError for damaged ones.
    """
    source = resolve(os.fspath(call.name_or_path), call.config)
    if call.checkpoint is not None:
        source = with_checkpoint(source, os.fspath(call.checkpoint))
    source.check_weights(os.fspath(call.name_or_path), from_scratch=call.from_scratch)
    if call.ssl_head is not None:
        source.ssl_head = (source.ssl_head or {}) if call.ssl_head else None
    with _seeded(call.seed):
        make = _transformers_bundle if source.transformers else _open_clip_bundle
        bundle = make(source, call.device, call.precision, call.augmentation)
        if source.ssl_head is not None:
            add_ssl_head(bundle.model, **source.ssl_head)
        if source.lora is not None:
            add_lora(bundle.model, source.lora)
    if source.weights is not None:
        without = f"{HEAD}." if call.ssl_head is False else None
        load_weights(bundle.model, source.weights, without=without)
    merge_lora(bundle.model)
    bundle.untrained = call.from_scratch
    if bundle.config and (head := ssl_head_of(bundle.model)):
        bundle.config["ssl_head"] = head
    return bundle


def bundle_of_transformers(
    model: Any, *, processor: Any = None, tokenizer: Any = None
) -> ModelBundle:
    """A bundle around a `transformers.CLIPModel`, which is trained in place.

    processor, tokenizer: an image processor of transformers, and a callable from captions to int64
        [n, context]; by default those that CLIP has.
    """
    wrapped = TransformersClip(model)
    if processor is None or tokenizer is None:
        own_processor, own_tokenizer = load_processors(None, model.config)
        processor, tokenizer = processor or own_processor, tokenizer or own_tokenizer
    train_transform, eval_transform, config = parts_of(wrapped, processor, None)
    name = getattr(model.config, "name_or_path", "") or type(model).__name__
    return ModelBundle(wrapped, train_transform, eval_transform, tokenizer, name, config)


def _open_clip_bundle(
    source: Source, device: Any, precision: str, augmentation: dict[str, Any] | None
) -> ModelBundle:
    options = {
        "precision": _OPEN_CLIP_PRECISION[precision],
        "device": device,
        "aug_cfg": augmentation or source.augmentation,
    }
    model, train_transform, eval_transform = _build(source, options)
    config, tokenizer = _config_of(model, source), _tokenizer(source)
    # The same in the core, where there is one: threads of a loader do it without the GIL.
    preprocess = dict(getattr(model.visual, "preprocess_cfg", None) or {})
    fast = open_clip_train_transform(preprocess, options["aug_cfg"] or {})
    return ModelBundle(
        model, fast or train_transform, eval_transform, tokenizer, source.name, config, precision
    )


def _transformers_bundle(
    source: Source, device: Any, precision: str, augmentation: dict[str, Any] | None
) -> ModelBundle:
    known = source.config and source.config["transformers_cfg"]
    model = model_from_config(known) if known else _transformers_model(source)
    processor, tokenizer = load_processors(source.directory, model.model.config)
    train_transform, _, config = parts_of(model, processor, augmentation)
    model.to(device, _DTYPE[precision]).eval()
    return ModelBundle(
        model, train_transform, HFTransform(processor), tokenizer, source.name, config, precision
    )


def _transformers_model(source: Source) -> TransformersClip:
    """By transformers itself: of its hub, or in several weights files."""
    import transformers

    where = str(source.directory or source.name)
    with storage_errors("load", where), _downloads(source, "model", source.directory is None):
        loader: Any = transformers.CLIPModel
        model, report = loader.from_pretrained(where, output_loading_info=True)
    odd = [k for k in sorted(report["missing_keys"]) if not k.endswith("position_ids")]
    odd += [str(k) for k in report.get("mismatched_keys", ())]
    if odd:
        raise MismatchError(
            f"the weights of {where} lack {len(odd)} keys of a CLIPModel ({', '.join(odd[:5])})"
        )
    return TransformersClip(model)


@contextlib.contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    """torch's CPU generator at ``seed``, put back afterwards; as it is with None."""
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def _build(source: Source, options: dict[str, Any]) -> tuple[Any, Any, Any]:
    import open_clip

    with _quiet_open_clip(), contextlib.ExitStack() as stack:
        name, pretrained = source.name, source.tag or None
        if source.config is not None:
            # By way of a directory, so that open_clip's registry of names stays as it is.
            directory = stack.enter_context(tempfile.TemporaryDirectory())
            file = Path(directory) / CONFIG_FILE
            file.write_text(json.dumps(source.config), encoding="utf-8")
            register_small_tower(source.config)
            name = f"local-dir:{directory}"
        try:
            asked = source.tag is not None or "hf_model_name" in _text_config(source)
            with _downloads(source, "weights" if source.tag else "parts", asked):
                return open_clip.create_model_and_transforms(
                    name,
                    pretrained,
                    load_weights=source.tag is not None,
                    # Weights of single towers would be downloads that nobody asked for.
                    pretrained_text=False,
                    pretrained_image=False,
                    **options,
                )
        except ImportError as error:
            raise UnsupportedError(
                f"{source.name} needs a package that is absent ({error}); pip install helip[embed]"
            ) from error
        except StorageError:
            raise
        except OSError as error:
            raise StorageError(error.errno, f"cannot make {source.name}: {error}") from error
        except (TypeError, ValueError, AssertionError, KeyError, RuntimeError) as error:
            raise InvalidArgumentError(
                f"open_clip cannot make {source.name!r} from its configuration: "
                f"{type(error).__name__}: {error}"
            ) from error


def _text_config(source: Source) -> dict[str, Any]:
    """That of the text tower; {} where open_clip reads it from the hub."""
    import open_clip

    known = source.config and source.config["model_cfg"]
    return dict((known or open_clip.get_model_config(source.name) or {}).get("text_cfg", {}))


def _downloads(source: Source, what: str, asked: bool) -> contextlib.AbstractContextManager[None]:
    """For a block where a library may download ``what`` of a model; does nothing unless asked."""
    if not asked:
        return contextlib.nullcontext()
    label = f"the {what} of {source.name}"
    mend = "connect once, or give the folder of a model that is here"
    if source.tag:
        label, mend = f"the weights {source.tag!r} of {source.name}", "give checkpoint=FILE"
    return downloading(label, mend)


def _config_of(model: nn.Module, source: Source) -> dict[str, Any]:
    """What `save_model` writes; {} when open_clip does not tell."""
    import open_clip

    if source.tag == "":
        return {}
    known = source.config and source.config["model_cfg"]
    model_config = known or open_clip.get_model_config(source.name)
    preprocess = dict(getattr(model.visual, "preprocess_cfg", None) or {})
    return json.loads(json.dumps({"model_cfg": model_config, "preprocess_cfg": preprocess}))


def _tokenizer(source: Source) -> Any:
    import open_clip

    with _quiet_open_clip():
        if source.config is None:
            asked = source.tag == "" or "hf_tokenizer_name" in _text_config(source)
            with _downloads(source, "tokenizer", asked):
                return open_clip.get_tokenizer(source.name)
        text = source.config["model_cfg"]["text_cfg"]
        context = text.get("context_length", open_clip.tokenizer.DEFAULT_CONTEXT_LENGTH)
        options = dict(text.get("tokenizer_kwargs") or {})
        name = text.get("hf_tokenizer_name")
        if not name:
            return clip_tokenizer(context, **options)
        directory = source.directory
        local = directory is not None and any(directory.glob("tokenizer*"))
        with storage_errors("load the tokenizer", name), _downloads(source, "tokenizer", not local):
            return open_clip.tokenizer.HFTokenizer(
                str(directory) if local else name,
                context_length=context,
                tokenizer_mode=text.get("tokenizer_mode"),
                **options,
            )


@contextlib.contextmanager
def _quiet_open_clip() -> Iterator[None]:
    """Drop open_clip's remarks on random starts, which go to the root logger.

    Without a handler the logging module would print them and set up handlers of its own.
    """
    root = logging.getLogger()

    def wanted(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR or "open_clip" not in record.pathname

    handler = logging.NullHandler()
    root.addHandler(handler)
    root.addFilter(wanted)
    try:
        yield
    finally:
        root.removeFilter(wanted)
        root.removeHandler(handler)
