"""The C++ example finds for new pairs what PairIndex finds in Python."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np

import helip

SOURCE = Path(__file__).resolve().parents[2] / "examples" / "cpp" / "near_misses"


def store(path: Path, prefix: str, rows: int, seed: int) -> helip.EmbeddingStore:
    random = np.random.default_rng(seed)
    with helip.EmbeddingStore.create(path, image_dim=16, text_dim=8, dtype="float16") as writer:
        keys = [f"{prefix}{row}" for row in range(rows)]
        writer.append(keys, *(random.normal(size=(rows, dim)) + 0.5 for dim in (16, 8)))
    return helip.EmbeddingStore.open(path)


def test_new_pairs_find_their_near_misses(tmp_path: Path) -> None:
    build = tmp_path / "build"
    prefix = f"-DCMAKE_PREFIX_PATH={helip.cmake_prefix_path}"
    for command in (
        ["cmake", "-S", str(SOURCE), "-B", str(build), "-DCMAKE_BUILD_TYPE=Release", prefix],
        ["cmake", "--build", str(build)],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    known, fresh = store(tmp_path / "known", "k", 400, 1), store(tmp_path / "new", "n", 20, 2)
    program = [build / "near_misses", tmp_path / "known", tmp_path / "new", tmp_path / "index", "3"]
    first = subprocess.run(program, capture_output=True, text=True, check=True).stdout
    assert (tmp_path / "index" / "manifest.json").exists()
    again = subprocess.run(program, capture_output=True, text=True, check=True).stdout
    assert first == again  # of the index that the first call saved

    index = helip.PairIndex.build(known, image_max=1.0, text_max=1.0)
    ids, scores = index.query(image=fresh.image, text=fresh.text, k=3)
    expected = [
        f"n{query}\tk{row}\t{score:.4f}"
        for query in range(len(fresh))
        for row, score in zip(ids[query], scores[query], strict=True)
        if row >= 0
    ]
    assert first.splitlines() == expected

    absent = subprocess.run([*program[:2], "/absent", *program[3:]], capture_output=True, text=True)
    assert absent.returncode == 1 and absent.stderr.startswith("io: ")
