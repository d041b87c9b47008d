"""A map of rows in both embeddings at once, with lines between the hardest pairs."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from helip.common.errors import InvalidArgumentError, SampleError
from helip.common.options import Positive, Seed, check
from helip.common.text import plain
from helip.common.unit_rows import unit_rows
from helip.pairs.hard_pairs import HardPairs
from helip.pairs.matching import data_of
from helip.reporting.plots.style import (
    BLUE,
    GREY,
    INK,
    LIGHT,
    ORANGE,
    label,
    new_figure,
    note,
    sample_words,
    sampled_targets,
)

_EDGES = 30  # lines between the hardest pairs
_SHOWN = 8  # pairs with pictures
_SIDE = 96  # pixels of a picture
_CAPTION = 60  # characters, in three lines
_LEADERS = 2.2  # drawing order: above the rows, below the axis with its labels and the pairs
_BLOCK = 8192  # rows of the store read at once

Places = npt.NDArray[np.float64]


def plot_map(pairs: HardPairs, data: Any = None, *, sample: int = 20_000, seed: int = 0) -> Any:
    """Rows on the two first principal components of their joint embedding, hardest pairs joined.

    The joint embedding of a row is its unit image and its unit text embedding side by side, over
    √2, so that the inner product of two rows is the mean of both cosines. Components are those of
    a sample of at most ``sample`` rows, drawn at random with ``seed``, and of the hardest pairs of
    the sample's targets. ``data``, the data set that was mined or what open_dataset takes, adds
    pictures and captions of the hardest. Returns a ``matplotlib.figure.Figure``.

    Raises InvalidArgumentError for a table that knows no store (`HardPairs.with_store`) or has no
    hard pair, MismatchError for other data, UnsupportedError for a part of a table and without
    matplotlib.
    """
    check("sample", sample, Positive)
    check("seed", seed, Seed)
    pairs = pairs._whole()
    if pairs.store is None:
        raise InvalidArgumentError(
            "the table knows no store, whose embeddings a map needs; give store=STORE, or "
            "a table that HardPairs.open(path, store=…) opened"
        )
    targets = sampled_targets(pairs, sample, seed)
    if not len(targets):
        raise InvalidArgumentError("the table has no hard pair, so that there is nothing to plot")
    edges = _hardest(pairs, targets)
    rows = np.unique(np.r_[targets, edges.ravel()])
    places, shares = _components(pairs.store, rows)
    ends = np.searchsorted(rows, edges)
    figure, (axes,) = new_figure(12.5, 7)
    axes.grid(False)
    axes.scatter(
        *places.T, s=9 if len(rows) < 3000 else 3, color=LIGHT if len(rows) < 3000 else "#e4e4e7",
        linewidths=0, rasterized=True,
    )  # fmt: skip
    for start, stop in places[ends]:
        axes.plot(*zip(start, stop, strict=True), color=ORANGE, linewidth=1.4, alpha=0.8)
    axes.scatter(*places[np.unique(ends)].T, s=16, color=BLUE, zorder=3)
    if data is not None:
        _show_pictures(axes, data_of(pairs._core, data), edges, places[ends])
        _cover_leaders(axes)
    label(
        axes, f"The {len(edges)} hardest pairs among all rows",
        f"first principal component ({100 * shares[0]:.0f} % of the variance)",
        f"second principal component ({100 * shares[1]:.0f} %)",
    )  # fmt: skip
    known = int((np.asarray(pairs.counts) > 0).sum())
    note(
        figure,
        f"{sample_words(len(targets), known)}; joint embedding: unit image and text side by side; "
        "a line joins a target and its hardest pair",
    )
    return figure


def _hardest(pairs: HardPairs, targets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """[e, 2]: targets of the best scores with their first hard pair, each pair and row once."""
    best = np.asarray(pairs.scores[targets, 0])
    chosen: list[tuple[int, int]] = []
    taken: set[int] = set()
    for target in targets[np.argsort(-best, kind="stable")].tolist():
        other = int(pairs.ids[target, 0])
        if not {target, other} & taken:
            chosen.append((target, other))
            taken |= {target, other}
        if len(chosen) == _EDGES:
            break
    return np.array(chosen, dtype=np.int64)


def _components(store: Any, rows: npt.NDArray[np.int64]) -> tuple[Places, Places]:
    """(places [n, 2], share of the variance of each) of rows by their covariance."""
    joint = np.concatenate(
        [_joint(store, rows[start : start + _BLOCK]) for start in range(0, len(rows), _BLOCK)]
    )
    joint -= joint.mean(axis=0)
    covariance = joint.T @ joint
    values, vectors = np.linalg.eigh(covariance)
    axes = vectors[:, :-3:-1]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), [0, 1]])  # the same on any machine
    return (joint @ axes).astype(np.float64), values[:-3:-1] / max(values.sum(), 1e-30)


def _joint(store: Any, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    sides = [unit_rows(matrix).numpy() for matrix in store.rows(rows)]
    return np.asarray(np.concatenate(sides, axis=1) / np.sqrt(2), dtype=np.float32)


def _show_pictures(axes: Any, data: Any, edges: Any, ends: Any) -> None:
    """Pictures of the hardest pairs beside the map, each pair in a box with a line to its place."""
    from matplotlib.offsetbox import AnnotationBbox, HPacker, OffsetImage, TextArea, VPacker

    shown = _apart(edges, ends)
    middles = ends.mean(axis=1)
    # To the left and right of the map in the order of height, so that no two leaders cross.
    order = sorted(shown, key=lambda place: middles[place][0])
    half = (len(order) + 1) // 2
    for side, group in ((0, order[:half]), (1, order[half:])):
        group = sorted(group, key=lambda place: middles[place][1])
        for number, place in enumerate(group):
            boxes: list[Any] = []
            for row in edges[place].tolist():
                image, told = _sample(data, row)
                boxes.append(
                    VPacker(
                        children=[
                            OffsetImage(image, zoom=0.45),
                            TextArea(told, textprops={"fontsize": 7, "color": INK, "ha": "left"}),
                        ],
                        align="center",
                        pad=0,
                        sep=2,
                    )
                )
            box = AnnotationBbox(
                HPacker(children=boxes, align="top", pad=0, sep=6),
                middles[place],
                xybox=(-0.14 if side == 0 else 1.04, (number + 0.5) / len(group)),
                boxcoords="axes fraction", box_alignment=(1 - side, 0.5), pad=0.25,
                annotation_clip=False,
                bboxprops={"edgecolor": GREY, "linewidth": 0.6, "facecolor": "white"},
                arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.7}, zorder=_LEADERS,
            )  # fmt: skip
            axes.add_artist(box)


def _cover_leaders(axes: Any) -> None:
    """Give the words of the y axis, which leaders to the left cross, a white ground above them."""
    axes.set_axisbelow(False)
    for words in (axes.yaxis.label, *axes.get_yticklabels()):
        words.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1.5})


def _apart(edges: Any, ends: Any) -> Sequence[int]:
    """The hardest pairs that lie apart, so that the pictures show more than one corner."""
    span = np.ptp(ends.reshape(-1, 2), axis=0).max()
    chosen: list[int] = []
    for place, middle in enumerate(ends.mean(axis=1)):
        others = ends.mean(axis=1)[chosen]
        if not len(chosen) or np.linalg.norm(others - middle, axis=1).min() > 0.06 * span:
            chosen.append(place)
        if len(chosen) == _SHOWN:
            break
    return chosen


def _sample(data: Any, row: int) -> tuple[Any, str]:
    """(pixels, words) of a row; a grey square and the key where it cannot be read."""
    from PIL import Image

    try:
        image = data.image(row).convert("RGB")
        image.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
        told = "\n".join(textwrap.wrap(plain(data.caption(row), _CAPTION), _CAPTION // 3))
    except SampleError as error:
        image, told = Image.new("RGB", (_SIDE, _SIDE), LIGHT), error.reason.replace("_", " ")
    return np.asarray(image), told.replace("$", r"\$")
