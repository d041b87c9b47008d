"""WiSE-FT at the end of a run: the model between the start and what training made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from helip.common.errors import InvalidArgumentError
from helip.models.bundle import ModelBundle, create_model
from helip.models.saving import save_model
from helip.models.weights import fit_state_dict
from helip.training.model_copy import ModelCopy


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
        self._alpha, self._start = alpha, ModelCopy(bundle)

    def identity(self) -> dict[str, Any]:
        """What must be the same when the run is resumed: a mixture needs the same start."""
        return {"wise_ft": self._alpha, "start": self._start.digest()}

    def save(self, checkpoint: Path, out: Path) -> Path:
        """The mixture with a checkpoint's weights, as ``out``/wise-ft; one that is there stays.

        Where the checkpoint holds an average of the weights, the mixture is with that.
        """
        path = out / "wise-ft"
        if path.exists():
            return path
        mixed = tuned_model(checkpoint)
        weights = self._start.mixture(mixed.model.state_dict(), self._alpha)
        fit_state_dict(mixed.model, weights, "the mixture")
        return save_model(mixed, path)


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
