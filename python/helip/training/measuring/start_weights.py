"""The weights before training, to mix with those after it (WiSE-FT, arXiv 2109.01903)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from helip.common.errors import InvalidArgumentError
from helip.common.weights_digest import weights_digest
from helip.models.bundle import ModelBundle, create_model
from helip.models.interpolation import interpolated_weights


class StartWeights:
    """A copy of a bundle's weights on the CPU, made before anything adapts it."""

    def __init__(self, bundle: ModelBundle) -> None:
        self._weights = {
            name: tensor.detach().cpu().clone()
            for name, tensor in bundle.model.state_dict().items()
        }

    def digest(self) -> str:
        return weights_digest(self._weights)

    def mixture(self, tuned: Mapping[str, Tensor], alpha: float) -> dict[str, Tensor]:
        """(1 - alpha) of the start and alpha of a state dict of the tuned model."""
        return interpolated_weights(self._weights, tuned, alpha)


def check_saved(bundle: ModelBundle, purpose: str) -> None:
    """Raise InvalidArgumentError where a mixture could not be saved; ``purpose`` asks for one."""
    if not bundle.config:
        raise InvalidArgumentError(
            f"{purpose} saves a mixture, and the model {bundle.name!r} has no configuration to "
            "save; make it with create_model"
        )


def tuned_model(checkpoint: Path) -> ModelBundle:
    """The model of a checkpoint, with the average of its weights where it holds one."""
    average = checkpoint / "ema.safetensors"
    return create_model(average if average.exists() else checkpoint)
