"""HelipLoss and HardPairLoader in a loop with Hugging Face Accelerate.

    accelerate launch examples/accelerate_loop.py [FOLDER]
    python examples/accelerate_loop.py [FOLDER]        # in one process

FOLDER gets the pictures of the demo package; for data of your own give another data set, its table
and a model.
"""

import sys

import torch

import helip
from helip_demo.sample import sample

try:
    from accelerate import Accelerator
    from accelerate.utils import send_to_device
except ImportError:
    sys.exit("this example needs Accelerate: pip install accelerate")

accelerator = Accelerator(cpu=not torch.cuda.is_available())
with accelerator.main_process_first():
    parts = sample(*sys.argv[1:])

bundle = helip.create_model(parts.start)
bundle.model.train()
# The loader is not prepared by Accelerate, which would part or cut its batches again: each process
# reads its own part of a batch.
loader = helip.HardPairLoader(
    helip.open_dataset(parts.pictures),
    helip.HardPairs.open(parts.pairs),
    batch_size=64,  # of each process
    rank=accelerator.process_index,
    world_size=accelerator.num_processes,
    transform=bundle.train_transform,
    tokenizer=bundle.tokenizer,
)
optimizer = torch.optim.AdamW(bundle.model.parameters(), lr=1e-4)
model, optimizer = accelerator.prepare(bundle.model, optimizer)
# gather=True: negatives come from the batches of all processes.
loss = helip.HelipLoss(gamma=1.0, gather=True)

for epoch in range(2):
    loader.set_epoch(epoch)
    for batch in loader:
        batch = send_to_device(batch, accelerator.device)
        # One call of the wrapped model, so that DDP sees both towers.
        image, text, scale = model(batch["image"], batch["text"])[:3]
        out = loss(
            image,
            text,
            scale,
            batch["target"],
            hard_rows=batch.get("hard_rows"),
            groups=batch["caption_group"],
        )
        optimizer.zero_grad()
        accelerator.backward(out["loss"])
        optimizer.step()
    mean = accelerator.reduce(out["loss"].detach(), reduction="mean").item()
    accelerator.print(f"epoch {epoch}: loss {mean:.4f}")
accelerator.end_training()
