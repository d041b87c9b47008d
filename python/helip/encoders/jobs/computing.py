"""What computes the encoders of a job, and in which precision: settled once, before its first row.

A store's metadata keep it as ``image_engine`` and ``text_engine`` {engine, precision, why, and what
was measured of the precision}; whoever adds rows to the store computes them in the same way.
"""

from __future__ import annotations

import itertools
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from helip.common.errors import (
    Error,
    InvalidArgumentError,
    MismatchError,
    SampleError,
    UnsupportedError,
)
from helip.encoders.engine_choice import choose_engine, make_engine, multiplies_bfloat16
from helip.encoders.engines import Engine, EnginePrecision, Inputs
from helip.encoders.jobs.reading import Samples
from helip.encoders.jobs.request import SIDES, Work, engine_in, engine_of
from helip.encoders.network_encoder import Side, Source, encoder_of, load_source
from helip.encoders.registry import ImageEncoder, TextEncoder, own_encoder

LEAST_COSINE = 0.999  # of rows in bfloat16 to those in float32, where the call leaves it to us
# So many samples, or a twentieth of the data where that is less, but never fewer than the least.
_SAMPLES, _LEAST_SAMPLES = 64, 32
_INT8_SAMPLES, _INT8_SECONDS = 1000, 120.0  # whose pools are compared
_POOR_COSINE = 0.9  # that int8 is warned of
_CALIBRATION = 128  # samples
_POOL = 50
_CHUNK = 16  # samples that are looked at together


def ready_encoders(
    work: Work, device: str | torch.device, settled: Mapping[str, Any] | None = None
) -> tuple[ImageEncoder, TextEncoder]:
    """Both encoders of a job, on engines that work here.

    ``settled``: the metadata that settle it, of a store that the rows are going to join.
    """
    samples: Samples | None = None
    ready: list[Any] = []
    # One after the other, so that what only the trial of one needs is not in memory with the other:
    # the network in torch, and the precision that is not taken.
    for name, given in zip(SIDES, (work.images, work.texts), strict=True):
        side: Any = (
            load_source(given, name, device) if isinstance(given, str) else own_encoder(given, name)
        )
        if samples is None:
            loaded = side.loaded if isinstance(side, Source) else side
            samples = Samples(work.data, loaded.preprocess)
            del loaded
        if settled is not None:
            ready.append(_as_settled(work, name, side, samples, settled))
        elif work.call.precision == "int8":
            ready.append(_trial(name, side, samples, work))  # pools take both sides
        else:
            ready += _settled(work, [_trial(name, side, samples, work)], samples)
        del side
    if settled is None and work.call.precision == "int8":
        assert samples is not None
        ready = _settled(work, ready, samples)
    image, text = ready
    return image, text


def engines_of(image: Any, text: Any) -> dict[str, Any]:
    """What metadata say of the engines of two encoders; own encoders have none."""
    encoders = zip(SIDES, (image, text), strict=True)
    found = {f"{side}_engine": getattr(each, "computed", None) for side, each in encoders}
    return {name: facts for name, facts in found.items() if facts}


def _as_settled(
    work: Work, name: str, side: Any, samples: Samples, settled: Mapping[str, Any]
) -> Any:
    """The encoder of a side as the rows that are there were computed."""
    there = f"{name} rows that are there were computed by {engine_in(settled, name)}"
    end = "go on where they were begun, or choose another out"
    if not isinstance(side, Source):
        own = getattr(side, "computed", None)
        if own and engine_in({f"{name}_engine": own}, name) != engine_in(settled, name):
            raise MismatchError(
                f"{there}, and the encoder that was given computes by "
                f"{engine_in({f'{name}_engine': own}, name)}; {end}"
            )
        return side
    facts = engine_of(settled, name)
    engine, precision = facts.pop("engine"), facts.pop("precision")
    if precision == "int8" and work.updates is not None:
        raise MismatchError(
            f"{there}, calibrated on the data as they were; rows of changed data would be of "
            "another calibration: embed all of them into another out"
        )
    try:
        chosen = choose_engine(side, engine, precision)
    except (UnsupportedError, InvalidArgumentError) as error:
        raise MismatchError(f"{there}, and here {error}; {end}") from error
    if chosen.engine.name != engine:
        raise MismatchError(f"{there}, and here {chosen.why}; {end}")
    return encoder_of(side, _in(side, chosen.engine, precision, samples), **facts)


def _in(source: Source, engine: Engine, precision: EnginePrecision, samples: Samples) -> Engine:
    """The engine in another precision."""
    if precision == engine.precision:
        return engine
    calibration = _calibration(source, samples) if precision == "int8" else ()
    return make_engine(source, engine.name, precision, calibration=calibration)


@dataclass
class _Trial:
    """An encoder, and what it would be in a lower precision."""

    side: Side
    exact: Any
    lower: Any | None = None
    why: str = ""
    rows: tuple[list[torch.Tensor], list[torch.Tensor]] = field(default_factory=lambda: ([], []))
    """Of the same samples by both, [n, dim] each."""

    def look_at(self, inputs: Any) -> None:
        exact = self.exact.encode(inputs)
        self.rows[0].append(exact)
        self.rows[1].append(exact if self.lower is None else self.lower.encode(inputs))

    @property
    def both(self) -> tuple[torch.Tensor, torch.Tensor]:
        exact, lower = map(torch.cat, self.rows)
        return exact, lower


