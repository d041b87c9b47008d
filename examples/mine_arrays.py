"""Mine hard pairs from two arrays and look at one pool.

    python examples/mine_arrays.py [FOLDER]

The arrays are embeddings of some 300 OpenMoji pictures and their names, which the demo package
makes in FOLDER. Any two arrays with a row for each pair do: NumPy, torch, Arrow, or DLPack.
"""

import sys

import numpy as np

import helip
from helip_demo.sample import sample

print("pictures, embeddings and a small model are made once, in about a minute", file=sys.stderr)
parts = sample(*sys.argv[1:], progress=True)
store = helip.EmbeddingStore.open(parts.store)
image, text = np.asarray(store.image), np.asarray(store.text)  # [300, 1280] and [300, 384]

pairs = helip.mine(image=image, text=text, k=20, progress=False)
print(pairs)

captions = helip.open_dataset(parts.pictures)
target = int(pairs.scores[:, 0].argmax())  # with the hardest pair of all
pool = pairs[target]
print(f"target {target}: {captions.caption(target)}")
for row, score in zip(pool.ids[:5], pool.scores[:5], strict=True):
    print(f"  {score:.3f}  {captions.caption(int(row))}")
