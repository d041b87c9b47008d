"""What a card of `helip view` costs: a table of random pairs, served over HTTP on loopback.

python bench/view.py --rows 1000000

Pictures are one picture of noise, so that none has to lie on the disk. Each step prints its wall
time and the processor time of all threads; the client takes part of the latter.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from PIL import Image

import helip
from helip.data.dataset import KeyedDataset
from helip.data.packed_strings import KeyList
from helip.reporting.similarities import Similarities
from helip_view.app import make_app
from helip_view.cards import ComparedPools
from helip_view.viewing import ViewCall, viewing

CARDS = 20  # of each way
WAYS = ("hubs", "margin", "duplicates", "random")
BLOCK = 50_000


class Noise(KeyedDataset):
    """Rows of one picture, with captions of their own."""

    def __init__(self, rows: int) -> None:
        self._take_keys(KeyList.from_strings(f"key{row:08}" for row in range(rows)))
        self._picture = Image.effect_noise((320, 240), 90).convert("RGB")

    def _read_image(self, row: int) -> Image.Image:
        return self._picture.copy()

    def _read_caption(self, row: int) -> str:
        return f"picture number {row} of a red kite over house {row % 977}"


def write(folder: Path, data: Noise, k: int, dim: int) -> None:
    rows, random = len(data), np.random.default_rng(0)
    with helip.EmbeddingStore.create(
        folder / "store", image_dim=dim, text_dim=dim, dtype="float16"
    ) as writer:
        for first in range(0, rows, BLOCK):
            keys = data.keys[first : first + BLOCK]
            shape = (len(keys), dim)
            sides = (random.standard_normal(shape, dtype=np.float32) + 0.3 for _ in range(2))
            writer.append(keys, *sides)
    ids = (random.integers(1, rows, (rows, k)) + np.arange(rows)[:, None]) % rows
    scores = -np.sort(-random.random((rows, k), dtype=np.float32))
    fingerprint = helip.EmbeddingStore.open(folder / "store").fingerprint
    table = helip.HardPairs.from_arrays(ids.astype(np.int32), scores, fingerprint=fingerprint)
    table.save(folder / "pairs")


def timed(work: Callable[..., Any], *arguments: Any) -> tuple[float, float]:
    """Milliseconds of wall and of processor."""
    wall, cpu = time.perf_counter(), time.process_time()
    work(*arguments)
    return 1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - cpu)


def steps(folder: Path, data: Noise) -> Iterator[tuple[str, list[tuple[float, float]]]]:
    call = ViewCall(
        folder / "pairs", data, store=folder / "store", model=(folder / "store",), progress=False
    )
    opened: list[Any] = []
    entered = viewing(call)
    yield "first start", [timed(lambda: opened.append(entered.__enter__()))]
    pages = opened[0]
    yield "index of captions", [timed(lambda: pages._search.wait())]
    host = f"127.0.0.1:{(port := 8977)}"
    app = make_app(pages, token="bench", hosts=frozenset({host}), cookie="own")
    config = uvicorn.Config(app, port=port, log_level="warning", access_log=False, lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    connection = http.client.HTTPConnection(host)

    def get(address: str) -> None:
        status = 202  # of a map that is being made
        while status == 202:
            connection.request("GET", address, headers={"cookie": "own=bench"})
            answer = connection.getresponse()
            answer.read()
            status = answer.status
        assert status == 200, status

    cards = [f"/?way={way}&at={37 * place}" for way in WAYS for place in range(CARDS)]
    yield "card, pictures not made", [timed(get, each) for each in cards]
    yield "card, warm", [timed(get, each) for each in cards]
    others = [f"/pools?row={997 * (place + 1) % len(data)}" for place in range(CARDS)]
    for name, address in (
        ("search, one of 977", "/?way=hubs&q=house+976"),
        ("search, all rows", "/?way=hubs&q=kite"),
        ("filter by score", "/?way=hubs&low=0.99"),
        ("pools by other rules, first", "/pools?row=5"),
        ("map, first", "/map/points/joint"),
        ("map, again", "/map/points/joint"),
    ):
        yield name, [timed(get, address)]
    yield "pools by other rules", [timed(get, each) for each in others]
    server.should_exit = True
    thread.join()
    entered.__exit__(None, None, None)


def pools(folder: Path) -> Iterator[tuple[str, list[tuple[float, float]]]]:
    """Pools of targets by other rules alone, without a server and all that a start makes."""
    store = helip.EmbeddingStore.open(folder / "store")
    table = helip.HardPairs.open(folder / "pairs")
    compared = ComparedPools(table, Similarities(store, table.options), [])
    yield "pools by other rules, first", [timed(compared.of, 5)]
    others = [997 * (place + 1) % len(table) for place in range(CARDS)]
    yield "pools by other rules", [timed(compared.of, each) for each in others]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--k", type=int, default=20)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--pools", action="store_true", help=pools.__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/bench/view.json"))
    arguments = parser.parse_args()
    result: dict[str, Any] = {"rows": arguments.rows, "k": arguments.k, "dim": arguments.dim}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["HELIP_CACHE"] = str(folder / "cache")
        data = Noise(arguments.rows)
        write(folder, data, arguments.k, arguments.dim)
        print(f"{'ms':<28}{'wall':>10}{'at most':>10}{'processor':>12}")
        for step, times in pools(folder) if arguments.pools else steps(folder, data):
            wall, cpu = np.median(times, axis=0)
            most = max(each for each, _ in times)
            print(f"{step:<28}{wall:10.1f}{most:10.1f}{cpu:12.1f}", flush=True)
            result[step] = {"wall": wall, "most": most, "processor": cpu}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
