"""A copy of the model of a run, for what measures it: nothing that it does reaches the original."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from helip.common.processes import Processes
from helip.models.bundle import ModelBundle
from helip.models.weights import fit_state_dict
from helip.training.checkpoints import random_states, restore_random_states


class ModelCopy:
    """Lies on the CPU until it is measured; rank 0 alone has one.

    Made before the model is parallel.
    """

    def __init__(self, bundle: ModelBundle, processes: Processes, device: torch.device) -> None:
        self._device = device
        self.bundle = (
            dataclasses.replace(bundle, model=copy.deepcopy(bundle.model).cpu())
            if processes.leads
            else bundle
        )

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
