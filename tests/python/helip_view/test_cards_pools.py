"""Pools by several rules: the cards of the report, served; none of their pictures is waited for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette")

import helip
from helip_view.cards import SHOWN
from helip_view.thumbnails import Thumbnails


def strips(page: str) -> list[tuple[str, list[str]]]:
    """Each strip by its kind, with its cards but for their pictures."""
    found = []
    for kind, body in re.findall(r'(?s)<section class="strip (\w+)">(.*?)</section>', page):
        cards = re.findall(r'(?s)<li class="card">.*?</li>', body)
        picture = r'(?s)<img [^>]*>|<div class="picture missing".*?</div>'
        found.append((kind, [re.sub(picture, "PICTURE", card).strip() for card in cards]))
    return found


def test_cards_are_those_of_the_report(client: Any, folder: Path, tmp_path: Path) -> None:
    out = helip.report(
        folder / "pairs", folder / "pictures", store=folder / "store", rows=[12], hard=SHOWN,
        out=tmp_path / "page.html", progress=False,
    )  # fmt: skip
    served, frozen = strips(client.get("/pools?row=12").text), strips(out.read_text("utf-8"))
    assert [kind for kind, _ in frozen] == ["product", "image", "text"]
    assert served[:3] == frozen
    assert [kind for kind, _ in served[3:]] == ["other", "other"]  # the towers of both models
    assert all(len(cards) > 3 and "PICTURE" in cards[0] for _, cards in served)


def test_a_page_does_not_wait_for_its_pictures(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(*_: object) -> bytes:
        raise AssertionError("a picture was made")

    with monkeypatch.context() as patched:
        patched.setattr(Thumbnails, "get", made)
        page = client.get("/pools?row=13").text
    assert page.count('loading="lazy"') > 20
    address = re.search(r'src="(/picture/[^"]+)"', page)
    assert address is not None
    assert client.get(address[1]).headers["content-type"] == "image/webp"
