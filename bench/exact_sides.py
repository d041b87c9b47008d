"""The sides of bench/exact.py: four ways to the same exact top-k of a product of two cosines.

Each side has three steps. ``tune`` looks for its best options and is not timed; ``prepare`` is
timed once; ``solve`` is timed and, for the sides that are ``linear``, costs the same for each
target, so that a part of the targets tells what all of them cost.

- ``reference``: what the method's released code does, on the CPU: for each block of targets two
  float32 matrix products, three masked writes (itself, near duplicates of either modality), the
  product, the row-wise top-k.
- ``tuned``: the same algorithm as a careful user of torch would write it. Matrix products in
  bfloat16, tiles that stay in cache and whose sides a sweep chooses, one pass of product and one of
  comparison, each row's k-th score so far as a threshold, so that top-k sees the few survivors
  alone; masks on these, float32 rerank of k and a guard.
- ``faiss``: ``faiss.knn`` over the concatenation [u; v] / √2, whose inner product is
  (sᴵ + sᵀ) / 2, then a float32 rerank by the product. Since sᴵ·sᵀ ≤ ((sᴵ + sᵀ) / 2)², a row is
  certainly complete when the square of its k′-th inner product is at most its k-th score; k′ is the
  first of 2k, 4k, 8k that certifies 99 % of a sample. Rows without a certificate are counted, not
  mended, which favours this side.
- ``reference-gpu``: the reference with its rows on a GPU. ``faiss-gpu``: the faiss side by
  ``faiss.knn_gpu``, which multiplies on a GPU. ``cuvs``: the faiss side by cuVS's brute force.
- ``helip-kept``: a store that was mined before by the same options and kept its codes (``codes=``);
  the first time is not timed.
- ``helip``, ``helip-avx2``, ``helip-portable``: ``helip.mine`` with the kernel that it chooses, or
  with the named one; ``helip-gpu``: on a GPU.

All rows are of unit length, as ``grown.py`` makes them.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import math
import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch

DUPLICATE = 0.98  # helip's default, and the paper's
CERTIFIED = 0.99  # share of rows that k′ must certify

Pools = np.ndarray  # int64 [N, k], -1 where there is no hard pair or the target was not asked for


class Side(Protocol):
    linear: bool
    facts: dict[str, Any]

    def tune(self, image: np.ndarray, text: np.ndarray) -> None: ...

    def prepare(self, image: np.ndarray, text: np.ndarray) -> None: ...

    def solve(self, targets: np.ndarray) -> Pools: ...


class Reference:
    linear = True
    block = 512
    device = "cpu"

    def __init__(self, k: int, threads: int) -> None:
        torch.set_num_threads(threads)
        self.k = k
        self.facts: dict[str, Any] = {}

    def tune(self, image: np.ndarray, text: np.ndarray) -> None: ...

    def prepare(self, image: np.ndarray, text: np.ndarray) -> None:
        self.u, self.v = (torch.from_numpy(part).to(self.device) for part in (image, text))

    def solve(self, targets: np.ndarray) -> Pools:
        u, v = self.u, self.v
        ids = torch.full((len(u), self.k), -1, dtype=torch.int64, device=self.device)
        for own in torch.from_numpy(targets).to(self.device).split(self.block):
            s_image = u[own] @ u.T
            s_text = v[own] @ v.T
            s_image[torch.arange(len(own), device=self.device), own] = 0
            s_image[s_image > DUPLICATE] = 0
            s_text[s_text > DUPLICATE] = 0
            ids[own] = torch.topk(s_image.mul_(s_text), self.k, dim=1).indices
        return ids.cpu().numpy()


class ReferenceGpu(Reference):
    device = "cuda"


class Tuned:
    linear = True
    # A bfloat16 in [0.5, 1) is off by 2^-9 at most, so what lies above this is a near duplicate.
    surely_duplicate = DUPLICATE + 2**-8

    def __init__(self, k: int, threads: int) -> None:
        torch.set_num_threads(threads)
        self.k = k
        self.kept = k + max(16, k // 8)
        self.block, self.tile = 1024, 4096
        self.facts: dict[str, Any] = {"kept": self.kept}

    def tune(self, image: np.ndarray, text: np.ndarray) -> None:
        """The fastest of nine tile shapes, on part of the targets and columns."""
        self.prepare(image[: 4 * 8192], text[: 4 * 8192])
        targets = torch.arange(min(2048, len(self.u)))
        self._candidates(targets[: self.block])  # a first call is slow
        seconds = {}
        for self.block, self.tile in itertools.product((512, 1024, 2048), (2048, 4096, 8192)):
            started = time.perf_counter()
            for own in targets.split(self.block):
                self._candidates(own)
            seconds[self.block, self.tile] = time.perf_counter() - started
        self.block, self.tile = min(seconds, key=lambda shape: seconds[shape])
        self.facts["tile"] = [self.block, self.tile]

    def prepare(self, image: np.ndarray, text: np.ndarray) -> None:
        self.u, self.v = torch.from_numpy(image), torch.from_numpy(text)
        self.u_short, self.v_short = self.u.bfloat16(), self.v.bfloat16()

    def solve(self, targets: np.ndarray) -> Pools:
        ids = torch.full((len(self.u), self.k), -1, dtype=torch.int64)
        for own in torch.from_numpy(targets).split(self.block):
            found = self._candidates(own)
            s_image = cosines(self.u, own, found)
            s_text = cosines(self.v, own, found)
            ids[own] = best(s_image, s_text, own, found, self.k)[1]
        return ids.numpy()

    def _candidates(self, own: torch.Tensor) -> torch.Tensor:
        """The ``kept`` best by bfloat16 scores, [len(own), kept], -1 for none."""
        u_own, v_own = self.u_short[own], self.v_short[own]
        scores = torch.zeros((len(own), self.kept), dtype=torch.bfloat16)
        ids = torch.full((len(own), self.kept), -1)
        buffers = torch.empty((3, len(own) * self.tile), dtype=torch.bfloat16)
        for first in range(0, len(self.u), self.tile):
            tile = slice(first, min(first + self.tile, len(self.u)))
            shape = (len(own), tile.stop - first)
            s_image, s_text, product = buffers[:, : shape[0] * shape[1]].view(3, *shape)
            torch.mm(u_own, self.u_short[tile].T, out=s_image)
            torch.mm(v_own, self.v_short[tile].T, out=s_text)
            torch.mul(s_image, s_text, out=product)
            if first == 0:  # no threshold yet
                product[s_image > self.surely_duplicate] = 0
                product[s_text > self.surely_duplicate] = 0
                product[own[:, None] == torch.arange(product.shape[1])] = 0
                more, columns = product.topk(min(self.kept, product.shape[1]), dim=1)
            else:
                more, columns = self._survivors(
                    product, scores[:, -1:], s_image, s_text, own - first
                )
            scores, order = torch.cat((scores, more), 1).topk(self.kept, dim=1)
            ids = torch.cat((ids, columns + first), 1).gather(1, order)
        return ids.masked_fill_(scores <= 0, -1)

    def _survivors(
        self,
        product: torch.Tensor,
        threshold: torch.Tensor,
        s_image: torch.Tensor,
        s_text: torch.Tensor,
        own: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores above the threshold [m, 1] and their columns, each [m, most in a row]."""
        # bfloat16 of one sign compare as their bits do, and integers compare twice as fast.
        passed = product.view(torch.int16) > threshold.view(torch.int16)
        rows, columns = nonzero(passed)
        fit = (s_image[rows, columns] <= self.surely_duplicate) & (
            s_text[rows, columns] <= self.surely_duplicate
        )
        fit &= columns != own[rows]
        rows, columns = rows[fit], columns[fit]
        counts = torch.bincount(rows, minlength=len(product))
        place = torch.arange(len(rows)) - (counts.cumsum(0) - counts)[rows]
        shape = (len(product), int(counts.max()))
        scores = torch.zeros(shape, dtype=product.dtype)
        scores[rows, place] = product[rows, columns]
        found = torch.zeros(shape, dtype=torch.int64)
        found[rows, place] = columns
        return scores, found


