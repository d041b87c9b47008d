"""Linear probe: logistic regression on a frozen model's image embeddings.

The classifier minimises  Σᵢ −log softmax(W xᵢ + b)[yᵢ] + λ/2 ‖W‖²  (scikit-learn's objective with
C = 1/λ) by L-BFGS in float64 over all rows at once. λ is chosen on a held-out part of the training
features: seven values from 1e-6 to 1e6, then steps halved around the best down to eight values a
decade (arXiv 2103.00020, A.3); the classifier that is measured is fitted to all training rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge, Gt, Lt

from helip.common.errors import InvalidArgumentError
from helip.common.options import Positive, check, require
from helip.common.text import first_of
from helip.evaluation.encoding import Subject, encode
from helip.evaluation.statistics.intervals import Ints
from helip.evaluation.tasks.queries import Labelled, checked_rows, digest_of, require_one_width
from helip.evaluation.tasks.zero_shot import checked_labels, class_figures, label_numbers

LAMBDAS = np.logspace(-6.0, 6.0, 97)  # eight a decade
COARSE = 16  # of them between two of the first seven
MAX_ITERATIONS = 1000
BLOCK = 2**22  # elements of a block of rows, in float64
TOLERANCE = 1e-6  # largest gradient of the mean loss where a fit ends
SWEEP_TOLERANCE = 1e-4  # while λ is chosen
_TINY = 1e-15  # curvature of axes along which rows do not vary


def linear_probe(
    train_features: Any,
    train_labels: Any,
    image_features: Any,
    labels: Any,
    *,
    class_names: Sequence[str],
    regularisation: float | None = None,
    validation: float = 0.2,
    max_iterations: int = MAX_ITERATIONS,
    device: str | torch.device = "cpu",
    bootstrap: int = 1000,
    seed: int = 0,
    keep_ranks: bool = False,
) -> dict[str, Any]:
    """Top-1, top-5 and mean-per-class accuracy of logistic regression on image features.

    ``train_features`` [m, d] and ``image_features`` [n, d] of any float dtype, scaled to rows of
    norm 1; ``train_labels`` int [m] and ``labels`` int [n] in [0, C), C names in ``class_names``.

    ``regularisation`` is λ. None chooses it by the top-1 accuracy, then by the loss, on
    ``validation``, a share of each class's training rows drawn with ``seed``; a class keeps at
    least one row to train on. Ties between classes count against the model.

    Returns figures as ``zero_shot`` does. Their intervals are over the pictures that are measured;
    the classifier is taken as given. Beside them: ``regularisation``, ``validation_accuracy`` (None
    where λ was given), ``train_rows``, ``validation_rows``, ``iterations`` and ``converged``.
    """
    classes = len(class_names)
    require(classes >= 2, "the number of classes", classes, "at least 2")
    check("regularisation", regularisation, Annotated[float, Ge(0)] | None)
    check("validation", validation, Annotated[float, Gt(0), Lt(1)])
    check("max_iterations", max_iterations, Positive)
    rows = checked_rows(train_features, "train_features", device)
    images = checked_rows(image_features, "image_features", device)
    require_one_width(rows, images, ("train_features", "image_features"))
    numbers = checked_labels(train_labels, "train_labels", len(rows), classes)
    wanted = checked_labels(labels, "labels", len(images), classes)
    _check_classes(numbers, wanted, class_names)

    chosen: dict[str, Any] = {"validation_accuracy": None, "validation_rows": 0}
    start = None
    if regularisation is None:
        held_out = _held_out(numbers, validation, seed)
        regularisation, accuracy, start = _choose(rows, numbers, held_out, classes, max_iterations)
        chosen = {"validation_accuracy": accuracy, "validation_rows": int(held_out.sum())}
    probe = fit(
        rows, numbers, classes, regularisation=regularisation, start=start,
        max_iterations=max_iterations,
    )  # fmt: skip
    ranks = _ranks(probe, images, wanted)
    figures = class_figures(
        ranks, wanted, class_names, bootstrap=bootstrap, seed=seed, keep_ranks=keep_ranks
    )
    return figures | {
        "regularisation": float(regularisation),
        **chosen,
        "train_rows": len(rows),
        "iterations": probe.iterations,
        "converged": probe.converged,
    }


@dataclass(frozen=True)
class Probe:
    """A fitted classifier."""

    weights: torch.Tensor  # float64 [C, d + 1]; the last column is the bias
    iterations: int
    converged: bool  # the gradient vanished before the iterations ran out

    def logits(self, rows: torch.Tensor) -> torch.Tensor:
        """float64 [n, C] of rows [n, d]."""
        return rows.double() @ self.weights[:, :-1].T + self.weights[:, -1]


@dataclass(frozen=True)
class Basis:
    """The principal axes of rows: coordinates in which the loss is about as steep in each."""

    mean: torch.Tensor  # float64 [d]
    axes: torch.Tensor  # float64 [d, d], one a column
    variances: torch.Tensor  # float64 [d]

    @classmethod
    def of(cls, rows: torch.Tensor) -> Basis:
        n, width = rows.shape
        mean = rows.mean(dim=0, dtype=torch.float64)
        moment = torch.zeros(width, width, dtype=torch.float64, device=rows.device)
        step = max(1, BLOCK // width)
        for first in range(0, n, step):
            x = rows[first : first + step].double() - mean
            moment += x.T @ x
        variances, axes = torch.linalg.eigh(moment / n)
        return cls(mean, axes, variances.clamp_(min=0.0))


def fit(
    rows: torch.Tensor,
    labels: Ints,
    classes: int,
    *,
    regularisation: float,
    basis: Basis | None = None,
    start: Probe | None = None,
    max_iterations: int = MAX_ITERATIONS,
    tolerance: float = TOLERANCE,
) -> Probe:
    """Fit logistic regression to rows [n, d] with labels [n]; ``start`` is where to begin.

    L-BFGS steps on U = W A D with the axes A of ``basis`` and D² = half their variances + λ/n, an
    upper bound of the curvature (Böhning 1992): the optimum is the same, and reached in far fewer
    steps than by the weights themselves. It ends where no gradient by U exceeds ``tolerance``.
    Memory beyond the rows is bounded: sums over rows are taken block by block.
    """
    # Features of a model come as inference tensors, which an optimizer may not step on.
    with torch.inference_mode(False), torch.no_grad():
        n, width = rows.shape
        basis = Basis.of(rows) if basis is None else basis
        targets = torch.as_tensor(labels, device=rows.device)
        decay = regularisation / n
        steepness = (0.5 * basis.variances + decay + _TINY).sqrt_()
        # Weights, and the bias of rows without their mean, which is not regularised.
        unknown = torch.zeros(classes, width + 1, dtype=torch.float64, device=rows.device)
        if start is not None:
            weights, bias = start.weights[:, :-1], start.weights[:, -1]
            unknown[:, :-1] = weights @ basis.axes * steepness
            unknown[:, -1] = bias + weights @ basis.mean
        step = max(1, BLOCK // max(width, classes))
        optimizer = torch.optim.LBFGS(
            [unknown],
            max_iter=max_iterations,
            max_eval=2 * max_iterations,
            tolerance_grad=tolerance,
            tolerance_change=1e-14,
            history_size=10,
            line_search_fn="strong_wolfe",
        )

        def plain() -> tuple[torch.Tensor, torch.Tensor]:
            weights = (unknown[:, :-1] / steepness) @ basis.axes.T
            return weights, unknown[:, -1] - weights @ basis.mean

        def loss() -> float:
            weights, bias = plain()
            slope = torch.zeros_like(weights)  # by the weights, of rows as they are
            residuals = torch.zeros_like(bias)
            total = 0.0
            for first in range(0, n, step):
                x, y = rows[first : first + step].double(), targets[first : first + step]
                log_p = torch.addmm(bias, x, weights.T).log_softmax(dim=1)
                total -= float(log_p.gather(1, y[:, None]).sum())
                residual = log_p.exp_()
                residual[torch.arange(len(y), device=y.device), y] -= 1.0
                slope += residual.T @ x
                residuals += residual.sum(dim=0)
            slope -= residuals[:, None] * basis.mean
            slope = slope / n + decay * weights
            unknown.grad = torch.cat(
                [slope @ basis.axes / steepness, residuals[:, None] / n], dim=1
            )
            return total / n + 0.5 * decay * float(weights.square().sum())

        optimizer.step(loss)
        iterations = int(optimizer.state[unknown]["n_iter"])
        weights, bias = plain()
    return Probe(
        torch.cat([weights, bias[:, None]], dim=1), iterations, iterations < max_iterations
    )


def _choose(
    rows: torch.Tensor, labels: Ints, held_out: Any, classes: int, max_iterations: int
) -> tuple[float, float, Probe]:
    """The best λ of the grid, its accuracy on the held-out rows, and its classifier."""
    train = torch.as_tensor(np.flatnonzero(~held_out), device=rows.device)
    test = torch.as_tensor(np.flatnonzero(held_out), device=rows.device)
    fitted, wanted = rows[train], rows[test]
    basis = Basis.of(fitted)
    tried: dict[int, tuple[float, float]] = {}  # place in the grid -> accuracy, minus the loss
    probes: dict[int, Probe] = {}

    def best() -> int:
        return max(tried, key=lambda place: tried[place])

    def attempt(places: Sequence[int]) -> None:
        for place in places:
            if place in tried or not 0 <= place < len(LAMBDAS):
                continue
            nearest = min(tried, key=lambda other: abs(other - place), default=None)
            probe = fit(
                fitted, labels[~held_out], classes, regularisation=float(LAMBDAS[place]),
                basis=basis, start=None if nearest is None else probes[nearest],
                max_iterations=max_iterations, tolerance=SWEEP_TOLERANCE,
            )  # fmt: skip
            probes[place] = probe
            tried[place] = _accuracy(probe, wanted, labels[held_out])

    # From the strongest: each classifier is a good start for the next weaker one.
    attempt(range(len(LAMBDAS) - 1, -1, -COARSE))
    step = COARSE // 2
    while step:
        peak = best()
        attempt([peak + step, peak - step])
        step //= 2
    peak = best()
    return float(LAMBDAS[peak]), tried[peak][0], probes[peak]


def _accuracy(probe: Probe, rows: torch.Tensor, labels: Ints) -> tuple[float, float]:
    log_p = probe.logits(rows).log_softmax(dim=1)
    wanted = torch.as_tensor(labels, device=rows.device)
    right = (log_p.argmax(dim=1) == wanted).double().mean()
    return float(right), float(log_p.gather(1, wanted[:, None]).mean())


def _ranks(probe: Probe, rows: torch.Tensor, labels: Ints) -> Ints:
    """Rank of the right class of each row, from 1; ties count against the model."""
    step = max(1, BLOCK // max(probe.weights.shape))
    ranks = np.empty(len(rows), dtype=np.int64)
    for first in range(0, len(rows), step):
        logits = probe.logits(rows[first : first + step])
        wanted = torch.as_tensor(labels[first : first + step], device=rows.device)
        own = logits.gather(1, wanted[:, None])
        ranks[first : first + step] = (logits >= own).sum(dim=1).cpu().numpy()
    return ranks


def _held_out(labels: Ints, share: float, seed: int) -> Any:
    """A mask of the rows that λ is chosen on: a share of each class, never all of it."""
    order = np.random.default_rng(seed).permutation(len(labels))
    mask = np.zeros(len(labels), dtype=np.bool_)
    ordered = order[np.argsort(labels[order], kind="stable")]
    sizes = np.bincount(labels)
    for first, size in zip(np.cumsum(sizes) - sizes, sizes, strict=True):
        count = min(max(round(share * size), 1), size - 1) if size else 0
        mask[ordered[first : first + count]] = True
    if not mask.any():
        raise InvalidArgumentError(
            f"none of the {len(sizes)} classes has two training rows, so there is nothing to "
            "choose the regularisation on; give more rows, or regularisation=1.0"
        )
    return mask


def _check_classes(train: Ints, labels: Ints, class_names: Sequence[str]) -> None:
    unseen = np.setdiff1d(labels, train)
    if len(unseen):
        names = first_of((repr(class_names[c]) for c in unseen.tolist()), 10)
        raise InvalidArgumentError(
            f"{len(unseen)} classes have pictures to measure but none to train on: {names}; add "
            "training rows, or leave these pictures out"
        )


def linear_probe_task(
    subject: Subject,
    measured: Labelled,
    train: Any,
    train_labels: Sequence[str | None],
    names: Sequence[str],
    regularisation: float | None,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    classes = {name: name for name in names}
    encoded = encode(subject, train, np.arange(len(train)), captions=False)
    fitted = Labelled.of(train, encoded, train_labels)
    result = linear_probe(
        fitted.features,
        label_numbers(fitted.labels, classes),
        measured.features,
        label_numbers(measured.labels, classes),
        class_names=list(names),
        regularisation=regularisation,
        **{name: value for name, value in options.items() if name != "chunk"},
    )
    result["train_fingerprint"] = str(getattr(train, "fingerprint", ""))
    result["train_skipped"] = encoded.skipped(train)
    result["train_reader"] = encoded.reader
    # Two probes answer the same queries only where they were fitted to the same rows.
    result["queries"] = digest_of(names, measured.keys, measured.labels, fitted.keys, fitted.labels)
    return result
