"""``helip study``: what it makes, shows and refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import helip_view
from support.view_samples import write_all


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_all(tmp_path_factory.mktemp("studying") / "made")


@pytest.fixture
def words(folder: Path, tmp_path: Path) -> list[Any]:
    return [
        "study", "make", folder / "pairs", "--data", folder / "pictures", "--store",
        folder / "store", "--cards", 16, "--shown", 3, "--out", tmp_path / "s",
    ]  # fmt: skip


def test_a_study_is_made_answered_and_reported(run: Any, words: Any, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    code, out, err = run(*words)
    assert code == 0 and "s asks 16 questions" in out + err
    assert err.splitlines()[-1].startswith("next: helip view ") and "--study" in err
    with helip_view.Study.open(tmp_path / "s") as study:
        study.answer_all(lambda question: question.answers[0], "rule")
        expected = study.results(bootstrap=10)
    page = tmp_path / "page.html"
    options = ("--bootstrap", 10, "--json", "--out", page)
    code, out, err = run("study", "report", tmp_path / "s", *options)
    assert code == 0 and json.loads(out) == expected and page.exists()
    code, out, err = run("study", "report", tmp_path / "s")
    assert code == 0 and "HPM against image only" in out and "yes, " in out
    assert "next:" not in err


def test_it_may_be_of_some_kinds(run: Any, words: Any, tmp_path: Path) -> None:
    code, _, err = run(*words, "--kinds", "product", "--kinds", "random", "--choices", 2, "--json")
    assert code == 0, err
    with helip_view.Study.open(tmp_path / "s") as study:
        assert study.options["kinds"] == ["product", "random"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({16: 17}, "--cards is 17, must be a multiple of 4 from 16 on"),
        ({"--shown": "--bootstrap"}, "--bootstrap is 3, which is for report; drop it"),
        ({16: 40}, "--cards is 40, and of 40 targets 39 have the 3 hard pairs"),
    ],
    ids=["cards", "bootstrap", "targets"],
)
def test_what_make_cannot_do_is_refused(run: Any, words: Any, changes: Any, told: str) -> None:
    code, _, err = run(*(changes.get(word, word) for word in words))
    assert code != 0 and told in " ".join(err.split()), err


def test_report_takes_none_of_makes_options(run: Any, words: Any, tmp_path: Path) -> None:
    assert run(*words)[0] == 0
    for more, told in (
        (["--data", "d"], "--data is d, which is for make; drop it"),
        (["--cards", 24], "--cards is 24, which is for make; drop it"),
        (["--people", "Ann"], "--people is 'Ann', must be one who answered: nobody did yet"),
    ):
        code, _, err = run("study", "report", tmp_path / "s", *more)
        assert code != 0 and told in " ".join(err.split()), err
    code, _, err = run("study", "make", "p", "--out", tmp_path / "n")
    assert code != 0 and "--data is missing, which make needs" in err
