"""Options saved beside an output: where, without secrets, and repeated by --config."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

import helip
from helip.cli.configuration import read_options
from helip.cli.saved_options import place_beside, save_options
from helip.common.errors import InvalidArgumentError
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


def test_a_folder_holds_them_and_a_file_has_them_beside_it(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("")
    assert place_beside(tmp_path) == tmp_path / "helip.yaml"
    assert place_beside(tmp_path / "page.html") == tmp_path / "page.html.helip.yaml"


def test_what_was_given_and_all_that_holds_is_kept_as_it_was(tmp_path: Path) -> None:
    options = {"data": "d/{00..03}.tar", "out": tmp_path / "o", "betas": (0.9, 0.98), "k": None}
    save_options(tmp_path, "train", options, {"data", "out"}, "1.2.3")
    saved = yaml.safe_load((tmp_path / "helip.yaml").read_text())
    assert (saved["helip"], saved["command"]) == ("1.2.3", "train")
    assert saved["given"] == {"data": "d/{00..03}.tar", "out": str(tmp_path / "o")}
    assert saved["options"] == {**saved["given"], "betas": [0.9, 0.98], "k": None}


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("https://me:secret@host/a@b/0.tar", "https://***@host/a@b/0.tar"),
        ("https://token@host/0.tar", "https://***@host/0.tar"),
        ("s3://bucket/0.tar?X-Amz-Signature=secret,secret&a=b", "s3://bucket/0.tar?***"),
        ("https://host/0.tar#secret", "https://host/0.tar?***"),
        ("s3://bucket/a)[1]>b|c.tar?sig=a)secret|b", "s3://bucket/a)[1]>b|c.tar?***"),
        (Path("https://me:secret@host/0.tar"), "https://***@host/0.tar"),
        ("a=https://me:secret@host/a", "a=https://***@host/a"),
        (("s3://bucket/0.tar", "gs://me:secret@x/y"), ["s3://bucket/0.tar", "gs://***@x/y"]),
        ("/data/a@b/{00..07}.tar", "/data/a@b/{00..07}.tar"),
        ("timm:vit@/weights/x.pt", "timm:vit@/weights/x.pt"),
        ("https://host/{00..07}.tar", "https://host/{00..07}.tar"),
    ],
    ids=[
        "password", "user", "query", "fragment", "brackets", "path", "named", "list", "pattern",
        "spec", "plain",
    ],
)  # fmt: skip
def test_users_passwords_and_queries_of_urls_are_not_kept(
    tmp_path: Path, value: object, kept: object
) -> None:
    save_options(tmp_path, "embed", {"data": value}, {"data"}, "1")
    assert read_options(tmp_path / "helip.yaml")["data"][0] == kept
    assert "secret" not in (tmp_path / "helip.yaml").read_text()


def test_a_failure_is_told_and_is_no_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "helip.yaml").mkdir()  # nothing can take its place
    save_options(tmp_path, "mine", {"k": 5}, {"k"}, "1")
    said = capsys.readouterr().err
    assert f"helip: {tmp_path} is written, and its options could not be saved: " in said
    assert [path.name for path in tmp_path.iterdir()] == ["helip.yaml"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("helip: 1\ncommand: mine\ngiven: {}\noptions: 7\n", "was not written by a helip command"),
        ("[1]\n", "must hold options"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "helip.yaml").write_text(text)
    with pytest.raises(InvalidArgumentError, match=message):
        read_options(tmp_path / "helip.yaml")


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
    code, out, err = run("mine", "--config", "p/helip.yaml", "--out", "q", "--json")
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
    assert run("mine", "--config", "p/helip.yaml")[0] == 0  # the table is the answer already
    assert run("mine", "s", "-k", 5, "--out", "q")[0] == 0
    code, _, err = run("mine", "--config", "p/helip.yaml", "--out", "q")
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
    code, _, err = run("import", "--config", "a/helip.yaml", "--out", "b")
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
    code, _, err = run("embed", "--config", "a/helip.yaml", "--out", "b")
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
    assert run("update", "--config", "p/helip.yaml", "--out", "again")[0] == 0
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
    code, _, err = run("train", "--config", "a/helip.yaml", "--out", "b", "--quiet")
    assert code == 0, err
    for name in ("open_clip_model.safetensors", "model.safetensors"):
        paths = [Path(folder, "checkpoints", "step-000003", name) for folder in "ab"]
        if paths[0].exists():
            assert paths[0].read_bytes() == paths[1].read_bytes()
            return
    raise AssertionError(os.listdir(Path("a", "checkpoints", "step-000003")))


def test_what_cannot_be_repeated_is_one_line(run: Run, store: Path) -> None:
    assert run("mine", "s", "-k", 4, "--out", "p")[0] == 0
    code, _, err = run("update", "p", "--store", "s", "--config", "p/helip.yaml")
    assert (code, "has the options of helip mine, and this is helip update" in err) == (2, True)
    again = ("mine", "--config", "p/helip.yaml", "--out", "q")
    text = Path("p/helip.yaml").read_text()
    Path("p/helip.yaml").write_text(text.replace("  k: 4\n", "  k: 4\n  speed: 9\n"))
    code, _, err = run(*again)
    assert (code, "helip mine has no option 'speed'" in err) == (2, True)
    Path("p/helip.yaml").write_text(text.replace("  store: s\n", "  store: 'https://***@h/s'\n"))
    code, _, err = run(*again)
    assert (code, "was saved without its credentials" in err, err.count("\n")) == (2, True, 1)
    assert run("mine", "s", "--config", "p/helip.yaml", "--out", "q")[0] == 0


def test_that_another_version_saved_them_is_said(run: Run, store: Path) -> None:
    assert run("mine", "s", "-k", 4, "--out", "p")[0] == 0
    file = Path("p/helip.yaml")
    file.write_text(file.read_text().replace(f"helip: {helip.__version__}\n", "helip: 0.0.9\n"))
    said = f"p/helip.yaml was saved by helip 0.0.9, and this is {helip.__version__}"
    again = ("mine", "--config", file, "--out", "q")
    assert said in run(*again)[2]
    assert said not in run(*again, "--quiet")[2]
