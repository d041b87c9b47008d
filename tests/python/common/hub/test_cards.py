"""Paths of a machine stay out of cards."""

from __future__ import annotations

from pathlib import Path

import pytest

from helip.common.errors import InvalidArgumentError
from helip.common.hub.cards import refuse_paths, without_paths, words_without_paths

CASES = {
    "absolute": ("/home/ada/runs/start.pt", "start.pt"),
    "of home": ("~/runs/start", "start"),
    "of Windows": ("C:\\Users\\ada\\start.pt", "start.pt"),
    "of Windows, with slashes": ("C:/Users/ada/start.pt", "start.pt"),
    "of a server": ("\\\\server\\ada\\runs\\start.pt", "start.pt"),
    "as an address": ("file:///home/ada/data", "data"),
    "an object": (Path("/home/ada/data"), "data"),
    "in words": ("cannot read /home/ada/data/a.png: gone", "cannot read a.png: gone"),
    "in quotes": ("from '/mnt/a/x' and /mnt/b", "from 'x' and b"),
    "a name": ("ViT-B-32", "ViT-B-32"),
    "a repository": ("openai/clip-vit-base-patch32", "openai/clip-vit-base-patch32"),
    "a web page": ("https://example.org/a/b", "https://example.org/a/b"),
    "fractions": ("1/2 of w/o 3 / 4", "1/2 of w/o 3 / 4"),
    "behind a colon": ("pairs:/mnt/a/b", "pairs:b"),
    "with spaces": ("/mnt/My Data/alice/x", "x"),
    "a closing tag": ("a<sub>2</sub>", "a<sub>2</sub>"),
    "an escape": ("a \\| b \\* c", "a \\| b \\* c"),
    "a token": ("https://me:hf_x@host/a/b?sig=s,t#u", "https://***@host/a/b?***"),
    "a fragment": ("s3://b/a.tar#token", "s3://b/a.tar?***"),
    "behind a bracket": ("https://host/a(1)?sig=s)t|u", "https://host/a(1)?***"),
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
    assert words_without_paths(text) == left
    assert words_without_paths("/mnt/a/run beats\n/mnt/b/c") == "run beats\nc"
    assert words_without_paths("(https://me@h/d?sig=x) | 1") == "(https://***@h/d?***) | 1"


@pytest.fixture
def machine(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setattr("os.getcwd", lambda: "/srv/acme")


@pytest.mark.parametrize(
    "text",
    [
        "https://example.org/srv/acme",
        "https://e.org/home/ada/a",
        "a/home/ada",
        "/home/adapter",
        "../home/ada/x",
    ],
    ids=range(5),
)
def test_what_is_no_path_of_the_machine_is_not_refused(machine, text):
    refuse_paths("README.md", f"see {text} there")


@pytest.mark.parametrize(
    "text",
    [
        "/home/ada/q",
        "x:/home/ada/q",
        "file:///home/ada/q",
        "=/srv/acme/x",
        "'/home/ada'",
        "a\\n/home/ada/q",
        "/srv/acme.",
    ],
    ids=range(7),
)
def test_a_path_of_the_machine_is_refused(machine, text):
    with pytest.raises(InvalidArgumentError, match="a path of this machine, and would be public"):
        refuse_paths("README.md", f"see {text}")


def test_a_working_directory_that_is_gone_or_the_root_refuses_nothing(monkeypatch):
    def gone():
        raise FileNotFoundError

    monkeypatch.setenv("HOME", "/")
    monkeypatch.setattr("os.getcwd", gone)
    refuse_paths("README.md", "see /srv")
