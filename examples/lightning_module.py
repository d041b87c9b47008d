"""HelipLoss and HardPairLoader in a LightningModule.

    python examples/lightning_module.py [FOLDER]

It needs pip install lightning. FOLDER gets the pictures of the demo package; for data of your own
give another data set, its table and a model.
"""

import sys

import torch

import helip
from helip_demo.sample import sample

try:
    import lightning
except ImportError:
    sys.exit("this example needs Lightning: pip install lightning")


class HardPairModule(lightning.LightningModule):
    """A CLIP model under the CLIP loss plus the hard negative margin loss."""

    def __init__(self, model: torch.nn.Module, lr: float = 1e-5, gamma: float = 1.0) -> None:
        super().__init__()
        self.model, self.lr = model, lr
        # gather=True: under DDP negatives come from the batches of all processes.
        self.loss = helip.HelipLoss(gamma=gamma, gather=True)

    def training_step(self, batch: dict, batch_idx: int) -> torch.Tensor:
        out = self.loss(
            self.model.encode_image(batch["image"]),
            self.model.encode_text(batch["text"]),
            self.model.logit_scale.exp(),
            batch["target"],
            hard_rows=batch.get("hard_rows"),
            groups=batch["caption_group"],
        )
        self.log_dict({f"train/{name}": value for name, value in out.items()}, prog_bar=True)
        return out["loss"]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.model.parameters(), lr=self.lr)


class HardPairData(lightning.LightningDataModule):
    """Batches of a data set with its table of hard pairs; ``options`` are the loader's."""

    def __init__(self, data, pairs, **options) -> None:
        super().__init__()
        self.data, self.pairs, self.options = data, pairs, options
        self.loader = None

    def train_dataloader(self) -> helip.HardPairLoader:
        # Made once the processes have met: each reads its own part of every batch. The loader goes
        # from epoch to epoch by itself.
        if self.loader is None:
            self.loader = helip.HardPairLoader(self.data, self.pairs, **self.options)
        return self.loader


def main() -> None:
    parts = sample(*sys.argv[1:])
    bundle = helip.create_model(parts.start)
    batches = HardPairData(
        helip.open_dataset(parts.pictures),
        helip.HardPairs.open(parts.pairs),
        batch_size=64,
        transform=bundle.train_transform,
        tokenizer=bundle.tokenizer,
    )
    trainer = lightning.Trainer(
        max_epochs=2,
        accelerator="cpu",
        use_distributed_sampler=False,  # the loader parts its batches itself
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    bundle.model.train()
    trainer.fit(HardPairModule(bundle.model, lr=1e-4), datamodule=batches)
    figures = {name: round(float(value), 4) for name, value in trainer.callback_metrics.items()}
    print(f"{trainer.global_step} steps:", figures)


if __name__ == "__main__":
    main()
