"""Encoders over an engine: pictures or captions in, float32 rows on the CPU out; and the networks
that specs name, of which they are made.

A row depends on its own sample alone, up to rounding: not on the others of its batch.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
from collections import OrderedDict, deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from helip.common.devices import choose_device
from helip.common.errors import Error, InvalidArgumentError, UnsupportedError
from helip.common.hub.client import asking_once
from helip.common.idle_cores import look_again
from helip.encoders.engines import Engine, Inputs
from helip.encoders.loading import Loaded, Preprocess, Tokenize, files_stamp
from helip.encoders.spec import FAMILIES, parse_spec

Side = Literal["image", "text"]

# side → its families
_FAMILIES = {
    "image": ("timm", "torchvision", "hf", "open_clip", "packaged"),
    "text": ("hf", "st", "open_clip", "packaged"),
}
_CAPTIONS = ("two dogs", "a red house near the sea", "a woman rides her bicycle to an old market")

_BLOCK = 16  # pictures on a CPU
_KNOWN_BYTES = 64 << 20  # rows of captions that are kept, in case they come again


@dataclass(eq=False, kw_only=True)
class _NetworkEncoder:
    engine: Engine = field(kw_only=False)
    spec: str
    weights: str = ""
    """Digest of the values of its parameters; empty where it is not known."""
    files: str = ""
    """Stamp of the local files that it was loaded from, as they were before; see files_stamp."""
    computed: dict[str, Any] = field(default_factory=dict)
    """What a store's metadata says of the engine."""

    def _pooled(self, features: torch.Tensor, count: int) -> torch.Tensor:
        """The features of ``count`` samples, where they are pooled ones."""
        if features.ndim != 2 or len(features) != count:
            raise UnsupportedError(
                f"encoder {self.spec!r} gives an output of shape {list(features.shape)} for "
                f"{count} samples; pooled features [n, dim] are needed"
            )
        return features


