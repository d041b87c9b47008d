"""Where a model comes from: a name, a configuration, a directory or a file, told apart."""

from __future__ import annotations

import copy
import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helip.common.errors import InvalidArgumentError, StorageError, UnsupportedError
from helip.common.files import read_json
from helip.common.text import first_of
from helip.models.options import Lora
from helip.models.run_folder import within_run
from helip.models.slip import published_config
from helip.models.weights import find_weights

CONFIG_FILE = "open_clip_config.json"


@dataclass
class Source:
    """Where a model comes from."""

    name: str
    config: dict[str, Any] | None = None  # None: open_clip knows it by name
    weights: Path | None = None
    tag: str | None = None  # pretrained tag of open_clip
    directory: Path | None = None  # may hold tokenizer files
    transformers: bool = False  # a CLIPModel, of the configuration or else of the directory or name
    ssl_head: dict[str, int] | None = None  # its options; None: no head
    lora: Lora | None = None  # that the weights are adapted by
    augmentation: dict[str, Any] | None = None  # for training, where the source says it

    def check_weights(self, label: str, *, from_scratch: bool) -> None:
        """Raise InvalidArgumentError unless something gives weights, or a random start is meant."""
        # A model of transformers without a configuration brings its own.
        own = self.transformers and self.config is None
        gives = own or self.weights is not None or self.tag is not None
        if gives and from_scratch:
            given = self.weights or self.directory or self.tag or self.name
            raise InvalidArgumentError(
                f"from_scratch is True, and {given} gives weights; leave out one of the two"
            )
        if gives or from_scratch:
            return
        tags = _tags(self.name) if self.config is None else []
        known = f", or a pretrained tag ({first_of(tags, 6)})" if tags else ""
        raise InvalidArgumentError(
            f"{label} has no weights; give checkpoint= a file or folder of "
            f"weights{known}, or from_scratch=True for a random start"
        )


def resolve(name: str, config: Any) -> Source:
    path = Path(name)
    if config is not None:
        if not isinstance(config, dict):
            config = _read_config(Path(config))
        return _source_of(name, config, "config")
    if path.is_dir():
        path = within_run(path)
        file = path / CONFIG_FILE
        if not file.is_file() and (path / "config.json").is_file():
            return _of_transformers(path)
        if not file.is_file():
            raise StorageError(f"{path} holds no {CONFIG_FILE}; pass config= to say what it is")
        return _from_config_file(file, weights=find_weights(path), directory=path)
    if path.is_file():
        described = path.suffix == ".json"
        file = path if described else path.parent / CONFIG_FILE
        if not file.is_file():
            raise StorageError(
                f"{path} has no {CONFIG_FILE} beside it; pass the architecture as the first "
                "argument and the file as checkpoint=, or pass config="
            )
        weights = None if described else path
        return _from_config_file(file, weights=weights, directory=path.parent)
    if name.startswith("hf-hub:"):
        return Source(name=name, tag="")
    if name.startswith("slip:"):
        config = published_config(name.removeprefix("slip:"))
        # The crop that SLIP trains its plain view with.
        return Source(name, config, ssl_head={}, augmentation={"scale": (0.5, 1.0)})
    if name.startswith("hf:"):
        name = name.removeprefix("hf:")
        own = Path(name).is_dir()
        return _of_transformers(Path(name)) if own else Source(name, transformers=True)
    import open_clip

    known = open_clip.list_models()
    cleaned = name.replace("/", "-")
    if cleaned in known:
        return Source(name=cleaned)
    if path.suffix in (".json", ".safetensors", ".pt", ".pth", ".bin") or len(path.parts) > 2:
        raise StorageError(f"{name} does not exist; it must be a file, a directory or a model name")
    repository = len(path.parts) == 2
    close = difflib.get_close_matches(cleaned, known, n=4, cutoff=0.8 if repository else 0.5)
    if repository and not close:
        close = [f"hf:{name} (a CLIPModel of transformers)", f"hf-hub:{name} (of open_clip)"]
    hint = f"did you mean {', '.join(close)}?" if close else "open_clip.list_models() lists them"
    raise InvalidArgumentError(
        f"{name!r} is no architecture of open_clip and no file or directory; {hint}"
    )


def _of_transformers(directory: Path) -> Source:
    """A directory that transformers wrote."""
    config = _read_config(directory / "config.json")
    if config.get("model_type") != "clip":
        raise UnsupportedError(
            f"{directory} holds a {config.get('model_type')!r} model of transformers, must be "
            "'clip'; other models of two modalities have other losses"
        )
    source = Source(directory.name, transformers=True, directory=directory)
    if not any(directory.glob("*.index.json")):  # else the weights lie in several files
        source.config = {"transformers_cfg": config, "preprocess_cfg": {}}
        source.weights = find_weights(directory, transformers=True)
        if source.weights is None:
            raise StorageError(f"{directory} holds no weights; it must hold model.safetensors")
    return source


def _from_config_file(file: Path, **where: Path | None) -> Source:
    config = _read_config(file)
    name = config.get("name")
    if not isinstance(name, str):
        name = file.parent.name if file.name == CONFIG_FILE else file.stem
    return _source_of(name, config, str(file), **where)


def _source_of(name: str, config: dict[str, Any], label: str, **where: Any) -> Source:
    return Source(
        name=name,
        config=_checked_config(config, label),
        transformers="transformers_cfg" in config,
        ssl_head=config.get("ssl_head"),
        lora=Lora.of(config.get("lora")),
        **where,
    )


def _read_config(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise StorageError(f"the configuration {file} does not exist")
    return read_json(file)


def _checked_config(config: dict[str, Any], label: str) -> dict[str, Any]:
    """{"model_cfg", "preprocess_cfg"} from either accepted form; a copy. transformers' as it is."""
    if "transformers_cfg" in config:
        return copy.deepcopy({k: config[k] for k in ("transformers_cfg", "preprocess_cfg")})
    model = config.get("model_cfg", config)
    needed = ("embed_dim", "vision_cfg", "text_cfg")
    missing = [key for key in needed if not isinstance(model, dict) or key not in model]
    if missing:
        raise InvalidArgumentError(
            f"{label} lacks {', '.join(missing)}; a model configuration holds {', '.join(needed)}"
        )
    # These are ours; what describes the model is not.
    ours = ("name", "preprocess_cfg", "ssl_head", "lora")
    model = {key: value for key, value in model.items() if key not in ours}
    return copy.deepcopy(
        {"model_cfg": model, "preprocess_cfg": dict(config.get("preprocess_cfg") or {})}
    )


def with_checkpoint(source: Source, checkpoint: str) -> Source:
    path = Path(checkpoint)
    if path.exists():
        path = within_run(path) if path.is_dir() else path
        own = {"transformers": source.transformers}
        source.weights = find_weights(path, **own) if path.is_dir() else path
        if source.weights is None:
            raise StorageError(f"{path} holds no weights; pass the file itself")
        return source
    tags = _tags(source.name) if source.config is None else []
    if checkpoint.lower().replace("-", "_") in tags:
        source.tag = checkpoint
        return source
    known = f"; tags of {source.name}: {first_of(tags, 6)}" if tags else ""
    raise StorageError(
        f"the checkpoint {checkpoint!r} does not exist, and is no pretrained tag of "
        f"{source.name}{known}"
    )


def _tags(architecture: str) -> list[str]:
    """The pretrained weights that open_clip knows of."""
    import open_clip

    return list(open_clip.list_pretrained_tags_by_model(architecture))
