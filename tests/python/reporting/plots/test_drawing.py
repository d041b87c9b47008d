"""Files of all plots in a folder."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from PIL import Image

import helip
from support.plot_samples import mined, part_of

pytest.importorskip("matplotlib")


def test_each_plot_is_a_picture_of_each_format(tmp_path: Path) -> None:
    pairs, pictures = mined(tmp_path)
    recall = {"exact": [{"recall": 1.0, "seconds": 2.0}]}
    written = helip.plot(pairs, tmp_path / "out", data=pictures, recall=recall)
    names = ("scores", "hubness", "map", "recall")
    assert [path.name for path in written] == [f"{n}.{k}" for n in names for k in ("png", "svg")]
    for path in written[::2]:
        with Image.open(path) as picture:
            assert picture.format == "PNG" and picture.width > 700
    assert "How alike hard pairs are" in (tmp_path / "out" / "scores.svg").read_text()


def test_the_same_call_gives_the_same_bytes(tmp_path: Path) -> None:
    mined(tmp_path)
    for name in ("one", "two"):
        helip.plot(tmp_path / "pairs", tmp_path / name, formats=("svg",))
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / n).iterdir()} for n in ("one", "two"))
    assert one == two and one.keys() == {"scores.svg", "hubness.svg"}


def test_matplotlib_is_named_where_it_is_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mined(tmp_path)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(helip.UnsupportedError, match=r"pip install helip\[log\]"):
        helip.plot(tmp_path / "pairs", tmp_path / "out")


def test_a_part_of_a_table_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(helip.UnsupportedError, match="a part is not a table; merge the parts"):
        helip.plot(part_of(tmp_path), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_formats_are_checked(tmp_path: Path) -> None:
    for formats in (("gif",), ["gif"], "png", (), 3):
        with pytest.raises(helip.InvalidArgumentError, match="formats"):
            helip.plot(tmp_path / "pairs", tmp_path / "out", formats=formats)


def test_nothing_is_written_where_a_plot_cannot_be_drawn(tmp_path: Path) -> None:
    pairs, _ = mined(tmp_path)
    with pytest.raises(helip.InvalidArgumentError, match="points is empty"):
        helip.plot(pairs, tmp_path / "out", recall={})
    assert not (tmp_path / "out").exists()
