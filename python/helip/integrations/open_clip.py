"""helip inside open_clip's own training: a data source and a loss that it accepts.

open_clip_train's loop takes batches of images and texts from a data source and calls a loss with
what the model returns. `HardPairSource` gives it batches with hard pairs, and `OpenClipLoss` asks
the source which rows are hard pairs of which target, for the loop does not carry that along:

    from helip.integrations import HardPairSource, OpenClipLoss

    source = HardPairSource(helip.HardPairLoader(data, pairs, batch_size=256, …))
    loss = OpenClipLoss(source, gamma=1.0)
    train_one_epoch(model, {"train": source}, loss, epoch, …)        # open_clip_train.train's

Where open_clip has tasks, the loss is the task's: ``CLIPTask(model, loss=loss)``, and batches are
dicts: ``HardPairSource(loader, named=True)``.
"""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helip.common.errors import InvalidArgumentError
from helip.loading.loader import HardPairLoader
from helip.losses.equal import groups_of
from helip.losses.loss import BatchLoss, Loss
from helip.losses.options import LossOptions, check_loss

_log = logging.getLogger(__name__)


class GivenRows(Protocol):
    """What knows the rows that the model saw last."""

    def given(self, rows: int) -> dict[str, Tensor]:
        """What the loop does not carry along of so many rows, as entries of a loader's batch."""
        ...


class _Given(NamedTuple):
    """What the loop does not carry along of a batch."""

    target: Tensor  # int64 [b]
    groups: Tensor | None  # int64 [b, kinds]
    hard_rows: Tensor | None  # int64 [b, m]
    soft_labels: Tensor | None  # float32 [b, b]


class HardPairSource:
    """Batches of a HardPairLoader as open_clip_train reads them; stands for its ``DataInfo``.

    accumulate: batches of one optimizer step, ``--accum-freq``. Batches at the end of an epoch that
        make no whole step are not given, since open_clip would train on none of them.
    named: give batches as dicts with ``image`` and ``text``, as open_clip's tasks take them; else
        as pairs of the two.
    """

    def __init__(self, loader: HardPairLoader, *, accumulate: int = 1, named: bool = False) -> None:
        self.loader = loader
        self._named = named
        self._accumulate = accumulate
        # What the loss asks for of the batches given last.
        self._given: deque[_Given] = deque(maxlen=accumulate)

    @property
    def dataloader(self) -> HardPairSource:
        return self

    @property
    def num_batches(self) -> int:
        return len(self)

    @property
    def num_samples(self) -> int:
        """Rows an epoch over all processes, at most; open_clip shows it."""
        options = self.loader.state_dict()["options"]
        return len(self) * int(options["batch_size"]) * int(options["world_size"])

    def set_epoch(self, epoch: int) -> None:
        self.loader.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.loader) - len(self.loader) % self._accumulate

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor] | dict[str, Tensor]]:
        self._given.clear()
        for batch in itertools.islice(self.loader, len(self)):
            given = _Given(
                batch["target"], groups_of(batch), batch.get("hard_rows"), batch.get("soft_labels")
            )
            self._given.append(given)
            image, text = batch["image"], batch["text"]
            yield {"image": image, "text": text} if self._named else (image, text)
        self._log_account()

    def _log_account(self) -> None:
        """What this process read in the epoch; a warning where rows could not be read."""
        stats = self.loader.stats()
        quarantined = stats["quarantined"]
        failed = sum(quarantined.values())
        reasons = ", ".join(f"{reason}: {n}" for reason, n in sorted(quarantined.items()))
        _log.log(
            logging.WARNING if failed else logging.INFO,
            "Epoch %d: %d rows planned on this process, %d read, %d could not be read%s",
            stats["epoch"],
            stats["emitted"] + failed,
            stats["emitted"],
            failed,
            f" and were left out ({reasons}), such as:" if failed else "",
        )
        messages = dict.fromkeys(failure["message"] for failure in stats["quarantined_rows"])
        for message in itertools.islice(messages, 3):
            _log.warning("%s", message)

    def given(self, rows: int) -> dict[str, Tensor]:
        """Of the batches that were given last and have so many rows together ``target`` [rows], and
        where they are known ``hard_rows`` [rows, m], ``soft_labels`` [rows, rows] and, as
        ``caption_group`` [rows, kinds], the groups of equal captions and pictures."""
        target, hard, groups, soft, start = [], [], [], [], 0
        for part in self._last(rows):
            target.append(part.target + start)
            if part.hard_rows is not None:
                hard.append(torch.where(part.hard_rows < 0, part.hard_rows, part.hard_rows + start))
            if part.groups is not None:
                groups.append(part.groups)
            if part.soft_labels is not None:
                soft.append(part.soft_labels)
            start += len(part.target)
        most = max((part.shape[1] for part in hard), default=0)
        hard = [F.pad(part, (0, most - part.shape[1]), value=-1) for part in hard]
        found = {"target": target, "hard_rows": hard, "caption_group": groups}
        given = {name: torch.cat(parts) for name, parts in found.items() if parts}
        return given | ({"soft_labels": torch.block_diag(*soft)} if soft else {})

    def _last(self, rows: int) -> list[_Given]:
        """Of the batches that were given last those that have so many rows together."""
        parts: list[_Given] = []
        for part in reversed(self._given):
            parts.insert(0, part)
            if sum(len(part.target) for part in parts) >= rows:
                break
        if sum(len(part.target) for part in parts) != rows:
            sizes = [len(part.target) for part in self._given]
            raise InvalidArgumentError(
                f"the loss got {rows} rows, but the batches given last have {sizes}; give each "
                "batch to the model before the next is drawn, and accumulate= as --accum-freq is"
            )
        return parts


class OpenClipLoss(nn.Module):
    """A loss of helip, or an object as helip.losses.Loss says, called as open_clip's losses are.

    Negatives come from all processes, with their gradients, whatever ``--local-loss`` and
    ``--gather-with-grad`` say; the values of one process are its shares, see HelipLoss.

    loss: "clip", "siglip" for models with a learned bias, module:Class, or an object.
    options: of a loss by name; those of LossOptions but similar_captions and similar_images, which
        need a store.
    """

    def __init__(self, source: GivenRows, *, loss: Loss | str = "clip", **options: Any) -> None:
        super().__init__()
        check_loss(loss)
        self._source = source
        self._called = BatchLoss(loss, LossOptions(**options), gather=True)
        self.loss = self._called.loss

    @torch.compiler.disable  # the source is Python's, and changes with each batch
    def forward(
        self,
        image_features: Tensor,
        text_features: Tensor,
        logit_scale: Tensor,
        logit_bias: Tensor | None = None,
        output_dict: bool = False,
    ) -> Any:
        """The loss, or with ``output_dict`` its terms: ``margin_loss``, where the loss has a weight
        ``gamma`` and returns a ``margin``, and ``contrastive_loss``, which is the rest."""
        given = self._source.given(len(image_features))
        device = image_features.device
        batch = {name: value.to(device, non_blocking=True) for name, value in given.items()}
        encoded = {"image_features": image_features, "text_features": text_features}
        encoded["logit_scale"] = logit_scale
        if logit_bias is not None:
            encoded["logit_bias"] = logit_bias
        out = self._called(encoded, batch)
        if not output_dict:
            return out["loss"]
        gamma = getattr(self.loss, "gamma", None)
        if gamma is None or "margin" not in out:
            return {"contrastive_loss": out["loss"]}
        # open_clip trains on the sum of the terms: the graph of the loss goes with the first.
        margin = gamma * out["margin"]
        return {"contrastive_loss": out["loss"] - margin, "margin_loss": margin}
