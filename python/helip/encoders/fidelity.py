"""How close rows of a lower precision are to those of float32."""

from __future__ import annotations

import torch


def lowest_cosine(rows: torch.Tensor, others: torch.Tensor) -> float:
    """The lowest cosine between rows [n, d] and the same rows of another encoder."""
    return float(torch.cosine_similarity(rows.double(), others.double(), dim=1).min())


def pool_recall(
    images: tuple[torch.Tensor, torch.Tensor],
    texts: tuple[torch.Tensor, torch.Tensor],
    *,
    k: int,
) -> float | None:
    """Share of the ``k`` hard pairs of each row that the second rows [n, d] find of the first's.

    Hard pairs are the rows with the largest products of both cosines (arXiv 2305.05208), among
    these n. None where there are not more than k rows.
    """
    count = len(images[0])
    if count <= k:
        return None
    exact, other = (_pools(images[at], texts[at], k) for at in range(2))
    return sum(len(set(a) & set(b)) for a, b in zip(exact, other, strict=True)) / (count * k)


def _pools(image: torch.Tensor, text: torch.Tensor, k: int) -> list[list[int]]:
    images, texts = (torch.nn.functional.normalize(each.double(), dim=1) for each in (image, text))
    scores = (images @ images.T) * (texts @ texts.T)
    scores.fill_diagonal_(-torch.inf)
    return scores.topk(k, dim=1).indices.tolist()
