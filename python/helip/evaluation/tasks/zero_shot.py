"""Zero-shot classification: prompts, class embeddings by ensembling, accuracy.

Prompt templates are strings that hold ``{}`` once, or one of open_clip's sets by its name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from helip.common.errors import InvalidArgumentError
from helip.common.options import check, require
from helip.common.text import first_of
from helip.evaluation.encoding import Subject
from helip.evaluation.options import Ties
from helip.evaluation.statistics.intervals import Ints, Outcomes, share_outcomes
from helip.evaluation.tasks.queries import Labelled, checked_numbers, checked_rows, digest_of
from helip.evaluation.tasks.retrieval import Right, count_ranks, rule_of

KS = (1, 5)
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


def zero_shot(
    image_features: Any,
    labels: Any,
    class_features: Any,
    *,
    class_names: Sequence[str],
    ties: str = "against",
    chunk: int = 4096,
    device: str | torch.device = "cpu",
    bootstrap: int = 1000,
    seed: int = 0,
    keep_ranks: bool = False,
) -> dict[str, Any]:
    """Top-1, top-5 and mean-per-class accuracy of nearest class embeddings by cosine.

    ``image_features`` [n, d], ``labels`` int [n] in [0, C), ``class_features`` [C, d]. Ties count
    against the model, or for it (``ties="for"``). ``mean_per_class`` averages the top-1 accuracy of
    the classes that have pictures; the others are listed in ``classes_without_samples``. Returns
    figures ``{"value", "low", "high", "n"}``; with ``keep_ranks`` also ``per_query``.
    """
    images = checked_rows(image_features, "image_features", device)
    classes = checked_rows(class_features, "class_features", device)
    count = f"{len(classes)}, one a class feature"
    require(len(class_names) == len(classes), "the number of class names", len(class_names), count)
    numbers = checked_labels(labels, "labels", len(images), len(classes))
    check("ties", ties, Ties)
    right = Right(np.arange(len(images) + 1, dtype=np.int64), numbers)
    ranks = count_ranks(images, classes, right, chunk=chunk, ties=ties)
    found = class_figures(
        ranks, numbers, class_names, bootstrap=bootstrap, seed=seed, keep_ranks=keep_ranks
    )
    return found | {"ties": ties}


def class_figures(
    ranks: Ints,
    labels: Ints,
    class_names: Sequence[str],
    *,
    bootstrap: int,
    seed: int,
    keep_ranks: bool,
) -> dict[str, Any]:
    """Figures of a classifier; ``ranks`` int64 [n], from 1, are those of the right classes."""
    sizes = np.bincount(labels, minlength=len(class_names))
    result = class_outcomes(ranks, labels, class_names).figures(bootstrap=bootstrap, seed=seed)
    result["classes"] = len(class_names)
    result["classes_without_samples"] = [
        n for n, size in zip(class_names, sizes, strict=True) if not size
    ]
    if keep_ranks:
        result["per_query"] = {"ranks": ranks.tolist(), "labels": labels.tolist()}
    return result


def checked_labels(labels: Any, name: str, rows: int, classes: int) -> Ints:
    """Labels as int64 [rows], each the number of a class."""
    return checked_numbers(labels, name, count=rows, of="pictures", below=classes)


def class_outcomes(ranks: Ints, labels: Ints, class_names: Sequence[str]) -> Outcomes:
    """Top-1, top-5, mean per class, then the top-1 accuracy of each class with pictures."""
    places = [("per_class", name) for name in class_names]
    return share_outcomes({f"top{k}": ranks <= k for k in KS}, labels, "mean_per_class", places)


def named_classes(
    classes: Sequence[str] | Mapping[str, str] | None, labels: Sequence[str | None]
) -> dict[str, str]:
    """Label → the name that goes into prompts; without ``classes`` the sorted labels themselves."""
    if classes is None:
        classes = sorted({label for label in labels if label is not None})
        if not classes:
            raise InvalidArgumentError(
                "no row of the data set has a label; give label_of, or leave classification out "
                "of tasks"
            )
    names = dict(classes) if isinstance(classes, Mapping) else {name: name for name in classes}
    if not isinstance(classes, Mapping) and len(names) != len(classes):
        twice = [name for name, count in Counter(classes).items() if count > 1]
        raise InvalidArgumentError(
            f"classes occur more than once: {first_of(map(repr, twice), 10)}; the right answer "
            "would be a tie, so name each class once"
        )
    if not names:
        raise InvalidArgumentError("classes is empty; give at least one class name")
    same = [name for name, count in Counter(names.values()).items() if count > 1]
    if same:
        raise InvalidArgumentError(
            f"several classes have the same prompt name: {first_of(map(repr, same), 10)}; give "
            "each its own"
        )
    return names


def label_numbers(labels: Sequence[str], names: Mapping[str, str]) -> Ints:
    """The class number of each label; names every label that is not among the classes."""
    numbers = {label: number for number, label in enumerate(names)}
    unknown = sorted({label for label in labels if label not in numbers})
    if unknown:
        raise InvalidArgumentError(
            f"{len(unknown)} labels of the data set are not among the {len(names)} classes: "
            f"{first_of(map(repr, unknown), 10)}; add them to classes, or let label_of return None "
            "for their rows"
        )
    return np.array([numbers[label] for label in labels], dtype=np.int64)


def class_embeddings(
    names: Sequence[str],
    templates: str | Sequence[str] | None,
    encode: Callable[[list[str]], torch.Tensor],
) -> torch.Tensor:
    """One embedding a class, float32 [C, d]: the mean of its normalised prompt embeddings.

    ``encode`` turns strings into features [n, d]. ``templates``: see ``checked_templates``.
    """
    chosen = checked_templates(templates)
    # replace, not format: names and templates may hold other braces.
    prompts = [template.replace("{}", name) for name in names for template in chosen]
    features = checked_rows(encode(prompts), "prompt features", "cpu")
    mean = features.reshape(len(names), len(chosen), -1).mean(dim=1)
    return torch.nn.functional.normalize(mean, dim=1)


def zero_shot_task(
    subject: Subject,
    measured: Labelled,
    names: Mapping[str, str],
    templates: str | Sequence[str] | None,
    ties: str,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    prompts: list[str] = []

    def encode_prompts(strings: list[str]) -> torch.Tensor:
        prompts.extend(strings)
        return subject.texts(strings)

    result = zero_shot(
        measured.features,
        label_numbers(measured.labels, names),
        class_embeddings(list(names.values()), templates, encode_prompts),
        class_names=list(names),
        ties=ties,
        **options,
    )
    result["template_set"] = template_set(templates)
    result["templates"] = checked_templates(templates)
    result["truncated"] = subject.truncated(prompts)
    result["queries"] = digest_of(
        names, measured.keys, measured.labels, *filter(None, [rule_of(ties)])
    )
    return result
