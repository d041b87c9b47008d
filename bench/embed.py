"""Rows a second of `helip.embed` beside other ways to embed the same data on a CPU.

    python bench/embed.py --rows 1024 --encoder packaged
    python bench/embed.py --rows 256 --encoder dinov2 --sides loop helip
    python bench/embed.py --engines

Each side (embed_sides.py) is a process of its own, and they alternate; what is timed is everything
from the call to the last row: loading, trying engines, reading, encoding, writing. Printed are rows
a second, their ratio to the first side's, rows a CPU second, peak memory of the process and what of
it came after two encoders had been loaded once, and the lowest cosines to the first side's rows.
``--before PYTHON`` runs another helip as the side ``before``.

The share of the machine's limit is what the networks multiply in that time, over what torch's
matrix product does in the precision that was taken. ``--engines`` times the image network alone.

``packaged`` is EfficientNet-Lite0 at 224 px and MiniLM; ``dinov2`` ViT-S/14 at 224 px of random
weights and MiniLM.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

ENGINES = (
    "torch", "torch-bfloat16", "onnx", "openvino", "openvino-bfloat16", "openvino-int8",
)  # fmt: skip


def side(name: str, args: argparse.Namespace) -> None:
    """What a process of its own measures."""
    from embed_sides import SIDES, make_data, specs, warm_up

    torch.set_num_threads(args.threads)
    encoders = specs(args.encoder, args.folder)
    data = make_data(args.folder, args.rows)
    if name != "before":
        warm_up(encoders)
    memory = Memory()
    began, cpu = time.perf_counter(), _cpu()
    rows = SIDES[name](data, encoders, args.folder, args.threads)
    seconds, cpu = time.perf_counter() - began, _cpu() - cpu
    np.savez(args.folder / f"{name}.npz", image=rows[0], text=rows[1])
    peak = memory.most()
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu, "peak": peak, "base": memory.base}))


class Memory:
    """The most that the process could not give back without writing it somewhere, in bytes.

    Pages of mapped files, such as libraries and graphs, do not count; see watch.py.
    """

    def __init__(self) -> None:
        self.base = self._peak = self._now()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def most(self) -> int:
        self._over.set()
        self._thread.join()
        return self._peak

    def _look(self) -> None:
        while not self._over.wait(0.02):
            self._peak = max(self._peak, self._now())

    @staticmethod
    def _now() -> int:
        status = Path("/proc/self/status").read_text()
        found = re.findall(r"^(?:RssAnon|RssShmem):\s+(\d+) kB", status, re.MULTILINE)
        return 1024 * sum(map(int, found))


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def lowest_cosine(rows: np.ndarray, reference: np.ndarray) -> float:
    """Of rows to the same rows of another side; NaN where one has none."""
    if rows.shape != reference.shape:
        return float("nan")
    a, b = rows.astype(np.float64), reference.astype(np.float64)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(((a * b).sum(axis=1) / norms).min())


def compare(args: argparse.Namespace) -> dict[str, Any]:
    from embed_sides import make_data

    runs: dict[str, list[dict[str, float]]] = {name: [] for name in args.sides}
    make_data(args.folder, args.rows)
    given = [f"--{name}={getattr(args, name)}" for name in ("rows", "encoder", "threads", "folder")]
    engines: dict[str, Any] = {}
    for repeat in range(args.repeats):
        for name in args.sides[:: 1 if repeat % 2 == 0 else -1]:
            python = args.before if name == "before" else sys.executable
            done = subprocess.run(
                [python, __file__, "--side", name, *given],
                capture_output=True, text=True, check=False,
                env={**os.environ, "OMP_NUM_THREADS": str(args.threads)},
            )  # fmt: skip
            if done.returncode:
                sys.exit(f"{name}: {done.stderr[-2000:]}")
            runs[name].append(json.loads(done.stdout.splitlines()[-1]))
            facts = args.folder / "engines.json"
            if facts.exists():
                engines[name] = json.loads(facts.read_text())
                facts.unlink()
    first = args.sides[0]
    reference = np.load(args.folder / f"{first}.npz")
    limits, work = machine_limits(args.threads), multiplications(args)
    found: dict[str, Any] = {}
    for name, each in runs.items():
        rows = np.load(args.folder / f"{name}.npz")
        rate = args.rows / statistics.median(run["seconds"] for run in each)
        found[name] = {
            "rows_a_second": rate,
            "rows_a_cpu_second": args.rows / statistics.median(run["cpu_seconds"] for run in each),
            "peak": max(run["peak"] for run in each),
            "over_loaded": max(run["peak"] - run["base"] for run in each),
            "cosines": {k: lowest_cosine(rows[k], reference[k]) for k in ("image", "text")},
            "share_of_limit": _share(rate, work, limits, engines.get(name)),
            "engines": engines.get(name),
            "runs": each,
        }
    for row in found.values():
        row["times_first"] = row["rows_a_second"] / found[first]["rows_a_second"]
    return found | {"limits": limits, "multiplications": work}


def _share(rate: float, work: dict[str, float], limits: dict[str, float], engines: Any) -> float:
    """Of the time that the machine's matrix product would take for the same multiplications."""
    precision = {
        side: ((engines or {}).get(side) or {}).get("precision", "float32") for side in work
    }
    least = sum(
        work[side] / limits[precision[side] if precision[side] in limits else "bfloat16"]
        for side in work
    )
    return rate * least


