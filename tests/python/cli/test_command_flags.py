"""--quiet, --json and the last line: every command of the shell has them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import helip
from helip.cli.registry import load_all
from helip.models.saving import save_model
from support.data_samples import write_shard
from support.embed_samples import Colours
from support.evaluate_samples import tiny_model

pytestmark = pytest.mark.usefixtures("one_thread")
Run = Callable[..., tuple[int, str, str]]
ROWS = 12

# Command → its words, in a folder with what they name.
CALLS = {
    "index": "d.tar --out new",
    "embed": "d.tar --out new --image-encoder own:colours --text-encoder own:lengths",
    "import": "--image image.npy --text text.npy --out new",
    "plan": "s -k 3 --device cpu",
    "mine": "s -k 3 --out new --device cpu",
    "negatives": "s --corpus s -k 3 --out new",
    "merge": "part-1 part-2 --out new",
    "stage": "p",
    "update": "p --store s --out new",
    "filter": "p --max-score 0.9 --out new",
    "verdicts": "show v",
    "label": "p --verdicts v --out new",
    "pack": "d.tar --out new",
    "reshard": "d.tar --pairs p --out new",
    "batches": "p --batch-size 4 --out new",
    "diagnose": "p --data d.tar --batch-size 4 --targets 4 --workers 0",
    "curate": "p --data d.tar --store s --out new",
    "train": "d.tar --model start --pairs p --steps 2 --batch-size 4 --workers 0 --device cpu "
    "--out new",
    "recipes": "",
    "eval": "d.tar --model start --bootstrap 5 --device cpu --out new.json",
    "interpolate": "start start --out new",
    "export": "start --out new",
    "push": "p me/pairs",
    "copy": "p new",
    "report": "p --data d.tar --rows 2 --out new.html",
    "study": "make p --data d.tar --store s --cards 4 --shown 1 --kinds product --kinds random "
    "--out new",
    "plot": "p --store s --formats png --out new",
    "inspect": "p",
    "verify": "s",
    "doctor": "",
    "demo": "--out new",
}
NO_NEXT = {
    "recipes",
    "export",
    "push",
    "copy",
    "inspect",
    "verify",
    "doctor",
    "demo",
    "verdicts",
}  # nothing follows from them
A_BAR = re.compile(r"^[\w ]+: [\d,]+( of [\d,]+)? \w+, [\d,.]+/s", re.MULTILINE)


class Lengths:
    """A text encoder of one's own."""

    spec = "own:lengths"
    dim = 2

    def encode(self, texts: list[str]):
        return np.array([[len(text), 1.0] for text in texts], np.float32)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set, its store and tables, and a model."""
    folder = tmp_path_factory.mktemp("sample")
    write_shard(folder / "d.tar", range(ROWS))
    data = helip.open_dataset(folder / "d.tar")
    rows = np.random.default_rng(0).normal(size=(ROWS, 14)).astype(np.float32) + 0.4
    np.save(folder / "image.npy", rows[:, :8])
    np.save(folder / "text.npy", rows[:, 8:])
    with helip.EmbeddingStore.create(folder / "s", image_dim=8, text_dim=6) as writer:
        writer.append(list(data.keys), rows[:, :8], rows[:, 8:])
    save_model(tiny_model(), folder / "start")
    for out, part in (("part-1", (1, 2)), ("part-2", (2, 2))):
        helip.mine(folder / "s", k=3, out=folder / out, part=part, device="cpu", progress=False)
    helip.Verdicts.open(folder / "v", pairs=helip.EmbeddingStore.open(folder / "s")).close()
    return folder


@pytest.fixture
def place(
    sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> Callable[[], Path]:
    """Makes a folder with the sample, where nothing new has been written, the current one."""
    embed = helip.embed

    def embedded(data, *, image_encoder, text_encoder, **options):
        return embed(data, image_encoder=Colours(), text_encoder=Lengths(), **options)

    monkeypatch.setattr("helip.encoders.embedding.embed", embedded)
    monkeypatch.setattr("helip_demo.demonstration.run", demonstrated)
    monkeypatch.setattr("helip.integrations.pushing.push_to_hub", lambda *_, **__: "its address")
    made: list[Path] = []

    def make() -> Path:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        for name in ("d.tar", "image.npy", "text.npy", "s", "start", "part-1", "part-2", "v"):
            (folder / name).symlink_to(sample / name)
        monkeypatch.chdir(folder)
        assert run("mine", "s", "-k", 3, "--out", "p", "--device", "cpu")[0] == 0
        made.append(folder)
        return folder

    return make


def demonstrated(out: Path, *, say, show, **options: object) -> dict[str, object]:
    say("a stage")
    show("a table")
    return {"seed": options["seed"]}


def test_the_walk_knows_every_command() -> None:
    # helip view serves until it is told to end; tests/python/helip_view calls it.
    assert set(CALLS) | {"completion", "view"} == {each.name for each in load_all()}


@pytest.mark.parametrize("name", CALLS)
def test_a_command_says_what_is_next_and_obeys_json_and_quiet(
    run: Run, place: Callable[[], Path], name: str
) -> None:
    words = (name, *CALLS[name].split())
    place()
    code, out, err = run(*words, "--json")
    assert code == 0, err
    assert json.loads(out) is not None
    last = (err.splitlines() or [""])[-1]
    assert last.startswith("next: ") != (name in NO_NEXT), err
    assert "\033" not in err

    place()
    code, out, err = run(*words, "--quiet")
    assert code == 0, err
    assert out or err
    assert not A_BAR.search(err) and "next:" not in err
    assert not out.lstrip().startswith("{")


def test_what_a_long_command_shows_without_quiet_is_what_the_walk_looks_for(
    run: Run, place: Callable[[], Path]
) -> None:
    place()
    assert A_BAR.search(run("import", *CALLS["import"].split())[2])
