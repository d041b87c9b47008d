"""Training steps a second beside other processes, by how OpenMP's threads wait and their number.

    python bench/busy.py

Four processes hold the same small CLIP model: threads that wait as OpenMP has it where nobody says
how, threads that sleep at once, one thread, and threads that sleep soon for the cores that are idle
(what the commands of helip do). They take steps in turn, with nothing else of this program running,
beside one process that spins, and beside two; in each turn the first seconds are not counted.
Medians of the rounds, as a table of steps a second with ratios to the first side, and as JSON. It
says the load that others made: on a machine that is not idle the rows without the busy process are
bounds alone.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

THREADS = len(os.sched_getaffinity(0))
SIDES = {
    "as before": {"OMP_NUM_THREADS": str(THREADS)},
    "passive": {"OMP_NUM_THREADS": str(THREADS), "OMP_WAIT_POLICY": "PASSIVE"},
    "one thread": {"OMP_NUM_THREADS": "1"},
    "idle cores": {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"},
}
STATES = ("alone", "beside one busy process", "beside two")
SETTLED = 2.5  # seconds of a turn after which a side has looked for idle cores
CONFIG = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": 64, "layers": 6, "width": 192, "head_width": 48, "patch_size": 8},
    "text_cfg": {
        "context_length": 32, "vocab_size": 4096, "width": 192, "heads": 4, "layers": 4,
    },
}  # fmt: skip


def serve(rows: int) -> None:
    """Take as many steps as each line of stdin says, and say how long they took."""
    import torch

    import helip
    from helip.common.idle_cores import look_again, share_cores, watch_cores
    from helip.models.bundle import create_model

    model = create_model("small", config=CONFIG, from_scratch=True).model.train()
    loss, optimizer = helip.HelipLoss(), torch.optim.AdamW(model.parameters(), lr=1e-6)
    images, texts = torch.randn(rows, 3, 64, 64), torch.randint(1, 4000, (rows, 32))
    target = torch.arange(rows) // 4 * 4

    def step() -> None:
        look_again()
        optimizer.zero_grad()
        image, text, scale = model(images, texts)[:3]
        loss(image, text, scale, target)["loss"].backward()
        optimizer.step()

    share_cores()  # where OMP_NUM_THREADS says nothing
    step()
    print("ready", flush=True)
    for line in sys.stdin:
        watch_cores()  # the turns of the other sides are no other processes
        began = time.perf_counter()
        while time.perf_counter() < began + SETTLED:
            step()
        began = time.perf_counter()
        for _ in range(int(line)):
            step()
        print(time.perf_counter() - began, flush=True)


@contextlib.contextmanager
def beside(busy: int) -> Iterator[None]:
    """So many processes that spin."""
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--steps", type=int, default=2, help="of a side at a time")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=90, help="no round begins after them")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        serve(asked.rows)
        return
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_", "KMP_"))}
    command = [sys.executable, __file__, "--serve", "--rows", str(asked.rows)]
    load = os.getloadavg()[0]
    found: dict[str, dict[str, list[float]]] = {
        state: {side: [] for side in SIDES} for state in STATES
    }
    with contextlib.ExitStack() as stack:
        sides = {}
        for name, environment in SIDES.items():
            side = sides[name] = stack.enter_context(
                subprocess.Popen(
                    command, env=kept | environment, text=True,
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                )
            )  # fmt: skip
            stack.callback(side.kill)
            assert side.stdout is not None and side.stdout.readline() == "ready\n"
        rounds, began = 0, time.monotonic()
        while rounds == 0 or (rounds < asked.rounds and time.monotonic() - began < asked.seconds):
            for busy, state in enumerate(found):
                with beside(busy):
                    for name, side in sides.items():
                        assert side.stdin is not None and side.stdout is not None
                        side.stdin.write(f"{asked.steps}\n")
                        side.stdin.flush()
                        found[state][name].append(float(side.stdout.readline()))
            rounds += 1
    print(f"{THREADS} cores, load {load:.1f} at the start; {rounds} rounds of {asked.steps} steps")
    print(f"{'':<26}" + "".join(f"{name:>20}" for name in SIDES))
    for state, times in found.items():
        rates = {name: asked.steps / statistics.median(taken) for name, taken in times.items()}
        cells = (f"{rate:.2f}/s ({rate / rates['as before']:.2f})" for rate in rates.values())
        print(f"{state:<26}" + "".join(f"{cell:>20}" for cell in cells))
    if asked.out:
        facts = {"cores": THREADS, "load": load, "steps": asked.steps, "rows": asked.rows}
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        asked.out.write_text(json.dumps({**facts, "seconds": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
