"""Saving a CLIP model: as helip opens it, or in the layout of open_clip or transformers."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Literal, Protocol

from torch import nn

from helip.common.errors import InvalidArgumentError, UnsupportedError
from helip.common.files import publish_directory, read_json, write_json
from helip.common.options import check
from helip.models.conversion import (
    to_open_clip,
    to_open_clip_config,
    to_transformers,
    to_transformers_config,
)
from helip.models.hugging_face import (
    STANDARD_VOCABULARY,
    HFTokens,
    HFTransform,
    TransformersClip,
    clip_tokenizer,
    model_from_config,
)
from helip.models.lora import has_lora
from helip.models.slip import HEAD, has_ssl_head
from helip.models.source import CONFIG_FILE
from helip.models.weights import WEIGHTS_FILE, fit_state_dict, write_tensors

# What transformers notes of how a tokenizer was opened here.
_OF_THIS_MACHINE = (
    "is_local", "local_files_only", "name_or_path", "cache_dir", "special_tokens_map_file",
    "tokenizer_file",
)  # fmt: skip


class SavedParts(Protocol):
    """What is saved of a ModelBundle."""

    model: nn.Module
    eval_transform: Any
    tokenizer: Any
    name: str
    config: dict[str, Any]


def save_model(bundle: SavedParts, path: str | os.PathLike[str]) -> Path:
    """Write weights and configuration into the new directory ``path``, all or nothing.

    `create_model(path)` opens it again. A transformers tokenizer is saved beside them, and a
    CLIPModel of transformers in its own layout, unless it has a self-supervised head, which no
    other library knows. `helip.export` writes the layouts of others. Refuses a path that exists,
    and a bundle without a configuration.
    """
    path = Path(path)
    if isinstance(bundle.model, TransformersClip) and not has_ssl_head(bundle.model):
        return export(bundle, path, format="transformers")
    _refuse_unknown(bundle, "save")
    with publish_directory(path) as directory:
        state = bundle.model.state_dict()
        _write(directory, WEIGHTS_FILE, bundle, state, bundle.config, bundle.tokenizer)
    return path


def export(bundle: SavedParts, path: str | os.PathLike[str], *, format: str = "open_clip") -> Path:
    """Write the new directory ``path`` in another library's layout, all or nothing.

    format: "open_clip" (opened there as "local-dir:PATH") or "transformers" (opened by
        ``CLIPModel.from_pretrained``, with image processor and tokenizer). A model of the other
        library is converted where both have the architecture; UnsupportedError names what differs.

    A self-supervised head belongs to neither layout and is left out; `helip.models.save_model`
    keeps it. Refuses a path that exists.
    """
    check("format", format, Literal["open_clip", "transformers"])
    refuse_unsaved(bundle, "export")
    path = Path(path)
    with publish_directory(path) as directory:
        (write_open_clip if format == "open_clip" else write_transformers)(bundle, directory)
    return path


def write_open_clip(
    bundle: SavedParts, directory: Path, *, weights_file: str = WEIGHTS_FILE
) -> None:
    """Write what open_clip opens into ``directory``; UnsupportedError where it has no such model.

    Not atomic: for use while publishing.
    """
    state = _weights(bundle)
    if isinstance(bundle.model, TransformersClip):
        model_cfg = to_open_clip_config(bundle.model.model.config)
        if (vocabulary := model_cfg["text_cfg"]["vocab_size"]) != STANDARD_VOCABULARY:
            raise UnsupportedError(
                f"open_clip has no such tokenizer: its vocabulary of {vocabulary} is not CLIP's "
                f"{STANDARD_VOCABULARY}; save it with format='transformers'"
            )
        state = to_open_clip({k.removeprefix("model."): v for k, v in state.items()})
        preprocess = {**bundle.config["preprocess_cfg"], "interpolation": "bicubic"}
    else:
        model_cfg, preprocess = bundle.config["model_cfg"], bundle.config["preprocess_cfg"]
    config = {"model_cfg": model_cfg, "preprocess_cfg": preprocess}
    own = isinstance(bundle.model, TransformersClip)
    _write(directory, weights_file, bundle, state, config, None if own else bundle.tokenizer)


def _write(
    directory: Path, weights_file: str, bundle: SavedParts, state: Any, config: Any, tokenizer: Any
) -> None:
    write_tensors(state, directory / weights_file)
    write_json(directory / CONFIG_FILE, {"name": bundle.name, **config})
    inner: Any = getattr(tokenizer, "tokenizer", None)
    if hasattr(inner, "save_pretrained"):
        _write_tokenizer(inner, directory)


def refuse_unsaved(bundle: SavedParts, action: str) -> None:
    """InvalidArgumentError for a bundle that no other library could open."""
    _refuse_unknown(bundle, action)
    if has_lora(bundle.model):
        raise InvalidArgumentError("the model is adapted by LoRA; merge it first, by merge_lora")


def _refuse_unknown(bundle: SavedParts, action: str) -> None:
    if not bundle.config:
        raise InvalidArgumentError(
            f"the model {bundle.name!r} has no configuration to {action}; make it with create_model"
        )


def write_transformers(bundle: SavedParts, directory: Path) -> None:
    """Write what transformers opens into ``directory``; UnsupportedError names what it has not.

    Not atomic: for use while publishing.
    """
    state = _weights(bundle)
    if isinstance(bundle.model, TransformersClip):
        model: Any = bundle.model.model
        config = model.config
    else:
        wrapped = model_from_config(to_transformers_config(bundle.config["model_cfg"]))
        model, config = wrapped.model, wrapped.model.config
        state = to_transformers(state)
        state["logit_scale"] = state["logit_scale"].reshape(())
        fit_state_dict(model, state, "the converted model")
    processor = _processor(bundle, config)
    # What model.save_pretrained writes, but without its progress bar.
    model.config.architectures = ["CLIPModel"]
    model.config.save_pretrained(str(directory))
    write_tensors(model.state_dict(), directory / WEIGHTS_FILE)
    processor.save_pretrained(str(directory))
    if isinstance(bundle.tokenizer, HFTokens):
        _write_tokenizer(bundle.tokenizer.tokenizer, directory)
    elif config.text_config.vocab_size == STANDARD_VOCABULARY:
        _write_clip_tokenizer(directory, config.text_config.max_position_embeddings)


def _write_tokenizer(tokenizer: Any, directory: Path) -> None:
    """Its own files, without where it was opened."""
    tokenizer.save_pretrained(str(directory))
    file = directory / "tokenizer_config.json"
    if file.is_file():
        config = read_json(file)
        write_json(file, {k: v for k, v in config.items() if k not in _OF_THIS_MACHINE})


def _weights(bundle: SavedParts) -> dict[str, Any]:
    state = bundle.model.state_dict()
    return {name: tensor for name, tensor in state.items() if not name.startswith(f"{HEAD}.")}


def _processor(bundle: SavedParts, config: Any) -> Any:
    if isinstance(bundle.eval_transform, HFTransform):
        return bundle.eval_transform.processor
    import transformers

    preprocess = bundle.config.get("preprocess_cfg") or {}
    if preprocess.get("resize_mode", "shortest") != "shortest":
        raise UnsupportedError(
            f"preprocess_cfg.resize_mode is {preprocess['resize_mode']!r}; transformers' image "
            "processor of CLIP knows 'shortest' alone"
        )
    size = config.vision_config.image_size
    resample = {"bilinear": 2, "bicubic": 3}[preprocess.get("interpolation", "bicubic")]
    options: dict[str, Any] = {
        f"image_{name}": list(preprocess[name]) for name in ("mean", "std") if preprocess.get(name)
    }
    return transformers.CLIPImageProcessor(
        size={"shortest_edge": size},
        crop_size={"height": size, "width": size},
        resample=resample,
        **options,
    )


def _write_clip_tokenizer(directory: Path, context_length: int) -> None:
    """CLIP's vocabulary and merges, which open_clip brings along, as transformers reads them."""
    pairs = clip_tokenizer(context_length)
    merges = sorted(pairs.bpe_ranks, key=pairs.bpe_ranks.get)
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {names.get(token, token): number for token, number in pairs.encoder.items()}
    lines = "".join(f"{a} {b}\n" for a, b in merges)
    text = json.dumps(vocabulary, ensure_ascii=False)
    (directory / "vocab.json").write_text(text, encoding="utf-8")
    (directory / "merges.txt").write_text(f"#version: 0.2\n{lines}", encoding="utf-8")
    config = {
        "bos_token": "<|startoftext|>",
        **dict.fromkeys(("eos_token", "unk_token", "pad_token"), "<|endoftext|>"),
        "model_max_length": context_length,
        "tokenizer_class": "CLIPTokenizer",
        "do_lower_case": True,
    }
    write_json(directory / "tokenizer_config.json", config)