def _trial(name: Side, side: Any, samples: Samples, work: Work) -> _Trial:
    if not isinstance(side, Source):
        return _Trial(name, side)
    wanted = work.call.precision
    chosen = choose_engine(side, work.call.engine, "float32" if wanted == "auto" else wanted)
    trial = _Trial(name, encoder_of(side, chosen.engine), why=chosen.why)
    precision: EnginePrecision
    if wanted != "auto":
        precision = wanted
    else:
        native = multiplies_bfloat16(chosen.engine, side.device)
        precision = "bfloat16" if native else "float32"
    if precision != "float32":
        trial.lower = encoder_of(side, _in(side, chosen.engine, precision, samples))
    return trial


def _settled(work: Work, trials: list[_Trial], samples: Samples) -> list[Any]:
    wanted = work.call.precision
    int8 = wanted == "int8"
    facts: dict[str, Any] = {}
    if any(trial.lower for trial in trials):
        _look(trials, samples, all_of_them=int8)
        if int8 and trials[0].rows[0]:
            recall = pool_recall(*(trial.both for trial in trials), k=_POOL)
            facts[f"recall@{_POOL}"] = None if recall is None else round(recall, 4)
    return [_better(trial, facts, wanted) for trial in trials]


def _better(trial: _Trial, facts: Mapping[str, Any], wanted: str) -> Any:
    """The encoder of the two that is to be used, with what was measured."""
    encoder, why = trial.exact, [trial.why] if trial.why else []
    if trial.lower is not None:
        lower = trial.lower.engine.precision
        cosine = lowest_cosine(*trial.both) if trial.rows[0] else None
        count = sum(map(len, trial.rows[0]))
        enough = count >= _LEAST_SAMPLES and cosine is not None and cosine >= LEAST_COSINE
        if wanted != "auto" or enough:
            encoder = trial.lower
            if cosine is not None:
                if cosine < _POOR_COSINE:
                    warnings.warn(
                        f"encoder {encoder.spec!r} in {lower} gives rows down to a cosine of "
                        f"{cosine:.3f} to those of float32, measured on {count} samples; its hard "
                        "pairs may be others. Give precision='bfloat16' or 'float32'",
                        RuntimeWarning,
                        stacklevel=2,
                    )
                encoder.computed |= {"lowest_cosine": round(cosine, 6), "samples": count, **facts}
        else:
            if count < _LEAST_SAMPLES:
                why.append(f"{lower} wants {_LEAST_SAMPLES} samples to be tried on, not {count}")
            else:
                why.append(f"lowest cosine of {lower} to float32: {cosine:.4f}")
    if why:
        encoder.computed["why"] = "; ".join(why)
    return encoder


def _look(trials: list[_Trial], samples: Samples, *, all_of_them: bool) -> None:
    """Rows of both precisions, of samples spread over the data."""
    few = max(_LEAST_SAMPLES, min(_SAMPLES, len(samples.data) // 20))
    read, spent = _spread(samples, _INT8_SAMPLES if all_of_them else few), 0.0
    while spent < _INT8_SECONDS and (chunk := list(itertools.islice(read, _CHUNK))):
        inputs = {
            "image": torch.stack([pixels for pixels, _ in chunk]),
            "text": [caption for _, caption in chunk],
        }
        began = time.monotonic()
        for trial in trials:
            if trial.lower is not None or all_of_them:
                trial.look_at(inputs[trial.side])
        spent += time.monotonic() - began


def _spread(samples: Samples, count: int) -> Iterator[tuple[torch.Tensor, str]]:
    """Samples that can be read, with their first captions, of at most ``count`` rows spread over
    the data."""
    rows = len(samples.data)
    for row in np.unique(np.linspace(0, rows - 1, min(count, rows), dtype=np.int64)):
        sample = samples[int(row)]
        if not isinstance(sample, SampleError):
            yield sample[0], sample[1][0]


def _calibration(source: Source, samples: Samples) -> list[Inputs]:
    read = list(_spread(samples, _CALIBRATION))
    if not read:
        raise Error("precision is 'int8', and none of the samples to calibrate it could be read")
    if source.side == "image":
        return [(pixels[None],) for pixels, _ in read]
    assert source.loaded.tokenize is not None, "only such networks are exported"
    return [tuple(source.loaded.tokenize([caption]).values()) for _, caption in read]


def lowest_cosine(rows: torch.Tensor, others: torch.Tensor) -> float:
    """The lowest cosine between rows [n, d] and the same rows of another encoder."""
    return float(torch.cosine_similarity(rows.double(), others.double(), dim=1).min())


def pool_recall(
    images: tuple[torch.Tensor, torch.Tensor],
    texts: tuple[torch.Tensor, torch.Tensor],
    *,
    k: int,
) -> float | None:
    """Share of the ``k`` hard pairs of each row that the second rows [n, d] find of the first's.

    Hard pairs are the rows with the largest products of both cosines (arXiv 2305.05208), among
    these n. None where there are not more than k rows.
    """
    count = len(images[0])
    if count <= k:
        return None
    exact, other = (_hard_pairs_of(images[at], texts[at], k) for at in range(2))
    return sum(len(set(a) & set(b)) for a, b in zip(exact, other, strict=True)) / (count * k)


def _hard_pairs_of(image: torch.Tensor, text: torch.Tensor, k: int) -> list[list[int]]:
    images, texts = (torch.nn.functional.normalize(each.double(), dim=1) for each in (image, text))
    scores = (images @ images.T) * (texts @ texts.T)
    scores.fill_diagonal_(-torch.inf)
    return scores.topk(k, dim=1).indices.tolist()
