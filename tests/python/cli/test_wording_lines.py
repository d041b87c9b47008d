"""The line of a command with given options: typed in, it gives the same ones."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
import yaml

from helip.cli.main import make_app
from helip.cli.wording import line_of


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mine", {"store": "s", "out": "p", "k": 7, "signed": True}),
        ("mine", {"image": "i.npy", "text": "my t.npy", "out": "p"}),
        ("import", {"image": ["a.npy", "b.npy"], "text": ["t.npy"], "out": "s"}),
        ("train", {"data": "d", "model": "m", "out": "o", "betas": [0.8, 0.9], "resume": False}),
        ("eval", {"data": ["x=a", "b"], "model": ["m=1", "n"], "tasks": ["retrieval"]}),
        ("report", {"pairs": "p", "data": "d", "out": "r", "target": ["a", "b"], "title": "-x"}),
        ("interpolate", {"start": "a", "tuned": "b", "out": "c", "alpha": [0.25, 0.5]}),
    ],
    ids=lambda value: value if isinstance(value, str) else str(len(value)),
)
def test_it_gives_the_options_that_it_was_made_of(
    name: str, options: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*shlex.split(line_of(name, **options))[1:], "--print-config"]
    make_app()(words, exit_on_error=False, print_error=False)
    printed = yaml.safe_load(capsys.readouterr().out)
    assert options.items() <= printed.items()


def test_it_leaves_out_defaults_and_what_the_command_does_not_know() -> None:
    assert line_of("mine", store="s", out="p", seed=0, root="r") == "helip mine s --out p"
    assert line_of("mine", store="s", out="p", seed=None) == "helip mine s --out p"