class Faiss:
    linear = True
    block = 8192

    def __init__(self, k: int, threads: int) -> None:
        import faiss

        faiss.omp_set_num_threads(threads)
        torch.set_num_threads(threads)
        self.knn, self.metric = faiss.knn, faiss.METRIC_INNER_PRODUCT
        self.k, self.wide = k, 2 * k
        self.facts: dict[str, Any] = {}

    def tune(self, image: np.ndarray, text: np.ndarray) -> None:
        """The least k′ that certifies enough of 512 targets."""
        self.prepare(image, text)
        targets = np.linspace(0, len(image) - 1, min(512, len(image)), dtype=np.int64)
        shares = self.facts["certified_of_sample"] = {}
        for factor in (2, 4, 8):
            self.wide = factor * self.k
            self.solve(targets)
            shares[self.facts["k_wide"]] = self.facts["certified"]
            if self.facts["certified"] >= CERTIFIED:
                return

    def prepare(self, image: np.ndarray, text: np.ndarray) -> None:
        self.rows = np.hstack((image, text))
        self.rows *= np.float32(0.5**0.5)
        self.narrow = torch.from_numpy(min(image, text, key=lambda part: part.shape[1]))

    def solve(self, targets: np.ndarray) -> Pools:
        ids = torch.full((len(self.rows), self.k), -1, dtype=torch.int64)
        wide = min(self.wide, len(self.rows))
        certified = 0
        for own in torch.from_numpy(targets).split(self.block):
            means, found = map(
                torch.from_numpy,
                self.knn(self.rows[own.numpy()], self.rows, wide, metric=self.metric),
            )
            one = cosines(self.narrow, own, found)
            scores, ids[own] = best(one, 2 * means - one, own, found, self.k)
            last = means[:, -1].clamp(min=0)
            whole = wide == len(self.rows)
            certified += int((whole | (last.square() <= scores[:, -1])).sum())
        self.facts.update(k_wide=wide, certified=certified / len(targets))
        return ids.numpy()


