"""What indexing tar shards costs: building, opening, and reading at random.

    pip install webdataset wids
    python bench/sample_index.py
    python bench/sample_index.py --samples 1000000 --repeats 1 --alone

Writes shards of --samples samples (a .jpg of up to --payload bytes, a .txt and a .json each) below
--folder, reads them once so that they lie in memory, and times each side in a process of its own:
helip's index on one and two threads, and again where one shard of many was changed; Python's
tarfile (one pass, as helip did before); wids and webdataset where they are installed. Bodies are
holes in the files, so that they take no disk.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

MEMBERS = ("jpg", "txt", "json")


def write_shards(folder: Path, samples: int, per_shard: int, payload: int) -> None:
    """Deterministic shards; nothing is done where they are there already."""
    done = folder / "done.json"
    wanted = {"samples": samples, "per_shard": per_shard, "payload": payload}
    if done.exists() and json.loads(done.read_text()) == wanted:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    draw = random.Random(0)
    for shard, first in enumerate(range(0, samples, per_shard)):
        with (folder / f"{shard:05d}.tar").open("wb") as file:
            for key in range(first, min(first + per_shard, samples)):
                for extension in MEMBERS:
                    info = tarfile.TarInfo(f"{key:09d}.{extension}")
                    size = draw.randint(payload // 2, payload) if extension == "jpg" else 100
                    info.size = size
                    file.write(info.tobuf(tarfile.USTAR_FORMAT))
                    file.seek(-(-size // 512) * 512, os.SEEK_CUR)
            file.truncate(file.tell() + 1024)
    done.write_text(json.dumps(wanted))


# Each side is a process that prints its seconds and what it found.


class Timer:
    """Wall and CPU seconds of a block, of all threads."""

    def __enter__(self) -> Timer:
        self._began = (time.perf_counter(), time.process_time())
        return self

    def __exit__(self, *error: object) -> None:
        self.took = {
            "seconds": time.perf_counter() - self._began[0],
            "cpu": time.process_time() - self._began[1],
        }


def helip_build(folder: Path, out: Path, threads: int) -> dict[str, Any]:
    import helip

    with Timer() as timer:
        index = helip.SampleIndex.build(folder, out=out, threads=threads, progress=False)
    return {**timer.took, "rows": len(index), "scanned": index.scanned}


def helip_open(folder: Path, out: Path, threads: int) -> dict[str, Any]:
    import helip

    before = resident()
    with Timer() as timer:
        index = helip.SampleIndex.open(out)
    return {**timer.took, "rows": len(index), "kb": resident() - before}


def helip_reads(folder: Path, out: Path, threads: int) -> dict[str, Any]:
    import helip

    index = helip.SampleIndex.open(out)
    rows = random.Random(1).choices(range(len(index)), k=200_000)
    with Timer() as timer:
        for row in rows:
            index.read(row, "image")
    return {**timer.took, "reads": len(rows), "us": 1e6 * timer.took["seconds"] / len(rows)}


def helip_verify(folder: Path, out: Path, threads: int) -> dict[str, Any]:
    import helip

    index = helip.SampleIndex.open(out)
    with Timer() as timer:
        index.verify(threads=threads)
    return timer.took


def tarfile_pass(folder: Path, out: Path, threads: int) -> dict[str, Any]:
    members = 0
    with Timer() as timer:
        for path in sorted(folder.glob("*.tar")):
            with tarfile.open(path) as archive:
                while archive.next() is not None:
                    archive.members.clear()
                    members += 1
    return {**timer.took, "members": members}


def wids_index(folder: Path, out: Path, threads: int) -> dict[str, Any]:
    """What wids does with a shard before it gives the first sample of it."""
    from wids.wids_tar import TarFileReader

    members = 0
    with Timer() as timer:
        for path in sorted(folder.glob("*.tar")):
            members += len(TarFileReader(str(path), index_file=None, verbose=False).index)
    return {**timer.took, "members": members}


def webdataset_pass(folder: Path, out: Path, threads: int) -> dict[str, Any]:
    """One pass over all samples, which is all that webdataset has in place of an index."""
    import webdataset

    shards = [str(path) for path in sorted(folder.glob("*.tar"))]
    with Timer() as timer:
        rows = sum(1 for _ in webdataset.WebDataset(shards, shardshuffle=False))
    return {**timer.took, "rows": rows}


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4


SIDES = {
    side.__name__: side
    for side in (
        helip_build, helip_open, helip_reads, helip_verify, tarfile_pass, wids_index,
        webdataset_pass,
    )
}  # fmt: skip


def run(side: str, folder: Path, out: Path, threads: int = 0) -> dict[str, Any] | None:
    """A side in a new process; None where its library is absent."""
    command = [sys.executable, __file__, "--side", side, "--folder", str(folder)]
    command += ["--index", str(out), "--threads", str(threads)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or ["it failed"]
        if "ModuleNotFoundError" not in last[0]:
            raise RuntimeError(f"{side}: {done.stderr}")
        print(f"{side}: left out, {last[0]}")
        return None
    return json.loads(done.stdout)


def median(results: list[dict[str, Any]], name: str) -> float:
    return statistics.median(result[name] for result in results)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=333_334, help="of three members each")
    parser.add_argument("--per-shard", type=int, default=10_000)
    parser.add_argument("--payload", type=int, default=1_000, help="most bytes of a picture")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("build/bench/sample_index"))
    parser.add_argument("--out", type=Path, default=Path("build/bench/sample_index.json"))
    parser.add_argument("--alone", action="store_true", help="helip alone")
    parser.add_argument("--side", choices=SIDES)
    parser.add_argument("--index", type=Path)
    parser.add_argument("--threads", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.side:
        result = SIDES[arguments.side](arguments.folder, arguments.index, arguments.threads)
        print(json.dumps(result))
        return

    folder, index = arguments.folder / "shards", arguments.folder / "index"
    write_shards(folder, arguments.samples, arguments.per_shard, arguments.payload)
    size = sum(path.stat().st_blocks * 512 for path in folder.glob("*.tar"))
    for path in folder.glob("*.tar"):
        with path.open("rb") as file:
            while file.read(1 << 24):
                pass
    members = arguments.samples * len(MEMBERS)
    print(f"{members:,} members of {arguments.samples:,} samples, {size / 1e9:.1f} GB on disk")
    rows: list[tuple[str, float, float, str]] = []
    results: dict[str, Any] = {"members": members, "payload": arguments.payload}

    def measure(name: str, side: str, threads: int = 0, fresh: bool = False) -> None:
        found = []
        for _ in range(arguments.repeats):
            if fresh:
                shutil.rmtree(index, ignore_errors=True)
            result = run(side, folder, index, threads)
            if result is None:
                return
            found.append(result)
        results[name] = found
        others = {k: v for k, v in found[-1].items() if k not in ("seconds", "cpu")}
        words = ", ".join(f"{k} {v:,.1f}" for k, v in others.items())
        rows.append((name, median(found, "seconds"), median(found, "cpu"), words))

    measure("build, 1 thread", "helip_build", 1, fresh=True)
    measure("build, 2 threads", "helip_build", 2, fresh=True)
    one = sorted(folder.glob("*.tar"))[-1]
    os.utime(one)
    measure("one shard changed, then none", "helip_build", 2)
    measure("open", "helip_open")
    measure("random reads", "helip_reads")
    measure("verify", "helip_verify", 2)
    if not arguments.alone:
        measure("tarfile, one pass", "tarfile_pass")
        measure("wids, its index", "wids_index")
        measure("webdataset, one pass", "webdataset_pass")
    for name, seconds, cpu, words in rows:
        print(f"{name:<32} {seconds:>9.4f} s  {cpu:>9.4f} CPU s   {words}")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
