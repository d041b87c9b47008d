"""Weight interpolation of a start model and a fine-tuned one (WiSE-FT, arXiv 2109.01903).

    weights = (1 - alpha) * start + alpha * tuned

A mixture often keeps most of what fine-tuning gained and loses less of what the start model knew.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from helip.common.errors import MismatchError
from helip.common.options import require
from helip.models.bundle import ModelBundle, create_model
from helip.models.saving import save_model
from helip.models.weights import fit_state_dict, require_same_keys


def interpolate(
    start: ModelBundle | str | os.PathLike[str],
    tuned: ModelBundle | str | os.PathLike[str],
    alpha: float,
    *,
    out: str | os.PathLike[str] | None = None,
) -> ModelBundle:
    """The model between ``start`` (alpha = 0) and ``tuned`` (alpha = 1); both are left as they are.

    start, tuned: bundles, or what `create_model` opens: a saved model, a checkpoint of a run.
    alpha: in [0, 1]; at its ends the weights are those of one model, bit for bit.
    out: also save the model there.

    Raises MismatchError when the two are not the same architecture, naming the keys.
    """
    first, second = (m if isinstance(m, ModelBundle) else create_model(m) for m in (start, tuned))
    ours, theirs = (bundle.config.get("model_cfg") for bundle in (first, second))
    if ours and theirs and ours != theirs:
        differing = sorted(k for k in {*ours, *theirs} if ours.get(k) != theirs.get(k))
        raise MismatchError(
            f"{first.name} and {second.name} are not the same architecture: their configurations "
            f"differ in {', '.join(differing)}"
        )
    weights = interpolated_weights(
        first.model.state_dict(), second.model.state_dict(), alpha, label=second.name
    )
    mixed = copy.copy(second)
    mixed.model = copy.deepcopy(second.model) if second is tuned else second.model
    fit_state_dict(mixed.model, weights, "the mixture")
    if out is not None:
        save_model(mixed, Path(out))
    return mixed


def interpolated_weights(
    start: Mapping[str, Tensor], tuned: Mapping[str, Tensor], alpha: float, *, label: str = "tuned"
) -> dict[str, Tensor]:
    """The mixture of two state dicts, computed in float64; counters are those of ``tuned``."""
    in_words = "in [0, 1]: 0 is the start model, 1 the tuned one"
    require(0.0 <= alpha <= 1.0, "alpha", alpha, in_words)
    require_same_keys(start, tuned, f"{label} does not fit the start model")
    return {name: _mixed(start[name], tuned[name], alpha) for name in start}


def _mixed(start: Tensor, tuned: Tensor, alpha: float) -> Tensor:
    if not tuned.is_floating_point():
        return tuned.detach().clone()
    a, b = (t.detach().to(tuned.device, torch.float64) for t in (start, tuned))
    return ((1.0 - alpha) * a + alpha * b).to(tuned.dtype)
