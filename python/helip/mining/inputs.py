"""What the core is given: a store or two matrices, and its options."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from helip import _core
from helip.common.errors import InvalidArgumentError, MismatchError
from helip.common.options import Options, hints_of
from helip.common.quantities import parse_bytes
from helip.mining.options import JobOptions, MachineOptions, MineOptions, ScoreRules
from helip.pairs.filter_rules import two_encoders
from helip.store.embedding_store import EmbeddingStore, store_of
from helip.store.matrices import MatrixView, host_array, matrix_of

_NONE = _core.MatrixView(0, 0, 0, "float32", 0, None)


@dataclass(frozen=True, kw_only=True)
class InputOptions(Options):
    """What is mined."""

    example: ClassVar[str] = "image=I, text=T"

    store: EmbeddingStore | str | os.PathLike[str] | None = field(default=None, kw_only=False)
    """An EmbeddingStore or its path; or give image and text instead."""
    image: Any = None
    """[N, d_image] of any float dtype: NumPy, also memory-mapped, torch, Arrow lists, or DLPack
    (CuPy, JAX); copied only from a device. Need not be normalised; rows of zeros are outliers."""
    text: Any = None
    """[N, d_text], likewise."""
    matrices: Mapping[str, Any] | None = None
    """Name and [N, d] of others, for channels."""


@dataclass(frozen=True)
class Inputs:
    """Embeddings as the core and as a device take them."""

    store: EmbeddingStore | None
    matrices: tuple[MatrixView, MatrixView]  # image and text; without rows where it is not used
    arrays: tuple[Any, Any]  # the same as arrays or tensors, None where it is not used
    channels: tuple[MatrixView, ...] = ()  # where they are named

    @property
    def rows(self) -> int:
        if self.channels:
            return self.channels[0].rows
        return self.matrices[0].rows or self.matrices[1].rows

    @property
    def deleted(self) -> int:
        """Rows of the store that were deleted; 0 of bare arrays."""
        return 0 if self.store is None else len(self.store.deleted)

    @property
    def dimensions(self) -> int:
        """Of the matrices that are used, in all."""
        return sum(view.cols for view in self.channels or self.matrices)

    @property
    def fingerprints(self) -> dict[str, str]:
        """Of the store, for a table; empty for bare arrays."""
        return {
            name: "" if self.store is None else getattr(self.store, name)
            for name in ("fingerprint", "data_fingerprint")
        }


def checked_store(
    store: EmbeddingStore | str | os.PathLike[str], *, stacklevel: int
) -> EmbeddingStore:
    """The store, none of whose rows are read; warns where it is still being written."""
    store = store_of(store)
    if store.metadata.get("complete") is False:
        warnings.warn(
            f"the store {store.path} has {len(store):,} rows so far: the job which writes it, "
            "such as helip embed or helip import, was stopped or still runs; these rows alone "
            "count here, and that job goes on when it is called again",
            stacklevel=stacklevel,
        )
    return store


def opened_same(path: str, fingerprint: str) -> EmbeddingStore:
    """The store as another node has it; MismatchError where it is another one."""
    store = EmbeddingStore.open(path)
    if store.fingerprint != fingerprint:
        raise MismatchError(
            f"the store {path} is {store.fingerprint} on this node and {fingerprint} where the job "
            "was started; mine a store that does not change, on a file system that all nodes share"
        )
    return store


def inputs_of_call(call: Any, *, stacklevel: int = 5) -> Inputs:
    """Of a call with the fields of InputOptions and MineOptions; see `inputs_of`."""
    if call.matrices is not None and not isinstance(call.matrices, Mapping):
        raise InvalidArgumentError(
            f"matrices is a {type(call.matrices).__name__}, must be a mapping of names to rows, "
            'such as {"audio": rows}'
        )
    if call.channels is None:
        if call.matrices:
            raise InvalidArgumentError(
                f"matrices has {', '.join(map(repr, call.matrices))}, which no channel uses; name "
                'them, such as channels=("image", "text", "audio")'
            )
        return inputs_of(
            call.store, call.image, call.text, call.modalities, stacklevel=stacklevel + 1
        )
    given = {"image": call.image, "text": call.text, **(call.matrices or {})}
    if call.store is None:
        missing = [name for name in call.channels if given.get(name) is None]
        if missing:
            raise InvalidArgumentError(
                f"channel {missing[0]!r} is missing; pass a store that has it, image= or text=, or "
                "matrices={name: rows}"
            )
        views = tuple(matrix_of(host_array(given[name], name), name=name) for name in call.channels)
        return Inputs(None, (_NONE, _NONE), (None, None), views)
    if any(each is not None for each in given.values()):
        raise InvalidArgumentError("pass a store, or image=, text= and matrices=, not both")
    store = checked_store(call.store, stacklevel=stacklevel)
    views = tuple(store.view(name) for name in call.channels)
    return Inputs(store, store.matrices, (None, None), views)


def inputs_of(
    store: Any, image: Any, text: Any, modalities: tuple[str, ...], *, stacklevel: int = 5
) -> Inputs:
    """Checks that there is a store, or a matrix of each modality that counts, but not both.

    ``stacklevel``: of a warning, for whoever called helip.
    """
    if store is not None:
        if image is not None or text is not None:
            raise InvalidArgumentError("pass a store, or image= and text=, not both")
        store = checked_store(store, stacklevel=stacklevel)
        return Inputs(store, store.matrices, (store.image_tensor, store.text_tensor))
    given = {"image": image, "text": text}
    for name in modalities:
        if given[name] is None:
            raise InvalidArgumentError(
                f"{name} is missing; pass a store, or {' and '.join(n + '=' for n in modalities)}"
            )
    # The exact scores are the host's, so a matrix on a device is brought here once.
    arrays = [host_array(given[name], name) if name in modalities else None for name in given]
    matrices = [
        _NONE if array is None else matrix_of(array, name=name)
        for name, array in zip(given, arrays, strict=True)
    ]
    image, text = matrices
    if len(modalities) == 2 and image.rows != text.rows:
        raise InvalidArgumentError(
            f"image has {image.rows} rows and text {text.rows}; row i of both must belong to the "
            "same pair"
        )
    return Inputs(None, (image, text), (arrays[0], arrays[1]))


def require_one_space(store: EmbeddingStore, margin: float | None) -> None:
    """Refuse a margin for images and captions that two models embedded."""
    if margin is not None and (two := two_encoders(store)):
        raise InvalidArgumentError(
            f"margin is {margin}, which compares images with texts, and {store.path} has images by "
            f"{two[0]} and captions by {two[1]}; embed both with one model such as CLIP, or use no "
            "margin"
        )


def planned(inputs: Inputs, options: _core.MineOptions) -> dict[str, Any]:
    """What the core would do, and what it would cost."""
    if inputs.channels:
        return _core.plan_channels(list(inputs.channels), options)
    return _core.plan(*inputs.matrices, options)


def core_options(
    rules: ScoreRules, machine: MachineOptions | None = None, *, parts: int = 1
) -> _core.MineOptions:
    """``rules`` without a method of their own are mined exactly; ``machine`` may be a whole job."""
    machine = machine or MachineOptions()
    group = MineOptions if isinstance(rules, MineOptions) else ScoreRules
    given = {name: getattr(rules, name) for name in hints_of(group)}
    named: dict[str, Any] = {"method": "exact", **given}
    if isinstance(rules, MineOptions):
        del named["weights"], named["maxima"]
        named["channels"] = rules.channel_rules
    named["signed_products"] = named.pop("signed")
    named["candidates"] = named.get("candidates") or 0
    if isinstance(machine, JobOptions):
        named["checkpoint"] = machine.checkpoint
        named["codes"] = machine.codes_path
        named["keep_codes"] = machine.keep_codes
    return _core.MineOptions(
        **named, threads=machine.threads or 0, memory=parse_bytes(machine.memory), parts=parts
    )
