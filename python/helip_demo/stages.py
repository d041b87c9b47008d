"""Stages of the demonstration: what each does and how long it takes; what to type after them."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

CORES = 2  # that stages are expected to have
_AS_EXPECTED = 60.0  # seconds that count as if they had taken as long as expected


@dataclass(frozen=True)
class Stage:
    """One step of the way."""

    name: str
    does: str
    expected: float  # seconds on `CORES` of an AMD EPYC (Zen 5), with nothing else running


@dataclass
class Stages:
    """Says a line before and after each stage; ``seconds`` is what each took.

    The time that is left is the expected one, times how much longer or shorter the stages so far
    took than expected. The first minute of them says little: it counts as ``slower`` times what is
    expected, which is how others hold this process up when it begins.
    """

    plan: Sequence[Stage]
    say: Callable[[str], None]
    slower: float = 1.0
    seconds: dict[str, float] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)

    def keep(self, name: str, what: str = "kept from an earlier run") -> None:
        """What this stage makes is there already: it takes next to nothing."""
        self.kept[name] = what

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """The stage of this name of the plan."""
        number = [each.name for each in self.plan].index(name)
        place = f"[{number + 1} of {len(self.plan)}] "
        stage = self.plan[number]
        if name in self.kept:
            self.say(f"{place}{name}: {self.kept[name]}")
        else:
            own = duration(stage.expected * self._pace())
            self.say(f"{place}{name}: {stage.does}; about {own}{self._to_the_end(number)}")
        began = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - began
        if name not in self.kept:
            self.say(f"{place}{name}: took {self.seconds[name]:.0f} s")

    def total(self) -> str:
        """How long all of it will take, in words."""
        where = f"on {CORES} cores" if self.slower < 1.1 else "beside what others run now"
        return f"{duration(self._expected(self.plan) * self._pace())} {where}"

    def _to_the_end(self, number: int) -> str:
        if number + 1 == len(self.plan):
            return ""
        return f", {duration(self._expected(self.plan[number:]) * self._pace())} to the end"

    def _expected(self, stages: Sequence[Stage]) -> float:
        return sum(stage.expected for stage in stages if stage.name not in self.kept)

    def _pace(self) -> float:
        done = [each for each in self.plan if each.name in self.seconds.keys() - self.kept.keys()]
        took = sum(self.seconds[stage.name] for stage in done)
        expected = sum(stage.expected for stage in done)
        return (_AS_EXPECTED * self.slower + took) / (_AS_EXPECTED + expected)


def duration(seconds: float) -> str:
    """``"40 s"``, ``"6 min"``: as exact as a guess can be."""
    if seconds < 10:
        return f"{max(1, round(seconds))} s"
    if seconds < 90:
        return f"{5 * round(seconds / 5)} s"
    return f"{round(seconds / 60)} min"


def program() -> str:
    """How the shell that started this process calls helip."""
    called = sys.argv[0]
    if Path(called).name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m helip"
    found = shutil.which("helip")
    if found is not None and os.path.exists(called) and os.path.samefile(found, called):
        return "helip"
    return shlex.quote(called)


def commands(start: str | os.PathLike[str] | None, *, data: str = "DATA") -> list[str]:
    """Embed, mine, and train from the model ``start``; without one, look at what was mined.

    They are complete: with the path of data in the place of ``data`` they run as they are.
    """
    if start is None:
        last = f"report my.pairs --data {data} --store my.store --out my.html"
    else:
        last = f"train {data} --model {shlex.quote(str(start))} --pairs my.pairs --out my.run"
    return [
        f"embed {data} --preset packaged --out my.store",
        "mine my.store --out my.pairs",
        last,
    ]


def next_words(start: str | os.PathLike[str] | None) -> str:
    """What stands under the results."""
    lines = ["Next, on data of your own:"]
    lines += [f"  {program()} {command}" for command in commands(start)]
    lines += [
        "DATA is a folder of pictures with a .txt of the same name beside each, a CSV, Parquet",
        "or tar shards. --preset packaged: the encoders of this demo; --preset paper is DINOv2",
        "and MPNet, and downloads some 500 MB.",
    ]
    if start is not None:
        lines += [
            "--model is the demo's small start model here; give the file or folder of your own",
            "CLIP, or ViT-B-32 --checkpoint laion2b_s34b_b79k, which downloads 600 MB.",
        ]
    return "\n".join(lines)
