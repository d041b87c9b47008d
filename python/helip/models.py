"""CLIP models with what belongs to them: transforms, tokenizer and configuration.

Models are open_clip's. A model comes from an architecture name, a configuration (dict or JSON
file), or a directory that `save_model` or open_clip wrote; weights come from a local checkpoint, a
pretrained tag of open_clip, or a seeded random start. No pickle is ever executed: ``.safetensors``
files hold tensors alone, and ``.pt`` files are read with ``weights_only=True``.

A directory holds ``open_clip_config.json`` and ``model.safetensors``, so that open_clip opens it
too, as ``local-dir:PATH``.
"""

from __future__ import annotations

import contextlib
import copy
import difflib
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

from helip.errors import InvalidArgumentError, StorageError, UnsupportedError
from helip.publish import publish_directory, read_json, storage_errors, write_json
from helip.weights import find_weights, load_weights, write_tensors

__all__ = [
    "CONFIG_FILE",
    "ModelBundle",
    "create_model",
    "encode_image",
    "encode_text",
    "save_model",
]

CONFIG_FILE = "open_clip_config.json"
WEIGHTS_FILE = "model.safetensors"

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
    config: dict[str, Any] = field(default_factory=dict)  # {"model_cfg", "preprocess_cfg"}
    precision: str = "float32"  # of the weights

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


def encode_image(
    bundle: ModelBundle, images: Tensor | Sequence[Any], *, normalize: bool = True
) -> Tensor:
    """`ModelBundle.encode_image`, as a function."""
    return bundle.encode_image(images, normalize=normalize)


def encode_text(
    bundle: ModelBundle, texts: Tensor | Sequence[str], *, normalize: bool = True
) -> Tensor:
    """`ModelBundle.encode_text`, as a function."""
    return bundle.encode_text(texts, normalize=normalize)


def create_model(
    name_or_path: str | os.PathLike[str],
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    config: dict[str, Any] | str | os.PathLike[str] | None = None,
    device: str | torch.device = "cpu",
    precision: str = "float32",
    seed: int | None = 0,
    augmentation: dict[str, Any] | None = None,
) -> ModelBundle:
    """Make a CLIP model.

    name_or_path: an architecture of open_clip ("ViT-B-32"), a directory with a saved model or a
        training checkpoint, a configuration file (.json), or a weights file that has its
        configuration beside it. With ``config`` it is only a label. "hf-hub:owner/name" is passed
        to open_clip, which downloads.
    checkpoint: weights: a .safetensors, .pt, .pth, .bin or .ckpt file, a directory that holds
        one, or a pretrained tag of open_clip ("laion2b_s34b_b79k", downloaded by open_clip).
        None takes those of ``name_or_path`` where it is a directory or a weights file, and a
        random start otherwise.
    config: a dict with embed_dim, vision_cfg and text_cfg (open_clip's), or a JSON file of it, or
        of {"model_cfg": ..., "preprocess_cfg": ...}.
    precision: of the weights: "float32" (needed for training), "bfloat16", "float16".
    seed: of a random start; the caller's random state is left as it was. None draws from it.
    augmentation: fields of open_clip's AugmentationCfg for `train_transform`.

    Raises InvalidArgumentError for an unknown architecture, StorageError for an absent file,
    MismatchError for weights that do not fit, CorruptError for damaged ones.
    """
    if precision not in _OPEN_CLIP_PRECISION:
        raise InvalidArgumentError(
            f"precision is {precision!r}, must be one of {sorted(_OPEN_CLIP_PRECISION)}"
        )
    source = _resolve(os.fspath(name_or_path), config)
    if checkpoint is not None:
        source = _with_checkpoint(source, os.fspath(checkpoint))
    options = {
        "precision": _OPEN_CLIP_PRECISION[precision],
        "device": device,
        "aug_cfg": augmentation,
    }
    model, train_transform, eval_transform = _build(source, seed, options)
    if source.weights is not None:
        load_weights(model, source.weights)
    return ModelBundle(
        model=model,
        train_transform=train_transform,
        eval_transform=eval_transform,
        tokenizer=_tokenizer(source),
        name=source.name,
        config=_config_of(model, source),
        precision=precision,
    )


