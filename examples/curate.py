"""Curate a data set with its pairs: near duplicates, mismatched captions, false negatives.

    python examples/curate.py [FOLDER] [OUT]

So that there is something to find, the captions of ten of 300 OpenMoji pictures are exchanged. The
CLIP that judges was trained for a moment on the right captions, which makes it easier than in life.
"""

import sys
from pathlib import Path

import numpy as np

import helip
from helip_demo.sample import sample

parts = sample(*sys.argv[1:2])
out = Path(sys.argv[2] if len(sys.argv) > 2 else "curated")
out.mkdir(parents=True, exist_ok=True)

# A table of pictures and captions, ten of which are wrong.
clean = helip.open_dataset(parts.pictures)
captions = [clean.caption(row) for row in range(len(clean))]
wrong = np.random.default_rng(0).choice(len(clean), 10, replace=False)
for row, caption in zip(np.roll(wrong, 1), [captions[row] for row in wrong], strict=True):
    captions[row] = caption
pictures = [str((parts.pictures / key).resolve()) + ".png" for key in clean.keys]
lines = [f"{path}\t{caption}" for path, caption in zip(pictures, captions, strict=True)]
(out / "data.tsv").write_text("\n".join(["filepath\ttitle", *lines]) + "\n", encoding="utf-8")
data = helip.open_dataset(out / "data.tsv", root=str(parts.pictures))

# 1. Near duplicates. image_max=1 keeps them in the pools, and text_max=1 equal captions.
options = {"device": "cpu", "progress": False}
store = helip.embed(data, out=out / "store", preset="packaged", **options)
everything = helip.mine(store, k=20, image_max=1.0, text_max=1.0, **options).with_store(store)
twins = [
    (pool.target, int(row))
    for pool in everything
    for row, cosine in zip(pool.ids, pool.image_similarity, strict=True)
    if cosine > 0.995 and pool.target < row
]
print(f"{len(twins)} pairs of pictures are all but equal, such as")
for a, b in twins[:3]:
    print(f"  {captions[a]}  =  {captions[b]}")

# 2. Mismatched captions: a CLIP finds its own caption less fitting than those of the hard pairs.
clip = {f"{side}_encoder": f"open_clip:{parts.start}" for side in ("image", "text")}
judge = helip.embed(data, out=out / "clip", **clip, **options)
image, text = (
    rows / np.linalg.norm(rows, axis=1, keepdims=True)
    for rows in (np.asarray(judge.image, dtype=np.float64), np.asarray(judge.text, np.float64))
)
suspects = np.argsort((image * text).sum(axis=1))[:10]
found = len(set(suspects.tolist()) & set(wrong.tolist()))
print(f"of the 10 rows whose caption fits worst, {found} are among the 10 exchanged ones, such as")
for row in suspects[:3]:
    print(f"  {data.keys[row]}: {captions[row]}")

# 3. False negatives: hard pairs that fit a target as well as its own caption does.
pairs = helip.mine(store, k=20, **options)
filtered = pairs.filter(by=judge, relative_margin=0.05, match="mean", progress=False)
step = filtered.report["filter"][-1]
print(f"{step['flagged']:,} of {step['pairs']:,} hard pairs are left out as false negatives")
filtered.save(out / "pairs")
