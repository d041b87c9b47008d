"""Experiments on real pictures: what batches of hard pairs gain, and what it depends on.

    python bench/experiments/run.py --list             what there is, and what it would take
    python bench/experiments/run.py                    everything
    python bench/experiments/run.py icons-steps --seeds 0 1 2

What is to be run, and about how long it takes, is said first. Runs are kept in the cache of the
bench, so that one that was stopped goes on and a rerun costs what changed. Each experiment is
written to ``results/<name>.json``, of which ``records.py`` makes the tables of docs.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import emoji_family
import icon_family
import photo_family
import records
from experiment import Experiment
from workers import Workers

from helip.common.machine import usable_processors

FAMILIES: tuple[ModuleType, ...] = (photo_family, emoji_family, icon_family)
FAMILY_OF = {name: family for family in FAMILIES for name in family.EXPERIMENTS}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiments", nargs="*", help=f"of {', '.join(FAMILY_OF)}; else all")
    parser.add_argument("--list", action="store_true", help="say what would be run, and end")
    parser.add_argument("--seeds", type=int, nargs="+", help="instead of those of the experiment")
    parser.add_argument("--jobs", type=int, default=usable_processors(), help="processes at once")
    parser.add_argument("--data", type=Path, help="the photographs, see photos.py; else left out")
    args = parser.parse_args()
    if args.data is not None:
        os.environ["HELIP_PHOTOS"] = str(args.data.resolve())
    if unknown := set(args.experiments) - set(FAMILY_OF):
        parser.error(f"no experiment is called {', '.join(sorted(unknown))}")
    there = "HELIP_PHOTOS" in os.environ
    chosen = args.experiments or [
        name for name, family in FAMILY_OF.items() if there or family is not photo_family
    ]
    seeds = {name: args.seeds or list(experiment_of(name).seeds) for name in chosen}
    plan(chosen, seeds, args.jobs)
    if args.list:
        return
    with Workers(args.jobs) as workers:
        for name in chosen:
            family, experiment = FAMILY_OF[name], experiment_of(name)
            family.prepare(workers, experiment.variants, seeds[name])
            results = measured(workers, name, seeds[name])
            record = {"title": experiment.title, **family.record(experiment, results)}
            print(f"\n## {experiment.title}\n", records.markdown(record["table"]), sep="\n")
            print(f"written to {records.write(name, record)}\n", flush=True)


def experiment_of(name: str) -> Experiment:
    found: Experiment = FAMILY_OF[name].EXPERIMENTS[name]
    return found


def plan(chosen: list[str], seeds: dict[str, list[int]], jobs: int) -> None:
    """Print of each experiment how many runs there are to do, and about how long they take."""
    known: set[str] = set()
    total = 0.0
    for name in chosen:
        family, count, missing, spent = FAMILY_OF[name], 0, 0, 0.0
        for variant in experiment_of(name).variants:
            for seed in seeds[name]:
                count += 1
                if (run := key(name, variant, seed)) in known or family.done(variant, seed):
                    continue
                known.add(run)
                missing += 1
                spent += family.seconds(variant)
        total += spent
        print(f"{name:22}{missing:4} of {count:3} runs to do, {spent / 60:6.0f} min of a core")
    print(f"{'':22}about {total / 60 / jobs:.0f} min with {jobs} processes, and what starts take")


def measured(workers: Workers, name: str, seeds: list[int]) -> dict[str, dict[int, Any]]:
    """The results of all runs of an experiment, by name of the variant and seed."""
    family, variants = FAMILY_OF[name], experiment_of(name).variants
    started = {}
    for variant in variants:
        for seed in seeds:
            if (run := key(name, variant, seed)) not in started:
                started[run] = workers.submit(family.run, variant, seed)
    workers.finish(name, started.values())
    return {
        variant.name: {seed: started[key(name, variant, seed)].result() for seed in seeds}
        for variant in variants
    }


def key(name: str, variant: Any, seed: int) -> str:
    return json.dumps(FAMILY_OF[name].identity(variant, seed), sort_keys=True)


if __name__ == "__main__":
    main()
