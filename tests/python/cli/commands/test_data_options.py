"""Every command that takes data takes all options of opening it, and heeds them."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import helip
from helip.cli.command import Command
from helip.cli.registry import load_all
from helip.common.options import hints_of
from helip.data.options import OpenOptions
from support.data_samples import write_shards

Run = Callable[..., tuple[int, str, str]]

TAKING_DATA = [each for each in load_all() if "data" in inspect.signature(each.work).parameters]


def test_these_commands_take_data() -> None:
    """A new one is among them by the name of its parameter."""
    names = {each.name for each in TAKING_DATA}
    assert names >= {"embed", "pack", "reshard", "diagnose", "curate", "train", "eval", "report"}


@pytest.mark.parametrize("command", TAKING_DATA, ids=lambda command: command.name)
def test_a_command_that_takes_data_has_all_options_of_opening_it(command: Command) -> None:
    offered = {name: default for name, _, default, _ in command.fields()}
    for field in dataclasses.fields(OpenOptions):
        assert field.name in offered, f"helip {command.name} has no {field.name}"
        assert offered[field.name] is field.default or offered[field.name] == field.default


@pytest.mark.parametrize("command", TAKING_DATA, ids=lambda command: command.name)
def test_no_other_option_of_a_command_has_the_name_of_one_of_opening(command: Command) -> None:
    names = {field.name for field in dataclasses.fields(OpenOptions)}
    own = {*inspect.signature(command.work).parameters}
    others = [group for group in command.groups if not issubclass(group, OpenOptions)]
    assert not names & own.union(*map(hints_of, others))


@pytest.fixture
def called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[object, ...]]:
    """Command → a call of it up to its options; no model is loaded."""
    monkeypatch.setattr("helip.models.bundle.create_model", lambda *_, **__: None)
    monkeypatch.setattr("helip.evaluation.model_source.ModelSource.load", lambda _: None)
    data = write_shards(tmp_path / "shards")
    ids = np.roll(np.arange(20), 1)[:, None].astype(np.int32)
    pairs, out = tmp_path / "pairs", tmp_path / "out"
    helip.HardPairs.from_arrays(ids, np.ones((20, 1), np.float32)).save(pairs)
    return {
        "embed": ("embed", data, "--out", out),
        "pack": ("pack", data, "--out", out),
        "reshard": ("reshard", data, "--pairs", pairs, "--out", out),
        "batches": ("batches", pairs, "--data", data, "--out", out),
        "diagnose": ("diagnose", pairs, "--data", data),
        "curate": ("curate", pairs, "--data", data, "--out", out),
        "train": ("train", data, "--model", "m", "--out", out),
        "eval": ("eval", data, "--model", "m"),
        "report": ("report", pairs, "--data", data, "--out", out),
        "study": ("study", "make", pairs, "--data", data, "--out", out),
        "view": ("view", pairs, "--data", data),
        "filter": ("filter", pairs, "--data", data, "--out", out),
        "verdicts": (
            "verdicts",
            "learn",
            "file",
            "--pairs",
            pairs,
            "--store",
            "store",
            "--data",
            data,
            "--out",
            out,
        ),
        "plot": ("plot", pairs, "--data", data, "--out", out),
    }


@pytest.mark.parametrize("name", [command.name for command in TAKING_DATA])
def test_the_options_reach_the_data(
    name: str, called: dict[str, tuple[object, ...]], run: Run, tmp_path: Path
) -> None:
    (tmp_path / "keys.txt").write_text("00001\nlost\n")
    (tmp_path / "first.txt").write_text("00001\n")
    for options, words in (
        (("--limit", 0), "limit is 0, must be at least 1"),
        (("--subset", tmp_path / "keys.txt"), "1 of its 2 keys are not in the data: 'lost'"),
        (("--split", "dev"), "--split is 'dev'"),
        (("--image-column", ""), "--image-column is '', must be a column's name"),
        (("--label-column", "x"), "--label-column x does not apply to tar shards"),
    ):
        code, _, err = run(*called[name], *options)
        assert (code, words in err) == (2, True), err


def test_what_is_left_out_is_said(
    called: dict[str, tuple[object, ...]], run: Run, tmp_path: Path
) -> None:
    np.save(tmp_path / "mask.npy", np.arange(20) < 12)
    # The table is of all rows, so the command ends after the data were opened.
    call = (*called["report"], "--subset", tmp_path / "mask.npy", "--limit", 5)
    code, _, err = run(*call)
    assert code == 1
    assert "shards: 5 of 20 rows; left out 8 by --subset, 7 by --limit" in err
    assert "(20 rows there, 5 rows with fingerprint" in err


def test_embed_says_what_became_no_row(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise helip.Error("enough")

    monkeypatch.setattr("helip.encoders.embedding.embed", stopped)
    for name in ("a.png", "b.png"):
        (tmp_path / "in").mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "in" / name)
    table = tmp_path / "in" / "t.csv"
    table.write_text('image,caption\na.png,"x\ny"\nb.png,z\na.png,w\n')
    _, _, err = run("embed", table, "--out", tmp_path / "s")
    assert (
        f"{table}: 4 lines became 2 rows: 1 belong to the line before, by a quoted field that goes "
        "over several lines; 1 name the picture of another row" in err
    )
    (tmp_path / "in" / "avif.avif").write_bytes(b"x")
    (tmp_path / "in" / "alone.txt").write_text("x")
    table.unlink()
    _, _, err = run("embed", tmp_path / "in", "--out", tmp_path / "s", "--limit", 1)
    assert "ignored files: 1 other, 1 text, such as avif.avif, alone.txt" in err
    assert "looking for timm:vit_small" in err and "at the Hugging Face hub" in err
    call = ("embed", tmp_path / "in", "--out", tmp_path / "s", "--preset", "packaged")
    assert "looking for" not in run(*call)[2]
    with helip.EmbeddingStore.create(tmp_path / "u", image_dim=4, text_dim=4) as writer:
        writer.append(["a"], np.eye(4)[:1], np.eye(4)[:1])
    call = ("embed", tmp_path / "in", "--out", tmp_path / "u", "--update")
    assert "looking for" not in run(*call)[2]
    assert "looking for timm:x, here and at" in run(*call, "--image-encoder", "timm:x")[2]


@pytest.mark.parametrize("limit", [(), ("--limit", 5)])
def test_rows_of_captions_are_opened_to_be_embedded(
    called: dict[str, tuple[object, ...]], run: Run, limit: tuple[object, ...]
) -> None:
    wrong = ("--image-encoder", "nothing:known")  # asked for after the data were opened
    code, _, err = run(*called["embed"], "--row-per", "caption", *limit, *wrong)
    assert code == 2
    assert "nothing:known" in err and "row_per" not in err and "--row-per" not in err


@pytest.mark.parametrize(
    ("words", "rows"),
    [
        ((), 3),
        (("--row-per", "picture"), 2),
        (("--config", "saved.yaml"), 3),
        (("--max-pixels", "178956970"), 3),
    ],
)
def test_a_description_holds_unless_the_shell_gives_the_option(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], rows: int
) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    Image.new("RGB", (9, 9)).save(tmp_path / "b.png")
    (tmp_path / "t.csv").write_text("image,caption\na.png,one\na.png,two\nb.png,three\n")
    (tmp_path / "d.yaml").write_text("source: t.csv\nrow_per: caption\nmax_pixels: 1\n")
    opened = []

    def embed(data: helip.Dataset, **_: object) -> None:
        opened.append(data)
        raise helip.InvalidArgumentError("far enough")

    monkeypatch.setattr("helip.encoders.embedding.embed", embed)
    monkeypatch.chdir(tmp_path)
    _, saved, _ = run("embed", "d.yaml", "--out", "s", "--print-config")
    Path("saved.yaml").write_text(saved)
    code, _, err = run("embed", "d.yaml", "--out", "s", *words)
    assert (code, "far enough" in err) == (2, True), err
    assert len(opened[0]) == rows
    assert opened[0].max_pixels == (178_956_970 if "--max-pixels" in words else 1)
