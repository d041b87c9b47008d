"""Runs the fuzz targets of a build, and prints what each did.

    python tests/fuzz/run.py BUILD [--seconds 60 | --runs 1000000] [--jobs 2] [TARGET…]

Inputs that reach new code are kept in BUILD/corpus and taken up by the next run. An input that
breaks a promise is kept beside them, and named. Exit code 1 where there was one.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# A bound of one allocation: inputs have kilobytes, and a reader may take 64 MiB beyond those.
OPTIONS = ["-timeout=20", "-malloc_limit_mb=65", "-rss_limit_mb=2048", "-print_final_stats=1"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("build", type=Path)
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--seconds", type=int, default=60, help="of each target")
    parser.add_argument("--runs", type=int, help="inputs of each target, in place of seconds")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="targets at once")
    chosen = parser.parse_intermixed_args()
    built = sorted((chosen.build / "tests" / "fuzz").glob("fuzz_*"))
    named = {program.name.removeprefix("fuzz_"): program for program in built}
    if unknown := set(chosen.targets) - set(named):
        parser.error(f"no such target: {', '.join(sorted(unknown))}; there are {', '.join(named)}")
    if not named:
        parser.error(f"{chosen.build} holds no fuzz targets; run `make fuzz`")
    limit = f"-runs={chosen.runs}" if chosen.runs else f"-max_total_time={chosen.seconds}"
    print(f"{'target':<18}{'inputs':>12}{'seconds':>9}{'kept':>7}  ended", flush=True)
    with ThreadPoolExecutor(chosen.jobs) as pool:
        ends = pool.map(
            lambda name: run(named[name], chosen.build / "corpus" / name, limit),
            chosen.targets or named,
        )
        return max(ends)


def run(program: Path, corpus: Path, limit: str) -> int:
    corpus.mkdir(parents=True, exist_ok=True)
    found = corpus.parent / f"{corpus.name}-"
    begun = time.monotonic()
    command = [program, *OPTIONS, limit, f"-artifact_prefix={found}", corpus]
    with (corpus.parent / f"{corpus.name}.log").open("w") as log:
        code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, env=environment())
    told = Path(log.name).read_text(errors="replace")
    inputs = re.search(r"number_of_executed_units: (\d+)", told)
    name, seconds = program.name.removeprefix("fuzz_"), time.monotonic() - begun
    ended = "well" if code.returncode == 0 else f"FAILED, see {log.name}"
    count = int(inputs[1]) if inputs else 0
    print(
        f"{name:<18}{count:>12,}{seconds:>9.0f}{len(list(corpus.iterdir())):>7,}  {ended}",
        flush=True,
    )
    return int(code.returncode != 0)


def environment() -> dict[str, str]:
    """Scratch files go to memory where there is a file system of it."""
    memory = Path("/dev/shm")
    return {**os.environ, **({"TMPDIR": str(memory)} if os.access(memory, os.W_OK) else {})}


if __name__ == "__main__":
    sys.exit(main())
