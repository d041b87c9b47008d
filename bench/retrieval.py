"""Memory and time of retrieval among many pictures and captions: ranks by counting, in blocks.

    python bench/retrieval.py

Features of ``--pictures`` pictures and ``--captions`` captions of each are ranked in both
directions by ``helip.evaluate.retrieval``, intervals included, in a process of its own. A caption
is its picture and six times as much noise, so that recall is neither 0 nor 1. Memory is that of
anonymous and shared pages (``watch.py``): ``at start`` is what Python, torch and helip hold,
``with features`` that and the two matrices, ``peak`` the most until the ranks are there.
``--check`` compares the ranks of some queries of each direction with a float64 reference: they must
lie between its ranks without ties, and with all that is within 2e-6 of the right one for a tie.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

GOAL = 2e9  # bytes, everything included
TIE = 2e-6  # twice that of retrieval, which compares float32 sums


def features(pictures: int, captions: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(image [P, d], text [P·c, d], the picture of each text), float32."""
    random = np.random.default_rng(0)
    image = random.standard_normal((pictures, width), dtype=np.float32)
    image_of = np.repeat(np.arange(pictures), captions)
    text = random.standard_normal((len(image_of), width), dtype=np.float32)
    text *= 6.0
    for first in range(0, len(text), 8192):  # no second copy of the whole
        text[first : first + 8192] += image[image_of[first : first + 8192]]
    return image, text, image_of


def reference_ranks(
    queries: np.ndarray, candidates: np.ndarray, right: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Float64: 1 + the wrong candidates that score as high as the best right one; and nearly so."""
    scaled = candidates.astype(np.float64)
    scaled /= np.linalg.norm(scaled, axis=1, keepdims=True)
    least, most = [], []
    for query, mine in zip(queries.astype(np.float64), right, strict=True):
        scores = scaled @ (query / np.linalg.norm(query))
        best = scores[mine].max()
        scores[mine] = -np.inf
        least.append(1 + int((scores >= best).sum()))
        most.append(1 + int((scores >= best - TIE).sum()))
    return np.array(least), np.array(most)


def child(arguments: argparse.Namespace) -> None:
    from watch import held

    from helip.evaluation.tasks.retrieval import retrieval

    at_start = held()
    image, text, image_of = features(arguments.pictures, arguments.captions, arguments.width)
    with_features = held()
    started, used = time.perf_counter(), time.process_time()
    result = retrieval(
        image, text, image_of=image_of, chunk=arguments.chunk, bootstrap=arguments.bootstrap,
        keep_ranks=arguments.check > 0,
    )  # fmt: skip
    seconds, cpu = time.perf_counter() - started, time.process_time() - used
    print(
        json.dumps(
            {"start": at_start, "features": with_features, "seconds": seconds, "cpu_seconds": cpu}
        )
    )
    for direction in ("image_to_text", "text_to_image"):
        print(json.dumps({direction: result[direction]}), flush=True)
    if arguments.check:
        print(json.dumps({"differ": differences(arguments, image, text, image_of, result)}))


def differences(
    arguments: argparse.Namespace,
    image: np.ndarray,
    text: np.ndarray,
    image_of: np.ndarray,
    result: dict[str, Any],
) -> int:
    """How many of the checked ranks lie outside those of the reference."""
    chosen = np.linspace(0, arguments.pictures - 1, arguments.check).astype(int)
    own = [np.flatnonzero(image_of == row) for row in chosen]
    first = np.array([rows[0] for rows in own])
    ranks = {name: np.array(side["ranks"]) for name, side in result["per_query"].items()}
    checked = [
        (ranks["image_to_text"][chosen], reference_ranks(image[chosen], text, own)),
        (
            ranks["text_to_image"][first],
            reference_ranks(text[first], image, [image_of[[row]] for row in first]),
        ),
    ]
    return sum(int(((ours < low) | (ours > high)).sum()) for ours, (low, high) in checked)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--pictures", type=int, default=50_000)
    add("--captions", type=int, default=1, help="of each picture")
    add("--width", type=int, default=512)
    add("--chunk", type=int, default=4096)
    add("--bootstrap", type=int, default=1000)
    add("--threads", type=int, default=2)
    add("--check", type=int, default=0, metavar="N", help="queries to compare with a reference")
    add("--limit", type=float, default=3600, metavar="SECONDS")
    add("--out", type=Path, default=Path("build/bench/retrieval.json"))
    add("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments)
        return

    from watch import Watched

    watched = Watched(
        [sys.executable, __file__, "--child", *sys.argv[1:]],
        environment={**os.environ, "OMP_NUM_THREADS": str(arguments.threads)},
        seconds=arguments.limit,
    )
    said: dict[str, Any] = {}
    for line in watched.lines():
        said.update(json.loads(line))
        if "differ" not in said:
            peak = watched.peak  # without the reference
    if watched.status != 0:
        raise SystemExit(f"failed with status {watched.status}: {watched.ended}\n{watched.errors}")
    texts = arguments.pictures * arguments.captions
    run = {
        "pictures": arguments.pictures, "captions": texts, "width": arguments.width,
        "threads": arguments.threads, "peak": peak, **said,
    }  # fmt: skip
    print(f"{arguments.pictures:,} pictures x {texts:,} captions, {arguments.width} dimensions, "
          f"{arguments.threads} threads")  # fmt: skip
    print(f"seconds {said['seconds']:.1f}, of processors {said['cpu_seconds']:.1f}")
    print(f"MB: at start {said['start'] / 1e6:.0f}, with features {said['features'] / 1e6:.0f}, "
          f"peak {peak / 1e6:.0f}: at most {GOAL / 1e6:.0f} is "
          f"{'met' if peak <= GOAL else 'NOT met'}")  # fmt: skip
    for direction in ("image_to_text", "text_to_image"):
        found = said[direction]["recall@1"]
        print(f"{direction}: recall@1 {found['value']:.4f} [{found['low']:.4f}, "
              f"{found['high']:.4f}]")  # fmt: skip
    if arguments.check:
        print(f"{said['differ']} of {2 * arguments.check} ranks lie outside those of the reference")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(run, indent=1) + "\n")


if __name__ == "__main__":
    main()
