"""The hard negative margin loss as a double loop in float64 (arXiv 2305.05208, Eq. 6)."""

from __future__ import annotations

import torch
import torch.nn.functional as F

READINGS = [(d, s) for d in ("preserve", "repel") for s in ("cross", "intra")]


def features(rows: int, dim: int = 5, *, seed: int = 0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(rows, dim, generator=generator, dtype=torch.float64)
    text = torch.randn(rows, dim, generator=generator, dtype=torch.float64)
    return image.to(dtype), text.to(dtype)


def cosine(a, b):
    return (a @ b) / (a.norm() * b.norm())


def reference_margin(image, text, target, margin, direction, space, alike=lambda i, j: False):
    """``alike(i, j)``: a row that is equal to a target is neither hard nor ordinary for it.

    target: int64 [b], the row that each serves; or [b, m], the hard rows of each row.
    """
    rows = range(len(image))
    total, targets, hinges = image.sum() * 0, 0, []
    for i in rows:
        others = [r for r in rows if r != i and not alike(i, r)]
        if target.dim() == 1:
            hard = [r for r in others if int(target[r]) == i]
        else:
            hard = [r for r in others if r in target[i].tolist()]
        ordinary = [r for r in others if r not in hard]
        if not hard:
            continue
        targets += 1
        if not ordinary:
            continue
        for anchor, same, other in ((image, image, text), (text, text, image)):
            pool = other if space == "cross" else same
            near = [cosine(anchor[i], pool[h]) for h in hard]
            far = [cosine(anchor[i], pool[j]) for j in ordinary]
            if direction == "preserve":
                floor = torch.stack(near).min()
                terms = [F.relu(s - floor + margin) for s in far]
            else:
                terms = [F.relu(torch.stack(near).max() - torch.stack(far).mean() + margin)]
            total = total + 0.5 * torch.stack(terms).mean()
            hinges += [t.item() > 0 for t in terms]
    violated = sum(hinges) / len(hinges) if hinges else 0.0
    return total / max(targets, 1), violated


def make_target(rows: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(rows, (rows,), generator=generator)
    itself = torch.rand(rows, generator=generator) < 0.5
    return torch.where(itself, torch.arange(rows), target)


def make_hard_rows(rows: int, most: int, seed: int) -> torch.Tensor:
    """int64 [rows, most]: up to ``most`` hard rows of each row, some none, padded with -1."""
    generator = torch.Generator().manual_seed(seed)
    found = torch.full((rows, most), -1)
    for row in range(rows):
        others = torch.randperm(rows, generator=generator).tolist()
        count = int(torch.randint(most + 1, (1,), generator=generator))
        chosen = [other for other in others if other != row][:count]
        found[row, : len(chosen)] = torch.tensor(chosen, dtype=torch.int64)
    return found