class FaissGpu(Faiss):
    def __init__(self, k: int, threads: int) -> None:
        import faiss

        super().__init__(k, threads)
        self.knn = functools.partial(faiss.knn_gpu, faiss.StandardGpuResources())


class Cuvs(Faiss):
    """Brute force of cuVS. The reranking of candidates is the faiss side's."""

    def __init__(self, k: int, threads: int) -> None:
        torch.set_num_threads(threads)
        # By name, for no extra installs it: `make gpu` tries to.
        self.brute_force = importlib.import_module("cuvs.neighbors.brute_force")
        self.k, self.wide = k, 2 * k
        self.facts: dict[str, Any] = {}

    metric = None

    def prepare(self, image: np.ndarray, text: np.ndarray) -> None:
        super().prepare(image, text)
        rows = torch.from_numpy(self.rows).cuda()
        self.index = self.brute_force.build(rows, metric="inner_product")

    def knn(self, queries: np.ndarray, rows: np.ndarray, k: int, metric: Any) -> Any:
        found = self.brute_force.search(self.index, torch.from_numpy(queries).cuda(), k)
        scores, ids = (torch.as_tensor(part, device="cuda").cpu().numpy() for part in found)
        return scores, ids.astype(np.int64)


class Helip:
    linear = False
    device = "cpu"

    def __init__(self, k: int, threads: int) -> None:
        self.k, self.threads = k, threads
        self.facts: dict[str, Any] = {}

    def tune(self, image: np.ndarray, text: np.ndarray) -> None: ...

    def prepare(self, image: np.ndarray, text: np.ndarray) -> None:
        self.image, self.text = image, text

    def solve(self, targets: np.ndarray) -> Pools:
        import helip

        pairs = helip.mine(
            image=self.image, text=self.text, k=self.k, method="exact", threads=self.threads,
            device=self.device, progress=False,
        )  # fmt: skip
        self.facts["filters"] = pairs.report.get("filters")
        return pairs.ids


class HelipKept(Helip):
    """A store that was mined before by the same options, which kept its codes."""

    def tune(self, image: np.ndarray, text: np.ndarray) -> None:
        from mined_before import MinedBefore

        self.before = MinedBefore(image, text, k=self.k, method="exact", threads=self.threads)

    def solve(self, targets: np.ndarray) -> Pools:
        if not hasattr(self, "before"):  # the first few rows
            return super().solve(targets)
        pairs = self.before.mine()
        self.facts["filters"] = pairs.report.get("filters")
        return pairs.ids


