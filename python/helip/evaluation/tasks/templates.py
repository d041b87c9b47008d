"""Prompt templates: strings that hold ``{}`` once, or one of open_clip's sets by its name."""

from __future__ import annotations

from collections.abc import Sequence

from helip.common.errors import InvalidArgumentError

DEFAULT_TEMPLATES = (
    "a photo of a {}.",
    "a photo of the {}.",
    "a close-up photo of a {}.",
    "a photo of many {}.",
    "a picture of a {}.",
    "a drawing of a {}.",
    "{}.",
)

#: The 80 prompts of CLIP's paper for ImageNet, and the 7 that do nearly as well.
TEMPLATE_SETS = {
    "openai_imagenet_template": "OPENAI_IMAGENET_TEMPLATES",
    "simple_imagenet_template": "SIMPLE_IMAGENET_TEMPLATES",
}


def checked_templates(templates: str | Sequence[str] | None) -> list[str]:
    """The templates meant: None the default ones, a string one template or a set's name."""
    if templates is None:
        return list(DEFAULT_TEMPLATES)
    if isinstance(templates, str):
        templates = [templates] if "{}" in templates else _named(templates)
    if not templates:
        raise InvalidArgumentError("templates is empty; give at least one, such as '{}'")
    for template in templates:
        if template.count("{}") != 1:
            raise InvalidArgumentError(
                f"template {template!r} holds '{{}}' {template.count('{}')} times; it must hold "
                "it once, where the class name goes"
            )
    return list(templates)


def template_set(templates: str | Sequence[str] | None) -> str:
    """What to call them: "default", the name of open_clip's set that they are, or "own"."""
    if templates is None:
        return "default"
    chosen = checked_templates(templates)
    same = (name for name in TEMPLATE_SETS if _named(name) == chosen)
    return next(same, "own")


def _named(name: str) -> list[str]:
    if name not in TEMPLATE_SETS:
        raise InvalidArgumentError(
            f"templates is {name!r}; give strings that hold '{{}}' once, or one of "
            f"{', '.join(TEMPLATE_SETS)}"
        )
    import open_clip

    # open_clip's templates are functions of the class name.
    return [template("{}") for template in getattr(open_clip, TEMPLATE_SETS[name])]
