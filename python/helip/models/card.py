"""The card of a model: what is known of it, of its training and of how to open it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from helip.common.hub.cards import NO_REPOSITORY, model_card
from helip.common.hub.privacy import markdown_without_paths, without_paths
from helip.models.options import ModelCardOptions

_RUN_FACTS = ("data", "recipe", "control", "strategy", "batch_size")  # told apart from the options


@dataclass(frozen=True)
class RunFacts:
    """What a training run on disk knows of itself."""

    options: Mapping[str, Any]  # that decide what it computed
    steps: int
    seconds: float
    weights: str = "those of the last step"
    captions_at_limit: int = 0
    validation: Mapping[str, Any] = field(default_factory=dict)
    guard: Mapping[str, Any] = field(default_factory=dict)

    def told(self) -> dict[str, Any]:
        """For the card; no paths of the machine."""
        options = without_paths(self.options)
        stated = self.guard if {"words", "step"} <= self.guard.keys() else {}
        measured = self.validation if {"figure", "value", "step"} <= self.validation.keys() else {}
        return {
            **{name: options.get(name) for name in _RUN_FACTS},
            "plain": options.get("pairs") is None and options.get("streaming") is None,
            "options": [(name, value) for name, value in sorted(options.items())],
            "steps": self.steps,
            "seconds": self.seconds,
            "weights": self.weights,
            "captions_at_limit": self.captions_at_limit,
            "validation": without_paths(measured),
            "guard": without_paths(stated),
        }


def card_of_model(
    name: str,
    parameters: int,
    layouts: Sequence[str],
    left_out: str,
    options: ModelCardOptions,
    run: RunFacts | None,
    repository: str = NO_REPOSITORY,
) -> str:
    """The text of README.md. layouts: libraries that open it; left_out: why another does not."""
    metadata = {
        "library_name": layouts[0],
        "pipeline_tag": "zero-shot-image-classification",
        "license": options.license,
        "base_model": options.base_model,
        "tags": ["clip", "helip", *layouts],
    }
    title = name if repository == NO_REPOSITORY else repository.rsplit("/", 1)[-1]
    return model_card(
        metadata,
        title=without_paths(title),
        parameters=parameters,
        layouts=layouts,
        left_out=left_out,
        repository=repository,
        run=None if run is None else run.told(),
        data=options.data,
        results=markdown_without_paths(options.results),
        license=options.license,
    )