class HelipGpu(Helip):
    device = "cuda"


SIDES: dict[str, tuple[Callable[[int, int], Side], dict[str, str]]] = {  # class, environment
    "reference": (Reference, {}),
    "tuned": (Tuned, {}),
    "faiss": (Faiss, {}),
    "helip": (Helip, {}),
    "helip-kept": (HelipKept, {}),
    "helip-avx2": (Helip, {"HELIP_KERNEL": "avx2"}),
    "helip-portable": (Helip, {"HELIP_KERNEL": "portable"}),
    "helip-gpu": (HelipGpu, {}),
    "reference-gpu": (ReferenceGpu, {}),
    "faiss-gpu": (FaissGpu, {}),
    "cuvs": (Cuvs, {}),
}


def nonzero(mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows and columns of the true entries, in order of rows; quick where few are true."""
    width = mask.shape[1]
    if width % 8:
        rows, columns = mask.nonzero(as_tuple=True)
        return rows, columns
    words = mask.view(torch.int64).flatten().nonzero().flatten()
    word, byte = mask.view(-1, 8)[words].nonzero(as_tuple=True)
    place = words[word] * 8 + byte
    return place // width, place % width


def cosines(part: torch.Tensor, own: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
    """⟨row of own, row of found⟩ in float32, [m, n] for own [m] and found [m, n]."""
    result = torch.empty(found.shape)
    wide = 64  # columns at a time, and so many rows that what is gathered stays in cache
    step = max(1, 2**20 // (part.shape[1] * min(wide, found.shape[1])))
    for first in range(0, len(own), step):
        targets = part[own[first : first + step], None]
        for left in range(0, found.shape[1], wide):
            piece = (slice(first, first + step), slice(left, left + wide))
            rows = part.index_select(0, found[piece].clamp(min=0).flatten())
            rows = rows.view(len(targets), -1, part.shape[1])
            result[piece] = (targets @ rows.transpose(1, 2))[:, 0]
    return result


def best(
    s_image: torch.Tensor, s_text: torch.Tensor, own: torch.Tensor, found: torch.Tensor, k: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The k best scores of each row and their ids, [m, k]: 0 and -1 where there is none."""
    scores = s_image.clamp(min=0) * s_text.clamp(min=0)
    fit = (s_image <= DUPLICATE) & (s_text <= DUPLICATE)
    scores *= fit & (found >= 0) & (found != own[:, None])
    scores, order = scores.topk(k, dim=1)
    return scores, found.gather(1, order).masked_fill_(scores <= 0, -1)


def dense_rates(depth: int, threads: int) -> dict[str, float]:
    """Multiply-adds a second, 10⁹, of plain dense products of this depth, the best that we know.

    float32 and bfloat16 are torch's matrix products; int8 is torch's too, and that of helip's own
    tile where the build tells it: what holds is the larger one.
    """
    torch.set_num_threads(threads)
    rates: dict[str, float] = {}
    # The largest that ends in time: torch's int8 is far slower where the processor has no
    # instructions for it.
    for rows in (128, 4096):
        a, b = torch.randn(rows, depth), torch.randn(rows, depth)
        a_int8, b_int8 = ((part * 30).to(torch.int8) for part in (a, b))
        for name, product in {
            "float32": functools.partial(torch.matmul, a, b.T),
            "bfloat16": functools.partial(torch.matmul, a.bfloat16(), b.bfloat16().T),
            "int8": functools.partial(torch._int_mm, a_int8, b_int8.T),
            "int8_by_columns": functools.partial(torch._int_mm, a_int8, b_int8.T.contiguous()),
        }.items():
            work = rows * rows * depth / 1e9
            if work / rates.get(name, math.inf) > 5:
                continue
            product()
            seconds: list[float] = []
            while len(seconds) < 3 or sum(seconds) < 1:
                started = time.perf_counter()
                product()
                seconds.append(time.perf_counter() - started)
            rates[name] = work / min(seconds)
    rates["int8"] = max(rates["int8"], rates.pop("int8_by_columns"))
    return rates
