"""The small CLIP model that the demo fine-tunes, trained from scratch on the training split.

It stands for the pre-trained model that HELIP starts from. The pictures are decoded once and kept
as bytes in memory; augmentation works on whole batches, so that nearly all of the time goes into
the model.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from helip.common.devices import multiplies_bfloat16
from helip.common.progress import ProgressBar
from helip.data import Dataset
from helip.models import create_model
from helip.training import Recipe, Trainer, TrainResult

# 16.7 million parameters, 9.5 million of them the table of tokens; no caption has more than 17.
# Measured on two cores with bfloat16, batches of 256 of 3,326 pictures, by seconds of processor
# time; recall@1 image to text on held-out variants (285) and held-out concepts (336), each among
# themselves:
#     this model             150 s  0.60 0.08    225 s  0.81 0.12    303 s  0.85 0.11
#     the same, batch 128    167 s  0.65 0.09    253 s  0.82 0.12    335 s  0.85 0.13
#     ViT, 6 layers of 192, patch 16
#                            292 s  0.30 0.06    437 s  0.54 0.08   1069 s  0.71 0.10
# A ViT of patch 8 takes 2.3 times as long a step.
MODEL: dict[str, Any] = {
    "embed_dim": 192,
    "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 32},
    "text_cfg": {
        "context_length": 20,
        "vocab_size": 49408,
        "width": 192,
        "heads": 3,
        "layers": 4,
    },
}
PRETRAIN: dict[str, Any] = {"passes": 18, "batch_size": 256, "lr": 1e-3, "weight_decay": 0.1}

_SHIFT = 1 / 16  # of the side, either way
_ZOOM = 0.1  # either way


class Batches:
    """Shuffled, augmented batches from memory: a loader for `Trainer`, whose epoch is all passes.

    images: uint8 [n, 3, s, s], or what makes them, called once, for the first batch; tokens: int64
    [n, context]. A pass has n // batch_size batches; the rows left over differ from pass to pass.
    A batch depends on the seed and its number alone.
    """

    def __init__(
        self,
        images: Tensor | Callable[[], Tensor],
        tokens: Tensor,
        *,
        batch_size: int,
        passes: int,
        seed: int,
        mean: Any,
        std: Any,
    ) -> None:
        self._images = images
        self._tokens = tokens
        self._batch_size = min(batch_size, len(tokens))
        self._passes = passes
        self._seed = seed
        self._mean = torch.tensor(mean).view(3, 1, 1) * 255
        self._std = torch.tensor(std).view(3, 1, 1) * 255
        self._epoch = 0
        self._done = 0

    def __len__(self) -> int:
        return self._passes * self._a_pass

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if self._done >= len(self):
            self._epoch, self._done = self._epoch + 1, 0
        if callable(self._images):
            self._images = self._images()
        while self._done < len(self):
            number, batch = divmod(self._done, self._a_pass)
            order = torch.randperm(
                len(self._tokens), generator=self._generator(self._epoch, number, 0)
            )
            rows = order[batch * self._batch_size : (batch + 1) * self._batch_size]
            self._done += 1
            yield {
                "image": self._augmented(rows, self._generator(self._epoch, number, batch + 1)),
                "text": self._tokens[rows],
                "index": rows,
                "target": torch.arange(len(rows)),
            }

    def set_epoch(self, epoch: int) -> None:
        if epoch != self._epoch:
            self._epoch, self._done = epoch, 0

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self._epoch, "done": self._done}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._epoch, self._done = int(state["epoch"]), int(state["done"])

    @property
    def _a_pass(self) -> int:
        return len(self._tokens) // self._batch_size

    def _generator(self, *place: int) -> torch.Generator:
        entropy = np.random.SeedSequence([self._seed, *place]).generate_state(1, np.uint64)[0]
        return torch.Generator().manual_seed(int(entropy) % 2**63)

    def _augmented(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Zoomed and shifted over white, float32 [b, 3, s, s]. No flips: hands and arrows point."""
        b = len(rows)
        grid = torch.zeros(b, 2, 3)
        zoom = 1 + _ZOOM * (2 * torch.rand(b, generator=generator) - 1)
        grid[:, 0, 0] = grid[:, 1, 1] = zoom
        grid[:, :, 2] = 2 * _SHIFT * (2 * torch.rand(b, 2, generator=generator) - 1)
        assert isinstance(self._images, Tensor)
        ink = 255 - self._images[rows].float()  # what is outside is 0: no ink
        places = torch.nn.functional.affine_grid(grid, list(ink.shape), align_corners=False)
        moved = torch.nn.functional.grid_sample(ink, places, align_corners=False)
        return (255 - moved - self._mean) / self._std


def precision() -> Literal["float32", "bfloat16"]:
    """What this machine trains fastest in: bfloat16 where the processor computes with it."""
    return "bfloat16" if multiplies_bfloat16(torch.device("cpu")) else "float32"


def pretrain(
    data: Dataset,
    *,
    out: str | os.PathLike[str],
    seed: int = 0,
    passes: int = PRETRAIN["passes"],
    progress: bool = True,
) -> TrainResult:
    """Train MODEL on ``data``; go on from what is in ``out``, and return at once if that is all."""
    bundle = create_model("helip-demo", config=MODEL, from_scratch=True, seed=seed)
    assert bundle.tokenizer is not None
    loader = Batches(
        lambda: _decoded(data, progress=progress),
        bundle.tokenizer([data.caption(row) for row in range(len(data))]),
        batch_size=PRETRAIN["batch_size"],
        passes=passes,
        seed=seed,
        mean=bundle.config["preprocess_cfg"]["mean"],
        std=bundle.config["preprocess_cfg"]["std"],
    )
    recipe = Recipe(
        gamma=0.0,
        lr=PRETRAIN["lr"],
        weight_decay=PRETRAIN["weight_decay"],
        warmup=0.05,
        precision=precision(),
        seed=seed,
    )
    trainer = Trainer(
        bundle,
        loader,
        out=out,
        recipe=recipe,
        epochs=1,
        device="cpu",
        identity={"data": data.fingerprint, "passes": passes},
        checkpoint_every=108,
        keep=1,
        progress=progress,
    )
    return trainer.run()


def is_pretrained(out: str | os.PathLike[str], *, rows: int, passes: int) -> bool:
    """Whether ``out`` holds the last checkpoint of `pretrain` on so many rows."""
    steps = passes * (rows // min(PRETRAIN["batch_size"], rows))
    return any(Path(out).glob(f"checkpoints/step-{steps:06d}"))


def _decoded(data: Dataset, *, progress: bool) -> Tensor:
    """Every picture at the model's size, uint8 [n, 3, s, s]."""
    from PIL import Image

    side = MODEL["vision_cfg"]["image_size"]
    pixels = np.empty((len(data), side, side, 3), dtype=np.uint8)
    with ProgressBar(len(data), label="decode", unit="pictures", enabled=progress) as bar:
        for row in range(len(data)):
            image = data.image(row).resize((side, side), Image.Resampling.BICUBIC)
            pixels[row] = np.asarray(image)
            bar.update(1)
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
