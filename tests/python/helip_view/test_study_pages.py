"""What the pages of a study show, take and refuse."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette")

import helip_view
from support.study_samples import CARDS, study_client, unanswered, with_other_kinds
from support.view_samples import OWN, TOKEN


@pytest.fixture
def study(folder: Path, tmp_path: Path) -> Path:
    """A study without answers."""
    return unanswered(folder, tmp_path / "study")


def call_me(client: Any, name: str) -> str:
    return client.post("/name", data={"person": name}, headers=OWN).text


def number_of(page: str) -> int:
    return int(re.search(r'name="question" value="(\d+)"', page)[1])


def answer(client: Any, page: str, key: str) -> str:
    """What the button of that key sends."""
    value = re.search(rf'name="answer" value="(\w+)" data-key="{key}"', page)[1]
    sent = {"question": str(number_of(page)), "answer": value}
    return client.post("/answer", data=sent, headers=OWN).text


def all_pages(client: Any, name: str = "Ann") -> list[str]:
    """Every page from the first question to the last, each answered."""
    pages = [call_me(client, name)]
    for place in range(CARDS):
        pages.append(answer(client, pages[-1], "102"[place % 3]))
    return pages


def test_a_name_is_asked_first_and_must_be_one(folder: Path, study: Path) -> None:
    with study_client(folder, study) as client:
        assert "Who answers?" in client.get("/").text
        for wrong in ("", "   ", "a\nb", "x" * 101):
            refused = client.post("/name", data={"person": wrong}, headers=OWN)
            assert refused.status_code == 400 and "must be a name of 1 to 100" in refused.text
        sent = {"question": "1", "answer": "1"}
        assert "Who answers?" in client.post("/answer", data=sent, headers=OWN).text
        assert "0 of 16 answered" in call_me(client, "Ann")


def test_answers_are_kept_in_the_order_of_the_person(folder: Path, study: Path) -> None:
    with study_client(folder, study) as client:
        pages = all_pages(client)
    assert "All questions are answered" in pages[-1]
    with helip_view.Study.open(study) as opened:
        given = opened.answers()
        assert [number_of(page) for page in pages[:-1]] == opened.order("Ann")
        assert [each.question for each in given] == opened.order("Ann")
        for place, each in enumerate(given):
            expected = {"1": 0, "2": 1, "0": 2}["102"[place % 3]]
            assert each.answer == opened.question(each.question).answers[expected]


def test_what_is_shown_are_the_rows_of_the_question(folder: Path, study: Path) -> None:
    with study_client(folder, study) as client, helip_view.Study.open(study) as opened:
        for page in all_pages(client)[:-1]:
            question = opened.question(number_of(page))
            shown = re.findall(r'src="/picture/(\d+)\?', page)
            if question.type == "harder":
                assert [int(row) for row in shown] == list(question.rows)
                assert len(re.findall(r"shade number|script|zero|very long|svg", page)) >= 7
            else:
                assert [int(row) for row in shown] == [question.target]


def test_pages_do_not_depend_on_the_kinds(folder: Path, study: Path, tmp_path: Path) -> None:
    """Whatever made the pools, the same rows give the same bytes: nothing tells the kinds."""
    (tmp_path / "renamed").mkdir()
    renamed = Path(shutil.copy(study, tmp_path / "renamed" / "study"))
    kinds = {"product": "random", "random": "text", "text": "image", "image": "product"}
    with_other_kinds(renamed, kinds)
    with helip_view.Study.open(study) as one, helip_view.Study.open(renamed) as two:
        assert [q.rows for q in one.questions] == [q.rows for q in two.questions]
        assert [q.kinds for q in one.questions] != [q.kinds for q in two.questions]

    def shown(path: Path) -> dict[int, str]:
        found = {}
        with study_client(folder, path) as client:
            for page in all_pages(client)[:-1]:
                # Places in the person's order, and the mark of the viewer, differ.
                plain = re.sub(r"\?of=\w+|\d+ of 16|Question \d+|value=\"\d+\" aria", "", page)
                found[number_of(page)] = re.sub(r" disabled", "", plain)
        return found

    pages = shown(study)
    assert len(pages) == CARDS
    assert pages == shown(renamed)


def test_undo_asks_the_last_question_again(folder: Path, study: Path) -> None:
    with study_client(folder, study) as client:
        first = call_me(client, "Ann")
        second = answer(client, first, "1")
        assert number_of(second) != number_of(first)
        again = client.post("/undo", headers=OWN).text
        assert number_of(again) == number_of(first)
        assert "0 of 16 answered" in client.post("/undo", headers=OWN).text


def test_people_have_orders_of_their_own_and_go_on_where_they_stopped(
    folder: Path, study: Path
) -> None:
    with study_client(folder, study) as client:
        ann = answer(client, call_me(client, "Ann"), "1")
        assert "0 of 16 answered" in call_me(client, "Bo")
    with study_client(folder, study) as client:
        assert number_of(call_me(client, "Ann")) == number_of(ann)
    with helip_view.Study.open(study) as opened:
        assert opened.order("Ann") != opened.order("Bo")
        assert sorted(opened.order("Ann")) == sorted(opened.order("Bo"))


def test_what_is_not_of_the_study_is_refused(folder: Path, study: Path) -> None:
    with study_client(folder, study) as client:
        page = call_me(client, "Ann")
        for sent, words in (
            ({"question": "17", "answer": "1"}, "question is 17, must be a question of the study"),
            ({"question": "x", "answer": "1"}, "question is &#39;x&#39;, must be 1 to 16"),
            ({"question": str(number_of(page)), "answer": "9"}, "answer is &#39;9&#39;, must be"),
        ):
            refused = client.post("/answer", data=sent, headers=OWN)
            assert refused.status_code == 400 and words in refused.text
        for address in ("/pools?row=1", "/map", "/seek", "/go?to=1", "/verdict", "/static/x"):
            assert client.get(address).status_code == 404
        with helip_view.Study.open(study) as opened:
            hidden = set(range(40)) - {row for q in opened.questions for row in q.rows}
            assert opened.answers() == []
        for row in (*sorted(hidden)[:1], "999", "-1"):
            assert client.get(f"/picture/{row}").status_code == 400


def test_who_does_not_know_the_token_or_comes_from_elsewhere_is_refused(
    folder: Path, study: Path
) -> None:
    with study_client(folder, study) as client:
        call_me(client, "Ann")
        sent = {"question": "1", "answer": "1"}
        for headers in ({}, {"origin": "http://elsewhere"}, {**OWN, "host": "elsewhere"}):
            assert client.post("/answer", data=sent, headers=headers).status_code == 403
        client.cookies.clear()
        assert client.get("/").status_code == 403
        policy = client.get(f"/?token={TOKEN}").headers["content-security-policy"]
        assert "default-src 'none'" in policy
    with helip_view.Study.open(study) as opened:
        assert opened.answers() == []
