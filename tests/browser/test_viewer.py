"""The viewer in a real browser: keys, verdicts, hostile captions, narrow windows, accessibility."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helip.verdicts.verdicts import Verdicts
from support.browser_samples import Viewer, opened
from support.view_samples import HOSTILE, ROWS

Start = Callable[..., Viewer]
Usable = Callable[[Any], None]


def at(page: Any) -> str:
    """The place in the order, as the page says it."""
    return page.inner_text(".place").split(" · ")[0]


def press(page: Any, key: str) -> None:
    """A key, and the card that it leads to."""
    before = page.inner_text("main")
    page.keyboard.press(key)
    page.wait_for_function("b => document.querySelector('main').innerText !== b", arg=before)


def judge_as(page: Any, key: str, name: str) -> None:
    """The first verdict of a person."""
    page.keyboard.press(key)
    page.fill('.person input[name="person"]', name)
    page.keyboard.press("Enter")
    page.wait_for_selector(".person", state="detached")


def said_in(path: Path) -> list[tuple[str, str]]:
    with Verdicts.open(path) as verdicts:
        return [(each.person, each.verdict) for each in verdicts]


def test_it_opens_filters_and_a_link_shows_the_same(page: Any, start: Start, browser: Any) -> None:
    viewer = start()
    page.goto(viewer.address)
    assert "token" not in page.url
    page.click("text=Near duplicates")
    page.wait_for_selector("h1:has-text('Near duplicates')")
    page.keyboard.press("/")
    page.keyboard.type("kite")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("q=kite"))
    press(page, "j")
    press(page, "ArrowRight")
    press(page, "ArrowDown")
    press(page, "k")
    press(page, "ArrowDown")
    assert at(page).startswith("2 of ")
    assert len(page.query_selector_all("mark")) >= 6
    shown = page.inner_text(".pair")
    page.reload()
    assert page.inner_text(".pair") == shown
    page.go_back()
    page.wait_for_function("() => !location.search.includes('rank')")
    with opened(browser, known=("403",)) as other:
        other.goto(viewer.home + "/")
        assert "The token is missing" in other.inner_text("body")


def test_verdicts_by_keys_survive_a_kill(browser: Any, start: Start, tmp_path: Path) -> None:
    with opened(browser, known=("net::ERR_",)) as page:  # of a server that was killed
        kill_in_mid_verdict(page, start, tmp_path)


def kill_in_mid_verdict(page: Any, start: Start, tmp_path: Path) -> None:
    viewer = start()
    page.goto(viewer.address + "&way=rows&at=12")
    judge_as(page, "1", "Ann")
    for key in "234":
        page.keyboard.press(key)  # quicker than the server
    page.wait_for_function("() => document.querySelector('.place').innerText.startsWith('17 of')")
    assert page.input_value('.who input[name="person"]') == "Ann"
    press(page, "u")
    assert at(page) == f"16 of {ROWS}"
    page.keyboard.press("5")
    viewer.kill()  # while the verdict is on its way, or kept
    before = said_in(tmp_path / "own.verdicts")
    assert before[:3] == [("Ann", "keep"), ("Ann", "false negative"), ("Ann", "near duplicate")]
    again = start(port=viewer.port)
    page.goto(again.address + "&state=judged")
    assert at(page) == f"1 of {len(before)}"
    assert "by Ann" in page.inner_text(".said")


def test_two_people_judge_at_once(start: Start, browser: Any, tmp_path: Path) -> None:
    viewer = start()
    with opened(browser) as one, opened(browser) as other:
        for page, key, name in ((one, "1", "Ann"), (other, "2", "Bo")):
            page.goto(viewer.address + "&way=rows&at=20")
            judge_as(page, key, name)
        one.goto(viewer.home + "/?way=rows&at=20")
        words = one.inner_text(".said")
        assert "keep by Ann" in words and "false negative by Bo" in words
    assert sorted(said_in(tmp_path / "own.verdicts")) == [("Ann", "keep"), ("Bo", "false negative")]


@pytest.mark.parametrize("row", sorted(HOSTILE))
def test_captions_cannot_act_nor_break_the_page(page: Any, start: Start, row: int) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(start().address + f"&way=rows&at={row}")
    assert page.evaluate("window.harmed") is None
    assert page.query_selector("main script, main [onerror], main [onload]") is None
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 390
    assert page.evaluate("document.querySelector('.words').clientHeight") < 260


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_usable_by_everybody(
    browser: Any, start: Start, width: int, scheme: str, assert_usable: Usable
) -> None:
    viewer = start()
    with opened(browser, color_scheme=scheme, bypass_csp=True) as page:
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(viewer.address + "&way=margin")
        for open_help in (False, True):
            if open_help:
                page.keyboard.press("?")
                page.wait_for_selector("dialog[open]")
            assert_usable(page)


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_other_pages_are_usable_by_everybody(
    browser: Any, start: Start, width: int, scheme: str, assert_usable: Usable
) -> None:
    viewer = start()
    with opened(browser, color_scheme=scheme, bypass_csp=True) as page:
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(viewer.address)
        for address in ("/?way=next", "/pools?row=12", "/map", "/seek"):
            page.goto(viewer.home + address)
            assert_usable(page)


def test_nothing_moves_while_pictures_come(page: Any, start: Start) -> None:
    page.add_init_script(
        "window.moved = 0; new PerformanceObserver(list => { for (const e of list.getEntries()) "
        "if (!e.hadRecentInput) window.moved += e.value; })"
        ".observe({ type: 'layout-shift', buffered: true });"
    )
    page.goto(start().address + "&way=hubs")
    page.wait_for_load_state("networkidle")
    assert page.evaluate("window.moved") < 0.01


def test_it_works_without_javascript(browser: Any, start: Start, tmp_path: Path) -> None:
    viewer = start()
    with opened(browser, java_script_enabled=False) as page:
        page.goto(viewer.address + "&way=rows&at=12")
        page.click('a[rel="next"]')
        assert at(page) == f"14 of {ROWS}"
        page.click("button:has-text('unsure')")
        page.fill('.person input[name="person"]', "Ann")
        page.click(".person button")
        assert at(page) == f"15 of {ROWS}"
        page.click("button:has-text('undo')")
        assert at(page) == f"14 of {ROWS}"
    assert said_in(tmp_path / "own.verdicts") == []


def test_a_region_of_the_map_gives_its_pairs(browser: Any, start: Start) -> None:
    viewer = start()
    with opened(browser) as page:
        page.goto(viewer.address)
        page.click("nav >> text=Map")
        page.wait_for_selector('canvas[data-ready="joint score"]')
        page.select_option("#map-by", "hubness")
        page.wait_for_selector('canvas[data-ready="joint hubness"]')
        assert f"{ROWS} rows" in page.inner_text("#map-told")
        box = page.query_selector("#map").bounding_box()
        middle = box["x"] + box["width"] / 2
        page.focus("#map")
        page.keyboard.press("ArrowLeft")  # a movement, after which all rows are drawn again
        page.keyboard.press("ArrowRight")
        page.wait_for_selector('canvas[data-every="1"]')
        page.keyboard.down("Shift")
        page.mouse.move(middle, box["y"] + 2)
        page.mouse.down()
        for x, y in ((1, 0), (1, 1), (0, 1)):  # the right half
            page.mouse.move(
                middle + x * (box["width"] / 2 - 4), box["y"] + 4 + y * (box["height"] - 8)
            )
        page.mouse.up()
        page.keyboard.up("Shift")
        page.wait_for_url(re.compile("region=joint"))
        assert 0 < int(at(page).split(" of ")[1]) < ROWS


def test_pages_with_other_parts_are_whole_after_a_step_between_them(
    browser: Any, start: Start
) -> None:
    viewer = start()
    with opened(browser) as page:
        page.goto(viewer.address)
        page.goto(viewer.home + "/seek")  # it has no list of keys
        page.click(".brand a")
        page.wait_for_selector(".pair")
        page.keyboard.press("?")
        page.wait_for_selector("dialog[open]")
        page.keyboard.press("Escape")
        page.goto(viewer.home + "/map")
        page.click(".brand a")
        page.wait_for_selector(".pair")
        page.go_back()  # to a page with a script of its own
        page.wait_for_selector('canvas[data-ready="joint score"]')
