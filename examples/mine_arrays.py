"""Mine hard pairs from two arrays and look at one pool.

python examples/mine_arrays.py
"""

import numpy as np

import helip

random = np.random.default_rng(0)
topic = random.integers(0, 50, size=5000)
image = random.normal(size=(50, 64))[topic] + random.normal(size=(5000, 64))
text = random.normal(size=(50, 48))[topic] + random.normal(size=(5000, 48))

pairs = helip.mine(image=image, text=text, k=20)
print(pairs)
print("hard pairs of target 0:", pairs.ids[0, :5], "scores:", pairs.scores[0, :5].round(3))
print("of its topic:", (topic[pairs.ids[0]] == topic[0]).mean())
