"""Cards: the README.md of a repository, with the metadata that a hub reads, from templates."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

import jinja2

from helip import _core
from helip.common.hub.privacy import without_paths
from helip.common.text import number, plain

#: In place of the name of a repository, where a card is written before there is one.
NO_REPOSITORY = "OWNER/NAME"
_LIBRARIES = ("torch", "open_clip_torch", "transformers")


def model_card(metadata: Mapping[str, Any], **values: Any) -> str:
    """The text of a model's README.md; ``values`` are those of templates/model_card.md."""
    from huggingface_hub import ModelCard, ModelCardData

    return str(ModelCard(_page("model", ModelCardData(**_given(metadata)), values)))


def dataset_card(metadata: Mapping[str, Any], **values: Any) -> str:
    """The text of a table's README.md; ``values`` are those of templates/dataset_card.md."""
    from huggingface_hub import DatasetCard, DatasetCardData

    return str(DatasetCard(_page("dataset", DatasetCardData(**_given(metadata)), values)))


def _page(kind: Literal["model", "dataset"], metadata: Any, values: Mapping[str, Any]) -> str:
    body = _templates().get_template(f"{kind}_card.md").render(versions=_versions(), **values)
    return f"---\n{metadata.to_yaml()}\n---\n\n{body.strip()}\n"


def _given(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metadata.items() if value is not None}


def _versions() -> list[str]:
    found = [f"helip {_core.__version__}"]
    for name in _LIBRARIES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:  # it was installed by hand
            continue
    return found


@cache
def _templates() -> jinja2.Environment:
    """Templates that refuse names they are not given."""
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("helip.common.hub"),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # Markdown
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters |= {"cell": _cell, "number": number}
    return templates


def _cell(value: Any) -> str:
    """A value in a table of Markdown: on one line, with nothing that is markup there."""
    text = plain(str(without_paths(value)))
    for mark in ("\\", "|", "*", "_", "`", "<", "["):
        text = text.replace(mark, f"\\{mark}")
    return text
