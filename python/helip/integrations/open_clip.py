"""helip inside open_clip's own training: a data source and a loss that it accepts.

open_clip_train's loop takes batches of (images, texts) from a data source and calls a loss with
what the model returns. `HardPairSource` gives it batches with hard pairs, and `OpenClipLoss` asks
the source which rows are hard pairs of which target, for the loop does not carry that along:

    from helip.integrations import HardPairSource, OpenClipLoss

    source = HardPairSource(helip.HardPairLoader(data, pairs, batch_size=256, …))
    loss = OpenClipLoss(source, gamma=1.0)
    train_one_epoch(model, {"train": source}, loss, epoch, …)        # open_clip_train.train's

`hard_pair_training` makes open_clip_train.main use both; ``python -m helip.open_clip_train`` is
that for the command line.
"""

from __future__ import annotations

import argparse
import contextlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from helip.common.errors import InvalidArgumentError, UnsupportedError
from helip.data.opening import open_dataset
from helip.loading.loader import HardPairLoader
from helip.loading.options import PairOptions
from helip.losses.helip_loss import HelipLoss
from helip.losses.options import LossOptions
from helip.losses.siglip import HelipSigmoidLoss
from helip.pairs.hard_pairs import HardPairs


class HardPairSource:
    """Batches of a HardPairLoader as open_clip_train reads them; stands for its ``DataInfo``.

    accumulate: batches of one optimizer step, ``--accum-freq``.
    """

    def __init__(self, loader: HardPairLoader, *, accumulate: int = 1) -> None:
        self.loader = loader
        self._targets: deque[Tensor] = deque(maxlen=accumulate)  # of the batches given last

    @property
    def dataloader(self) -> HardPairSource:
        return self

    @property
    def num_batches(self) -> int:
        return len(self.loader)

    @property
    def num_samples(self) -> int:
        """Rows an epoch over all processes, at most; open_clip shows it."""
        options = self.loader.state_dict()["options"]
        return len(self.loader) * int(options["batch_size"]) * int(options["world_size"])

    def set_epoch(self, epoch: int) -> None:
        self.loader.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        self._targets.clear()
        for batch in self.loader:
            self._targets.append(batch["target"])
            yield batch["image"], batch["text"]

    def target(self, rows: int) -> Tensor:
        """``target`` [rows] of the batches that were given last and have so many rows together."""
        parts: list[Tensor] = []
        for part in reversed(self._targets):
            parts.insert(0, part)
            if sum(map(len, parts)) >= rows:
                break
        if sum(map(len, parts)) != rows:
            sizes = [len(part) for part in self._targets]
            raise InvalidArgumentError(
                f"the loss got {rows} rows, but the batches given last have {sizes}; give each "
                "batch to the model before the next is drawn, and accumulate= as --accum-freq is"
            )
        starts = torch.tensor([0, *map(len, parts)]).cumsum(0)
        return torch.cat([part + start for part, start in zip(parts, starts, strict=False)])


class OpenClipLoss(nn.Module):
    """HelipLoss, or HelipSigmoidLoss for ``--siglip``, called as open_clip's losses are.

    Negatives come from all processes, with their gradients, whatever ``--local-loss`` and
    ``--gather-with-grad`` say; the values of one process are its shares, see HelipLoss.

    options: gamma, margin, direction and space of HelipLoss.
    """

    def __init__(self, source: HardPairSource, *, siglip: bool = False, **options: Any) -> None:
        super().__init__()
        self._source = source
        self._siglip = siglip
        self.loss = (HelipSigmoidLoss if siglip else HelipLoss)(gather=True, **options)

    def forward(
        self,
        image_features: Tensor,
        text_features: Tensor,
        logit_scale: Tensor,
        logit_bias: Tensor | None = None,
        output_dict: bool = False,
    ) -> Any:
        """The loss, or with ``output_dict`` its terms ``contrastive_loss`` and ``margin_loss``."""
        target = self._source.target(len(image_features))
        target = target.to(image_features.device, non_blocking=True)
        bias = {"logit_bias": logit_bias} if self._siglip else {}
        out = self.loss(image_features, text_features, logit_scale, target, **bias)
        if not output_dict:
            return out["loss"]
        # open_clip trains on the sum of the terms: the graph of the loss goes with the first.
        margin = self.loss.gamma * out["margin"]
        return {"contrastive_loss": out["loss"] - margin, "margin_loss": margin}


@dataclass(frozen=True, kw_only=True)
class HardPairOptions(PairOptions, LossOptions):
    """What hard pair training needs besides open_clip's own flags."""

    hard_pairs: str
    """Table of hard pairs, mined from --train-data."""


@contextlib.contextmanager
def hard_pair_training(options: HardPairOptions) -> Iterator[None]:
    """Inside, ``open_clip_train.main.main`` trains with hard pairs.

    Two names of that module are replaced, ``get_data`` and ``create_loss``; everything else, from
    the flags to the checkpoints, is open_clip's.
    """
    import open_clip_train.main as program

    given, made = program.get_data, program.create_loss
    sources: list[HardPairSource] = []

    def get_data(args: Any, preprocess_fns: Any, epoch: int = 0, tokenizer: Any = None) -> Any:
        others = argparse.Namespace(**{**vars(args), "train_data": None, "dataset_type": "auto"})
        data = given(others, preprocess_fns, epoch=epoch, tokenizer=tokenizer)
        if args.train_data:
            data["train"] = _source(args, options, preprocess_fns[0], tokenizer)
            data["train"].set_epoch(epoch)
            sources.append(data["train"])
        return data

    def create_loss(args: Any) -> Any:
        margin_loss = LossOptions.of(options).as_dict()
        return OpenClipLoss(sources[-1], siglip=args.siglip, **margin_loss)

    program.get_data, program.create_loss = get_data, create_loss
    try:
        yield
    finally:
        program.get_data, program.create_loss = given, made


def _source(args: Any, options: HardPairOptions, transform: Any, tokenizer: Any) -> HardPairSource:
    """The training data that open_clip's flags name, with the hard pairs of the table."""
    _refuse(args)
    columns: dict[str, Any] = {}
    if args.dataset_type == "csv" or args.train_data.endswith((".csv", ".tsv")):
        columns = {"image_column": args.csv_img_key, "caption_column": args.csv_caption_key}
    shards = args.train_data.split("::")
    data = open_dataset(shards if len(shards) > 1 else shards[0], **columns)
    loader = HardPairLoader(
        data,
        HardPairs.open(options.hard_pairs),
        batch_size=args.batch_size,
        seed=args.seed,
        workers=args.workers,
        transform=transform,
        tokenizer=tokenizer,
        **PairOptions.of(options).as_dict(),
    )
    return HardPairSource(loader, accumulate=args.accum_freq)


def _refuse(args: Any) -> None:
    """Flags that ask for what hard pair training does not do."""
    chosen = {
        "--dataset-type synthetic": args.dataset_type == "synthetic",
        "--dataset-resampled": args.dataset_resampled,
        "--train-data-upsampling-factors": args.train_data_upsampling_factors is not None,
        "--distill-model": args.distill,
        "--horovod": args.horovod,
        f"--model {args.model}": "coca" in args.model.lower(),
    }
    wrong = [flag for flag, is_set in chosen.items() if is_set]
    if wrong:
        raise UnsupportedError(
            f"{', '.join(wrong)} cannot be combined with --hard-pairs: an epoch has every target "
            "once, and the loss is CLIP's or SigLIP's with the margin loss; leave it out"
        )
