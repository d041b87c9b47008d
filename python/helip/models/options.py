"""Options of what changes a model, LoRA and locked towers, and of its card."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Lt

from helip.common.errors import InvalidArgumentError
from helip.common.hub.options import CardOptions
from helip.common.options import Options, Positive, Whole, require

#: Libraries whose files a saved model has; auto: both where both have such a model.
ModelLayout = Literal["auto", "both", "open_clip", "transformers"]


@dataclass(frozen=True, kw_only=True)
class Lora(Options):
    """Low-rank adaptation (LoRA, arXiv 2106.09685)."""

    label = "lora"

    rank: Positive = 8
    """Of the products."""
    alpha: Annotated[float, Gt(0)] = 16.0
    """The products count alpha / rank times; twice the rank is usual."""
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Of the product's input while training; not in the attention of open_clip's transformers."""
    parts: tuple[Literal["attention", "mlp"], ...] = ("attention", "mlp")
    """What is adapted."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(self.parts))
        super().__post_init__()
        require(
            bool(self.parts) and set(self.parts) <= {"attention", "mlp"},
            "parts", self.parts, "some of attention, mlp",
        )  # fmt: skip

    @classmethod
    def of(cls, other: Any) -> Any:
        """From itself, a rank, its fields as a mapping, or the text of either; None for None."""
        if other is None or isinstance(other, cls):
            return other
        if isinstance(other, str):
            return cls.of(int(other)) if other.isdigit() else cls.parse(other)
        if isinstance(other, bool) or not isinstance(other, (int, Mapping)):
            raise InvalidArgumentError(
                f"lora is {other!r}, must be a rank such as 8, a dict of its options, or None"
            )
        try:
            if isinstance(other, int):
                return cls(rank=other, alpha=2.0 * other)
            return cls(**other)
        except TypeError as error:
            raise InvalidArgumentError(f"lora {other!r}: {error}") from error
        except InvalidArgumentError as error:
            raise InvalidArgumentError(f"lora {error}") from error


@dataclass(frozen=True, kw_only=True)
class ModelOptions(Options):
    """Which weights a model starts with."""

    checkpoint: str | os.PathLike[str] | None = None
    """A file of weights, a directory that holds one, the folder of a run (its newest), or a
    pretrained tag of open_clip."""
    from_scratch: bool = False
    """Start from random weights, where nothing gives any; False refuses that."""
    ssl_head: bool | None = None
    """Give the model SLIP's self-supervised head, or leave it out; None: as it is."""


@dataclass(frozen=True, kw_only=True)
class LockOptions(Options):
    """Towers that fine-tuning leaves as they are (arXiv 2111.07991)."""

    lock_image: bool = False
    """Freeze the image tower."""
    lock_image_unlocked_groups: Whole = 0
    """But for its last groups."""
    lock_text: bool = False
    """Freeze the text tower."""
    lock_text_unlocked_layers: Whole = 0
    """But for its last layers."""
    lock_batch_norms: bool = False
    """Freeze statistics and weights of the towers' batch norms, which hard batches shift."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for tower, rest in (("image", "unlocked_groups"), ("text", "unlocked_layers")):
            name = f"lock_{tower}_{rest}"
            value, locked = getattr(self, name), getattr(self, f"lock_{tower}")
            require(value == 0 or locked, name, value, f"0 without lock_{tower}=True")


@dataclass(frozen=True, kw_only=True)
class ModelCardOptions(CardOptions):
    """What the card of a model says beside what is known anyway."""

    base_model: str | None = None
    """The repository of the model that training began with, which the hub links to."""
