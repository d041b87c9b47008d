"""From a folder of pictures with captions to a tuned model, and a control to compare it with.

    python examples/folder_to_model.py [FOLDER] [OUT]

FOLDER gets some 300 OpenMoji pictures (KEY.png) with their names (KEY.txt) and a small start
model. With data of your own only the first lines differ: a folder, a model and its weights.
"""

import sys
from pathlib import Path

import helip
from helip_demo.sample import sample

parts = sample(*sys.argv[1:2])
out = Path(sys.argv[2] if len(sys.argv) > 2 else "folder-to-model")

data = helip.open_dataset(parts.pictures)
# preset="paper" embeds with DINOv2 and MPNet; "packaged" needs no download.
store = helip.embed(data, out=out / "store", preset="packaged", device="cpu", progress=False)
pairs = helip.mine(store, k=20, device="cpu", out=out / "pairs", progress=False)

runs = {}
for name in ("tuned", "control"):  # the control: as many plain steps, from the same start
    runs[name] = helip.train(
        model=parts.start,
        data=data,
        pairs=pairs,
        control=name == "control",
        epochs=8,
        batch_size=64,
        lr=3e-4,
        device="cpu",
        out=out / name,
        progress=False,
    )

# On the training pictures, to keep this short: measure on others, see docs/evaluation.md.
results = {
    name: helip.evaluate(
        model, data, tasks="retrieval", device="cpu", keep_ranks=True, progress=False
    )
    for name, model in {
        "start": str(parts.start),
        "control": runs["control"].model,
        "tuned": runs["tuned"].model,
    }.items()
}
for name, result in results.items():
    found = result["retrieval"]["text_to_image"]["recall@1"]
    print(f"{name:8} text → picture, recall@1: {100 * found['value']:.1f} %")
difference = helip.compare(results["tuned"], results["control"])  # the first − the second
found = difference["retrieval"]["text_to_image"]["recall@1"]
value, low, high = (100 * found[name] for name in ("value", "low", "high"))
print(f"tuned - control: {value:+.1f} points, 95 % interval [{low:+.1f}, {high:+.1f}]")
print("All of this on the pictures of the training, which says nothing of a gain on others.")
