"""The losses with equal rows as double loops in float64."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from support.margin_reference import cosine


def equal(a: int, b: int, groups, embeddings=None, bounds=None) -> bool:
    """Whether two rows are equal, by one column of their groups or one cosine."""
    if a == b:
        return False
    same = any(int(x) == int(y) != 0 for x, y in zip(groups[a], groups[b], strict=True))
    close = any(
        float(cosine(rows[a], rows[b])) > bounds[kind] for kind, rows in (embeddings or {}).items()
    )
    return same or close


def reference_clip(image, text, scale, alike, handling):
    """``alike(i, j)``: whether two rows are equal."""
    rows = range(len(image))
    total = image.sum() * 0
    for i in rows:
        for anchor, pool in ((image, text), (text, image)):
            others = [j for j in rows if handling != "mask" or not alike(i, j)]
            logits = torch.stack([scale * cosine(anchor[i], pool[j]) for j in others])
            chances = dict(zip(others, F.log_softmax(logits, 0), strict=True))
            right = [j for j in rows if j == i or (handling == "positive" and alike(i, j))]
            total = total - sum(chances[j] for j in right) / len(right)
    return total / (2 * len(image))


def reference_sigmoid(image, text, scale, bias, alike, handling):
    rows = range(len(image))
    total = image.sum() * 0
    for i in rows:
        for j in rows:
            if i != j and alike(i, j) and handling == "mask":
                continue
            right = i == j or (handling == "positive" and alike(i, j))
            logit = scale * cosine(image[i], text[j]) + bias
            total = total - F.logsigmoid(logit if right else -logit)
    return total / len(image)
