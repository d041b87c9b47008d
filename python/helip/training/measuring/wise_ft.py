"""WiSE-FT at the end of a run: the model between the start and what training made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from helip.common.errors import InvalidArgumentError
from helip.common.weights_digest import weights_digest
from helip.models.bundle import ModelBundle, create_model
from helip.models.interpolation import interpolated_weights
from helip.models.saving import save_model
from helip.models.weights import fit_state_dict


class WiseFt:
    """Mixes what a run made with its start.

    alpha: share of the tuned weights, in (0, 1).
    """

    def __init__(self, bundle: ModelBundle, alpha: float) -> None:
        if not 0.0 < alpha < 1.0:
            raise InvalidArgumentError(
                f"wise_ft is {alpha}, must be in (0, 1): the share of the tuned weights; None "
                "makes no mixture"
            )
        check_saved(bundle, "wise_ft")
        self._alpha, self._start = alpha, weights_of(bundle)

    def identity(self) -> dict[str, Any]:
        """What must be the same when the run is resumed: a mixture needs the same start."""
        return {"wise_ft": self._alpha, "start": weights_digest(self._start)}

    def save(self, checkpoint: Path, out: Path) -> Path:
        """The mixture with a checkpoint's weights, as ``out``/wise-ft; one that is there stays.

        Where the checkpoint holds an average of the weights, the mixture is with that.
        """
        path = out / "wise-ft"
        if path.exists():
            return path
        mixed = tuned_model(checkpoint)
        weights = interpolated_weights(self._start, mixed.model.state_dict(), self._alpha)
        fit_state_dict(mixed.model, weights, "the mixture")
        return save_model(mixed, path)


def weights_of(bundle: ModelBundle) -> dict[str, Tensor]:
    """A copy on the CPU: of these alone, since not every module can be copied."""
    state = bundle.model.state_dict()
    return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}


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
