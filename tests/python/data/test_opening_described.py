"""A data set that a YAML file describes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import helip
from support.data_samples import write_pictures


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """data/table.csv with odd columns, its pictures in data/pictures, and a description."""
    names = write_pictures(tmp_path / "data/pictures", range(5))
    lines = ["odd;words", *(f"{name};title {row}" for row, name in enumerate(names))]
    (tmp_path / "data/table.csv").write_text("\n".join(line.replace(";", ",") for line in lines))
    describe(tmp_path, "source: data/table.csv", "image_column: odd", "caption_column: words")
    return tmp_path


def describe(folder: Path, *lines: str) -> Path:
    path = folder / "val.yaml"
    path.write_text("\n".join((*lines, "root: data/pictures")))
    return path


def test_source_and_options_are_those_of_the_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = helip.open_dataset(
        folder / "data/table.csv", image_column="odd", caption_column="words",
        root=folder / "data/pictures", progress=False,
    )  # fmt: skip
    found = helip.open_dataset(folder / "val.yaml", progress=False)
    assert found.fingerprint == plain.fingerprint
    assert found.caption(3) == "title 3" and found.image(3).size == plain.image(3).size
    monkeypatch.chdir(folder / "data")  # paths count from the file, not from here
    assert len(helip.open_dataset("../val.yaml", progress=False)) == 5


def test_options_of_the_call_go_before_those_of_the_file(folder: Path) -> None:
    path = describe(folder, "source: [data/table.csv]", "image_column: odd", "limit: 2",
                    "caption_column: absent")  # fmt: skip
    found = helip.open_dataset(path, caption_column="words", progress=False)
    assert [found.caption(row) for row in range(len(found))] == ["title 0", "title 1"]
    assert len(helip.open_dataset(path, caption_column="words", limit=4, progress=False)) == 4
    mask = np.array([False, True, True, True, False])
    found = helip.open_dataset(path, caption_column="words", subset=mask, progress=False)
    assert found.caption(0) == "title 1" and len(found) == 2


@pytest.mark.parametrize(
    ("said", "given"),
    [
        ({"row_per": "caption"}, {"row_per": "picture"}),
        ({"max_pixels": 1}, {"max_pixels": 178_956_970}),
        ({"max_seconds": 5.0}, {"max_seconds": 10.0}),
        ({"follow_links": True}, {"follow_links": False}),
    ],
)
def test_every_option_of_the_file_holds_and_what_the_call_gives_goes_before(
    folder: Path, said: dict[str, Any], given: dict[str, Any]
) -> None:
    from helip.data.opening import described
    from helip.data.options import OpenCall

    (name, value), *_ = said.items()
    path = describe(folder, "source: data/table.csv", f"{name}: {value}")
    with described(OpenCall(path)) as call:
        assert getattr(call, name) == value
    with described(OpenCall(path, **given)) as call:
        assert getattr(call, name) == given[name]


def test_a_model_is_measured_on_it(folder: Path) -> None:
    from helip.evaluation.sets.opening import open_evaluation_set

    assert len(open_evaluation_set(folder / "val.yaml", progress=False).data) == 5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("source: [", "is not YAML"),
        ("- a\n- b", "must hold options as name: value"),
        ("source: data/table.csv\non: 1", "line 2: on is no text"),
        ("image_column: odd", "describes no data set"),
        ("source: ''", "describes no data set"),
        ("source: [1, 2]", "describes no data set"),
        ("source: data/table.csv\ncolumn: x", "names 'column', must be source or an option"),
        ("source: data/table.csv\nlimit: many", "limit"),
        ("source: data/absent.csv", "absent.csv"),
        ("source: val.yaml", "val.yaml"),
    ],
)
def test_what_describes_no_data_set_is_refused(folder: Path, text: str, words: str) -> None:
    (folder / "val.yaml").write_text(text)
    with pytest.raises(helip.InvalidArgumentError, match=words):
        helip.open_dataset(folder / "val.yaml", progress=False)


def test_a_description_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(helip.Error, match="absent"):
        helip.open_dataset(os.fspath(tmp_path / "absent.yaml"), progress=False)
