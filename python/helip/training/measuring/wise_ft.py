"""WiSE-FT at the end of a run: the model between the start and what training made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
        if not bundle.config:
            raise InvalidArgumentError(
                f"wise_ft saves a mixture, and the model {bundle.name!r} has no configuration to "
                "save; make it with create_model"
            )
        # A copy of these alone, since not every module can be copied.
        state = bundle.model.state_dict()
        self._alpha = alpha
        self._start = {name: tensor.detach().cpu().clone() for name, tensor in state.items()}

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
        average = checkpoint / "ema.safetensors"
        mixed = create_model(average if average.exists() else checkpoint)
        weights = interpolated_weights(self._start, mixed.model.state_dict(), self._alpha)
        fit_state_dict(mixed.model, weights, "the mixture")
        return save_model(mixed, path)
