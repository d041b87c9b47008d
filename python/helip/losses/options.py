"""Options of the losses."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le

from helip.common.errors import InvalidArgumentError
from helip.common.options import Options

#: The losses that have a name, as ``module:Class``. helip.losses.Loss says what a loss is.
LOSSES = {
    "clip": "helip.losses.helip_loss:HelipLoss",
    "siglip": "helip.losses.siglip:HelipSigmoidLoss",
}


def original(loss: Any) -> Any:
    """The module that torch.compile was given; anything else as it is."""
    return getattr(loss, "_orig_mod", loss)


def loss_name(loss: Any) -> str:
    """What a loss is called: its name, or ``module:Class`` of an object or a function."""
    if isinstance(loss, str):
        return loss
    loss = original(loss)
    if isinstance(loss, functools.partial):
        return loss_name(loss.func)
    kind = loss if hasattr(loss, "__qualname__") else type(loss)
    return f"{kind.__module__}:{kind.__qualname__}"


def check_loss(loss: Any) -> None:
    """Raise InvalidArgumentError for what is no name of `LOSSES`, no text such as ``module:Class``
    and cannot be called."""
    if isinstance(loss, str):
        fits = loss in LOSSES or re.fullmatch(r"[\w.]+:[\w.]+", loss) is not None
    else:
        fits = callable(loss)
    if not fits:
        raise InvalidArgumentError(
            f"loss is {loss!r}, must be one of {', '.join(map(repr, LOSSES))}, a module:Class, or "
            "an object that is called as helip.losses.Loss says"
        )


@dataclass(frozen=True, kw_only=True)
class MarginOptions(Options):
    """Which reading of the hard negative margin loss (arXiv 2305.05208, Eq. 6)."""

    margin: Annotated[float, Ge(-2), Le(2)] = 0.0
    """m of Eq. 6, a difference of two cosines; 0 in the paper."""
    direction: Literal["preserve", "repel"] = "preserve"
    """preserve is Eq. 6; repel penalises hard pairs that come closer than ordinary rows."""
    space: Literal["cross", "intra"] = "cross"
    """cross compares images with captions; intra images with images, captions with captions."""


@dataclass(frozen=True, kw_only=True)
class EqualOptions(Options):
    """Rows of a batch whose captions or pictures are equal, or nearly."""

    equal_captions: Literal["mask", "positive", "separate"] = "mask"
    """mask: pairs of rows with equal captions or pictures are left out of the loss; positive: they
    match crosswise; separate: they are negatives, as in plain CLIP."""
    similar_captions: Annotated[float, Ge(-1), Le(1)] | None = None
    """Captions whose text embeddings in the store have a larger cosine count as equal, too. Not of
    data with several captions a row, of which a store knows one."""
    similar_images: Annotated[float, Ge(-1), Le(1)] | None = None
    """Pictures whose image embeddings in the store have a larger cosine count as equal, too."""


@dataclass(frozen=True, kw_only=True)
class LossOptions(MarginOptions, EqualOptions):
    """The margin loss beside a contrastive loss (arXiv 2305.05208, Eq. 7)."""

    gamma: Annotated[float, Ge(0)] = 1.0
    """Weight of the margin loss; with 0 it is only reported."""


@dataclass(frozen=True, kw_only=True)
class SslOptions(Options):
    """The self-supervised loss of SLIP (arXiv 2112.12750)."""

    ssl_scale: Annotated[float, Ge(0)] = 1.0
    """Weight of the self-supervised loss, of models with SLIP's head; 0 switches it off."""
    ssl_temperature: Annotated[float, Gt(0)] = 0.1
    """Temperature of the self-supervised loss."""


@dataclass(frozen=True, kw_only=True)
class DistillOptions(Options):
    """Distillation: the tuned model keeps what a teacher, by default the start model, gives."""

    distill: Annotated[float, Ge(0)] | None = None
    """Weight of the distance to the teacher; 0 has no teacher. None: 1 where helip.train makes
    communities of hard pairs for a trained model, otherwise 0; a run goes on with its own."""
