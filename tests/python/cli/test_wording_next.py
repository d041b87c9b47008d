"""The line that a command ends with runs as it is printed, whatever the data are called."""

from __future__ import annotations

import csv
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from PIL import Image

import helip
from helip.models.saving import save_model
from support.data_samples import picture, write_shards
from support.evaluate_samples import tiny_model

pytestmark = pytest.mark.usefixtures("one_thread")
Run = Callable[..., tuple[int, str, str]]
ROWS = 24
OPENED = ("--image-column", "pic path", "--caption-column", "the title", "--root", "my pictures")
DATA = ("--data", "my data.csv", *OPENED)
ENCODERS = ("--image-encoder", "open_clip:./my start", "--text-encoder", "open_clip:./my start")
EMBED = ("embed", "my data.csv", *OPENED, *ENCODERS, "--dtype", "float32", "--device", "cpu")
TRAIN = ["--steps", "2", "--batch-size", "4", "--workers", "0", "--device", "cpu"]
#: What stands for a user's own.
NAMES = {"MODEL": "my start", "DATA": "held out.yaml", "PAIRS": "my pairs", "PARTS": "my parts"}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    """A folder with a data set that no option could be left out for, its store, table and model."""
    folder = tmp_path / "a b"
    (folder / "my pictures").mkdir(parents=True)
    monkeypatch.chdir(folder)
    with Path("my data.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["nr", "pic path", "the title"])
        for row in range(ROWS):
            Image.Image.save(picture(row), f"my pictures/it's {row}.png")
            table.writerow([row % 3, f"it's {row}.png", f"picture {row}"])
    Path("held out.yaml").write_text(
        "source: my data.csv\nimage_column: pic path\ncaption_column: the title\n"
        "root: my pictures\nlimit: 9\n"
    )
    save_model(tiny_model(), "my start")
    code, _, err = run(*EMBED, "--out", "my store")
    assert code == 0, err
    helip.mine("my store", k=4, out="my pairs", device="cpu", progress=False)


def follow(run: Run, *words: object, more: Sequence[str] = (), **names: str) -> str:
    """Runs a command, then the line that it ends with and ``more`` options; gives that line."""
    code, _, err = run(*words)
    assert code == 0, err
    line = err.splitlines()[-1].removeprefix("next: ")
    first, *rest = [{**NAMES, **names}.get(word, word) for word in shlex.split(line)]
    assert first == "helip", err
    code, _, err = run(*rest, *more)
    assert code == 0, f"{line}\n{err}"
    return line


def test_embedding_leads_to_mining_that_to_a_diagnosis_and_that_to_training(run: Run) -> None:
    assert follow(run, *EMBED, "--out", "my store", PAIRS="fresh").endswith(
        "'my store' --out PAIRS"
    )
    line = follow(run, "mine", "my store", "--out", "p")
    assert line == f"helip diagnose p {shlex.join(DATA)}"
    line = follow(run, *shlex.split(line)[1:], "--checkpoint", "my start/model.safetensors",
                  "--model", "my start/open_clip_config.json", more=TRAIN)  # fmt: skip
    assert "--checkpoint" in line
    follow(run, *shlex.split(line)[1:], *TRAIN, more=("--bootstrap", "5", "--device", "cpu"))


def test_parts_filters_and_verdicts_lead_to_a_diagnosis_of_the_data(run: Run) -> None:
    for part in ("1/2", "2/2"):
        code, _, err = run("mine", "my store", "--out", f"my parts/{part[0]}", "--part", part)
        assert code == 0, err
    line = follow(run, "merge", "my parts/1", "my parts/2", "--out", "q")
    assert line == f"helip diagnose q {shlex.join(DATA)}"
    line = follow(run, "filter", "q", "--max-score", "2", "--out", "f")
    assert line == f"helip diagnose f {shlex.join(DATA)}"


def test_a_plan_leads_to_the_very_job(run: Run) -> None:
    line = follow(run, "plan", "my store", "-k", "3", "--image-max", "1", "--device", "cpu",
                  PAIRS="planned")  # fmt: skip
    assert line == "helip mine 'my store' --out PAIRS --image-max 1.0 -k 3 --device cpu"
    assert helip.HardPairs.open("planned").options["k"] == 3


def test_curation_leads_to_an_update_of_the_store_and_that_to_one_of_its_tables(run: Run) -> None:
    words = ("--store", "my store", "--out", "my list", "--drop", "outlier")
    code, _, err = run("curate", "my pairs", *DATA, *words)
    assert code == 0, err
    Path("my list/keep.csv").write_text("".join(f"it's {i}.png\n" for i in range(2, 24)))
    line = err.splitlines()[-1].removeprefix("next: ")
    code, _, err = run(*shlex.split(line)[1:])
    assert code == 0, f"{line}\n{err}"
    assert len(helip.EmbeddingStore.open("my store")) == 22
    told = next(each for each in err.splitlines() if "up to date: " in each).partition(": ")[2]
    code, out, err = run(*(NAMES.get(word, word) for word in shlex.split(told)[1:]))
    assert code == 0, err
    assert "mined afresh: rows that helip embed --update" in out
    assert len(helip.HardPairs.open("my pairs")) == 22
    line = err.splitlines()[-1].removeprefix("next: ")
    assert line.endswith("--subset 'my list/keep.csv'")
    code, _, err = run(*shlex.split(line)[1:])
    assert code == 0, f"{line}\n{err}"


def test_an_update_refuses_other_encoders_than_those_of_the_store(run: Run) -> None:
    code, _, err = run("embed", "my data.csv", *OPENED, "--update", "--preset", "packaged",
                       "--dtype", "float32", "--out", "my store")  # fmt: skip
    assert (code, "--image-encoder is 'open_clip:./my start' there" in err) == (1, True), err


def test_other_commands_lead_on_with_the_options_of_the_data(run: Run) -> None:
    words = ("--cards", "4", "--shown", "1", "--kinds", "product", "--kinds", "random")
    code, _, err = run("study", "make", "my pairs", *DATA, "--out", "my study", *words)
    assert code == 0, err
    last = err.splitlines()[-1].removeprefix("next: ")
    assert (
        last
        == f"helip view 'my pairs' --data 'my data.csv' --study 'my study' {shlex.join(OPENED)}"
    )
    code, _out, err = run("eval", "held out.yaml", "--model", "my start", "--bootstrap", "5",
                         "--device", "cpu", "--out", "r.json")  # fmt: skip
    assert code == 0, err
    line = err.splitlines()[-1].removeprefix("next: ")
    assert line == "helip report PAIRS --out page.html --data DATA --metrics 'my start=r.json'"
    follow(run, "interpolate", "my start", "my start", "--out", "my mixture",
           more=("--bootstrap", "5", "--device", "cpu"))  # fmt: skip


def test_shards_lead_on_from_their_index_and_to_training(run: Run, tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "some shards")
    code, _, err = run("index", shards, "--out", "my index")
    assert code == 0, err
    line = err.splitlines()[-1].removeprefix("next: ")
    assert line == "helip embed 'my index' --out STORE --preset paper"
    code, _, err = run("embed", "my index", *ENCODERS, "--out", "s", "--caption-column", "txt")
    assert code != 0  # shards without a .json have no such field
    code, _, err = run("embed", "my index", *ENCODERS, "--out", "s")
    assert code == 0, err
    helip.mine("s", k=4, out="t", device="cpu", progress=False)
    follow(run, "reshard", "my index", "--pairs", "t", "--out", "new shards", more=TRAIN)
