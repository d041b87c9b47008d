"""Means over seeds, differences with intervals, and the tables of the pages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

HELD_OUT = ("held-out", "variants I→T", "variants T→I", "concepts I→T", "concepts T→I")
FIGURES = (
    *HELD_OUT,
    "stamps I→T @5",
    "stamps T→I @5",
    "stamps zero-shot",
    "stamps linear probe",
)


def mean(values: Sequence[float]) -> dict[str, float]:
    """Mean of the seeds, with the 95 % interval of Student's t over them."""
    n = len(values)
    value = float(np.mean(values))
    half = math.nan
    if n > 1:
        half = float(stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / math.sqrt(n))
    return {"value": value, "low": value - half, "high": value + half, "n": n}


def difference(of: Mapping[int, Any], to: Mapping[int, Any], figure: str) -> dict[str, float]:
    """Of two variants, seed by seed: a seed has one start model and one order of the data."""
    return mean([of[seed]["figures"][figure] - to[seed]["figures"][figure] for seed in of])


def gain(record: Mapping[str, Any], of: str, to: str, figure: str = "mean") -> dict[str, float]:
    """`mean` of the differences seed by seed of two variants of a written result."""
    runs, part = record["runs"], record["part"]
    return mean([run[part][figure] - runs[to][s][part][figure] for s, run in runs[of].items()])


def over_queries(
    of: Mapping[int, Any], to: Mapping[int, Any], *, resamples: int = 2000
) -> dict[str, float]:
    """The difference of the mean recall@1, with the 95 % interval of a bootstrap over queries.

    It says what other held-out pictures might have given; `difference`, what other seeds.
    """
    rng = np.random.default_rng(0)
    samples = np.zeros(resamples)
    value = 0.0
    ranks = next(iter(of.values()))["ranks"]
    for name in ranks:
        gains = np.mean([_hits(of[seed], name) - _hits(to[seed], name) for seed in of], axis=0)
        draws = rng.integers(0, len(gains), size=(resamples, len(gains)))
        samples += gains[draws].mean(axis=1) / len(ranks)
        value += float(gains.mean()) / len(ranks)
    low, high = np.quantile(samples, (0.025, 0.975))
    return {"value": value, "low": float(low), "high": float(high), "n": len(of)}


def table(
    results: Mapping[str, Mapping[int, Any]],
    compared: Mapping[str, str],
    figures: Sequence[str] = FIGURES,
    also: Sequence[str] = (),
) -> list[list[str]]:
    """Rows of cells, titles first: of each variant its means in percent, and what it gains over
    what it is held to in the first figure; in those of ``also`` over seeds alone."""
    lead = figures[0]
    seeds = [f"in {figure}, over seeds" for figure in also]
    lines = [["", *figures, "gain over", f"in {lead}, over seeds", "over queries", *seeds]]
    for name, runs in results.items():
        cells = [name]
        for figure in figures:
            cells.append(f"{100 * np.mean([run['figures'][figure] for run in runs.values()]):.1f}")
        if other := compared.get(name):
            gains = difference(runs, results[other], lead), over_queries(runs, results[other])
            cells += [other, *map(points, gains)]
            cells += [points(difference(runs, results[other], figure)) for figure in also]
        else:
            cells += [""] * (3 + len(also))
        lines.append(cells)
    return lines


def points(figure: Mapping[str, float]) -> str:
    """ "+1.2 [+0.3, +2.1]", in points; of one seed "+1.2"."""
    value, low, high = (100 * figure[name] for name in ("value", "low", "high"))
    return f"{value:+.2f}" if math.isnan(low) else f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"


def _hits(run: Mapping[str, Any], name: str) -> Any:
    return (np.asarray(run["ranks"][name]) == 1).astype(np.float64)