def machine_limits(threads: int) -> dict[str, float]:
    """Multiply-adds a second of torch's matrix product on so many threads."""
    torch.set_num_threads(threads)
    found = {}
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        a, b = (torch.randn(2048, 2048).to(dtype) for _ in range(2))
        best = float("inf")
        for _ in range(6):
            began = time.perf_counter()
            a @ b
            best = min(best, time.perf_counter() - began)
        found[name] = 2048**3 / best
    return found


def multiplications(args: argparse.Namespace) -> dict[str, float]:
    """Multiply-adds of a picture, and of a caption of ten words, by torch's counter."""
    from embed_sides import specs
    from torch.utils.flop_counter import FlopCounterMode

    from helip.encoders.network_encoder import load_source

    found = {}
    for side, spec in zip(("image", "text"), specs(args.encoder, args.folder), strict=True):
        source: Any = load_source(spec, side)  # type: ignore[arg-type]
        inputs = source.example()
        if side == "text":
            inputs = tuple(source.loaded.tokenize([" ".join(["house"] * 10)] * 2).values())
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            source.loaded.network(*inputs)
        found[side] = counter.get_total_flops() / 2 / len(inputs[0])
    return found


def compare_engines(args: argparse.Namespace) -> dict[str, Any]:
    """The image network on each engine, one thread."""
    from embed_sides import make_data, specs

    import helip
    from helip.encoders.engine_choice import make_engine
    from helip.encoders.network_encoder import encoder_of, load_source

    torch.set_num_threads(1)
    source: Any = load_source(specs(args.encoder, args.folder)[0], "image")
    data = helip.open_dataset(make_data(args.folder, args.rows))
    rows = range(min(args.rows, 96))
    pixels = torch.stack([source.loaded.preprocess(data.image(row)) for row in rows])
    found: dict[str, Any] = {}
    reference = None
    for name in ENGINES:
        kind, _, precision = name.partition("-")
        try:
            engine = make_engine(
                source, kind, precision or "float32",  # type: ignore[arg-type]
                calibration=[(picture[None],) for picture in pixels],
            )  # fmt: skip
        except helip.UnsupportedError as error:
            print(f"{name}: {error}")
            continue
        encoder = encoder_of(source, engine)
        encoder.encode(pixels[:16])
        began = time.process_time()
        features = encoder.encode(pixels).numpy()
        rate = len(pixels) / (time.process_time() - began)
        reference = features if reference is None else reference
        found[name] = {"rows_a_cpu_second": rate, "cosine": lowest_cosine(features, reference)}
        print(f"| {name} | {rate:.1f} | {found[name]['cosine']:.6f} |", flush=True)
    return found


def main() -> None:
    sys.path.insert(0, str(Path(__file__).parent))
    from embed_sides import DEFAULT, SIDES

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--rows", type=int, default=512)
    add("--encoder", choices=("packaged", "dinov2"), default="packaged")
    add("--sides", nargs="+", choices=list(SIDES), default=list(DEFAULT))
    add("--before", help="a Python with another helip, for the side of that name")
    add("--engines", action="store_true", help="the image network alone")
    add("--repeats", type=int, default=3)
    add("--threads", type=int, default=2)
    add("--side", choices=list(SIDES), help=argparse.SUPPRESS)
    add("--folder", type=Path, help=argparse.SUPPRESS)
    add("--out", type=Path, default=Path("build/bench/embed.json"))
    args = parser.parse_args()
    if args.side:
        side(args.side, args)
        return
    if ("before" in args.sides) != bool(args.before):
        parser.error("--before PYTHON and the side before go together")
    with tempfile.TemporaryDirectory() as folder:
        args.folder = Path(folder)
        found = compare_engines(args) if args.engines else compare(args)
    for name, row in found.items():
        if args.engines or "rows_a_second" not in row:
            continue
        print(
            f"| {name} | {row['rows_a_second']:.1f} | {row['times_first']:.2f} | "
            f"{row['rows_a_cpu_second']:.1f} | {row['peak'] / 2**20:.0f} MiB | "
            f"+{row['over_loaded'] / 2**20:.0f} MiB | {row['cosines']['image']:.6f} | "
            f"{row['cosines']['text']:.6f} | {row['share_of_limit']:.0%} |"
        )
    given = {name: str(value) for name, value in vars(args).items() if name != "folder"}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps({"options": given, "sides": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
