"""What a training loop does for a StreamingMiner: gives it each batch, keeps its state."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from helip.common.errors import InvalidArgumentError
from helip.common.processes import Processes
from helip.mining.streaming import StreamingMiner

#: Embeddings of a batch by frozen encoders: image [b, d_image] and text [b, d_text].
Embed = Callable[[Mapping[str, Any]], tuple[Any, Any]]


class StepMiner:
    """Feeds a miner with the batches of a run: features of the model, or what ``embed`` gives.

    Of several processes each has a miner of its own, which is given the batches of all: they
    remember the same, and find the same.
    """

    def __init__(
        self, miner: StreamingMiner, embed: Embed | None, processes: Processes, device: torch.device
    ) -> None:
        self._miner, self._embed = miner, embed
        self._processes, self._device = processes, device
        self._features: tuple[Tensor, Tensor] | None = None  # that the model made of the batch

    def keep(self, image: Tensor, text: Tensor) -> None:
        """Takes note of the features of the batch that is being worked on."""
        if self._embed is None:
            self._features = image.detach(), text.detach()

    def feed(self, batch: Mapping[str, Any], rank_rows: Sequence[int]) -> dict[str, float]:
        """Gives the batch to the miner; what is known since, for the metrics.

        rank_rows: how many rows each process has.
        """
        began = time.perf_counter()
        if self._embed is not None:
            with torch.no_grad():
                image, text = self._embed(batch)
        elif self._features is None:
            raise InvalidArgumentError(
                "losses kept no features for the miner; call Trainer.losses in the one that "
                "overrides it, or pass embed="
            )
        else:
            image, text = self._features
        self._features = None
        self._miner.add(*self._of_all(batch["index"], image, text, rank_rows))
        row: dict[str, float] = {"mining_seconds": time.perf_counter() - began}
        pairs = self._miner.pairs
        if pairs is not None:
            row |= {"known_targets": pairs.known, "mean_pool": pairs.mean_pool}
        return row

    def _of_all(self, index: Any, image: Any, text: Any, rank_rows: Sequence[int]) -> Any:
        """Rows of all processes; one that several of them have, a target here and a hard pair
        there, is taken from the first."""
        if self._processes.count == 1:
            return index, image, text
        own = (torch.as_tensor(rows).to(self._device) for rows in (index[:, None], image, text))
        ids, *rows = (self._processes.gather(each, rank_rows) for each in own)
        ids = ids[:, 0].cpu()
        kept = torch.from_numpy(np.sort(np.unique(ids.numpy(), return_index=True)[1]))
        return ids[kept], *(each[kept.to(each.device)] for each in rows)

    def options(self) -> dict[str, Any]:
        return {**self._miner.options, "embed": self._embed is not None}

    def state_dict(self) -> dict[str, Tensor]:
        """The miner's state."""
        return {name: torch.from_numpy(part) for name, part in self._miner.state_dict().items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self._miner.load_state_dict(state)
