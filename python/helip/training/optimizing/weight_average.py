"""An exponential moving average of the weights (EMA), kept beside a model that trains.

After each step  average = decay * average + (1 - decay) * weights,  from the start weights on, for
the parameters that train, and for the statistics of batch norms alike, as AveragedModel of torch
does with use_buffers: statistics of the last weights do not belong to averaged ones. About the last
1 / (1 - decay) steps count, so a short run wants a smaller decay than the usual 0.999.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from helip.common.errors import CorruptError, InvalidArgumentError


class WeightAverage:
    """The average of a model's trained parameters and floating buffers, on their device.

    In float32, and with the parts of a model that is sharded; of what does not train no copy is
    made, which AveragedModel would.

    decay: in (0, 1).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        if not 0.0 < decay < 1.0:
            raise InvalidArgumentError(
                f"ema is {decay}, must be in (0, 1); None keeps no average, 0.999 is usual"
            )
        self.decay = float(decay)
        self._take_in = get_ema_multi_avg_fn(self.decay)
        self._model = model
        self._average: dict[str, Tensor] = {
            name: tensor.detach().float().clone() for name, tensor in self._averaged()
        }

    @property
    def nbytes(self) -> int:
        """Memory of the averages on this process."""
        return sum(tensor.nbytes for tensor in self._average.values())

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after a step."""
        kinds: dict[type, tuple[list[Tensor], list[Tensor]]] = {}  # no kernel takes two of these
        for name, weight in self._averaged():
            averages, weights = kinds.setdefault(type(self._average[name]), ([], []))
            averages.append(self._average[name])
            weights.append(weight.detach().float())
        for averages, weights in kinds.values():
            self._take_in(averages, weights, 0)

    def after_step(self, model: nn.Module, step: int) -> None:
        """`update`, as a training loop calls what it is given to do after each step."""
        self.update()

    def state_dict(self) -> dict[str, Tensor]:
        """A whole state dict of the model, with averages in place of what they average."""
        own = self._model.state_dict()
        return {
            name: self._average[name].to(tensor.dtype) if name in self._average else tensor
            for name, tensor in own.items()
        }

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """The inverse; CorruptError when a name or a shape does not fit."""
        for name, average in self._average.items():
            if name not in state or state[name].shape != average.shape:
                found = tuple(state[name].shape) if name in state else "nothing"
                raise CorruptError(
                    f"the averaged weights hold {found} for {name}, must be {tuple(average.shape)}"
                )
            average.copy_(state[name])

    def _averaged(self) -> list[tuple[str, Tensor]]:
        trained = [(n, p) for n, p in self._model.named_parameters() if p.requires_grad]
        saved = self._model.state_dict().keys()
        buffers = self._model.named_buffers()
        return trained + [(n, b) for n, b in buffers if n in saved and b.is_floating_point()]
