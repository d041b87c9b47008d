"""A study in a real browser: keys, undo, a kill, two people, narrow windows, accessibility."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import helip_view
from support.browser_samples import Viewer, opened
from support.study_samples import CARDS, unanswered

Ask = Callable[..., Viewer]
Usable = Callable[[Any], None]


@pytest.fixture
def study(folder: Path, tmp_path: Path) -> Path:
    return unanswered(folder, tmp_path / "own.study")


@pytest.fixture
def ask(folder: Path, study: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """Starts a viewer that asks the study."""
    running: list[Viewer] = []
    cache = tmp_path_factory.getbasetemp() / "cache"

    def begin(port: int = 0) -> Viewer:
        running.append(Viewer.of_study(folder, cache, study, port))
        return running[-1]

    yield begin
    for viewer in running:
        viewer.kill()


def begin_as(page: Any, viewer: Viewer, name: str) -> None:
    page.goto(viewer.address)
    page.fill('.person input[name="person"]', name)
    page.keyboard.press("Enter")
    page.wait_for_selector(".asks")


def reach(page: Any, answered: int) -> None:
    words = f"{answered} of {CARDS} answered"
    page.wait_for_function("w => document.querySelector('.place').innerText.includes(w)", arg=words)


def given(path: Path, person: str) -> list[tuple[int, str]]:
    with helip_view.Study.open(path) as opened_:
        return [(each.question, each.answer) for each in opened_.answers() if each.person == person]


def test_a_study_is_answered_by_keys_and_goes_on_after_a_kill(
    browser: Any, ask: Ask, study: Path
) -> None:
    with helip_view.Study.open(study) as opened_:
        order = [opened_.question(number) for number in opened_.order("Ann")]
    with opened(browser, known=("net::ERR_",)) as page:  # of a server that was killed
        viewer = ask()
        begin_as(page, viewer, "Ann")
        for key in "120":
            page.keyboard.press(key)  # quicker than the server
        reach(page, 3)
        page.keyboard.press("u")
        reach(page, 2)
        expected = [(order[0].number, order[0].answers[0]), (order[1].number, order[1].answers[1])]
        assert given(study, "Ann") == expected
        viewer.kill()
        assert given(study, "Ann") == expected
        again = ask(port=viewer.port)
        page.goto(again.address)
        reach(page, 2)
        for answered in range(2, CARDS):
            page.keyboard.press("0")
            reach(page, answered + 1)
        page.wait_for_selector("h1:has-text('Thank you')")
    rest = [(each.number, each.answers[-1]) for each in order[2:]]
    assert given(study, "Ann") == expected + rest


def test_two_people_answer_at_once_in_orders_of_their_own(
    browser: Any, ask: Ask, study: Path
) -> None:
    viewer = ask()
    with opened(browser) as one, opened(browser) as other:
        for page, name in ((one, "Ann"), (other, "Bo")):
            begin_as(page, viewer, name)
        for place in range(2):
            for page in (one, other):
                page.keyboard.press("1")
                reach(page, place + 1)
    with helip_view.Study.open(study) as opened_:
        for name in ("Ann", "Bo"):
            assert [n for n, _ in given(study, name)] == opened_.order(name)[:2]


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_questions_are_usable_by_everybody(
    browser: Any, ask: Ask, width: int, scheme: str, assert_usable: Usable
) -> None:
    viewer = ask()
    with opened(browser, color_scheme=scheme, bypass_csp=True) as page:
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(viewer.address)
        begun, seen = False, set()
        for answered in range(CARDS):
            title = page.inner_text("h1")
            if title not in seen:
                seen.add(title)
                assert_usable(page)
            if len(seen) == 3:
                break
            if not begun:
                begin_as(page, viewer, "Ann")
                begun = True
            else:
                page.keyboard.press("2")
                reach(page, answered)
        assert len(seen) == 3  # the name, and a question of each type


def test_it_works_without_javascript(browser: Any, ask: Ask, study: Path) -> None:
    viewer = ask()
    with opened(browser, java_script_enabled=False) as page:
        page.goto(viewer.address)
        page.fill('.person input[name="person"]', "Ann")
        page.click(".person button")
        page.click('button[data-key="1"]')
        assert f"1 of {CARDS} answered" in page.inner_text(".place")
        page.click("button:has-text('undo')")
        assert f"0 of {CARDS} answered" in page.inner_text(".place")
    assert given(study, "Ann") == []
