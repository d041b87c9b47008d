"""Paths that name nothing: whatever is asked of them is one error of helip's own."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import helip
from support.data_samples import write_tar

BAD: dict[str, Callable[[Path], str]] = {
    "with a NUL": lambda root: f"{root}/a\0b",
    "too long": lambda root: f"{root}/{'n' * 300}",
    "a loop of links": lambda root: f"{root}/loop",
    "below a loop of links": lambda root: f"{root}/loop/x",
    "below a file": lambda root: f"{root}/file/x",
    "empty": lambda root: "",
}
#: What is read from a path that may be absent as well.
READS: dict[str, Callable[[Any, str], Any]] = {
    "EmbeddingStore.open": lambda at, path: helip.EmbeddingStore.open(path),
    "EmbeddingStore.append_to": lambda at, path: helip.EmbeddingStore.append_to(path),
    "HardPairs.open": lambda at, path: helip.HardPairs.open(path),
    "HardPairs.from_csv": lambda at, path: helip.HardPairs.from_csv(path, rows=9),
    "HardPairsPart.open": lambda at, path: helip.HardPairsPart.open(path),
    "PairIndex.open": lambda at, path: helip.PairIndex.open(path),
    "SampleIndex.open": lambda at, path: helip.SampleIndex.open(path),
    "SampleIndex.build": lambda at, path: helip.SampleIndex.build(path, progress=False),
    "open_dataset": lambda at, path: helip.open_dataset(path, progress=False),
    "mine": lambda at, path: helip.mine(path, k=3, device="cpu", progress=False),
    "merge": lambda at, path: helip.merge([path], progress=False),
    "update": lambda at, path: helip.update(path, at.store, progress=False),
    "plan": lambda at, path: helip.plan(path),
    "evaluate": lambda at, path: helip.evaluate(path, at.tar),
    "diagnose": lambda at, path: helip.diagnose(path, at.tar),
    "report": lambda at, path: helip.report(path, at.tar, f"{at.root}/r"),
    "create_model": lambda at, path: helip.create_model(path),
    "train": lambda at, path: helip.train(
        data=at.tar, pairs=path, model="x", out=f"{at.root}/out"
    ),
}  # fmt: skip
WRITES: dict[str, Callable[[Any, str], Any]] = {
    "EmbeddingStore.create": lambda at, path: helip.EmbeddingStore.create(
        path, image_dim=2, text_dim=2
    ),
    "HardPairs.save": lambda at, path: at.pairs.save(path),
    "HardPairs.to_csv": lambda at, path: at.pairs.to_csv(path),
    "PairIndex.save": lambda at, path: at.index.save(path),
    "SampleIndex.save": lambda at, path: at.samples.save(path),
    "SampleIndex.build": lambda at, path: helip.SampleIndex.build(
        at.tar, out=path, progress=False
    ),
    "mine": lambda at, path: helip.mine(
        at.store, k=3, out=path, device="cpu", progress=False
    ),
    "update": lambda at, path: helip.update(
        at.pairs, at.store, out=path, progress=False
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    root = tmp_path_factory.mktemp("paths")
    values = np.random.default_rng(0).normal(size=(30, 12)) + 0.3
    with helip.EmbeddingStore.create(root / "store", image_dim=8, text_dim=4) as writer:
        writer.append([str(i) for i in range(30)], values[:, :8], values[:, 8:])
    write_tar(root / "s.tar", {"a.jpg": b"no picture", "a.txt": b"a caption"})
    os.symlink("pool", root / "loop")
    os.symlink("loop", root / "pool")
    (root / "file").write_bytes(b"")
    return SimpleNamespace(
        root=root, store=root / "store", tar=root / "s.tar",
        pairs=helip.mine(root / "store", k=3, device="cpu", progress=False),
        index=helip.PairIndex.build(root / "store", progress=False),
        samples=helip.SampleIndex.build(root / "s.tar", progress=False),
    )  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("call", READS)
def test_what_is_read_of_a_bad_path_is_one_error(at: SimpleNamespace, call: str, kind: str) -> None:
    with pytest.raises(helip.Error) as told:
        READS[call](at, BAD[kind](at.root))
    assert len(str(told.value)) < 1500


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("call", WRITES)
def test_what_is_written_to_a_bad_path_is_one_error(
    at: SimpleNamespace, call: str, kind: str
) -> None:
    with pytest.raises(helip.Error):
        WRITES[call](at, BAD[kind](at.root))


def test_a_path_of_bytes_that_are_no_utf8_is_a_path(at: SimpleNamespace) -> None:
    place = os.fsdecode(os.fsencode(at.root) + b"/\xff")
    table = helip.mine(at.store, k=3, out=place, device="cpu", progress=False)
    assert table.path == place
    assert helip.HardPairs.open(place).path == place
    assert helip.HardPairs.open(os.fsencode(place)).path == place


def test_mining_that_needs_no_scratch_does_not_look_for_its_folder(
    at: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", f"{at.root}/absent")
    expected = at.pairs.ids
    found = helip.mine(at.store, k=3, device="cpu", progress=False)
    np.testing.assert_array_equal(found.ids, expected)
