"""Pictures a second from tar shards over HTTP, in random order, at latencies that a network has.

    python bench/http_ranges.py --repeats 3 --out http.json
    python bench/http_ranges.py --latencies 30 --sides helip limit-64

Shards of photographs (``pictures.py``, 500 px) lie at a server on loopback whose answers begin 0,
10 or 30 ms after their requests (``http_server.py``). Each side gives batches of 64 normalised
float32 tensors of 224 px (RandomResizedCrop, scale 0.9 to 1.0) of rows at random, from two workers:

- ``helip``: its reader of batches, two threads of the core; obstore fetches, 64 requests at a time.
- ``disk``: the same with the files, which lie in memory. What no network can better.
- ``limit-N``: obstore alone, one ``get`` a picture from N threads; nothing is decoded.
- ``obstore``: torch's DataLoader, two processes; each fetches the ranges of a batch by 32 threads
  with obstore, then decodes by simplejpeg (scaled) and crops by torchvision
  (``loader_sides/decoding.py``).
- ``fsspec``: the same with ``cat_ranges`` of fsspec's HTTP file system.
- ``webdataset``: ``pipe:curl -s URL``, two processes, decoded in the same way. Plain order of the
  shards: it cannot read at random, so it has no hard pairs.

Mosaic streaming and LitData read from object stores, and not over plain HTTP. A side is a process
of its own; sides take turns. Counted is from the fifth batch on. ``images_core_second`` is over the
processor time of the side's processes, without the server's. The server shares the machine.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

BATCH, SKIPPED, WORKERS = 64, 4, 2
FETCHES = 32  # at a time, of each of two processes
TICK = 1 / os.sysconf("SC_CLK_TCK")  # in which the kernel counts processor time, in s
SIDES = ("disk", "helip", "limit-32", "limit-64", "limit-128", "obstore", "fsspec", "webdataset")


def batches_of(rows: list[int]) -> list[list[int]]:
    whole = len(rows) - len(rows) % BATCH
    return [rows[first : first + BATCH] for first in range(0, whole, BATCH)]


# The sides: each yields how many pictures it made, batch by batch.


def by_helip(index: str, root: str | None, rows: list[int]) -> Iterator[int]:
    import numpy as np
    from picture_batches import AHEAD, ready_reader

    import helip

    reader = ready_reader(helip.open_dataset(index, root=root, progress=False), WORKERS)
    waiting: list[Any] = []
    for batch in [*batches_of(rows), *[None] * AHEAD]:
        if batch is not None:
            waiting.append(reader.begin(np.array(batch)))
        if batch is None or len(waiting) > AHEAD:
            begun = waiting.pop(0)
            if reader.wait(begun):
                raise SystemExit("a picture cannot be read")
            yield len(begun.views[0])


def by_limit(threads: int, places: Any, url: str, rows: list[int]) -> Iterator[int]:
    get = obstore_get(url)
    with ThreadPoolExecutor(threads) as pool:
        for count, _ in enumerate(pool.map(lambda row: get(*places[row]), rows)):
            if count % BATCH == BATCH - 1:
                yield BATCH


def obstore_get(url: str) -> Callable[[str, int, int], Any]:
    import obstore
    from obstore.store import from_url

    store = from_url(url, client_options={"allow_http": True})
    return lambda name, first, size: obstore.get_range(store, name, start=first, length=size)


class Fetched:
    """A map-style data set that fetches all rows of a batch before it decodes them."""

    def __init__(self, kind: str, places: Any, url: str) -> None:
        self.kind, self.places, self.url = kind, places, url
        self.fetch: Any = None

    def __len__(self) -> int:
        return len(self.places)

    def __getitems__(self, rows: list[int]) -> Any:
        import torch
        from loader_sides import decoding

        if self.fetch is None:
            self.fetch = {"obstore": self.by_obstore, "fsspec": self.by_fsspec}[self.kind]()
        encoded = self.fetch([self.places[row] for row in rows])
        decode = decoding.fastest("jpeg")
        return torch.stack([decoding.transform()(decode(bytes(data))) for data in encoded])

    def by_obstore(self) -> Any:
        get, pool = obstore_get(self.url), ThreadPoolExecutor(FETCHES)
        return lambda places: list(pool.map(lambda place: get(*place), places))

    def by_fsspec(self) -> Any:
        from fsspec.implementations.http import HTTPFileSystem

        files, url = HTTPFileSystem(), self.url
        return lambda places: files.cat_ranges(
            [f"{url}/{name}" for name, _, _ in places],
            [first for _, first, _ in places],
            [first + size for _, first, size in places],
            batch_size=FETCHES,
        )


def by_dataloader(kind: str, places: Any, url: str, rows: list[int]) -> Iterator[int]:
    import torch

    data: Any = Fetched(kind, places, url)
    loader = torch.utils.data.DataLoader(
        data, batch_sampler=batches_of(rows), num_workers=WORKERS, collate_fn=as_it_is,
        multiprocessing_context="spawn",
    )  # fmt: skip
    for batch in loader:
        yield len(batch)


def as_it_is(value: Any) -> Any:
    return value


def by_webdataset(names: list[str], url: str, rows: list[int]) -> Iterator[int]:
    import webdataset as wds

    data = (
        wds.WebDataset(
            [f"pipe:curl -s {url}/{name}" for name in names], shardshuffle=False, empty_check=False
        )
        .to_tuple("jpg")
        .map_tuple(decoded)
        .batched(BATCH, partial=False)
    )
    count = 0
    for (batch,) in wds.WebLoader(data, batch_size=None, num_workers=WORKERS):
        count += len(batch)
        yield len(batch)
        if count + BATCH > len(rows):
            return


def decoded(data: bytes) -> Any:
    from loader_sides import decoding

    return decoding.transform()(decoding.fastest("jpeg")(data))


# One side, in a process of its own.


def child(arguments: argparse.Namespace) -> None:
    import torch
    from watch import processor_seconds

    torch.set_num_threads(1)
    plan = json.loads(arguments.plan.read_text())
    side, url, rows, places = arguments.child, arguments.url, plan["rows"], plan["places"]
    if side in ("helip", "disk"):
        made = by_helip(plan["index"], url if side == "helip" else None, rows)
    elif side.startswith("limit-"):
        made = by_limit(int(side.partition("-")[2]), places, url, rows)
    elif side == "webdataset":
        made = by_webdataset(plan["names"], url, rows)
    else:
        made = by_dataloader(side, places, url, rows)
    for _ in range(SKIPPED):
        next(made)
    spent, begun, count, seconds = processor_seconds(os.getpid()), time.perf_counter(), 0, 0.0
    used = 0.0
    for number in made:
        count += number
        seconds = time.perf_counter() - begun
        # Workers that have ended count no more.
        used = max(used, processor_seconds(os.getpid()) - spent)
    rates = {"images_second": count / seconds, "images_core_second": count / max(used, TICK)}
    print(json.dumps(rates))


def run(side: str, url: str, plan: Path) -> dict[str, float] | None:
    command = [sys.executable, __file__, "--child", side, "--url", url, "--plan", str(plan)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{side}: {(done.stderr.strip() or 'failed').splitlines()[-1]}", file=sys.stderr)
        return None
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def make_plan(cache: Path, size: int, count: int) -> tuple[Path, Path]:
    """The folder of shards, and a file with what sides need to read them in one random order."""
    import numpy as np
    from pictures import pictures_of

    import helip

    pictures = pictures_of(cache, size, count)
    folder = Path(pictures.shards[0]).parent
    index = helip.SampleIndex.build(pictures.shards, out=pictures.folder / "index", progress=False)
    names = [Path(str(shard["path"])).name for shard in index.shards]
    members = [index.member(row, "image") for row in range(count)]
    plan = pictures.folder / "http.json"
    plan.write_text(json.dumps({
        "index": str(pictures.folder / "index"),
        "names": names,
        "places": [(names[member.shard], member.offset, member.bytes) for member in members],
        "rows": np.random.default_rng(0).permutation(count).tolist(),
    }))  # fmt: skip
    return folder, plan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--latencies", type=float, nargs="+", default=[0, 10, 30], help="in ms")
    parser.add_argument("--sides", nargs="+", default=SIDES)
    parser.add_argument("--size", type=int, default=500)
    parser.add_argument("--pictures", type=int, default=6000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cache", type=Path, default=Path("build/bench"))
    parser.add_argument("--out", type=Path)
    for name in ("--child", "--url"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    parser.add_argument("--plan", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments)
        return
    import http_server

    folder, plan = make_plan(arguments.cache, arguments.size, arguments.pictures)
    results: list[dict[str, Any]] = []
    for repeat, latency in itertools.product(range(arguments.repeats), arguments.latencies):
        with http_server.serving(folder, latency) as url:
            for side in arguments.sides:
                load = os.getloadavg()[0]
                if (found := run(side, url, plan)) is not None:
                    results.append(
                        {"side": side, "latency": latency, "repeat": repeat, "load": load, **found}
                    )
    report = {
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "server": http_server.name(), "cores": os.cpu_count(), "pictures": arguments.pictures,
        "size": arguments.size, "results": results,
    }  # fmt: skip
    if arguments.out:
        arguments.out.write_text(json.dumps(report, indent=1) + "\n")
    show(results, arguments.sides, arguments.latencies)


def show(results: list[dict[str, Any]], sides: list[str], latencies: list[float]) -> None:
    """Medians over the repeats, and helip over each side."""

    def median(side: str, latency: float, name: str) -> float:
        values = [r[name] for r in results if (r["side"], r["latency"]) == (side, latency)]
        return statistics.median(values) if values else float("nan")

    print(f"{'':12}" + "".join(f"{f'{latency:g} ms':>32}" for latency in latencies))
    print(f"{'':12}" + f"{'img/s':>10}{'img/core s':>12}{'helip/it':>10}" * len(latencies))
    for side in sides:
        line = f"{side:12}"
        for latency in latencies:
            rate = median(side, latency, "images_second")
            each = median(side, latency, "images_core_second")
            ratio = median("helip", latency, "images_second") / rate
            line += f"{rate:10,.0f}{each:12,.0f}{ratio:10.2f}"
        print(line)


if __name__ == "__main__":
    main()
