"""Which commands there are. Each is imported when it is called, so that the program starts soon."""

from __future__ import annotations

import ast
import importlib
from dataclasses import dataclass
from importlib import resources
from typing import Any


@dataclass(frozen=True)
class Entry:
    """A command that need not be imported yet."""

    name: str
    place: str
    """Its module and function in `helip.cli.commands`."""

    def load(self) -> Any:
        """The `Command`, imported."""
        module, _, function = self.place.partition(".")
        return getattr(importlib.import_module(f"helip.cli.commands.{module}"), function)

    def words(self) -> str:
        """The first sentence of its help, read from its source."""
        module, _, function = self.place.partition(".")
        source = (resources.files("helip.cli.commands") / f"{module}.py").read_text("utf-8")
        work = next(
            node
            for node in ast.parse(source).body
            if isinstance(node, ast.FunctionDef) and node.name == function
        )
        first = (ast.get_docstring(work) or "").partition("\n\n")[0]
        return " ".join(first.split())


#: In the order of the way.
ENTRIES: tuple[Entry, ...] = (
    Entry("index", "data.index"),
    Entry("embed", "data.embed"),
    Entry("import", "data.import_embeddings"),
    Entry("plan", "mining.plan"),
    Entry("mine", "mining.mine"),
    Entry("negatives", "mining.negatives"),
    Entry("merge", "mining.merge"),
    Entry("stage", "mining.stage"),
    Entry("update", "mining.update"),
    Entry("filter", "pairs.filter_pairs"),
    Entry("verdicts", "verdicts.verdicts"),
    Entry("label", "pairs.label"),
    Entry("pack", "data.pack"),
    Entry("reshard", "data.reshard"),
    Entry("batches", "pairs.batches"),
    Entry("diagnose", "pairs.diagnose"),
    Entry("curate", "pairs.curate"),
    Entry("train", "training.train"),
    Entry("recipes", "training.recipes"),
    Entry("eval", "evaluation.evaluate"),
    Entry("interpolate", "models.interpolate"),
    Entry("export", "models.export"),
    Entry("push", "pushing.push"),
    Entry("copy", "pushing.copy"),
    Entry("report", "reporting.report"),
    Entry("view", "viewing.view"),
    Entry("study", "viewing.study"),
    Entry("plot", "reporting.plot"),
    Entry("inspect", "inspecting.inspect"),
    Entry("verify", "inspecting.verify"),
    Entry("doctor", "doctor.doctor"),
    Entry("completion", "doctor.completion"),
    Entry("demo", "doctor.demo"),
)


def load_all() -> list[Any]:
    """Every `Command`, imported."""
    return [entry.load() for entry in ENTRIES]
