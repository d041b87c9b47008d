"""Whether a change made helip slower: this tree against another checkout, both built.

    git worktree add ../before COMMIT    # and build its core into ../before/python/helip
    python bench/two_trees.py ../before/python

Exact mining of 20,000 grown rows (``grown.py``), opening a store of 40,000 rows, forty batches of
the loader from tar shards of the demo's pictures, and steps with the margin loss of the demo's
model, as ``training_step.py`` takes them. Each run is a process of its own, which finds
the package in one tree or the other; the trees alternate. A time is that of a second call, the
first loads what it needs; ratios are this tree's over the other's, of neighbouring runs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent

_PROGRAM = """
import json, resource, sys, time
from pathlib import Path
import numpy as np
import helip

cache, threads = Path(sys.argv[1]), int(sys.argv[2])

def processor():
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)

{prepare}
def call():
    {call}

call()
wall, cpu = time.perf_counter(), processor()
call()
print(json.dumps({{"seconds": time.perf_counter() - wall, "processor": processor() - cpu}}))
"""

_MINE = 'helip.mine({}, method="exact", threads=threads, device="cpu", progress=False)'
# What is done before, and what is timed.
TASKS = {
    "exact mining": (
        "image, text = (np.load(cache / 'rows' / f'{name}.npy') for name in ('image', 'text'))",
        _MINE.format("image=image, text=text, k=50"),
    ),
    "opening a store": (
        "",
        "for _ in range(5000): helip.EmbeddingStore.open(cache / 'opened.store')",
    ),
    "loading": (
        "data = helip.open_dataset(sorted(map(str, (cache / 'openmoji').rglob('*.tar'))),"
        " progress=False)\npairs = " + _MINE.format("cache / 'openmoji.store', k=20"),
        "for _, _ in zip(range(40), helip.HardPairLoader(data, pairs, batch_size=64,"
        " workers=threads, transform=helip.ImageTransform.train(size=112), seed=0)): pass",
    ),
    "training steps": (
        f"sys.path.insert(0, {str(HERE)!r})\nimport torch\ntorch.set_num_threads(threads)\n"
        "from training_step import measured, parsed\n"
        "asked = parsed(['--model', 'demo', '--rows', '64', '--steps', '25', '--warm', '5'])",
        "measured(asked, hard=True)",
    ),
}


def prepared(cache: Path) -> None:
    """Rows, a store and shards, made on first use."""
    import numpy as np
    from grown import grown_folder

    import helip

    rows = grown_folder(cache, (1280, 384), 20_000)
    if not (cache / "rows").exists():
        (cache / "rows").symlink_to(rows.resolve())
    if not (cache / "opened.store").exists():
        random = np.random.default_rng(0)
        part = random.normal(size=(40_000, 384)).astype(np.float32)
        keys = [str(row) for row in range(len(part))]
        with helip.EmbeddingStore.create(
            cache / "opened.store", image_dim=384, text_dim=384, dtype="float16"
        ) as writer:
            writer.append(keys, part, part)


def run(tree: Path, task: str, arguments: argparse.Namespace) -> dict[str, float]:
    prepare, call = TASKS[task]
    command = [sys.executable, "-c", _PROGRAM.format(prepare=prepare, call=call)]
    command += [str(arguments.cache.resolve()), str(arguments.threads)]
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{task} failed in {tree}\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def compared(task: str, trees: dict[str, Path], arguments: argparse.Namespace) -> dict[str, Any]:
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in trees}
    for repeat in range(arguments.repeats):
        for name in list(trees)[:: 1 if repeat % 2 else -1]:
            runs[name].append(run(trees[name], task, arguments))
    result: dict[str, Any] = {"task": task}
    for what in ("seconds", "processor"):
        here, there = ([each[what] for each in runs[name]] for name in ("this", "other"))
        ratios = [a / b for a, b in zip(here, there, strict=True)]
        result[what] = {
            "this": min(here), "other": min(there), "ratios": ratios,
            "of_least": min(here) / min(there), "median": statistics.median(ratios),
        }  # fmt: skip
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("other", type=Path, help="the folder python of the other checkout")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cache", type=Path, default=Path(".cache/bench"))
    parser.add_argument("--out", type=Path, default=Path("build/bench/two_trees.json"))
    arguments = parser.parse_args()
    prepared(arguments.cache)
    trees = {"this": HERE.parent / "python", "other": arguments.other.resolve()}
    print(f"{'':<17}{'this s':>9}{'other s':>9}{'ratio':>8}{'least':>8}{'CPU':>8}{'least':>8}")
    results = []
    for task in arguments.tasks:
        result = compared(task, trees, arguments)
        results.append(result)
        wall, cpu = result["seconds"], result["processor"]
        print(f"{task:<17}{wall['this']:>9.3f}{wall['other']:>9.3f}{wall['median']:>8.3f}"
              f"{wall['of_least']:>8.3f}{cpu['median']:>8.3f}{cpu['of_least']:>8.3f}",
              flush=True)  # fmt: skip
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
