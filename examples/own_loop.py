"""HelipLoss and HardPairLoader in a training loop of your own.

    python examples/own_loop.py                       # on the pictures of the demo package
    python examples/own_loop.py DATA PAIRS MODEL

DATA is anything that helip.open_dataset takes, PAIRS the table that was mined from it, MODEL
the folder of a saved model or of a training run.
"""

import sys

import torch

import helip
from helip_demo.sample import sample

if len(sys.argv) == 4:
    pictures, table, start = sys.argv[1:]
else:
    parts = sample(*sys.argv[1:])
    pictures, table, start = parts.pictures, parts.pairs, parts.start

bundle = helip.create_model(start)
data = helip.open_dataset(pictures)
pairs = helip.HardPairs.open(table)
# Batches of communities; hard_per_target=1 draws one hard pair for each target, as in the paper.
loader = helip.HardPairLoader(
    data,
    pairs,
    batch_size=64,
    transform=bundle.train_transform,
    tokenizer=bundle.tokenizer,
)
loss = helip.HelipLoss(gamma=1.0)
optimizer = torch.optim.AdamW(bundle.model.parameters(), lr=1e-5)
for batch in loader:
    image = bundle.model.encode_image(batch["image"])
    text = bundle.model.encode_text(batch["text"])
    out = loss(
        image,
        text,
        bundle.model.logit_scale.exp(),
        batch["target"],
        hard_rows=batch.get("hard_rows"),  # of communities: all hard pairs of a row in its batch
        groups=batch["caption_group"],  # equal captions are no negatives of each other
    )
    optimizer.zero_grad()
    out["loss"].backward()
    optimizer.step()
    print({name: round(value.item(), 4) for name, value in out.items()})
