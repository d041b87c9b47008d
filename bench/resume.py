"""What it costs to commit a mining job in parts or to save checkpoints, and what kills cost then.

    python bench/resume.py
    python bench/resume.py --rows 200000 --parts 1 8 32 --kills 20 --gap 20
    python bench/resume.py --rows 200000 --method partition --checkpoint inf 60 5 0 --gap 5
    python bench/resume.py --rows 2000000 --dims 384x768 --cluster-rows 100000

Over real embeddings grown to N rows (``grown.py``), as a float16 store, three tables:

- one process, the job in n parts: what the symmetry is worth that pairs of two parts give up;
- n processes, a part each: what every process prepares anew (its share of it is what a second part
  in the same process does not cost);
- n parts and a process that is killed (SIGKILL) again and again, at moments drawn from an
  exponential distribution with mean ``--gap`` seconds, until ``--kills`` kills; then it may end.
  Its table is compared with that of the first run, byte for byte.

With ``--method partition`` or ``hnsw``, which have no parts: one process with a checkpoint after so
many seconds each, and the kills with the last of them. With ``--cluster-rows``: ``partition`` in
stages, in ``--threads`` processes at a time; a kill is of all of them.

Times are CPU seconds of all threads of a process and its children and of their kernel calls, which
do not depend on what else the machine does as much as wall time; wall time is printed beside them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from grown import grown_folder
from partition_growth import DIMS, grown_store
from stores import append_rows

import helip
from helip.common.parts import parse_part
from helip.mining.engines import parts as mine_parts


@dataclass
class Run:
    """A process that has ended."""

    wall: float  # seconds
    cpu: float
    killed: bool


def child(arguments: argparse.Namespace) -> None:
    part = None if arguments.part is None else parse_part(arguments.part)
    whole = part is not None or arguments.method != "exact"
    helip.mine(
        arguments.child, out=arguments.to, k=arguments.k, method=arguments.method, device="cpu",
        threads=arguments.threads, checkpoint=arguments.checkpoint[0],
        parts=None if whole else arguments.parts[0], part=part, progress=False,
        cluster_rows=arguments.cluster_rows,
        engine="threads" if arguments.cluster_rows is None else "local", codes=arguments.codes,
        keep_codes=arguments.codes is not None,
    )  # fmt: skip


def run(arguments: argparse.Namespace, *more: Any, kill_after: float | None = None) -> Run:
    """One process of this script as a child; SIGKILL to it and its children after so many seconds.

    The processor time of those that are killed together is read just before.
    """
    command = [
        sys.executable, __file__, "-k", arguments.k, "--threads", arguments.threads,
        "--method", arguments.method, *(["--codes", arguments.codes] if arguments.codes else []),
        *more,
    ]  # fmt: skip
    started = time.perf_counter()
    process = subprocess.Popen([str(word) for word in command], start_new_session=True)
    try:
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            wall = time.perf_counter() - started
            if pid:
                process.returncode = os.waitstatus_to_exitcode(status)
                break
            if kill_after is not None and wall >= kill_after:
                cpu = processor_seconds(process.pid)
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                return Run(wall, cpu, killed=True)
            time.sleep(0.005)
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
    if process.returncode != 0:
        raise SystemExit(f"a run failed: {command}")
    return Run(wall, usage.ru_utime + usage.ru_stime, killed=False)


def processor_seconds(pid: int) -> float:
    """Of a process, its children and theirs, ended ones too."""
    parent = psutil.Process(pid)
    total = 0.0
    for process in [parent, *parent.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            total += sum(process.cpu_times()[:4])
    return total


def write_store(folder: Path, path: Path) -> None:
    image, text = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("image", "text"))
    with helip.EmbeddingStore.create(
        path, image_dim=image.shape[1], text_dim=text.shape[1], dtype="float16"
    ) as writer:
        append_rows(writer, image, text)


def same_bytes(a: Path, b: Path) -> bool:
    names = [sorted(p.name for p in x.iterdir() if p.name != ".lock") for x in (a, b)]
    return names[0] == names[1] and all(
        (a / name).read_bytes() == (b / name).read_bytes() for name in names[0]
    )


def in_one_process(arguments: argparse.Namespace, store: Path, work: Path) -> list[dict[str, Any]]:
    option, values = ways(arguments)
    table: list[dict[str, Any]] = []
    print(f"{option:>12} {'wall s':>8} {'CPU s':>8} {'CPU, ratio':>11}")
    for value in values:
        out = work / f"whole-{value}"
        one = run(arguments, "--child", store, "--to", out, f"--{option}", value)
        assert same_bytes(out, work / f"whole-{values[0]}")
        table.append(
            {option: value, **asdict(one), "ratio": one.cpu / (table or [asdict(one)])[0]["cpu"]}
        )
        print(f"{value:12} {one.wall:8.2f} {one.cpu:8.2f} {table[-1]['ratio']:11.2f}", flush=True)
    return table


def ways(arguments: argparse.Namespace) -> tuple[str, list[Any]]:
    """The option that is varied, and its values."""
    if arguments.cluster_rows is not None:
        return "cluster-rows", [arguments.cluster_rows]
    name = "parts" if arguments.method == "exact" else "checkpoint"
    return name, getattr(arguments, name)


def in_processes(arguments: argparse.Namespace, store: Path, work: Path) -> list[dict[str, Any]]:
    table = []
    print(f"\n{'parts':>6} {'CPU s of one':>13} {'of all':>8}")
    for count in arguments.parts[1:]:
        few = sorted({1, (count + 1) // 2, count})
        runs = [
            run(arguments, "--child", store, "--to", work / f"part-{count}-{i}",
                "--part", f"{i}/{count}")
            for i in few
        ]  # fmt: skip
        one = sum(r.cpu for r in runs) / len(runs)
        table.append({"parts": count, "cpu_of_one": one, "cpu_of_all": one * count})
        print(f"{count:6} {one:13.2f} {one * count:8.1f}", flush=True)
        for i in few:
            shutil.rmtree(work / f"part-{count}-{i}")
    return table


def with_kills(
    arguments: argparse.Namespace, store: Path, work: Path, whole: dict[str, Any]
) -> dict[str, Any]:
    option, values = ways(arguments)
    value, dice = values[-1], random.Random(arguments.seed)
    out = work / "killed"
    if arguments.codes:  # the first process makes them again
        shutil.rmtree(arguments.codes, ignore_errors=True)
    cpu = wall = 0.0
    kills = 0
    done: list[int] = []
    while not (out / "manifest.json").exists():
        gap = dice.expovariate(1 / arguments.gap) if kills < arguments.kills else None
        one = run(arguments, "--child", store, "--to", out, f"--{option}", value, kill_after=gap)
        cpu, wall, kills = cpu + one.cpu, wall + one.wall, kills + one.killed
        if option == "parts":
            done.append(mine_parts.done_parts(out))
    assert same_bytes(out, work / f"whole-{values[0]}")
    lost = (cpu - whole["cpu"]) / max(kills, 1)
    result = {
        option: value, "kills": kills, "wall": wall, "cpu": cpu, "cpu_uninterrupted": whole["cpu"],
        "overhead": cpu / whole["cpu"] - 1, "cpu_lost_by_a_kill": lost, "parts_after_each": done,
    }  # fmt: skip
    print(
        f"\n{kills} kills, {option} {value}: {cpu:.1f} CPU s against {whole['cpu']:.1f} without, "
        f"{100 * result['overhead']:.0f} % more; a kill costs {lost:.1f} CPU s; the same bytes"
    )
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dims", default="1280x384")
    parser.add_argument("-k", type=int, default=50)
    parser.add_argument("--parts", type=int, nargs="+", default=[1, 4, 16], help="first one: 1")
    parser.add_argument("--method", default="exact", help="exact, partition or hnsw")
    parser.add_argument(
        "--checkpoint", type=float, nargs="+", default=[float("inf"), 60.0, 0.0], help="seconds"
    )
    parser.add_argument("--cluster-rows", type=int, help="partition in stages")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--gap", type=float, default=20.0, help="mean seconds until a kill")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, default=Path(".cache/bench"))
    parser.add_argument("--out", type=Path, default=Path("build/bench/resume.json"))
    parser.add_argument("--codes", help="folder that all processes keep codes in, new at first")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--to", help=argparse.SUPPRESS)
    parser.add_argument("--part", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.cluster_rows is not None:
        arguments.method = "partition"
    if arguments.child:
        child(arguments)
        return
    dims = tuple(int(d) for d in arguments.dims.split("x"))
    work = Path(tempfile.mkdtemp(prefix="helip-resume-"))
    try:
        if dims == DIMS:
            store = grown_store(arguments.cache, arguments.rows)
        else:
            store = work / "store"
            write_store(grown_folder(arguments.cache, dims, arguments.rows), store)
        if arguments.codes:
            shutil.rmtree(arguments.codes, ignore_errors=True)
        print(f"{arguments.rows:,} rows, {arguments.dims}, k {arguments.k}, "
              f"{arguments.method}, "
              f"{arguments.threads} threads\n")  # fmt: skip
        one = in_one_process(arguments, store, work)
        result = {
            "rows": arguments.rows, "dims": arguments.dims, "k": arguments.k,
            "method": arguments.method, "threads": arguments.threads, "one_process": one,
        }  # fmt: skip
        if arguments.method == "exact":
            result["processes"] = in_processes(arguments, store, work)
        if arguments.kills:
            result["kills"] = with_kills(arguments, store, work, one[-1])
    finally:
        shutil.rmtree(work, ignore_errors=True)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
