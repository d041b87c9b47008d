"""Experiments with HELIP on real pictures: what fine-tuning gains, and what it depends on.

    python bench/experiments/run.py                    everything, three seeds
    python bench/experiments/run.py clip pools --seeds 0 1 2 3 4

Results are kept in the cache of the bench, so that a rerun costs what changed. Prints tables in
Markdown and writes them as JSON.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import pools
import runs
import setting
import starts
import summary
import torch
from variants import EXPERIMENTS, Experiment, Variant

from helip.common.machine import usable_processors

OUT = Path("build/bench/experiments.json")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiments", nargs="*", help=f"of {', '.join(EXPERIMENTS)}; else all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=usable_processors(), help="processes at once")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    if unknown := set(args.experiments) - set(EXPERIMENTS):
        parser.error(f"no experiment is called {', '.join(sorted(unknown))}")
    chosen = {name: EXPERIMENTS[name] for name in args.experiments or EXPERIMENTS}
    with ProcessPoolExecutor(
        args.jobs, multiprocessing.get_context("spawn"), initializer=torch.set_num_threads,
        initargs=(1,),
    ) as workers:  # fmt: skip
        prepare(workers, chosen, args.seeds)
        results = measured(workers, chosen, args.seeds)
    report = {name: told(chosen[name], results, args.seeds) for name in chosen}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    about = {"seeds": args.seeds, "finetune": setting.FINETUNE, "pool": setting.POOL}
    args.out.write_text(json.dumps({**about, "experiments": report}, indent=1), encoding="utf-8")
    for name, part in report.items():
        print(f"\n## {chosen[name].title}\n", *part["table"], "", *part["notes"], sep="\n")


def prepare(workers: Any, chosen: dict[str, Experiment], seeds: list[int]) -> None:
    """What several runs need, before the runs: two of them would make it twice."""
    variants = [variant for experiment in chosen.values() for variant in experiment.variants]
    for split in ("train", "stamps-probe"):
        setting.data(split)
    kinds = sorted({variant.start for variant in variants})
    finish(
        "features and start models",
        [workers.submit(_embedded)]
        + [workers.submit(starts.start, kind, seed) for kind in kinds for seed in seeds],
    )
    needed = {}
    for variant in variants:
        if not runs.mined(variant):
            continue
        for seed in seeds:
            identity = json.dumps(pools.identity(variant.pool, variant.start, seed))
            needed[identity] = (variant.pool, variant.start, seed)
    own = [place for place in needed.values() if place[0].get("features") == "own"]
    finish("features of start models", [workers.submit(_embedded, "own", *p[1:]) for p in own])
    finish("pools", [workers.submit(_mined, *place) for place in needed.values()])


def measured(
    workers: Any, chosen: dict[str, Experiment], seeds: list[int]
) -> dict[tuple[str, int], dict[str, Any]]:
    """The results of all runs, by what they do and their seed."""
    wanted = {}
    for experiment in chosen.values():
        for variant in experiment.variants:
            for seed in seeds:
                wanted[key(variant, seed)] = variant, seed
    started = {
        key: workers.submit(runs.run, variant, seed) for key, (variant, seed) in wanted.items()
    }
    finish("runs", started.values())
    return {(key, wanted[key][1]): future.result() for key, future in started.items()}


def told(experiment: Experiment, results: Any, seeds: list[int]) -> dict[str, Any]:
    """One experiment: its table, gains with both kinds of intervals, and every run's figures."""
    of: dict[str, dict[int, Any]] = {
        variant.name: {seed: results[key(variant, seed), seed] for seed in seeds}
        for variant in experiment.variants
    }
    compared = experiment.compared
    gains = {
        name: {
            "over": other,
            "seeds": {
                figure: summary.difference(of[name], of[other], figure)
                for figure in summary.FIGURES
            },
            "queries": summary.over_queries(of[name], of[other]),
        }
        for name, other in compared.items()
    }
    notes = []
    quality = {}
    for variant in experiment.variants if experiment.mining else ():
        if not variant.train.get("control"):
            values = [runs.mining_quality(variant, seed) for seed in seeds]
            quality[variant.name] = summary.mean(values)
            found = quality[variant.name]["value"]
            notes.append(f"{variant.name}: {found:.3f} of its pairs are in the exact pools")
    return {
        "table": summary.table(
            of, compared, summary.FIGURES if experiment.unseen else summary.HELD_OUT
        ),
        "notes": notes,
        "gains": gains,
        "mining": quality,
        "runs": {
            name: {
                seed: {part: run[part] for part in run if part != "ranks"}
                for seed, run in by_seed.items()
            }
            for name, by_seed in of.items()
        },
    }


def key(variant: Variant, seed: int) -> str:
    return json.dumps(runs.identity(variant, seed), sort_keys=True)


def finish(name: str, futures: Iterable[Any]) -> None:
    """Wait for all; say how far it is, to who watches."""
    waiting = list(futures)
    began = time.perf_counter()
    for done, future in enumerate(as_completed(waiting), 1):
        if error := future.exception():
            for other in waiting:
                other.cancel()
            raise error
        print(f"{name}: {done} of {len(waiting)}, {time.perf_counter() - began:.0f} s", flush=True)


# What a worker returns must be picklable, which stores and tables are not.


def _embedded(*whose: Any) -> None:
    pools.store(*whose)


def _mined(way: dict[str, Any], kind: str, seed: int) -> None:
    pools.table(way, kind, seed)


if __name__ == "__main__":
    main()
