"""What the demo measures: held-out pictures and captions, sought among all that there are.

A held-out picture seeks its caption among the captions of all pictures, and a held-out caption its
picture among all pictures, those trained on too: the near-twins of what is held out were trained
on, and without them in the gallery there is little to take for each other. Names are distinct, so
that each query has one right answer, which nobody trained on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import helip
from helip.data import Dataset
from helip.evaluation.statistics.outcomes import rank_outcomes
from helip.models import ModelBundle
from helip_demo.data import SPLITS

HELD_OUT = {
    "heldout-variants": "Held-out variants",
    "heldout-concepts": "Held-out concepts",
}
_DIRECTIONS = ("image_to_text", "text_to_image")
_BOOTSTRAP = 1000


def open_all(folder: Path) -> Dataset:
    """All splits below ``folder`` as one data set, in the order of `places`."""
    shards = [path for name in SPLITS for path in sorted((folder / name).glob("*.tar"))]
    return helip.open_dataset([str(path) for path in shards], progress=False)


def places(sets: Mapping[str, Dataset]) -> dict[str, range]:
    """The rows of each split in what `open_all` opens."""
    found, first = {}, 0
    for name in SPLITS:
        found[name] = range(first, first + len(sets[name]))
        first += len(sets[name])
    return found


def measured(
    model: ModelBundle,
    everything: Dataset,
    sets: Mapping[str, Dataset],
    *,
    seed: int,
    progress: bool = True,
) -> dict[str, dict[str, Any]]:
    """Title of each held-out split → its result, such as `helip.evaluate` returns.

    ``everything``: of `open_all`, the gallery of retrieval. Zero-shot classification is among the
    concepts of the split.
    """
    common: dict[str, Any] = {
        "device": "cpu",
        "seed": seed,
        "bootstrap": _BOOTSTRAP,
        "keep_ranks": True,
        "progress": progress,
    }
    found = helip.evaluate(model, everything, tasks="retrieval", **common)
    names = _class_names(sets.values())
    results = {}
    for split, title in HELD_OUT.items():
        data = sets[split]
        labels = sorted({data.label(row) or "" for row in range(len(data))})
        classified = helip.evaluate(
            model,
            data,
            tasks="zero_shot",
            classes={label: names[label] for label in labels},
            templates=("{}",),
            **common,
        )
        asked = asked_by(found["retrieval"], places(sets)[split], seed=seed)
        results[title] = {"retrieval": asked, **classified}
    return results


def asked_by(
    retrieval: Mapping[str, Any], rows: range, *, bootstrap: int = _BOOTSTRAP, seed: int = 0
) -> dict[str, Any]:
    """Of a result of retrieval, made with ``keep_ranks``, the queries of these rows alone.

    The gallery stays whole. Pictures are numbered as the rows are: none was unreadable.
    """
    result = {name: retrieval[name] for name in ("duplicates", "ties", "equal_captions")}
    result |= {"rows": len(rows), "queries": f"{retrieval['queries']} {rows.start}:{rows.stop}"}
    result["per_query"] = {}
    for direction in _DIRECTIONS:
        asked = retrieval["per_query"][direction]
        ranks = np.asarray(asked["ranks"], dtype=np.int64)
        # A caption asks for the picture that bears it.
        picture = np.arange(len(ranks)) if asked["groups"] is None else np.asarray(asked["groups"])
        chosen = (picture >= rows.start) & (picture < rows.stop)
        groups = None if asked["groups"] is None else picture[chosen]
        result["per_query"][direction] = {
            "ranks": ranks[chosen].tolist(),
            "groups": None if groups is None else groups.tolist(),
        }
        figures = rank_outcomes(ranks[chosen], groups).figures(bootstrap=bootstrap, seed=seed)
        result[direction] = {**figures, "candidates": retrieval[direction]["candidates"]}
    return result


def _class_names(sets: Iterable[Dataset]) -> dict[str, str]:
    """Concept → its shortest caption: "in bed" goes by "person in bed", "cook" by "cook"."""
    names: dict[str, str] = {}
    for data in sets:
        for row in range(len(data)):
            label, caption = data.label(row) or "", data.caption(row)
            if label not in names or len(caption) < len(names[label]):
                names[label] = caption
    return names
