"""Reading and writing the weights of a model: safetensors, and .pt files without unpickling.

A state dict is fitted to a model as open_clip fits it: prefixes of wrappers are stripped, old
layouts are converted, and position embeddings of another grid or context length are interpolated.
"""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from helip.common.errors import CorruptError, InvalidArgumentError, MismatchError, StorageError
from helip.common.files import storage_errors
from helip.common.text import first_of
from helip.models.hugging_face import TransformersClip, bare_names
from helip.models.slip import HEAD, from_published, has_ssl_head

WEIGHTS_FILE = "model.safetensors"
#: open_clip's own name, which goes first: a repository that serves transformers as well has both.
OPEN_CLIP_WEIGHTS_FILE = "open_clip_model.safetensors"

_PICKLED = (".pt", ".pth", ".bin", ".ckpt")
_PREFERRED = (OPEN_CLIP_WEIGHTS_FILE, WEIGHTS_FILE, "open_clip_pytorch_model.bin")
_PREFIXES = ("module.", "_orig_mod.")


def find_weights(directory: Path, *, transformers: bool = False) -> Path | None:
    """The weights file of a model's directory, or None; safetensors go first.

    transformers: the weights of its model, where there are those of open_clip's beside them.
    """
    for name in (WEIGHTS_FILE, *_PREFERRED) if transformers else _PREFERRED:
        if (directory / name).is_file():
            return directory / name
    for suffix in (".safetensors", *_PICKLED):
        found = [f for f in sorted(directory.glob(f"*{suffix}")) if "optimizer" not in f.name]
        if len(found) > 1:
            names = ", ".join(f.name for f in found[:4])
            raise InvalidArgumentError(
                f"{directory} holds several weights files ({names}); name one"
            )
        if found:
            return found[0]
    return None


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, on the CPU."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    with storage_errors("read", path):
        try:
            return load_file(path, device="cpu")
        except SafetensorError as error:
            raise CorruptError(f"{path} is not a whole safetensors file: {error}") from error


def write_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write a safetensors file. Not atomic: for use while publishing."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    seen: set[int] = set()
    ready = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        # The format has no shared storage: tied weights and views become copies.
        storage = tensor.untyped_storage()
        if storage.data_ptr() in seen or storage.nbytes() != tensor.nbytes:
            tensor = tensor.clone()
        seen.add(tensor.untyped_storage().data_ptr())
        ready[name] = tensor
    with storage_errors("write", path):
        try:
            # The library's own file is its owner's alone; this one is as any other file here.
            path.touch()
            mode = path.stat().st_mode
            save_file(ready, path, metadata={"format": "pt"})
            path.chmod(mode)
        except SafetensorError as error:
            raise StorageError(f"cannot write {path}: {error}") from error


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The state dict in a .safetensors or .pt file; {"state_dict": ...} is unwrapped."""
    if not path.is_file():
        raise StorageError(f"the checkpoint {path} does not exist")
    if path.suffix == ".safetensors":
        return _without_prefixes(read_tensors(path))
    if path.suffix not in _PICKLED:
        raise InvalidArgumentError(
            f"{path} must end in .safetensors or one of {', '.join(_PICKLED)}"
        )
    with storage_errors("read", path):
        try:
            # SLIP's checkpoints hold their arguments; a Namespace runs nothing when it is made.
            with torch.serialization.safe_globals([argparse.Namespace]):
                loaded = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise CorruptError(
                f"{path} holds more than tensors, or is damaged; it is never unpickled: save its "
                f"state dict as safetensors where it comes from ({_first_line(error)})"
            ) from error
        except (RuntimeError, EOFError, ValueError, KeyError) as error:
            raise CorruptError(f"{path} is not a whole checkpoint: {_first_line(error)}") from error
    for key in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict):
        raise CorruptError(f"{path} holds a {type(loaded).__name__}, must hold a state dict")
    tensors = {k: v for k, v in loaded.items() if isinstance(k, str) and isinstance(v, Tensor)}
    if not tensors:
        raise CorruptError(f"{path} holds no tensors; it must hold a state dict")
    return _without_prefixes(tensors)


def load_weights(model: nn.Module, path: Path, *, without: str | None = None) -> None:
    """Load the file ``path`` into a CLIP ``model``; MismatchError names the odd keys.

    Weights of open_clip, of SLIP's own code, and for its models of transformers. Of a file without
    a self-supervised head, a model keeps its own.
    without: keys that begin so are passed over.
    """
    state = read_state_dict(path)
    if without is not None:
        state = {name: tensor for name, tensor in state.items() if not name.startswith(without)}
    if isinstance(model, TransformersClip):
        state = bare_names(state)
    else:
        state = _as_open_clip(model, from_published(model, state))
    if has_ssl_head(model) and not any(name.startswith(f"{HEAD}.") for name in state):
        own = model.state_dict()
        state |= {name: own[name] for name in own if name.startswith(f"{HEAD}.")}
    fit_state_dict(model, state, str(path))


def fit_state_dict(model: nn.Module, state: Mapping[str, Tensor], label: str) -> None:
    """`model.load_state_dict`, with an error that says how many keys are odd, and which."""
    require_same_keys(model.state_dict(), state, f"{label} does not fit the model")
    model.load_state_dict(dict(state))


def require_same_keys(own: Mapping[str, Tensor], state: Mapping[str, Tensor], words: str) -> None:
    """MismatchError of those words where names or shapes of ``state`` differ from its ``own``."""
    missing = [name for name in own if name not in state]
    unexpected = [name for name in state if name not in own]
    shapes = [
        f"{name} {tuple(state[name].shape)} for {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    kinds = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
    found = [f"{len(odd)} {kind} ({first_of(odd, 5)})" for kind, odd in kinds.items() if odd]
    if found:
        raise MismatchError(f"{words}: {'; '.join(found)}; is it another architecture?")


def _as_open_clip(model: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The conversions of open_clip for old layouts and other sizes."""
    from open_clip.convert import convert_state_dict
    from open_clip.model import (
        convert_to_custom_text_state_dict,
        resize_pos_embed,
        resize_text_pos_embed,
    )

    state = convert_state_dict(model, state)
    if "positional_embedding" in state and not hasattr(model, "positional_embedding"):
        state = convert_to_custom_text_state_dict(state)
    own = model.state_dict()
    for name in ("logit_scale", "logit_bias"):
        if name in state and name in own and state[name].numel() == own[name].numel():
            state[name] = state[name].reshape(own[name].shape)
    if "logit_bias" in own and "logit_bias" not in state:
        state["logit_bias"] = torch.zeros_like(own["logit_bias"])
    positions = "text.transformer.embeddings.position_ids"
    if positions not in own:
        state.pop(positions, None)
    if _longer_or_shorter(own, state, "visual.positional_embedding"):
        resize_pos_embed(state, model)
    for name in ("positional_embedding", "text.positional_embedding"):
        if _longer_or_shorter(own, state, name):
            resize_text_pos_embed(state, model)
    return state


def _longer_or_shorter(own: Mapping[str, Tensor], state: Mapping[str, Tensor], name: str) -> bool:
    """Same width, another length: the one difference that interpolation is meant for."""
    if name not in own or name not in state or own[name].dim() != 2 or state[name].dim() != 2:
        return False
    return own[name].shape[0] != state[name].shape[0] and own[name].shape[1] == state[name].shape[1]


def _without_prefixes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Strip what DistributedDataParallel and torch.compile put before every name."""
    while True:
        prefix = next((p for p in _PREFIXES if state and all(k.startswith(p) for k in state)), None)
        if prefix is None:
            return state
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]
