"""Which commands there are. Each is imported when it is called, so that the program starts soon."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Entry:
    """A command that need not be imported yet."""

    name: str
    place: str
    """Its module and function in `helip.cli.commands`."""
    words: str
    """The first sentence of its help."""

    def load(self) -> Any:
        """The `Command`, imported."""
        module, _, function = self.place.partition(".")
        return getattr(importlib.import_module(f"helip.cli.commands.{module}"), function)


#: In the order of the way.
ENTRIES: tuple[Entry, ...] = (
    Entry(
        "index",
        "data.index",
        "Index tar shards, so that they open at once; only new and changed ones are read again.",
    ),
    Entry(
        "embed",
        "data.embed",
        "Embed every image and caption; the same call goes on after an interruption.",
    ),
    Entry(
        "import",
        "importing.import_embeddings",
        "Take embeddings that another tool computed into a store, in their order.",
    ),
    Entry(
        "plan",
        "mining.plan",
        "Say what mining or an update would cost; of training, helip train --plan does.",
    ),
    Entry(
        "mine",
        "mining.mine",
        "Mine the hard pairs of every target; of a store the same call goes on where it stopped.",
    ),
    Entry("merge", "mining.merge", "Make the table of all parts that helip mine --part wrote."),
    Entry(
        "stage",
        "mining.stage",
        "Mine by clusters in stages, of units for any scheduler; alone it says what is missing.",
    ),
    Entry(
        "update",
        "mining.update",
        "Bring a table up to date with rows that were appended to its store, or deleted.",
    ),
    Entry(
        "filter",
        "filtering.filter_pairs",
        "Drop, downweight or count false negatives, by rules and by another model; mines nothing.",
    ),
    Entry(
        "verdicts",
        "verdicts.verdicts",
        "Show, merge, move and export what people said of pairs; learn from it what to judge next.",
    ),
    Entry(
        "reshard",
        "data.reshard",
        "Write the shards anew with hard pairs beside their targets, and the table renumbered.",
    ),
    Entry(
        "diagnose",
        "diagnosing.diagnose",
        "Tell before training whether hard pairs will help a model on its data.",
    ),
    Entry(
        "curate",
        "curating.curate",
        "List near duplicates, wrong captions, outliers and hubs, and which rows to keep.",
    ),
    Entry(
        "train",
        "training.train",
        "Train with hard pairs and the margin loss; the same call resumes.",
    ),
    Entry(
        "recipes",
        "training.recipes",
        "List the named recipes of helip train: each value, its reason and where that comes from.",
    ),
    Entry(
        "eval",
        "evaluation.evaluate",
        "Measure models on data sets, with 95 % intervals and paired differences.",
    ),
    Entry(
        "interpolate",
        "models.interpolate",
        "Mix the weights of two models (WiSE-FT), against forgetting.",
    ),
    Entry("export", "models.export", "Write a model so that open_clip or transformers opens it."),
    Entry(
        "push",
        "pushing.push",
        "Upload a model or a table to the Hugging Face Hub, by the token of HF_TOKEN or a login.",
    ),
    Entry(
        "copy",
        "copying.copy",
        "Copy what helip wrote to a bucket or from it, checked; the same call goes on.",
    ),
    Entry(
        "report",
        "reporting.report",
        "Write one HTML page: targets and their hard pairs, statistics, before and after.",
    ),
    Entry(
        "view",
        "viewing.view",
        "Look at hard pairs in a browser, and judge them by keys; served on this machine alone.",
    ),
    Entry(
        "study",
        "studying.study",
        "Ask people, blinded, which pools are harder and which captions also fit; report answers.",
    ),
    Entry(
        "plot",
        "plotting.plot",
        "Draw a table: scores, hubness, a map of the hardest pairs; recall, validations, gains.",
    ),
    Entry(
        "inspect",
        "inspecting.inspect",
        "Show what a store, an index of shards or of pairs, or a table of hard pairs holds.",
    ),
    Entry(
        "verify",
        "inspecting.verify",
        "Read every byte and compare checksums; of an index, also the headers of its shards.",
    ),
    Entry(
        "doctor",
        "doctor.doctor",
        "Tell versions, processor, memory, GPU, disk and extras as found here, and what is slow.",
    ),
    Entry(
        "completion",
        "completing.completion",
        "Print a script by which a shell completes commands, options and choices on Tab.",
    ),
    Entry(
        "demo",
        "demonstrating.demo",
        "Show hard pairs of 600 emoji pictures in a minute, then train with those of all in four.",
    ),
)


def load_all() -> list[Any]:
    """Every `Command`, imported."""
    return [entry.load() for entry in ENTRIES]
