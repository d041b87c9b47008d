"""The command line that stands for options: typed in, it gives the same ones."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from helip.cli.main import make_app


def printed(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    make_app()([str(word) for word in words], exit_on_error=False, print_error=False)
    return capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        "mine s --out p -k 7 --signed --checkpoint inf",
        "mine --image i.npy --text t.npy --out p",
        "import --image a.npy b.npy --text t.npy --out s",
        "index a.tar 'b c.tar' --out i --threads 2",
        "train d --model m --out o --betas 0.8 0.9 --grad-clip none --lock-image --no-resume",
        "train d --model m --out o --recipe small-data --batch-size 256 --lora rank=4,alpha=8",
        "train d --model m --out o --from-scratch --pairs p",
        "eval x=a b --model m=1 --model n --tasks retrieval",
        "report p --data d --out r.html --target a --target b --title=-dashed",
        "interpolate a b --out c --alpha 0.25 --alpha 0.5",
        "reshard d --pairs p --out o",
    ],
    ids=lambda words: f"{words.split()[0]} {len(words)}",
)
def test_it_gives_the_options_that_it_was_made_of(
    words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = shlex.split(words)
    given = [word for word in given if word != "--no-resume"]
    options = printed(capsys, *given, "--print-config")
    line = shlex.split(printed(capsys, *given, "--print-command"))
    assert line[0] == "helip" and "--config" not in line
    assert printed(capsys, *line[1:], "--print-config") == options
    (tmp_path / "run.yaml").write_text(options)
    config = ("--config", tmp_path / "run.yaml")
    line = shlex.split(printed(capsys, given[0], *config, "--print-command"))
    assert printed(capsys, *line[1:], "--print-config") == options


def test_a_flag_without_a_negative_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.yaml").write_text("path: p\nrepo: me/x\nparquet: false\ncard: false\n")
    line = printed(capsys, "push", "--config", tmp_path / "run.yaml", "--print-command")
    assert line == "helip push p me/x --no-card\n"


def test_it_leaves_out_defaults_that_nobody_gave(capsys: pytest.CaptureFixture[str]) -> None:
    line = printed(capsys, "mine", "s", "--out", "p", "--seed", 0, "--print-command")
    assert line == "helip mine s --out p --seed 0\n"


def test_what_only_a_file_can_say_is_left_to_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("data: d\nmodel: m\nout: o\nfrom_scratch: true\nrecipe: null\n")
    line = printed(capsys, "train", "--config", file, "--print-command")
    assert line == f"helip train --config {file}\n"
