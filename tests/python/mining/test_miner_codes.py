"""Codes that are kept in a folder: the same table, and jobs that begin with them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import helip
from helip.cli import main as cli
from helip.common.errors import CorruptError, InvalidArgumentError, MismatchError, UnsupportedError
from support.mined_samples import files_of, write_store

ROWS = 2_000


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("store") / "s", ROWS)


@pytest.fixture(scope="module")
def whole(store: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("whole") / "p"
    mine(store, out)
    return files_of(out)


def mine(store: Path, out: Path | None = None, **options: Any) -> Any:
    return helip.mine(
        store, **{"k": 5, "method": "exact", "out": out, "progress": False, **options}
    )


def made(store: Path, out: Path, codes: Path, **options: Any) -> bool:
    """Whether the job kept codes that it did not find."""
    stages = set()
    mine(store, out, codes=codes, on_progress=lambda *said: stages.add(said[0]) or True, **options)
    return "keep" in stages


def test_another_job_begins_with_the_codes_of_the_first(
    store: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    codes = tmp_path / "codes"
    assert made(store, tmp_path / "1", codes)
    assert not made(store, tmp_path / "2", codes)
    assert not made(store, tmp_path / "3", codes, parts=3)
    assert not made(store, tmp_path / "part", codes, part=(1, 3))
    for out in ("1", "2", "3"):
        assert files_of(tmp_path / out) == whole
    # One job's alone: another k has filters of its own.
    assert made(store, tmp_path / "4", codes, k=6)
    assert made(store, tmp_path / "5", codes)
    assert files_of(tmp_path / "5") == whole


def test_an_update_begins_with_the_codes_of_an_earlier_state(tmp_path: Path) -> None:
    path, codes = write_store(tmp_path / "s", ROWS), tmp_path / "codes"
    mine(path, tmp_path / "p", codes=codes)
    for rows, anew in ((100, False), (200, True)):  # with 300 an eighth of all is new
        earlier = {name: data for name, data in files_of(codes).items() if name.startswith("codes")}
        writer = helip.EmbeddingStore.append_to(path)
        with writer:
            first, dice = len(writer), np.random.default_rng(rows)
            writer.append(
                [f"new {i}" for i in range(first, first + rows)],
                *(dice.normal(size=(rows, dims)) for dims in (writer.image_dim, writer.text_dim)),
            )
        updated = helip.update(
            tmp_path / "p", path, out=tmp_path / "p", codes=codes, progress=False
        )
        assert updated.report["update"]["added"] == rows
        fresh = mine(path)
        for name in ("ids", "scores", "counts"):
            assert getattr(updated, name).tobytes() == getattr(fresh, name).tobytes()
        assert (earlier.keys() & files_of(codes).keys() == set()) == anew


def test_parts_at_one_time_share_codes(store: Path, tmp_path: Path) -> None:
    def part(index: int) -> Path:
        out = tmp_path / f"part-{index}"
        mine(store, out, part=(index, 4), codes=tmp_path / "codes")
        return out

    with ThreadPoolExecutor(4) as pool:
        merged = helip.merge(list(pool.map(part, range(1, 5))), progress=False)
    plain = mine(store)
    for name in ("ids", "scores", "counts"):
        assert getattr(merged, name).tobytes() == getattr(plain, name).tobytes()
    assert (tmp_path / "codes" / "manifest.json").exists()
    assert not list((tmp_path / "codes").glob(".pending-*"))


def test_a_shell_command_keeps_codes(
    store: Path, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for out in ("1", "2"):
        words = f"helip mine {store} --k 5 --method exact --codes codes --out {out} --quiet"
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", words.split())
        cli.main()
        assert files_of(tmp_path / out) == whole
    assert (tmp_path / "codes" / "manifest.json").exists()


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"codes": ""}, InvalidArgumentError, "codes is an empty path"),
        ({"codes": "s3://bucket/codes"}, InvalidArgumentError, "a URL"),
        (
            {"method": "partition", "cluster_rows": 500, "codes": "c"},
            UnsupportedError,
            "codes is 'c', and a job in stages",
        ),
    ],
)
def test_what_keeps_no_codes_says_so(
    store: Path,
    tmp_path: Path,
    options: dict[str, Any],
    error: type[Exception],
    words: str,
) -> None:
    with pytest.raises(error, match=words):
        mine(store, tmp_path / "p", **options)
    assert not Path("c").exists()


def test_a_gpu_keeps_no_codes(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    with pytest.raises(UnsupportedError, match="codes is 'c', which only the CPU knows"):
        mine(store, tmp_path / "p", device="cuda", codes="c")
    mine(store, tmp_path / "p", device="auto", codes=tmp_path / "c")  # and is not warned of the GPU


def test_arrays_and_updates_in_stages_keep_no_codes(store: Path, tmp_path: Path) -> None:
    rows = np.eye(8, dtype=np.float32)
    with pytest.raises(InvalidArgumentError, match="mine a store, or drop codes"):
        helip.mine(image=rows, text=rows, k=2, codes=tmp_path / "c", progress=False)
    mine(store, tmp_path / "p", method="partition")
    with pytest.raises(UnsupportedError, match="drop codes="):
        helip.update(tmp_path / "p", store, out=tmp_path / "q", codes="c", progress=False)


def stages_of(store: Path, **options: Any) -> tuple[Any, set[str]]:
    """A table, and what was done for it."""
    seen = set()
    pairs = mine(store, on_progress=lambda *said: seen.add(said[0]) or True, **options)
    return pairs, seen


def test_a_large_store_keeps_its_codes_where_that_is_asked_for(tmp_path: Path) -> None:
    store = write_store(tmp_path / "s", 16_384)
    before = files_of(store)
    plain, seen = stages_of(store)
    assert not seen & {"keep", "load"} and files_of(store) == before
    first, seen = stages_of(store, keep_codes=True)
    assert "keep" in seen and (store / "codes" / "manifest.json").exists()
    second, seen = stages_of(store, keep_codes=True)
    assert "load" in seen and "keep" not in seen
    fingerprint = helip.EmbeddingStore.open(store).fingerprint

    (file,) = (store / "codes").glob("codes-*")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    mended, seen = stages_of(store, keep_codes=True)
    assert "keep" in seen and "are damaged" in mended.report["codes"]
    again, seen = stages_of(store, keep_codes=True)
    assert "load" in seen and "keep" not in seen

    (store / "codes" / "manifest.json").write_text("{}")
    unreadable, _ = stages_of(store, keep_codes=True)
    assert "codes" in unreadable.report
    for pairs in (first, second, again):
        assert pairs.report == plain.report
    for pairs in (first, second, mended, again, unreadable):
        for name in ("ids", "scores", "counts"):
            assert getattr(pairs, name).tobytes() == getattr(plain, name).tobytes()
    helip.EmbeddingStore.open(store).verify(progress=False)
    assert helip.EmbeddingStore.open(store).fingerprint == fingerprint


def test_a_store_where_nothing_can_be_kept_is_mined_and_the_report_says_why(tmp_path: Path) -> None:
    store = write_store(tmp_path / "s", 16_384)
    (store / "codes").write_text("a file")
    pairs, seen = stages_of(store, keep_codes=True)
    assert "keep" not in seen
    assert "codes" in pairs.report["codes"]
    assert (store / "codes").read_text() == "a file"


def test_an_update_takes_up_the_codes_of_the_store(tmp_path: Path) -> None:
    store = write_store(tmp_path / "s", 16_384)
    mine(store, tmp_path / "p", keep_codes=True)
    writer = helip.EmbeddingStore.append_to(store)
    with writer:
        dice = np.random.default_rng(1)
        writer.append(
            [f"new {i}" for i in range(300)],
            *(dice.normal(size=(300, dims)) for dims in (writer.image_dim, writer.text_dim)),
        )
    before = files_of(store / "codes")
    updated = helip.update(tmp_path / "p", store, keep_codes=True, progress=False)
    assert files_of(store / "codes") == before
    plain = mine(store)
    for name in ("ids", "scores", "counts"):
        assert getattr(updated, name).tobytes() == getattr(plain, name).tobytes()


@pytest.mark.parametrize("other", ["channels", "score", "maxima"])
def test_an_update_takes_no_codes_of_another_job_of_channels(tmp_path: Path, other: str) -> None:
    random = np.random.default_rng(5)
    centres = random.normal(size=(300, 3, 24))

    def rows(count: int) -> dict[str, Any]:
        each = centres[random.integers(0, 300, count)] + random.normal(size=(count, 3, 24)) * 0.3
        return {"image": each[:, 0], "text": each[:, 1], "matrices": {"audio": each[:, 2]}}

    def append(writer: helip.StoreWriter, count: int) -> None:
        with writer:
            made = rows(count)
            writer.append([f"{len(writer)} {i}" for i in range(count)], **made)

    path, codes = tmp_path / "s", tmp_path / "codes"
    append(
        helip.EmbeddingStore.create(path, image_dim=24, text_dim=24, matrices={"audio": 24}), ROWS
    )
    one: dict[str, Any] = {"channels": ("image", "text"), "codes": codes}
    mine(path, tmp_path / "p", **one)
    options = {
        "channels": {"channels": ("image", "audio")},
        "score": {"score": "sum"},
        "maxima": {"maxima": (0.7, 0.7)},
    }
    mine(path, **{**one, **options[other]})
    append(helip.EmbeddingStore.append_to(path), 200)
    updated = helip.update(tmp_path / "p", path, codes=codes, progress=False)
    fresh = mine(path, channels=("image", "text"))
    for name in ("ids", "scores", "counts"):
        assert getattr(updated, name).tobytes() == getattr(fresh, name).tobytes()


def test_damage_and_other_folders_are_named(store: Path, tmp_path: Path) -> None:
    codes = tmp_path / "codes"
    mine(store, codes=codes)
    (file,) = codes.glob("codes-*")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(CorruptError, match="remove that folder, and they are made again"):
        mine(store, codes=codes)
    with pytest.raises(InvalidArgumentError, match="give the codes a folder of their own"):
        mine(store, tmp_path / "p", codes=f"{tmp_path}/x/../p/")
    for name in ("p.parts", "p.checkpoint"):
        with pytest.raises(InvalidArgumentError, match="give the codes a folder of their own"):
            mine(store, tmp_path / "p", codes=tmp_path / name)
    assert not (tmp_path / "p").exists()
    with pytest.raises(MismatchError, match=r"is a \"?helip.embedding_store\"?, not a helip.codes"):
        mine(store, codes=store)
