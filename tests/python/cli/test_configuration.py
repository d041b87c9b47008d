"""Options in a YAML file: read with --config, printed with --print-config, refused by line."""

from __future__ import annotations

from pathlib import Path

import pytest

from helip.cli.configuration import read_options
from helip.cli.main import make_app
from helip.common.errors import InvalidArgumentError


def call(*words: object) -> None:
    make_app()([str(word) for word in words], exit_on_error=False, print_error=False)


def printed(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    call(*words, "--print-config")
    return capsys.readouterr().out


def test_what_is_printed_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call_ = ("train", "d", "--model", "m", "--out", "o", "--lr", "3e-4", "--log-to", "wandb")
    first = printed(capsys, *call_, "--betas", 0.8, 0.9, "--grad-clip", "none", "--lock-image")
    assert "lr: 0.0003\n" in first
    assert "betas: [0.8, 0.9]\n" in first
    assert "grad_clip: null\n" in first
    (tmp_path / "run.yaml").write_text(first)
    again = printed(capsys, "train", "--config", tmp_path / "run.yaml")
    assert again == first


def test_without_what_a_command_must_be_given_its_defaults_are_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = printed(capsys, "mine")
    assert "k: 100\n" in out
    assert "out:" not in out


def test_the_command_line_goes_before_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.yaml").write_text("k: 7\nimage-max: 0.5\n")
    out = printed(capsys, "mine", "s", "--out", "p", "--config", tmp_path / "run.yaml", "-k", 9)
    assert "k: 9\n" in out
    assert "image_max: 0.5\n" in out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("k: 5\nmethodd: exact\n", "line 2: helip mine has no option 'methodd'; did you mean met"),
        (
            "speed: 5\n",
            r"line 1: helip mine has no option 'speed'.*It knows cache, candidates",
        ),
        ("k: 5\n\nmethod: exat\n", 'line 3. Choose from: "auto", "exact", "sample"'),
        ("k: many\n", "line 1: unable to convert"),
        ("seed: 1\nk: 0\n", r"k is 0, must be at least 1 \(.*line 2\)"),
        ("k: 5\nk: 6\n", "line 2 names k again, after line 1"),
        ("[1, 2]\n", "must hold options as name: value"),
        ("k: [\n", "is not YAML"),
        ("k: 5\n1: 2\n", "line 2: 1 is no text"),
        ("on: 2\n", "line 1: on is no text"),
        ("lora: &b {k: 3}\n<<: *b\n", "line 2: << is no text"),
        ("helip: 1\ncommand: mine\ngiven: {}\noptions: foo\n", "not written by a helip comm"),
        ("helip: 1\ncommand: mine\ngiven: 3\noptions: {k: 5}\n", "not written by a helip comm"),
        ("helip: 1\ncommand: mine\ngiven: {}\noptions:\n  1: 2\n", "line 5: 1 is no text"),
        ("seed: 1\nk: 2.7\n", r"-k is 2\.7, must be a whole number \(.*run\.yaml line 2\)"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(Exception, match=message):
        call("mine", "s", "--out", tmp_path / "p", "--config", tmp_path / "run.yaml")


def test_a_recipe_lies_below_the_file_and_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call_ = ("train", "d", "--model", "m", "--out", "o", "--recipe")
    out = printed(capsys, *call_, "small-data")
    assert "recipe: small-data\n" in out
    assert "lr: 0.0002\n" in out
    assert "batch_size: 64\n" in out
    (tmp_path / "run.yaml").write_text("lr: 0.5\nbatch-size: 32\n")
    words = (*call_, "small-data", "--config", tmp_path / "run.yaml", "--batch-size", 256)
    out = printed(capsys, *words)  # 256 is the default, but it is given
    assert "batch_size: 256\n" in out
    assert "lr: 0.5\n" in out
    (tmp_path / "named.yaml").write_text("recipe: siglip\n")
    out = printed(capsys, *call_[:-1], "--config", tmp_path / "named.yaml")
    assert "loss: siglip\n" in out
    assert "betas: [0.9, 0.95]\n" in out
    with pytest.raises(InvalidArgumentError, match="recipe is 'papr', must be one of communities"):
        call(*call_, "papr")


def test_options_of_two_places_may_be_nested(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.yaml").write_text("lora: {rank: 4, alpha: 8}\nschedule: {epochs: 2}\n")
    out = printed(
        capsys, "train", "d", "--model", "m", "--out", "o", "--config", tmp_path / "run.yaml"
    )
    assert "lora: 'rank=4,alpha=8'" in out or "lora: rank=4,alpha=8" in out or 'lora: "' in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("mine s --out p -k 2.7", r"-k is 2\.7, must be a whole number"),
        ("train d --model m --out o --epochs 1.5", "--epochs is 1.5, must be a whole number"),
        ("eval d --model m --limit 0.5", "--limit is 0.5, must be a whole number"),
    ],
)
def test_a_fraction_is_not_rounded(words: str, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        call(*words.split())


def test_whole_numbers_may_have_a_point(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, "mine", "s", "--out", "p", "-k", "7.0", "--image-max", "0.5")
    assert "k: 7\n" in out and "image_max: 0.5\n" in out


def test_a_file_that_is_absent_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="cannot read"):
        read_options(tmp_path / "none.yaml")
    (tmp_path / "empty.yaml").write_text("")
    assert read_options(tmp_path / "empty.yaml") == {}
