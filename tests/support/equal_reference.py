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


def reference_margin(image, text, target, margin, direction, space, alike):
    """As margin_reference's, where a row that is equal to a target is no row of its."""
    rows = range(len(image))
    total, targets = image.sum() * 0, 0
    for i in rows:
        others = [r for r in rows if r != i and not alike(i, r)]
        hard = [r for r in others if int(target[r]) == i]
        ordinary = [r for r in others if int(target[r]) != i]
        if not hard:
            continue
        targets += 1
        if not ordinary:
            continue
        for anchor, same, other in ((image, image, text), (text, text, image)):
            pool = other if space == "cross" else same
            near = torch.stack([cosine(anchor[i], pool[h]) for h in hard])
            far = torch.stack([cosine(anchor[i], pool[j]) for j in ordinary])
            if direction == "preserve":
                terms = F.relu(far - near.min() + margin)
            else:
                terms = F.relu(near.max() - far.mean() + margin)
            total = total + 0.5 * terms.mean()
    return total / max(targets, 1)
