"""A copy of the model of a run: what measures it, and a teacher, have one."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from helip.models.bundle import ModelBundle
from helip.models.weights import fit_state_dict
from helip.training.checkpoints import random_states, restore_random_states


class ModelCopy:
    """A bundle with a copy of its model as it is now, frozen, in eval mode and on the CPU: nothing
    that is done to it reaches the original. Made before the model is parallel.

    device: where it is measured.
    keep: False on a process that never looks at it, which has the bundle itself.
    """

    def __init__(
        self, bundle: ModelBundle, device: torch.device | None = None, *, keep: bool = True
    ) -> None:
        self._device = device or torch.device("cpu")
        self.bundle = bundle
        if keep:
            model = copy.deepcopy(bundle.model).cpu().eval().requires_grad_(False)
            self.bundle = dataclasses.replace(bundle, model=model)

    @contextlib.contextmanager
    def measured(self, weights: Mapping[str, Tensor] | None = None) -> Iterator[ModelBundle]:
        """The copy on its device, in eval mode, with these weights, else those that it has.

        Random generators are as before, after it.
        """
        states, model = random_states(), self.bundle.model
        try:
            if weights is not None:
                fit_state_dict(model, weights, "the model of the run")
            model.to(self._device).eval()
            yield self.bundle
        finally:
            model.cpu()
            restore_random_states(states)