def save_model(bundle: ModelBundle, path: str | os.PathLike[str]) -> Path:
    """Write weights and configuration into the new directory ``path``, all or nothing.

    `create_model(path)` opens it again. A transformers tokenizer is saved beside them. Refuses a
    path that exists, and a bundle without a configuration.
    """
    path = Path(path)
    if not bundle.config:
        raise InvalidArgumentError(
            f"the model {bundle.name!r} has no configuration to save; make it with create_model"
        )
    with publish_directory(path) as directory:
        write_tensors(bundle.model.state_dict(), directory / WEIGHTS_FILE)
        write_json(directory / CONFIG_FILE, {"name": bundle.name, **bundle.config})
        inner = getattr(bundle.tokenizer, "tokenizer", None)
        if inner is not None and hasattr(inner, "save_pretrained"):
            inner.save_pretrained(str(directory))
    return path


@dataclass
class _Source:
    """Where a model comes from."""

    name: str
    config: dict[str, Any] | None = None  # None: open_clip knows it by name
    weights: Path | None = None
    tag: str | None = None  # pretrained tag of open_clip
    directory: Path | None = None  # may hold tokenizer files


def _resolve(name: str, config: Any) -> _Source:
    path = Path(name)
    if config is not None:
        if not isinstance(config, dict):
            config = _read_config(Path(config))
        return _Source(name=name, config=_checked_config(config, "config"))
    if path.is_dir():
        file = path / CONFIG_FILE
        if not file.is_file():
            raise StorageError(f"{path} holds no {CONFIG_FILE}; pass config= to say what it is")
        return _from_config_file(file, weights=find_weights(path), directory=path)
    if path.is_file() and path.suffix == ".json":
        return _from_config_file(path, directory=path.parent)
    if path.is_file():
        file = path.parent / CONFIG_FILE
        if not file.is_file():
            raise StorageError(
                f"{path} has no {CONFIG_FILE} beside it; pass the architecture as the first "
                "argument and the file as checkpoint=, or pass config="
            )
        return _from_config_file(file, weights=path, directory=path.parent)
    if name.startswith("hf-hub:"):
        return _Source(name=name, tag="")
    known = _open_clip().list_models()
    cleaned = name.replace("/", "-")
    if cleaned in known:
        return _Source(name=cleaned)
    if path.suffix in (".json", ".safetensors", ".pt", ".pth", ".bin") or len(path.parts) > 2:
        raise StorageError(f"{name} does not exist; it must be a file, a directory or a model name")
    close = difflib.get_close_matches(cleaned, known, n=4, cutoff=0.5)
    hint = f"did you mean {', '.join(close)}?" if close else "open_clip.list_models() lists them"
    raise InvalidArgumentError(
        f"{name!r} is no architecture of open_clip and no file or directory; {hint}"
    )


def _from_config_file(file: Path, **where: Path | None) -> _Source:
    config = _read_config(file)
    name = config.get("name")
    if not isinstance(name, str):
        name = file.parent.name if file.name == CONFIG_FILE else file.stem
    return _Source(name=name, config=_checked_config(config, str(file)), **where)  # type: ignore[arg-type]


