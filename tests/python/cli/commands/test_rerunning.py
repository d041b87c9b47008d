"""helip rerun: the same bytes from the options that a command has saved beside its output."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

import helip
from helip.models.saving import save_model
from support.data_samples import write_shard
from support.embed_samples import Colours
from support.tune_samples import tiny

pytestmark = pytest.mark.usefixtures("one_thread")
Run = Callable[..., tuple[int, str, str]]


class Lengths:
    """A text encoder of one's own."""

    spec = "own:lengths"
    dim = 2

    def encode(self, texts: list[str]):
        return np.array([[len(text), 1.0] for text in texts], np.float32)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files_of(folder: str) -> dict[str, bytes]:
    """What lies in a folder, but for locks and saved options."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_file() and path.name not in (".lock", "helip.yaml")
    }


def test_a_table_is_mined_again_byte_for_byte(run: Run, store: Path) -> None:
    words = ("mine", "s", "--method", "sample", "--candidates", 30, "--seed", 5, "-k", 4)
    assert run(*words, "--out", "p", "--device", "cpu")[0] == 0
    saved = yaml.safe_load(Path("p/helip.yaml").read_text())
    assert (saved["helip"], saved["command"]) == (helip.__version__, "mine")
    assert saved["given"] == {
        **{"store": "s", "out": "p", "k": 4, "method": "sample", "candidates": 30, "seed": 5},
        "device": "cpu",
    }
    assert saved["options"]["refresh"] == 300_000
    code, out, err = run("rerun", "p", "--out", "q", "--json")
    assert code == 0, err
    assert json.loads(out)["path"] == "q"
    assert files_of("p") == files_of("q")
    again = yaml.safe_load(Path("q/helip.yaml").read_text())
    assert again == {
        **saved,
        "given": {**saved["given"], "out": "q"},
        "options": {**saved["options"], "out": "q"},
    }
    for path in ("p", "q"):
        assert run("verify", path)[0] == 0
    assert helip.HardPairs.open("p").fingerprint == helip.HardPairs.open("q").fingerprint


def test_to_the_same_place_it_does_what_the_command_does(run: Run, store: Path) -> None:
    assert run("mine", "s", "-k", 4, "--out", "p")[0] == 0
    assert run("rerun", "p")[0] == 0  # the table is the answer already
    assert run("mine", "s", "-k", 5, "--out", "q")[0] == 0
    code, _, err = run("rerun", "p", "--out", "q")
    assert (code, "k 5, now 4" in err) == (1, True)


def test_embeddings_are_imported_again(run: Run, store: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(40, 14)).astype(np.float32)
    np.save("image-1.npy", rows[:20, :8])
    np.save("image-2.npy", rows[20:, :8])
    np.save("text-1.npy", rows[:20, 8:])
    np.save("text-2.npy", rows[20:, 8:])
    files = ("--image", "image-1.npy", "image-2.npy", "--text", "text-1.npy", "text-2.npy")
    code, _, err = run("import", *files, "--out", "a", "--dtype", "float16")
    assert code == 0, err
    code, _, err = run("rerun", Path("a/helip.yaml"), "--out", "b")
    assert code == 0, err
    first, second = helip.EmbeddingStore.open("a"), helip.EmbeddingStore.open("b")
    assert first.fingerprint == second.fingerprint
    assert files_of("a") == files_of("b")
    second.verify()


def test_pictures_are_embedded_again_and_their_table_is_brought_up_to_date(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed = helip.embed

    def embedded(data, *, image_encoder, text_encoder, **options):
        return embed(data, image_encoder=Colours(), text_encoder=Lengths(), **options)

    monkeypatch.setattr("helip.encoders.embedding.embed", embedded)
    write_shard(tmp_path / "d.tar", range(12))
    encoders = ("--image-encoder", "own:colours", "--text-encoder", "own:lengths")
    code, _, err = run("embed", "d.tar", "--out", "a", *encoders, "--dtype", "float16")
    assert code == 0, err
    code, _, err = run("rerun", "a", "--out", "b")
    assert code == 0, err
    assert helip.EmbeddingStore.open("a").fingerprint == helip.EmbeddingStore.open("b").fingerprint
    shards = [Path(folder, "shard-00000.safetensors").read_bytes() for folder in "ab"]
    assert shards[0] == shards[1]
    loose = ("--image-max", 1, "--text-max", 1, "--method", "exact")
    assert run("mine", "a", "--out", "p", "-k", 3, *loose)[0] == 0
    whole = files_of("p")
    assert run("update", "p", "--store", "a", "--quiet")[0] == 0
    assert yaml.safe_load(Path("p/helip.yaml").read_text())["command"] == "update"
    assert files_of("p") == whole
    assert run("rerun", "p", "--out", "again")[0] == 0
    assert run("verify", "again")[0] == 0


def test_a_run_is_trained_again_to_the_same_weights(run: Run, tmp_path: Path) -> None:
    write_shard(tmp_path / "d.tar", range(16))
    save_model(tiny(), tmp_path / "start")
    options = (
        "--steps",
        3,
        "--batch-size",
        4,
        "--workers",
        0,
        "--seed",
        2,
        "--recipe",
        "small-data",
    )
    code, _, err = run("train", "d.tar", "--model", "start", "--out", "a", *options, "--control")
    assert code == 0, err
    saved = yaml.safe_load(Path("a/helip.yaml").read_text())
    assert saved["given"]["recipe"] == "small-data" and "lr" not in saved["given"]
    assert saved["options"]["lr"] == 2e-4
    before = Path("a/helip.yaml").read_bytes()
    assert run("train", "d.tar", "--model", "start", "--out", "a", *options, "--plan")[0] == 0
    assert Path("a/helip.yaml").read_bytes() == before  # a plan writes nothing
    code, out, _ = run("rerun", "a", "--dry-run")
    assert code == 0
    line = "--steps 3 --batch-size 4 --workers 0 --seed 2"
    words = shlex.split(out)
    assert words[:3] == ["helip", "train", "d.tar"]
    assert {*line.split(), "--control", "--recipe"} <= set(words)
    code, _, err = run("rerun", "a", "--out", "b", "--quiet")
    assert code == 0, err
    for name in ("open_clip_model.safetensors", "model.safetensors"):
        paths = [Path(folder, "checkpoints", "step-000003", name) for folder in "ab"]
        if paths[0].exists():
            assert paths[0].read_bytes() == paths[1].read_bytes()
            return
    raise AssertionError(os.listdir(Path("a", "checkpoints", "step-000003")))


def test_a_dry_run_prints_the_line_and_writes_nothing(run: Run, store: Path) -> None:
    words = ["mine", "s", "--out", "my p", "-k", "4", "--signed", "--memory", "1GB"]
    assert run(*words, "--seed", 0)[0] == 0
    before = {name: Path("my p", name).stat().st_mtime_ns for name in os.listdir("my p")}
    code, out, _ = run("rerun", "my p", "--dry-run")
    assert code == 0
    assert sorted(shlex.split(out)) == sorted(["helip", *words, "--seed", "0"])
    code, out, _ = run("rerun", "my p", "--dry-run", "--json", "--out", "q")
    assert "q" in json.loads(out)["command"]
    assert not Path("q").exists()
    assert before == {name: Path("my p", name).stat().st_mtime_ns for name in os.listdir("my p")}


def test_what_is_not_saved_or_is_of_another_command_is_one_line(run: Run, store: Path) -> None:
    code, _, err = run("rerun", "s")
    assert (code, err.count("\n")) == (2, 1)
    assert "there is no s/helip.yaml" in err
    assert run("mine", "s", "-k", 4, "--out", "p")[0] == 0
    code, _, err = run("update", "p", "--store", "s", "--config", "p/helip.yaml")
    assert (code, "has the options of helip mine, and this is helip update" in err) == (2, True)
    text = Path("p/helip.yaml").read_text()
    Path("p/helip.yaml").write_text(text.replace("  store: s\n", "  store: 'https://***@h/s'\n"))
    code, _, err = run("rerun", "p", "--out", "q")
    assert (code, "was saved without its credentials" in err) == (2, True)
    assert run("mine", "s", "--config", "p/helip.yaml", "--out", "q")[0] == 0
    Path("p/helip.yaml").write_text(text.replace("  k: 4\n", "  k: 4\n  speed: 9\n"))
    code, _, err = run("rerun", "p", "--out", "r")
    assert (code, "helip mine has no option 'speed'" in err) == (2, True)
    Path("p/helip.yaml").write_text(text.replace("command: mine", "command: dance"))
    code, _, err = run("rerun", "p")
    assert code == 2 and "dance" in err
    Path("p/helip.yaml").write_text(text.replace("command: mine", "command: --version"))
    code, out, err = run("rerun", "p")
    assert (code, out, "names helip --version, and there is no such command" in err) == (2, "", 1)


def test_to_another_place_nothing_else_is_written_over(run: Run, store: Path) -> None:
    assert run("mine", "s", "-k", 4, "--out", "p", "--csv", "t.csv")[0] == 0
    Path("t.csv").write_text("edited")
    code, _, err = run("rerun", "p", "--out", "q")
    assert code == 2 and "helip mine --config p/helip.yaml --out q --csv FILE" in err
    assert Path("t.csv").read_text() == "edited" and not Path("q").exists()
    assert run("mine", "--config", "p/helip.yaml", "--out", "q", "--csv", "u.csv")[0] == 0
    assert run("rerun", "p")[0] == 0
