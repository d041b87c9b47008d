"""The page and the folder of a study's results."""

from __future__ import annotations

import html
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("sklearn")

import helip_view
from helip.common.errors import InvalidArgumentError
from helip_view import report_study
from helip_view.study_report import rate_words
from support.study_samples import CARDS, make


@pytest.fixture(scope="module")
def study(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reports") / "own <i>study"
    with make(folder, path) as made:
        for name, place in (("Ann", 0), ("<b>Bo", 1)):
            made.answer_all(lambda question, place=place: question.answers[place], name)
    return path


def test_a_folder_has_the_page_the_figures_and_the_plot(study: Path, tmp_path: Path) -> None:
    written = report_study(study, tmp_path / "out", bootstrap=5)
    assert [path.name for path in written] == [
        "report.html", "results.json", "study.png", "study.svg",
    ]  # fmt: skip
    with helip_view.Study.open(study) as opened:
        results = opened.results(bootstrap=5)
    assert json.loads((tmp_path / "out" / "results.json").read_text("utf-8")) == results
    page = html.unescape(written[0].read_text(encoding="utf-8"))
    for found in (*results["caption"].values(), *results["harder"].values(), *results["pairs"]):
        assert rate_words(found) in page
    assert f"{CARDS} questions · 2 people or rules" in page
    assert "Cohen’s κ of 2" in page
    ET.parse(written[3])


def test_a_page_alone_loads_nothing_and_names_are_text(study: Path, tmp_path: Path) -> None:
    (page,) = report_study(study, tmp_path / "page.html", bootstrap=0)
    text = page.read_text(encoding="utf-8")
    assert "<b>Bo" not in text and "&lt;b&gt;Bo" in text and "<i>study" not in text
    assert "default-src 'none'" in text
    assert {each[:4] for each in re.findall(r'(?:src|href)="([^"]*)"', text)} == {"data"}
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_a_study_without_answers_has_no_report(folder: Path, tmp_path: Path) -> None:
    with make(folder, tmp_path / "s") as made:
        with pytest.raises(InvalidArgumentError, match="the study has 0 answers, must have one"):
            report_study(made, tmp_path / "page.html")
        with pytest.raises(InvalidArgumentError, match="out is None, must be the page"):
            report_study(made)
    assert not (tmp_path / "page.html").exists()