@dataclass(eq=False)
class NetworkImageEncoder(_NetworkEncoder):
    """An image encoder; ``preprocess`` maps a PIL image to a float32 tensor [3, H, W].

    ``preprocess`` is a plain attribute, so that a data loader's workers get it without the network.
    Not thread-safe.
    """

    preprocess: Preprocess

    def __post_init__(self) -> None:
        # One blank picture settles the width and shows that the two fit each other.
        picture = blank(self.preprocess)
        self.picture_bytes, self._shape = picture.nbytes, picture.shape
        self.dim = self.encode(picture[None]).shape[1]

    @property
    def block(self) -> int | None:
        """Pictures whose rows come back together; None for all of a batch."""
        return _BLOCK if self.engine.pictures else None

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Pooled features of a batch: [n, 3, H, W] float → [n, dim] float32 on the CPU.

        Raises InvalidArgumentError for another shape or dtype.
        """
        self._check(images)
        return next(self.encode_ahead([images])) if len(images) else torch.zeros(0, self.dim)

    def encode_ahead(self, batches: Iterable[torch.Tensor]) -> Generator[torch.Tensor, None, None]:
        """:meth:`encode` of batches with pictures, the next begun while one is looked at."""
        begun: deque[list[int]] = deque()  # of each batch, the pictures of its calls

        def calls() -> Iterator[Inputs]:
            for images in batches:
                look_again()
                self._check(images)
                parts = images.detach().split(self.engine.pictures or len(images))
                begun.append([len(part) for part in parts])
                yield from ((part,) for part in parts)

        with contextlib.closing(self.engine.run(calls())) as rows:
            for first in rows:
                sizes = begun.popleft()
                parts = [first, *itertools.islice(rows, len(sizes) - 1)]
                yield torch.cat(list(map(self._pooled, parts, sizes)))

    def _check(self, images: torch.Tensor) -> None:
        if images.ndim != 4 or images.shape[1] != 3 or images.dtype != torch.float32:
            raise InvalidArgumentError(
                f"images are {images.dtype} {list(images.shape)}; encode takes float32 tensors "
                "[n, 3, H, W] as preprocess() makes them"
            )
        if self.engine.name != "torch" and images.shape[1:] != self._shape:
            raise InvalidArgumentError(
                f"images are {list(images.shape)} and engine {self.engine.name!r} was made for "
                f"[n, {', '.join(map(str, self._shape))}], as preprocess() makes them"
            )


def blank(preprocess: Preprocess) -> torch.Tensor:
    """A blank picture, as an encoder takes it [3, H, W]."""
    from PIL import Image

    return preprocess(Image.new("RGB", (64, 64)))


@dataclass(eq=False)
class NetworkTextEncoder(_NetworkEncoder):
    """A text encoder. A caption that comes again is not encoded again, as long as some 64 MB of
    rows hold it; captions with like numbers of tokens are encoded together, so that nothing is
    computed on padding. Not thread-safe.
    """

    tokenize: Tokenize | None

    def __post_init__(self) -> None:
        self._known: OrderedDict[str, torch.Tensor] = OrderedDict()
        self.dim = 0
        self.dim = self.encode(["a"]).shape[1]

    def encode(self, texts: Sequence[str]) -> torch.Tensor:
        """Features of captions: n strings → [n, dim] float32 on the CPU."""
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise InvalidArgumentError("encode takes a list of strings, one a caption")
        if not len(texts):
            return torch.zeros(0, self.dim)
        rows = {text: self._known[text] for text in texts if text in self._known}
        rows |= self._encoded(sorted(set(texts) - rows.keys()))
        for text, row in rows.items():
            self._known[text] = row
            self._known.move_to_end(text)
        while len(self._known) * self.dim * 4 > _KNOWN_BYTES:
            self._known.popitem(last=False)
        return torch.stack([rows[text] for text in texts])

    def _encoded(self, texts: list[str]) -> dict[str, torch.Tensor]:
        calls = list(self._calls(texts))
        rows: dict[str, torch.Tensor] = {}
        with contextlib.closing(self.engine.run(inputs for _, inputs in calls)) as results:
            for (group, _), features in zip(calls, results, strict=True):
                for text, row in zip(group, self._pooled(features, len(group)), strict=True):
                    # Of its own memory: a view would keep the rows of all of its call.
                    rows[text] = row.clone()
        return rows

    def _calls(self, texts: list[str]) -> Iterator[tuple[list[str], Any]]:
        """Captions that are computed together, with what the engine takes of them."""
        size = self.engine.captions
        if self.tokenize is None:
            texts = sorted(texts, key=lambda text: (len(text), text))
            for at in range(0, len(texts), size):
                yield texts[at : at + size], (texts[at : at + size],)
            return
        tokens = self.tokenize(texts) if texts else {}
        if any(not each.shape[1] for each in tokens.values()):
            raise InvalidArgumentError(
                f"encoder {self.spec!r} finds no token in {texts[0]!r}; leave such captions out"
            )
        for places, columns in _alike(tokens, len(texts)):
            for part in places.split(size):
                inputs = tuple(each[part][:, columns].contiguous() for each in tokens.values())
                yield [texts[place] for place in part.tolist()], inputs


def _alike(
    tokens: dict[str, torch.Tensor], count: int
) -> Iterator[tuple[torch.Tensor, slice | torch.Tensor]]:
    """Places of captions with equal masks of padding, and the columns that they fill."""
    if not count:
        return
    mask = tokens.get("attention_mask")
    if mask is None:
        yield torch.arange(count), slice(None)
        return
    masks, which = torch.unique(mask, dim=0, return_inverse=True)
    for number, own in enumerate(masks):
        filled = own.nonzero().flatten()
        # A caption without a token still takes a column, of padding.
        columns = filled if len(filled) else torch.zeros(1, dtype=torch.long)
        yield (which == number).nonzero().flatten(), columns


@dataclass(frozen=True)
class Source:
    """A network that can be computed, and inputs to try it with."""

    spec: str
    side: Side
    loaded: Loaded
    files: str
    """Stamp of the local files that it was loaded from, as they were before; see files_stamp."""
    device: torch.device

    def example(self) -> Inputs:
        """Two samples, that an export is traced with."""
        return self._inputs(2)

    def trial(self) -> Inputs:
        """Three others, that an exported graph is compared on."""
        return self._inputs(3)

    def _inputs(self, count: int) -> Inputs:
        if self.side == "text":
            assert self.loaded.tokenize is not None, "only such networks are exported"
            captions = list(_CAPTIONS[:2] if count == 2 else reversed(_CAPTIONS))
            return tuple(self.loaded.tokenize(captions).values())
        assert self.loaded.preprocess is not None
        shape = blank(self.loaded.preprocess).shape
        noise = torch.Generator().manual_seed(count)
        return (torch.randn(count, *shape, generator=noise),)


def load_source(spec: str, side: Side, device: str | torch.device = "cpu") -> Source:
    """Load the network that ``spec`` names.

    Raises InvalidArgumentError (spec or option), StorageError (weights that are not there or a hub
    out of reach), UnsupportedError (a package that is not installed).
    """
    parsed = parse_spec(spec)
    place = choose_device(device)
    if parsed.family not in _FAMILIES[side]:
        raise InvalidArgumentError(
            f"{spec!r} is no {side} encoder: {side} encoders come from {', '.join(_FAMILIES[side])}"
        )
    stamp = files_stamp(spec)  # before, so that a later change is seen
    module = importlib.import_module(f"helip.encoders.families.{FAMILIES[parsed.family]}")
    # A file, a folder, or weights that a package brings or torchvision downloads: not of a hub.
    local = stamp or parsed.path or parsed.family in ("packaged", "torchvision")
    try:
        with contextlib.nullcontext() if local else asking_once():
            loaded = getattr(module, f"load_{side}")(parsed, place)
    except Error as error:
        error.args = (f"encoder {spec!r}: {error}",)
        raise
    return Source(spec, side, loaded, stamp, place)


def encoder_of(source: Source, engine: Engine, **facts: Any) -> Any:
    """The NetworkImageEncoder or NetworkTextEncoder that computes ``source`` by ``engine``.

    ``facts``: what a store's metadata says of the engine besides its name and precision.
    """
    common: dict[str, Any] = {
        "spec": source.spec,
        "weights": source.loaded.weights,
        "files": source.files,
        "computed": {"engine": engine.name, "precision": engine.precision, **facts},
    }
    if source.side == "text":
        return NetworkTextEncoder(engine, source.loaded.tokenize, **common)
    assert source.loaded.preprocess is not None
    return NetworkImageEncoder(engine, source.loaded.preprocess, **common)
