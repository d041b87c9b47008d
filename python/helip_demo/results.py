"""What the demonstration measures, and how it tells it: what mining found, what the models score.

A held-out picture seeks its caption among the captions of all pictures, and a held-out caption its
picture among all pictures, those trained on too: the near-twins of what is held out were trained
on, and without them in the gallery there is little to take for each other. Names are distinct, so
that each query has one right answer, which nobody trained on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import helip
from helip.data import Dataset
from helip.evaluation.statistics.intervals import rank_outcomes
from helip.models import ModelBundle
from helip_demo.data import SPLITS
from helip_demo.quick import opening_words

MODELS = ("start", "control", "communities")

_WIDTH = max(map(len, MODELS)) + 2  # of a column
_FIGURES = {
    "text to image, recall@1": ("retrieval", "text_to_image", "recall@1"),
    "text to image, recall@5": ("retrieval", "text_to_image", "recall@5"),
    "image to text, recall@1": ("retrieval", "image_to_text", "recall@1"),
    "image to text, recall@5": ("retrieval", "image_to_text", "recall@5"),
    "zero-shot concept, top 1": ("zero_shot", "top1"),
    "zero-shot concept, top 5": ("zero_shot", "top5"),
}

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


def format_summary(summary: Mapping[str, Any]) -> str:
    """The results of a summary as lines of text, recall and accuracy in percent."""
    lines = [f"{'':36}" + "".join(f"{name:>{_WIDTH}}" for name in MODELS) + "   difference"]
    previous = None
    for row in summary["results"]:
        if row["set"] != previous:
            lines.append(f"{row['set']} ({row['queries']} pictures)")
            previous = row["set"]
        values = "".join(f"{100 * row['models'][name]['value']:{_WIDTH}.1f}" for name in MODELS)
        lines.append(f"  {row['figure']:34}{values}   {_signed(row['difference'])}")
    recalls, seconds = summary["mining"]["recall"], summary["seconds"]
    lines += [
        "In percent; retrieval is among all pictures and names, also those trained on. Difference:",
        "communities - control, paired, in brackets its 95 % interval.",
        verdict_words(summary["verdict"]),
        f"Recall@{recalls['k']} of mining: sample {recalls['sample']:.3f} "
        f"(expected {recalls['sample expected']:.3f}), hnsw {recalls['hnsw']:.3f}",
        "Seconds: " + ", ".join(f"{name} {value:.0f}" for name, value in seconds.items()),
        opening_words(Path(summary["report"])),
    ]
    return "\n".join(lines)


def about(summary: Mapping[str, Any]) -> dict[str, Any]:
    """What the head of the report says of the run."""
    splits = summary["data"]["splits"]
    recalls = summary["mining"]["recall"]
    training = summary["training"]
    same = summary["mining"]["same concept in first 10"]
    return {
        **at_a_glance(summary["results"], summary["verdict"]),
        "pictures": f"{summary['data']['pictures']:,} of OpenMoji (CC BY-SA 4.0, openmoji.org)",
        "splits": ", ".join(f"{name} {facts['pictures']:,}" for name, facts in splits.items()),
        "model": f"{summary['model']['parameters'] / 1e6:.1f} million parameters, from scratch",
        "start": f"{training['start']['steps']} steps",
        "communities and control": f"{training['communities']['steps']} steps each, from the same "
        "start",
        "recall of sample mining": f"{recalls['sample']:.3f} "
        f"(expected {recalls['sample expected']:.3f})",
        f"recall@{recalls['k']} of hnsw": f"{recalls['hnsw']:.3f}",
        "hard pairs of the same concept, first 10": ", ".join(
            f"{name} {100 * share:.0f} %" for name, share in same.items()
        ),
    }


def verdict(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """In how many figures communities are better or worse than the control, by 95 % intervals."""
    better = sum(row["difference"]["low"] > 0 for row in rows)
    worse = sum(row["difference"]["high"] < 0 for row in rows)
    undecided = len(rows) - better - worse
    return {"figures": len(rows), "better": better, "worse": worse, "undecided": undecided}


def verdict_words(found: Mapping[str, int]) -> str:
    """What `verdict` found, as a sentence."""
    return (
        f"Communities are better than the control in {found['better']} of {found['figures']} "
        f"figures (recall@1 and @5, zero-shot), worse in {found['worse']}, undecided in "
        f"{found['undecided']}."
    )


def at_a_glance(rows: Sequence[Mapping[str, Any]], found: Mapping[str, int]) -> dict[str, str]:
    """The head of the page: recall@1 of each split and direction, and in how many figures."""
    lines = {}
    for row in rows:
        if row["figure"].endswith("recall@1"):
            values = (f"{name} {100 * row['models'][name]['value']:.1f}" for name in MODELS)
            name = f"{row['set'].lower()}, {row['figure']}"
            lines[name] = f"{', '.join(values)}: {_signed(row['difference'])}"
    return {**lines, "of all figures": verdict_words(found)}


def recall(table: helip.HardPairs, exact: helip.HardPairs) -> float:
    """Share of the exact pools that ``table`` found; of pairs that tie for the last place, any."""
    counts = np.asarray(exact.counts)
    targets = np.flatnonzero(counts)
    if not len(targets):
        return 1.0
    last = exact.scores[targets, counts[targets] - 1]
    found = (table.scores[targets] >= last[:, None] - 1e-6) & (table.ids[targets] >= 0)
    return float((np.minimum(found.sum(axis=1), counts[targets]) / counts[targets]).mean())


def same_concept(table: helip.HardPairs, concepts: np.ndarray, *, first: int) -> float:
    """Share of the first hard pairs of all targets that show a variant of the target's concept."""
    ids = np.asarray(table.ids[:, :first])
    same = (concepts[np.maximum(ids, 0)] == concepts[:, None]) & (ids >= 0)
    return float(same.sum() / max(int((ids >= 0).sum()), 1))


def result_rows(metrics: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row for each set and figure: the three models and communities minus control, paired."""
    rows = []
    for title, models in metrics.items():
        differences = {
            "difference": helip.compare(models["communities"], models["control"]),
            "start_to_control": helip.compare(models["control"], models["start"]),
        }
        for figure, path in _FIGURES.items():
            values = {name: _at(result, path) for name, result in models.items()}
            rows.append(
                {
                    "set": title,
                    "figure": figure,
                    "queries": values["start"]["n"],
                    "models": values,
                    **{name: _at(result, path) for name, result in differences.items()},
                }
            )
    return rows


def _signed(difference: Mapping[str, Any]) -> str:
    """A difference in percent with its interval."""
    low, value, high = (100 * difference[name] for name in ("low", "value", "high"))
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"


def _at(result: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    for name in path:
        result = result[name]
    return result


def compact(result: Mapping[str, Any]) -> dict[str, Any]:
    """An evaluation without its lists of queries and classes."""
    long = ("per_query", "per_class", "queries")
    return {
        name: {key: value for key, value in task.items() if key not in long}
        for name, task in result.items()
        if name in ("retrieval", "zero_shot")
    }
