"""helip eval as a user types it: one model, many models, the guard, the report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import helip
from helip.models.saving import save_model
from support.evaluate_samples import (
    COLOURS,
    picture,
    png,
    tiny_model,
    write_benchmark,
    write_mmeb,
    write_sugarcrepe,
)

Run = Callable[..., tuple[int, str, str]]
FAST = ("--bootstrap", 20, "--device", "cpu", "--quiet")


@pytest.fixture
def models(tmp_path: Path) -> list[str]:
    return [
        f"--model={name}={save_model(tiny_model(seed), tmp_path / 'models' / name)}"
        for seed, name in enumerate(("start", "control", "HELIP"))
    ]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = [(png(picture(i)), f"one {i}\ntwo {i}") for i in range(10)]
    return write_benchmark(tmp_path / "captions", rows, retrieval=True)


def test_one_model_on_one_set_is_shown_figure_by_figure(
    run: Run, models: list[str], data: Path, tmp_path: Path
) -> None:
    code, out, err = run("eval", data, models[0], *FAST, "--out", tmp_path / "r.json")
    assert code == 0, err
    assert "retrieval.image_to_text.recall@1" in out
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["retrieval"]["text_to_image"]["recall@1"]["n"] == 20
    code, out, _ = run("eval", data, models[0], *FAST, "--json")
    assert json.loads(out) == result
    code, out, _ = run("eval", data, models[0], *FAST, "--markdown")
    assert out.startswith("### ")
    code, out, _ = run("eval", data, models[0], "--bootstrap", 0, "--device", "cpu", "--quiet")
    assert code == 0
    assert "recall@1" in out


def test_many_models_fill_a_folder_and_one_table(
    run: Run, models: list[str], data: Path, tmp_path: Path
) -> None:
    colours = [(png(picture(i, list(COLOURS.values())[i % 4])), str(i % 4)) for i in range(8)]
    other = write_benchmark(tmp_path / "colours", colours, classes=list(COLOURS))
    given = (f"captions={data}", f"colours={other}", *models, *FAST, "--out", tmp_path / "out")
    code, out, err = run("eval", *given)
    assert code == 0, err
    assert "captions, start: retrieval" in err
    assert "HELIP − control" in out
    assert "zero-shot top-1" in out
    markdown = (tmp_path / "out" / "table.md").read_text()
    assert "### colours" in markdown
    table = json.loads((tmp_path / "out" / "table.json").read_text())
    assert [t["data"] for t in table["tables"]] == ["captions", "colours"]
    assert len(list((tmp_path / "out").glob("*/*.json"))) == 6
    code, out, err = run("eval", *given, "--skip-existing", "--json")
    assert code == 0
    assert err == ""
    assert json.loads(out) == table
    code, out, _ = run("eval", *given, "--skip-existing", "--baseline", "start")
    assert "HELIP − start" in out


def test_the_guard_says_in_words_what_was_forgotten(
    run: Run, models: list[str], data: Path, tmp_path: Path
) -> None:
    given = ("eval", f"general={data}", *models, *FAST, "--out", tmp_path / "out", "--guard")
    code, out, err = run(*given)
    assert code == 0, err
    assert "general: " in out
    assert "against the start, the control" in out
    code, out, _ = run(*given, "--json", "--skip-existing")
    assert json.loads(out)["guard"]["general"]["verdict"] in ("lost", "kept", "undecided")
    code, _, err = run("eval", data, *models[:2], *FAST, "--guard")
    assert code == 2
    assert "these are start, control" in err


def test_the_report_shows_results_and_the_guard_of_a_folder(
    run: Run, models: list[str], data: Path, tmp_path: Path
) -> None:
    code, _, err = run(
        "eval", f"held-out={data}", f"general={data}", *models, *FAST, "--out", tmp_path / "out"
    )
    assert code == 0, err
    lines = ["image,caption"]
    (tmp_path / "pictures").mkdir()
    for i in range(12):
        picture(i).save(tmp_path / "pictures" / f"{i:02}.png")
        lines.append(f"pictures/{i:02}.png,picture {i}")
    (tmp_path / "d.csv").write_text("\n".join(lines) + "\n")
    keys = list(helip.open_dataset(tmp_path / "d.csv").keys)
    with helip.EmbeddingStore.create(tmp_path / "s", image_dim=8, text_dim=6) as writer:
        rows = np.random.default_rng(0).normal(size=(12, 14)) + 0.4
        writer.append(keys, rows[:, :8], rows[:, 8:])
    assert run("mine", tmp_path / "s", "--out", tmp_path / "p", "-k", 3)[0] == 0
    shown = ("report", tmp_path / "p", "--data", tmp_path / "d.csv", "--out", tmp_path / "r.html")
    code, _, err = run(*shown, "--metrics", tmp_path / "out", "--guard", "general")
    assert code == 0, err
    page = (tmp_path / "r.html").read_text()
    assert "Forgetting guard" in page
    assert "<h3>held-out</h3>" in page
    assert page.count("<h3>general</h3>") == 1
    one = tmp_path / "out" / "general" / "start.retrieval.json"
    assert run(*shown, "--metrics", f"start={one}")[0] == 0
    for arguments, words in (
        (("--metrics", tmp_path / "out", "--guard", "other"), "which hold general, held-out"),
        (("--guard", "general"), "which hold none"),
        (("--metrics", tmp_path / "absent"), "NAME=FILE.json, or a folder"),
        (("--metrics", f"a={one}", "--metrics", tmp_path / "out"), "not both"),
    ):
        code, _, err = run(*shown, *arguments)
        assert code == 2
        assert words in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--skip-existing",), "--skip-existing needs --out"),
        (("--out", "x.json"), "is one file, for 3 models"),
        (("--checkpoint", "w.pt"), "names the weights of one model"),
        (("--baseline", "best"), "'best' has no result"),
        (("--model", "start=x"), "'start' is given twice"),
        (("--model", "a="), "must be a path, or NAME=PATH"),
        (("--tasks", "taste"), "taste"),
        (("--pictures", "."), "is for compositional sets"),
        (("--classes", "absent.txt"), "cannot read the class names"),
    ],
)
def test_wrong_use_is_one_line_and_an_exit_code(
    run: Run, models: list[str], data: Path, arguments: tuple[str, ...], words: str
) -> None:
    code, _, err = run("eval", data, *models, *FAST, *arguments)
    assert code == 2
    assert words in err
    assert "Traceback" not in err


def test_sets_of_several_kinds_are_measured_in_one_call(
    run: Run, models: list[str], data: Path, tmp_path: Path
) -> None:
    (tmp_path / "pictures").mkdir()
    picture(0).save(tmp_path / "pictures" / "x.png")
    sugar = write_sugarcrepe(tmp_path / "sugar", {"a": [("x.png", "one", "two")] * 3})
    rows = [(("what", "x.png"), [("one", ""), ("two", "")])]
    mmeb = write_mmeb(tmp_path / "mmeb", {"GQA": rows})
    sets = (data, sugar, mmeb, models[0])
    code, out, err = run("eval", *sets, *FAST, "--pictures", tmp_path / "pictures")
    assert code == 0, err
    assert "text score" in out
    assert "P@1 VQA" in out
    assert "T→I R@1" in out


def test_what_one_model_cannot_have_is_refused(run: Run, models: list[str], data: Path) -> None:
    code, _, err = run("eval", data, models[0], *FAST, "--guard")
    assert code == 2
    assert "compare several models" in err
