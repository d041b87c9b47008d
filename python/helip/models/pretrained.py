"""A model as a repository of a hub holds it: open_clip and transformers open the same folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from helip.common.errors import UnsupportedError
from helip.common.files import read_json, write_json
from helip.common.hub.cards import (
    NO_REPOSITORY,
    card_of,
    without_paths,
    words_without_paths,
)
from helip.common.hub.client import CARD, located, push, save
from helip.common.hub.options import PullOptions, PushCall, SaveCall
from helip.common.options import PrecisionOptions
from helip.models.hugging_face import TransformersClip
from helip.models.options import ModelCardOptions, ModelLayout
from helip.models.saving import (
    SavedParts,
    refuse_unsaved,
    write_open_clip,
    write_transformers,
)
from helip.models.source import CONFIG_FILE
from helip.models.weights import OPEN_CLIP_WEIGHTS_FILE, WEIGHTS_FILE

_TOKENIZER = ("tokenizer*.json", "special_tokens_map.json", "vocab.*", "merges.txt", "*.model")
_DESCRIBES = (CONFIG_FILE, "config.json", "pre*processor_config.json", "processor_config.json")
#: Names of all that a repository of a model holds but its card.
FILES = (*_DESCRIBES, *_TOKENIZER, OPEN_CLIP_WEIGHTS_FILE, WEIGHTS_FILE)
# Configuration → weights of each layout, as save_pretrained names them.
_WEIGHTS_OF = {CONFIG_FILE: OPEN_CLIP_WEIGHTS_FILE, "config.json": WEIGHTS_FILE}
_RUN_FACTS = ("data", "recipe", "control", "strategy", "batch_size")  # told apart from the options


@dataclass(frozen=True)
class RunFacts:
    """What a training run on disk knows of itself."""

    options: Mapping[str, Any]  # that decide what it computed
    steps: int
    seconds: float
    weights: str = "those of the last step"
    captions_at_limit: int = 0
    validation: Mapping[str, Any] = field(default_factory=dict)
    guard: Mapping[str, Any] = field(default_factory=dict)

    def told(self) -> dict[str, Any]:
        """For the card; no paths of the machine."""
        options = without_paths(self.options)
        stated = self.guard if {"words", "step"} <= self.guard.keys() else {}
        measured = self.validation if {"figure", "value", "step"} <= self.validation.keys() else {}
        return {
            **{name: options.get(name) for name in _RUN_FACTS},
            "plain": all(options.get(name) is None for name in ("pairs", "streaming", "pools")),
            "options": [(name, value) for name, value in sorted(options.items())],
            "steps": self.steps,
            "seconds": self.seconds,
            "weights": self.weights,
            "captions_at_limit": self.captions_at_limit,
            "validation": without_paths(measured),
            "guard": without_paths(stated),
        }


@dataclass(frozen=True, kw_only=True)
class PublishOptions(ModelCardOptions):
    """How a model is published."""

    layout: ModelLayout = "auto"
    """Whose files are written; auto: both where both have such a model. Both take twice the room,
    as the weights bear other names."""


@dataclass(frozen=True, kw_only=True)
class SavePretrainedCall(PublishOptions, SaveCall):
    """What `save_pretrained` of a model is asked."""


@dataclass(frozen=True, kw_only=True)
class PushModelCall(PublishOptions, PushCall):
    """What `push_to_hub` of a model is asked."""


@dataclass(frozen=True, kw_only=True)
class FromPretrainedCall(PullOptions, PrecisionOptions):
    """What `ModelBundle.from_pretrained` is asked; ``precision`` is that of the weights."""

    folder_or_repo: str | os.PathLike[str] = field(kw_only=False)
    """A directory that create_model opens, or a repository, NAME or OWNER/NAME."""
    device: str = "cpu"
    """Where the model goes."""


def save_pretrained(parts: SavedParts, call: SavePretrainedCall, run: RunFacts | None) -> Path:
    """Write the new directory of the call, all or nothing; run: for the card."""
    return save(call, partial(_write, parts, PublishOptions.of(call), run))


def push_model(parts: SavedParts, call: PushModelCall, run: RunFacts | None) -> str:
    """Upload what `save_pretrained` writes; the address of the commit."""
    return push(call, "model", FILES, partial(_write, parts, PublishOptions.of(call), run))


def is_saved(folder: Path) -> bool:
    """Whether `save_pretrained` wrote that directory.

    It has a card, and each configuration of a layout has the weights of that layout beside it.
    """
    there = [name for name in _WEIGHTS_OF if (folder / name).is_file()]
    whole = all((folder / _WEIGHTS_OF[name]).is_file() for name in there)
    return bool(there) and whole and (folder / CARD).is_file()


def folder_of(call: FromPretrainedCall) -> Path:
    """The directory of the call, or a snapshot of its repository, with one file of weights."""
    options = PullOptions.of(call)
    name = call.folder_or_repo
    folder = located(name, "model", options, (*_DESCRIBES, *_TOKENIZER, "*.index.json"))
    if Path(name).is_dir():
        return folder
    commit = folder.name  # what comes next is of the same one
    if (folder / CONFIG_FILE).is_file():
        located(name, "model", options, (OPEN_CLIP_WEIGHTS_FILE,), revision=commit)
        if (folder / OPEN_CLIP_WEIGHTS_FILE).is_file():
            return folder
    located(name, "model", options, ("model*.safetensors",), revision=commit)
    return folder


def _write(
    parts: SavedParts, options: PublishOptions, run: RunFacts | None, directory: Path
) -> Callable[[str], str]:
    """The model into an empty directory; what it returns gives the card of a repository."""
    refuse_unsaved(parts, "save")
    layouts, left_out = _layouts(parts, directory, options.layout)
    for path in [path for pattern in _DESCRIBES for path in directory.glob(pattern)]:
        config = read_json(path)
        if (public := without_paths(config)) != config:
            write_json(path, public)
    return partial(_card, parts, layouts, left_out, options, run)


def _layouts(parts: SavedParts, directory: Path, layout: str) -> tuple[Sequence[str], str]:
    """(libraries that open what was written, words on the one that does not)."""
    if layout in _WRITERS:
        _WRITERS[layout](parts, directory)
        return (layout,), ""
    theirs = isinstance(parts.model, TransformersClip)
    own, other = sorted(_WRITERS, reverse=theirs)
    _WRITERS[own](parts, directory)
    try:
        _WRITERS[other](parts, directory)
    except UnsupportedError as error:  # it is raised before anything is written
        if layout == "both":
            raise
        return (own,), f"{other} does not open it: {str(error).partition('; ')[0]}."
    return tuple(sorted(_WRITERS)), ""


_WRITERS: dict[str, Callable[[SavedParts, Path], None]] = {
    "open_clip": partial(write_open_clip, weights_file=OPEN_CLIP_WEIGHTS_FILE),
    "transformers": write_transformers,
}


def _card(
    parts: SavedParts,
    layouts: Sequence[str],
    left_out: str,
    options: PublishOptions,
    run: RunFacts | None,
    repository: str,
) -> str:
    """The text of README.md. layouts: libraries that open it; left_out: why another does not."""
    metadata = {
        "library_name": layouts[0],
        "pipeline_tag": "zero-shot-image-classification",
        "license": options.license,
        "base_model": options.base_model,
        "tags": ["clip", "helip", *layouts],
    }
    title = parts.name if repository == NO_REPOSITORY else repository.rpartition("/")[2]
    return card_of(
        "model",
        metadata,
        title=without_paths(title),
        parameters=sum(parameter.numel() for parameter in parts.model.parameters()),
        layouts=layouts,
        left_out=left_out,
        repository=repository,
        run=None if run is None else run.told(),
        data=options.data,
        results=words_without_paths(options.results or ""),
        license=options.license,
    )
