"""The map: components of the joint embedding, and which pairs it joins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import helip
from helip.reporting import plot_map
from helip.reporting.plots.hard_map import _components, _hardest
from support.plot_samples import mined, part_of, words_of

pytest.importorskip("matplotlib")


def test_places_are_the_first_two_principal_components(tmp_path: Path) -> None:
    pairs, _ = mined(tmp_path)
    rows = np.arange(len(pairs))
    places, shares = _components(pairs.store, rows)
    sides = [np.asarray(side, dtype=np.float64) for side in (pairs.store.image, pairs.store.text)]
    joint = np.hstack([s / np.linalg.norm(s, axis=1, keepdims=True) for s in sides]) / np.sqrt(2)
    u, s, _ = np.linalg.svd(joint - joint.mean(axis=0), full_matrices=False)
    expected = u[:, :2] * s[:2]
    np.testing.assert_allclose(np.abs(places), np.abs(expected), atol=1e-4)
    np.testing.assert_allclose(shares, (s**2 / (s**2).sum())[:2], rtol=1e-3)


def test_the_hardest_pairs_come_first_and_each_row_once(tmp_path: Path) -> None:
    pairs, _ = mined(tmp_path)
    edges = _hardest(pairs, np.flatnonzero(pairs.counts > 0))
    best = pairs.scores[:, 0]
    assert best[edges[0, 0]] == best.max()
    assert list(best[edges[:, 0]]) == sorted(best[edges[:, 0]], reverse=True)
    assert len(np.unique(edges)) == edges.size
    assert all(pairs.ids[target, 0] == other for target, other in edges)


def test_pictures_and_captions_are_shown_where_data_are_given(tmp_path: Path) -> None:
    pairs, pictures = mined(tmp_path)
    told = words_of(plot_map(pairs, pictures))
    assert "shade number" in told and r"\$60" in told
    assert "shade number" not in words_of(plot_map(pairs))


def test_no_leader_crosses_the_words_of_the_y_axis(tmp_path: Path) -> None:
    from matplotlib.offsetbox import AnnotationBbox

    pairs, pictures = mined(tmp_path)
    figure = plot_map(pairs, pictures)
    figure.canvas.draw()
    (axes,) = figure.axes
    leaders = [each for each in axes.artists if isinstance(each, AnnotationBbox)]
    assert leaders and all(each.get_zorder() < axes.yaxis.get_zorder() for each in leaders)
    for words in (axes.yaxis.label, *axes.get_yticklabels()):
        assert words.get_bbox_patch().get_facecolor() == (1.0, 1.0, 1.0, 1.0)


def test_a_part_of_a_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(helip.UnsupportedError, match="a part is not a table; merge the parts"):
        plot_map(part_of(tmp_path))


def test_a_table_without_store_is_refused(tmp_path: Path) -> None:
    mined(tmp_path)
    with pytest.raises(helip.InvalidArgumentError, match="give store=STORE"):
        plot_map(helip.HardPairs.open(tmp_path / "pairs"))
