"""Paths of a machine in what would be public."""

from __future__ import annotations

from pathlib import Path

import pytest

from helip.common.hub.privacy import is_text, without_paths

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
    "a number": (0.5, 0.5),
    "nothing": (None, None),
}


@pytest.mark.parametrize(("given", "left"), CASES.values(), ids=CASES.keys())
def test_of_a_path_its_last_part_stays(given, left):
    assert without_paths(given) == left
    assert without_paths({"a": [given, {"b": given}]}) == {"a": [left, {"b": left}]}


def test_vocabularies_are_no_words_of_anybody():
    assert is_text("README.md") and is_text("manifest.json")
    assert not is_text("vocab.json") and not is_text("model.safetensors")
