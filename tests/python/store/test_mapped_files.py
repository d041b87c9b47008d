"""Files that become shorter while they are mapped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import helip

SCRIPT = """
    import os, sys
    from pathlib import Path
    import helip

    helip.guard_mapped_files()
    store = helip.EmbeddingStore.open(sys.argv[1])
    for shard in Path(sys.argv[1]).glob("*.safetensors"):
        os.truncate(shard, 4096)
    for call in (
        lambda: helip.mine(store, k=3, out=sys.argv[1] + ".pairs", progress=False),
        lambda: store.keys[len(store) - 1],
        store.verify,
    ):
        try:
            call()
        except helip.CorruptError as error:
            print(error)
"""


def write_store(path: Path) -> None:
    rng = np.random.default_rng(0)
    image, text = rng.normal(size=(2000, 16)), rng.normal(size=(2000, 8))
    with helip.EmbeddingStore.create(path, image_dim=16, text_dim=8) as writer:
        writer.append([f"k{row}" for row in range(2000)], image, text)


@pytest.mark.parametrize("name", ["s", "sé"])
def test_a_store_that_is_cut_short_is_an_error_and_the_process_lives(tmp_path, name) -> None:
    write_store(tmp_path / name)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), tmp_path / name],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()
    assert len(told) == 3
    for line in told[:2]:
        assert f'{name}/shard-00000.safetensors" is damaged: it became shorter' in line
        assert "it has 4096 bytes now, and had" in line
    assert "bytes early" in told[2]
    assert not list(tmp_path.glob("*.pairs/manifest.json"))


@pytest.mark.parametrize("read", ["rows", "blocks"])
def test_rows_of_a_store_that_was_cut_within_its_last_page_are_not_given(tmp_path, read) -> None:
    write_store(tmp_path / "s")
    store = helip.EmbeddingStore.open(tmp_path / "s")
    (shard,) = (tmp_path / "s").glob("*.safetensors")
    size = shard.stat().st_size
    calls = {"rows": lambda: store.rows([1999]), "blocks": lambda: list(store.blocks())}
    calls[read]()
    os.truncate(shard, size - 8)
    with pytest.raises(helip.CorruptError, match=f"it has {size - 8} bytes now, and had {size}"):
        calls[read]()


@pytest.mark.parametrize("order", [("guard", "fault"), ("fault", "guard")])
def test_with_faulthandler_a_sent_sigbus_ends_the_process_with_one_traceback(
    tmp_path, order
) -> None:
    write_store(tmp_path / "s")
    calls = {"guard": "helip.guard_mapped_files()", "fault": "faulthandler.enable()"}
    script = f"""
        import faulthandler, os, signal, sys, helip
        {calls[order[0]]}
        {calls[order[1]]}
        store = helip.EmbeddingStore.open(sys.argv[1])
        os.kill(os.getpid(), signal.SIGBUS)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), tmp_path / "s"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == -signal.SIGBUS
    assert done.stderr.count("Fatal Python error") == 1
