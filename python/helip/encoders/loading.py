"""Loading of encoder models: optional packages, local paths, weights, and one clear error for each;
what a family gives of them, and which weights they had.

Model libraries fail in dozens of ways and write to the terminal while they do; here both end.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib
import importlib.util
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from helip.common.errors import Error, InvalidArgumentError, StorageError, UnsupportedError
from helip.common.files import storage_errors
from helip.common.hub.client import WHY_NOT_ASKED, failed_download, of_download
from helip.encoders.spec import EncoderSpec, parse_spec

# PIL image → float32 [3, H, W]
Preprocess = Callable[[Any], torch.Tensor]
# n captions → a named tensor [n, tokens] for each input of the network, padded to the longest
Tokenize = Callable[[list[str]], dict[str, torch.Tensor]]


class Network(torch.nn.Module):
    """A model with the function that makes pooled features of it, so that both can be exported."""

    def __init__(self, model: torch.nn.Module, features: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.model = model
        self.features = features
        self.eval()  # exporters put back the mode that they find, on the model too

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Pixels [n, 3, H, W], or the tensors of a tokenizer in their order → [n, dim]."""
        return self.features(self.model, *inputs)


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """An encoder as its family loads it, before anything computes it."""

    network: Callable[..., torch.Tensor]
    """A torch module over pixels or tokens; of a text encoder without ``tokenize``, a function over
    captions, which only torch can compute."""
    weights: str
    """weights_digest of the parameters that network uses."""
    preprocess: Preprocess | None = None
    tokenize: Tokenize | None = None


def ready(model: torch.nn.Module, device: torch.device) -> Any:
    """The model as it is to compute: in float32, on ``device``, without dropout or gradients."""
    prepared: Any = model.float().eval().requires_grad_(False).to(device)
    return prepared.to(memory_format=torch.channels_last)


def import_extra(module: str, *, extra: str = "", beside: Sequence[str] = ()) -> ModuleType:
    """Import a library that the base install does not bring, or say how to install it.

    extra: of helip, which has it; "": the extra embed, and the library by its name.
    beside: what will be imported as well, so that all that is missing is said at once.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        others = [m for m in beside if m != module and importlib.util.find_spec(m) is None]
        packages = ", ".join(each.replace("_", "-") for each in (module, *others))
        mend = f"'helip[{extra}]'" if extra else f"'helip[embed]' {packages}"
        raise UnsupportedError(
            f"it needs the package{'s' if others else ''} {packages}, which cannot be imported "
            f"here ({error}): pip install {mend}"
        ) from error


def existing_path(text: str) -> Path | None:
    """``text`` as a path when it exists; None when it can only be a hub name.

    Raises StorageError for what is plainly a path but is not there.
    """
    path = Path(text).expanduser()
    if path.exists():
        return path
    if text.startswith(("/", ".", "~")) or text.count("/") > 1:
        raise _storage_error(f"there is no {str(path.absolute())!r}; check the path", errno.ENOENT)
    return None


def source_of(spec: EncoderSpec) -> str:
    """The existing directory that the spec names, else its hub name."""
    return str(existing_path(spec.name) or spec.name)


def weights_path(spec: EncoderSpec) -> str:
    """The existing file that stands after '@'."""
    path = Path(spec.path or "").expanduser()
    if not path.is_file():
        where = str(path.absolute())
        raise _storage_error(f"there is no weights file {where!r}; check the path", errno.ENOENT)
    return str(path)


def _storage_error(message: str, number: int | None) -> StorageError:
    error = StorageError(message)
    error.errno = number
    return error


@contextlib.contextmanager
def loading(*, mend: str) -> Iterator[None]:
    """Turn whatever a model library raises while it loads into one clear error.

    Absent files and a hub that is out of reach become StorageError, anything else
    InvalidArgumentError; both give the library's own first line, and the mend.
    """
    try:
        with quiet():
            yield
    except (Error, MemoryError):
        raise
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = f"{type(error).__name__}: {lines[0] if lines else 'no message'}"[:500]
        why = WHY_NOT_ASKED.get()
        if not (of_download(error) or (why and failed_download(error))):
            raise InvalidArgumentError(f"it could not be loaded ({reason}). {mend}") from error
        message = f"it could not be loaded ({why or reason}). {mend}"
        raise _storage_error(message, getattr(error, "errno", None)) from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep model libraries from writing to the terminal, and leave their settings as they were."""
    from transformers.utils import logging as hf_logging

    # logging.info() of a library on an unconfigured root installs a handler for good; this one
    # is there meanwhile, and goes.
    guard = logging.NullHandler()
    logging.root.addHandler(guard)
    with contextlib.ExitStack() as stack:
        stack.callback(logging.root.removeHandler, guard)
        for name in ("transformers", "sentence_transformers", "timm", "huggingface_hub"):
            logger = logging.getLogger(name)
            stack.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.ERROR)
        if hf_logging.is_progress_bar_enabled():
            hf_logging.disable_progress_bar()
            stack.callback(hf_logging.enable_progress_bar)
        yield


def load_state_dict(path: str) -> dict[str, torch.Tensor]:
    """The tensors of a .safetensors file or a torch checkpoint; no code of it is ever run."""
    if path.endswith(".safetensors"):
        from safetensors.torch import load_file

        return load_file(path)
    state = torch.load(path, map_location="cpu", weights_only=True)
    for wrapper in ("state_dict", "model"):
        if isinstance(state.get(wrapper), dict):
            state = state[wrapper]
            break
    return {key.removeprefix("module."): value for key, value in state.items()}


def check_keys(missing: Sequence[str], unexpected: Sequence[str] = ()) -> None:
    """Refuse weights that leave a part of the model at its random start, or that do not fit it."""
    faults = [
        f"{verb} {len(keys)} ({', '.join(sorted(keys)[:3])}{', …' if len(keys) > 3 else ''}) {what}"
        for verb, keys, what in (
            ("lack", missing, "of the model's tensors"),
            ("hold", unexpected, "that the model has no place for"),
        )
        if keys
    ]
    if faults:
        raise InvalidArgumentError(
            f"the weights {' and '.join(faults)}; they belong to another architecture"
        )


def files_stamp(encoder: Any) -> str:
    """Of the weights file or the directory that a spec names: its files with their sizes and times
    of change, digested. Empty for an encoder object and for a name that is no local path."""
    if not isinstance(encoder, str):
        return ""
    try:
        spec = parse_spec(encoder)
        place = existing_path(spec.path or spec.name)
    except Error:
        return ""  # an object's own name, or what loading will say better
    # A bare name is a model of a library, also where the working directory holds such a folder.
    if place is None or (spec.path is None and "/" not in spec.name):
        return ""
    with storage_errors("read", place):
        files = sorted(p for p in place.rglob("*") if p.is_file()) if place.is_dir() else [place]
        stats = [(file.relative_to(place), file.stat()) for file in files]
    listed = [f"{file} {found.st_size} {found.st_mtime_ns}" for file, found in stats]
    return hashlib.sha256("\n".join(listed).encode("utf-8", "surrogateescape")).hexdigest()


def weights_of(encoder: Any) -> dict[str, str] | None:
    """What a store's metadata keeps of a loaded encoder's weights; None where nothing is known."""
    digest = getattr(encoder, "weights", "")
    return {"digest": digest, "files": getattr(encoder, "files", "")} if digest else None
