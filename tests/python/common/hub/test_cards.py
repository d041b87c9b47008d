"""Paths of a machine stay out of cards."""

from __future__ import annotations

from pathlib import Path

import pytest

from helip.common.hub.cards import markdown_without_paths, without_paths

CASES = {
    "absolute": ("/home/ada/runs/start.pt", "start.pt"),
    "of home": ("~/runs/start", "start"),
    "of Windows": ("C:\\Users\\ada\\start.pt", "start.pt"),
    "as an address": ("file:///home/ada/data", "data"),
    "an object": (Path("/home/ada/data"), "data"),
    "in words": ("cannot read /home/ada/data/a.png: gone", "cannot read a.png: gone"),
    "in quotes": ("from '/mnt/a/x' and /mnt/b", "from 'x' and b"),
    "a name": ("ViT-B-32", "ViT-B-32"),
    "a repository": ("openai/clip-vit-base-patch32", "openai/clip-vit-base-patch32"),
    "a web page": ("https://example.org/a/b", "https://example.org/a/b"),
    "fractions": ("1/2 of w/o 3 / 4", "1/2 of w/o 3 / 4"),
    "behind a colon": ("pairs:/mnt/a/b", "pairs:b"),
    "with spaces": ("words at /mnt/My Data/alice/x", "words at x"),
    "a closing tag": ("a<sub>2</sub>", "a<sub>2</sub>"),
    "an escape": ("a \\| b \\* c", "a \\| b \\* c"),
    "a token": ("https://me:hf_x@host/a/b?sig=s,t#u", "https://***@host/a/b?***"),
    "a number": (0.5, 0.5),
    "nothing": (None, None),
}


@pytest.mark.parametrize(("given", "left"), CASES.values(), ids=CASES.keys())
def test_of_a_path_its_last_part_stays(given, left):
    assert without_paths(given) == left
    assert without_paths({"a": [given, {"b": given}]}) == {"a": [left, {"b": left}]}


def test_markdown_keeps_its_links_and_cells():
    text = "| /mnt/clients/acme/run | [page](https://e.org/a/b#c) \\| 1/2 | pairs:/mnt/x/y |"
    left = "| run | [page](https://e.org/a/b#c) \\| 1/2 | pairs:y |"
    assert markdown_without_paths(text) == left
    assert markdown_without_paths("/mnt/a/run beats\n/mnt/b/c") == "run beats\nc"
    assert markdown_without_paths("(https://me@h/d?sig=x) | 1") == "(https://***@h/d?***) | 1"
    assert markdown_without_paths(None) is None
