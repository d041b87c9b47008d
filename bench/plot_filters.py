"""Draws what each filter of exact mining passes on real data: docs/pictures/filters.png.

    python bench/plot_filters.py --rows 60000

For the embeddings of OpenMoji, as they are and grown to ``--rows`` (``grown.py``), the share of
all pairs (i, j) that survive each filter. With tᵢ the k-th best score of i, as ``helip.mine`` finds
it, a pair is of use only if its score reaches min(tᵢ, tⱼ); where a bound from above falls short of
that, the pair is rejected without loss:

- image or text alone: no cosine of a pair that is no near duplicate exceeds 0.98, so each must
  reach min(tᵢ, tⱼ) / 0.98;
- prefix p: of the weighted concatenation w = [√λ·u; v/√λ], ⟨wᵢ, wⱼ⟩ = λ·sᴵ + sᵀ/λ ≥ 2·√(sᴵ·sᵀ).
  In the basis of w's p leading principal directions V the inner product is at most
  ⟨V wᵢ, V wⱼ⟩ + ‖tail of wᵢ‖·‖tail of wⱼ‖, which must reach 2·√min(tᵢ, tⱼ);
- all dimensions: the same bound without a tail (the inequality of the two means);
- score: what really reaches min(tᵢ, tⱼ), the least that any filter can pass; k / N: what a table
  holds.

λ is the one of a few that passes least at p = 256. Shares are over ``--sample`` random targets
against all other rows; near duplicates count as pairs like any other.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from grown import base, grow

import helip

PREFIXES = (64, 96, 128, 192, 256, 384, 512)
WEIGHTS = (0.5, 0.6, 0.7, 0.85, 1.0, 1.2)
CEILING = 0.98
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#595959"  # apart for every kind of colour blindness

Shares = dict[str, float]


def shares(image: np.ndarray, text: np.ndarray, k: int, sample: int, threads: int) -> Shares:
    """Share of pairs that each filter passes, by its name, from the weakest to the strongest."""
    torch.set_num_threads(threads)
    pairs = helip.mine(
        image=image, text=text, k=k, method="exact", threads=threads, device="cpu", progress=False
    )
    full = np.where(pairs.counts == k, pairs.scores[:, -1], 0)
    threshold = torch.from_numpy(full.astype(np.float32))
    u, v = torch.from_numpy(image), torch.from_numpy(text)
    drawn = np.random.default_rng(0).choice(len(u), min(sample, len(u)), replace=False)
    own = torch.from_numpy(np.sort(drawn))
    s_image, s_text = u[own] @ u.T, v[own] @ v.T
    least = torch.minimum(threshold[own, None], threshold)
    others = own[:, None] != torch.arange(len(u))

    def share(passed: torch.Tensor) -> float:
        return float((passed & others).sum() / others.sum())

    by_image, by_text = s_image >= least / CEILING, s_text >= least / CEILING
    found = {"image\nalone": share(by_image), "text\nalone": share(by_text)}
    found["image\nand text"] = share(by_image & by_text)
    sums = least.sqrt() * 2

    def prefix(w: torch.Tensor, p: int) -> float:
        head, tail = w[:, :p], w[:, p:].norm(dim=1)
        return share(head[own] @ head.T + tail[own, None] * tail >= sums)

    weight = min(WEIGHTS, key=lambda weight: prefix(principal(u, v, weight), 256))
    w = principal(u, v, weight)
    for p in PREFIXES:
        found[str(p)] = prefix(w, p)
    found[f"{u.shape[1] + v.shape[1]:,}\n(all)"] = share(weight * s_image + s_text / weight >= sums)
    fit = (s_image <= CEILING) & (s_text <= CEILING)
    scores = s_image.clamp(min=0) * s_text.clamp(min=0) * fit
    found["score\nreached"] = share((scores >= least) & (scores > 0))
    found["k / N"] = k / len(u)
    print(f"N = {len(u):,}, λ = {weight}: " + ", ".join(
        f"{name} {value:.3%}".replace("\n", " ") for name, value in found.items()
    ))  # fmt: skip
    return found


def principal(u: torch.Tensor, v: torch.Tensor, weight: float) -> torch.Tensor:
    """The weighted concatenation [N, d_image + d_text] in its principal directions, in order."""
    w = torch.hstack((u * weight**0.5, v / weight**0.5))
    moments = sum((part.T @ part).double() for part in w.split(8192))
    directions = torch.linalg.eigh(moments)[1].flip(1)  # not centred: tails are least this way
    return w @ directions.float()


def draw(series: dict[int, Shares], k: int, out: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import patheffects, pyplot

    halo = [patheffects.withStroke(linewidth=3, foreground="white")]

    names = list(next(iter(series.values())))
    first = names.index(str(PREFIXES[0]))
    groups = {  # slices of names
        "bounds by a modality": slice(0, first),
        "leading dimensions of the rotated concatenation, sum bound": slice(first, len(names) - 2),
        "pairs sought": slice(len(names) - 2, len(names)),
    }
    places = np.arange(len(names), dtype=float)
    for group in list(groups.values())[1:]:
        places[group.start :] += 0.5  # a gap between groups
    values = np.array([list(found.values()) for found in series.values()])

    figure, axes = pyplot.subplots(figsize=(12, 6.6), dpi=100, layout="constrained")
    for own, other, colour, rows in zip(values, values[::-1], (ORANGE, BLUE), series, strict=True):
        for group in groups.values():
            joined = "-" if group.start == first else ""
            axes.plot(places[group], own[group], "o" + joined, color=colour, ms=8, lw=2)
        for index, (value, beside) in enumerate(zip(own, other, strict=True)):
            up = value > beside or (value == beside and colour == ORANGE)
            # Clear of a falling line.
            aside = 0 if index < first or index >= len(names) - 2 else 12 if up else -12
            axes.annotate(
                percent(value), (places[index], value), (aside, 8 if up else -8),
                color=colour, size=12, textcoords="offset points", ha="center",
                va="bottom" if up else "top", path_effects=halo,
            )  # fmt: skip
        middle = first + 4
        up = own[middle] > other[middle]
        axes.annotate(
            f"{rows:,} pairs, {'real' if colour == ORANGE else 'grown from them'}",
            (places[middle], own[middle]), (-18 if not up else 18, 30 if up else -30),
            color=colour, size=14, weight="bold", textcoords="offset points",
            ha="left" if up else "right", va="bottom" if up else "top",
        )  # fmt: skip
    axes.set_yscale("log")
    axes.set_ylim(values.min() / 2, 1.7)
    axes.set_xlim(places[0] - 0.6, places[-1] + 0.6)
    ticks = [tick for tick in (1, 0.1, 0.01, 0.001, 0.0001) if tick > values.min() / 2]
    axes.set_yticks(ticks, [percent(tick) for tick in ticks])
    axes.set_xticks(places, names)
    axes.tick_params(length=0, labelsize=12, colors=GREY)
    axes.minorticks_off()
    axes.grid(axis="y", color="#DDDDDD", lw=0.8)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)
    for label, group in groups.items():
        axes.text(
            places[group].mean(), -0.115, label, transform=axes.get_xaxis_transform(),
            ha="center", va="top", size=13,
        )  # fmt: skip
    axes.set_title(
        f"Share of pairs that each filter passes on real data (k = {k}, log scale)",
        loc="left", size=16, pad=12,
    )  # fmt: skip
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out)
    print(f"wrote {out}")


def percent(value: float) -> str:
    return f"{100 * value:.2g} %" if value < 0.995 else "100 %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--k", type=int, default=50)
    parser.add_argument("--sample", type=int, default=500, help="targets")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cache", type=Path, default=Path(".cache/bench"))
    parser.add_argument("--out", type=Path, default=Path("docs/pictures/filters.png"))
    arguments = parser.parse_args()
    real = base(arguments.cache, (1280, 384))
    series = {}
    for image, text in (real, grow(real, arguments.rows, seed=0)):
        series[len(image)] = shares(image, text, arguments.k, arguments.sample, arguments.threads)
    draw(series, arguments.k, arguments.out)


if __name__ == "__main__":
    main()