def _read_config(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise StorageError(f"the configuration {file} does not exist")
    return read_json(file)


def _checked_config(config: dict[str, Any], label: str) -> dict[str, Any]:
    """{"model_cfg", "preprocess_cfg"} from either accepted form; a copy."""
    model = config.get("model_cfg", config)
    needed = ("embed_dim", "vision_cfg", "text_cfg")
    missing = [key for key in needed if not isinstance(model, dict) or key not in model]
    if missing:
        raise InvalidArgumentError(
            f"{label} lacks {', '.join(missing)}; a model configuration holds {', '.join(needed)}"
        )
    # The name is ours; what describes the model is not.
    model = {key: value for key, value in model.items() if key not in ("name", "preprocess_cfg")}
    return copy.deepcopy(
        {"model_cfg": model, "preprocess_cfg": dict(config.get("preprocess_cfg") or {})}
    )


def _with_checkpoint(source: _Source, checkpoint: str) -> _Source:
    path = Path(checkpoint)
    if path.is_dir():
        weights = find_weights(path)
        if weights is None:
            raise StorageError(f"{path} holds no weights; pass the file itself")
        source.weights = weights
        return source
    if path.is_file():
        source.weights = path
        return source
    open_clip = _open_clip()
    tags = open_clip.list_pretrained_tags_by_model(source.name) if source.config is None else []
    if checkpoint.lower().replace("-", "_") in tags:
        source.tag = checkpoint
        return source
    known = f"; tags of {source.name}: {', '.join(tags[:8])}" if tags else ""
    raise StorageError(
        f"the checkpoint {checkpoint!r} does not exist, and is no pretrained tag of "
        f"{source.name}{known}"
    )


def _build(source: _Source, seed: int | None, options: dict[str, Any]) -> tuple[Any, Any, Any]:
    open_clip = _open_clip()
    keep = torch.random.fork_rng(devices=[]) if seed is not None else contextlib.nullcontext()
    with keep, _quiet_open_clip(), contextlib.ExitStack() as stack:
        if seed is not None:
            torch.default_generator.manual_seed(seed)
        name, pretrained = source.name, source.tag or None
        if source.config is not None:
            # By way of a directory, so that open_clip's registry of names stays as it is.
            directory = stack.enter_context(tempfile.TemporaryDirectory())
            file = Path(directory) / CONFIG_FILE
            file.write_text(json.dumps(source.config), encoding="utf-8")
            name = f"local-dir:{directory}"
        try:
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
        except OSError as error:
            raise StorageError(error.errno, f"cannot make {source.name}: {error}") from error
        except (TypeError, ValueError, AssertionError, KeyError, RuntimeError) as error:
            raise InvalidArgumentError(
                f"open_clip cannot make {source.name!r} from its configuration: "
                f"{type(error).__name__}: {error}"
            ) from error


def _config_of(model: nn.Module, source: _Source) -> dict[str, Any]:
    """What `save_model` writes; {} when open_clip does not tell."""
    if source.config is not None:
        model_config = source.config["model_cfg"]
    elif source.tag == "":
        return {}
    else:
        model_config = _open_clip().get_model_config(source.name)
    preprocess = dict(getattr(model.visual, "preprocess_cfg", None) or {})
    return json.loads(json.dumps({"model_cfg": model_config, "preprocess_cfg": preprocess}))


def _tokenizer(source: _Source) -> Any:
    open_clip = _open_clip()
    with _quiet_open_clip():
        if source.config is None:
            return open_clip.get_tokenizer(source.name)
        text = source.config["model_cfg"]["text_cfg"]
        context = text.get("context_length", open_clip.tokenizer.DEFAULT_CONTEXT_LENGTH)
        options = dict(text.get("tokenizer_kwargs") or {})
        name = text.get("hf_tokenizer_name")
        if not name:
            return open_clip.SimpleTokenizer(context_length=context, **options)
        directory = source.directory
        local = directory is not None and any(directory.glob("tokenizer*"))
        with storage_errors("load the tokenizer", name):
            return open_clip.tokenizer.HFTokenizer(
                str(directory) if local else name,
                context_length=context,
                tokenizer_mode=text.get("tokenizer_mode"),
                **options,
            )


def _open_clip() -> Any:
    try:
        import open_clip
    except ImportError as error:
        raise UnsupportedError(
            "models need open_clip, which is absent; pip install open_clip_torch"
        ) from error
    return open_clip


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
