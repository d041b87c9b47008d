"""Resharded data hold the same samples under new row numbers, with hard pairs close together."""

from __future__ import annotations

import errno
import json
import os
import resource
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import helip
from helip.cli import main as cli
from helip.common.errors import InvalidArgumentError, MismatchError, StorageError, UnsupportedError
from helip.data import shards as tar_shards
from helip.pairs.resharding import inverse_of, locality
from helip.store.data_identity import fingerprint_differences
from support.data_samples import assert_row_is, caption, png, write_shard, write_shards, write_tar

K = 6


def clustered_pairs(data: Any, cluster: int, *, rows: int | None = None) -> helip.HardPairs:
    """Rows that are equal modulo ``rows / cluster`` are each other's hard pairs."""
    n = len(data) if rows is None else rows
    apart = n // cluster
    ids = np.full((n, K), -1, dtype=np.int32)
    scores = np.zeros((n, K), dtype=np.float32)
    random = np.random.default_rng(0)
    for row in range(n):
        others = [other for other in range(row % apart, n, apart) if other != row]
        pool = random.permutation(others)[: K - row % 2]
        ids[row, : len(pool)] = pool
        scores[row, : len(pool)] = np.sort(random.random(len(pool)))[::-1]
    return helip.HardPairs.from_arrays(
        ids, scores, data_fingerprint=data.fingerprint, options={"method": "exact", "k": K}
    )


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    return write_shards(tmp_path / "old", rows=30)


@pytest.fixture
def data(shards: Path) -> Any:
    return helip.open_dataset(shards)


@pytest.fixture
def pairs(data: Any) -> helip.HardPairs:
    return clustered_pairs(data, 10)


def members_of(folder: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path, "r:") as archive:
            for info in archive:
                assert info.name not in found
                found[info.name] = archive.extractfile(info).read()  # type: ignore[union-attr]
    return found


def test_every_member_is_there_once_with_the_same_bytes(
    shards: Path, pairs: helip.HardPairs, tmp_path: Path
) -> None:
    result = helip.reshard(shards, pairs, out=tmp_path / "new", shard_size="60KB")
    assert members_of(tmp_path / "new") == members_of(shards)
    assert (result.rows, result.members, result.left_out) == (120, 240, {})
    names = sorted(path.name for path in (tmp_path / "new").iterdir())
    shard_names = [f"{i:05d}.tar" for i in range(5)]
    assert names == [*shard_names, "order.npy", "pairs", "reshard.json"]
    sizes = [(tmp_path / "new" / name).stat().st_size for name in shard_names]
    assert result.bytes == sum(sizes) and result.shards == 5


def test_rows_are_a_permutation_that_order_npy_holds(
    data: Any, pairs: helip.HardPairs, tmp_path: Path
) -> None:
    result = helip.reshard(data, pairs, out=tmp_path / "new")
    order = np.load(tmp_path / "new" / "order.npy")
    assert sorted(order.tolist()) == list(range(120))
    new = helip.open_dataset(tmp_path / "new")
    assert list(new.keys) == [data.keys[row] for row in order.tolist()]
    assert new.fingerprint == result.fingerprint != data.fingerprint
    for row in (0, 57, 119):
        assert_row_is(new, row, int(order[row]))


def test_the_table_is_the_old_one_under_new_numbers(
    data: Any, pairs: helip.HardPairs, tmp_path: Path
) -> None:
    result = helip.reshard(data, pairs, out=tmp_path / "new")
    order = np.load(tmp_path / "new" / "order.npy")
    table = helip.HardPairs.open(result.pairs)
    old_ids = np.where(table.ids >= 0, order[table.ids], -1)
    np.testing.assert_array_equal(old_ids, pairs.ids[order])
    np.testing.assert_array_equal(table.scores, pairs.scores[order])
    np.testing.assert_array_equal(table.counts, pairs.counts[order])
    assert table.options == pairs.options
    assert table.report["reshard"]["from_keys"] == data.fingerprint
    table.verify()
    new = helip.open_dataset(tmp_path / "new")
    loader = helip.HardPairLoader(new, table, batch_size=16, transform=None, strategy="uniform")
    assert sum(len(batch["index"]) for batch in loader) > 120  # it is taken for its table
    with pytest.raises(MismatchError):
        helip.HardPairLoader(data, table, batch_size=16)


def test_hard_pairs_lie_closer_than_before(
    data: Any, pairs: helip.HardPairs, tmp_path: Path
) -> None:
    result = helip.reshard(data, pairs, out=tmp_path / "new")
    share = result.locality[64]
    assert share["before"] < 0.6 and share["after"] > 0.9
    table = helip.HardPairs.open(result.pairs)
    found = locality(table, np.arange(120), (8, 64))
    assert found[64] == pytest.approx(share["after"])
    target = np.arange(120)[:, None]
    valid = table.ids >= 0
    assert found[8] == pytest.approx((target // 8 == table.ids // 8)[valid].mean())


def test_of_a_part_of_the_data_only_that_part_is_copied(shards: Path, tmp_path: Path) -> None:
    part = helip.open_dataset(shards, subset=np.arange(120) % 3 == 0, limit=32)
    pairs = clustered_pairs(part, 4)
    result = helip.reshard(part, pairs, out=tmp_path / "new")
    assert (result.rows, result.members, result.left_out) == (32, 64, {"not_chosen": 2 * 88})
    order = np.load(tmp_path / "new" / "order.npy")
    new = helip.open_dataset(tmp_path / "new")
    assert new.fingerprint == helip.HardPairs.open(result.pairs).data_fingerprint
    for row in (0, 15, 31):
        assert_row_is(new, row, 3 * int(order[row]))
    with pytest.raises(MismatchError, match="belongs to other data"):
        helip.reshard(shards, pairs, out=tmp_path / "other")


def test_the_same_input_gives_the_same_bytes(
    data: Any, pairs: helip.HardPairs, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        helip.reshard(data, pairs, out=tmp_path / name, shard_size=8192)
    paths = [path for path in sorted((tmp_path / "a").rglob("*")) if path.is_file()]
    assert len(paths) > 10
    for path in paths:
        if path.name not in ("lock", ".lock"):
            twin = tmp_path / "b" / path.relative_to(tmp_path / "a")
            assert path.read_bytes() == twin.read_bytes()


def test_headers_say_nothing_of_their_source(
    data: Any, pairs: helip.HardPairs, tmp_path: Path
) -> None:
    helip.reshard(data, pairs, out=tmp_path / "new")
    with tarfile.open(tmp_path / "new" / "00000.tar") as archive:
        for info in archive:
            facts = (info.mtime, info.uid, info.gid, info.uname, info.gname, info.mode)
            assert facts == (0, 0, 0, "", "", 0o644)


def test_a_shard_is_no_larger_than_its_bound_and_as_full_as_it_allows(
    data: Any, pairs: helip.HardPairs, tmp_path: Path
) -> None:
    helip.reshard(data, pairs, out=tmp_path / "new", shard_size="20KB")
    sizes = [path.stat().st_size for path in sorted((tmp_path / "new").glob("*.tar"))]
    assert max(sizes) <= 20_000 and min(sizes[:-1]) > 17_000
    helip.reshard(data, pairs, out=tmp_path / "tiny", shard_size=1)  # a sample each
    assert len(list((tmp_path / "tiny").glob("*.tar"))) == 120


def test_members_that_helip_does_not_read_are_copied_and_others_counted(tmp_path: Path) -> None:
    path = tmp_path / "0.tar"
    long = "folder/" * 30 + "ä"
    with tarfile.open(path, "w") as archive:
        import io

        def add(name: str, body: bytes = b"", kind: bytes = tarfile.REGTYPE) -> None:
            info = tarfile.TarInfo(name)
            info.size, info.type, info.linkname = len(body), kind, "a.png" if kind != b"0" else ""
            info.mtime, info.uname = 12345, "somebody"
            archive.addfile(info, io.BytesIO(body))

        for key, number in (("a", 0), ("b.c", 1), (long, 2)):
            name = key.split(".")[0]
            add(f"{name}.seg.npy", b"mask" * 1000)
            add(f"{name}.PNG", png(number))
            add(f"{name}.txt", caption(number).encode())
            add(f"{name}.empty", b"")
        add("a.cls", kind=tarfile.SYMTYPE)
        add("a.jpg", png(9))  # a second picture, which helip does not read
        add("README", b"no sample")
        add("lonely.npy", b"no sample either")
        add("__meta__/x.txt", b"of the shard")
    data = helip.open_dataset(path)
    pairs = helip.HardPairs.from_arrays(
        np.array([[1], [2], [0]], np.int32), np.ones((3, 1), np.float32)
    )
    result = helip.reshard(data, pairs, out=tmp_path / "new")
    assert result.left_out == {"link": 1, "no_sample": 1, "unnamed": 2}
    found = members_of(tmp_path / "new")
    expected = {
        f"{name}.{field}": body
        for name, number in (("a", 0), ("b", 1), (long, 2))
        for field, body in (
            ("seg.npy", b"mask" * 1000), ("PNG", png(number)),
            ("txt", caption(number).encode()), ("empty", b""),
        )
    } | {"a.jpg": png(9)}  # fmt: skip
    assert found == expected
    new = helip.open_dataset(tmp_path / "new")
    order = np.load(tmp_path / "new" / "order.npy").tolist()
    assert list(new.keys) == [data.keys[row] for row in order]
    for row, old in enumerate(order):
        assert_row_is(new, row, old)


def test_a_sample_of_links_alone_is_refused(tmp_path: Path) -> None:
    path = write_shard(tmp_path / "0.tar", range(3))
    with tarfile.open(path, "a") as archive:
        info = tarfile.TarInfo("x.png")
        info.type, info.linkname = tarfile.SYMTYPE, "00000.png"
        archive.addfile(info)
    data = helip.open_dataset(path)
    pairs = helip.HardPairs.from_arrays(np.full((4, 1), -1, np.int32), np.zeros((4, 1), np.float32))
    with pytest.raises(UnsupportedError, match="row 3, key 'x'"):
        helip.reshard(data, pairs, out=tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int8"])
def test_the_store_is_renumbered_with_all_that_it_says(
    data: Any, tmp_path: Path, dtype: str
) -> None:
    random = np.random.default_rng(1)
    keys = list(data.keys)
    path = tmp_path / "store"
    with helip.EmbeddingStore.create(path, image_dim=5, text_dim=4, dtype=dtype) as writer:
        writer.append(keys, random.normal(size=(120, 5)), random.normal(size=(120, 4)))
        writer.delete([7, 99])
        (path / "quarantine.jsonl").write_text(
            "".join(
                json.dumps({"row": row, "key": keys[row], "reason": "io", "message": "x"}) + "\n"
                for row in (3, 50)
            )
        )
        store = writer.commit(
            {"source": {"fingerprint": data.fingerprint, "rows": 120}, "quarantined": {"io": 2}}
        )
    pairs = helip.mine(store, k=4)
    result = helip.reshard(data, pairs, out=tmp_path / "new", store=path)
    order = np.load(tmp_path / "new" / "order.npy")
    new = helip.EmbeddingStore.open(result.store)
    assert list(new.keys) == [keys[row] for row in order.tolist()]
    assert not fingerprint_differences(
        new.data_fingerprint, helip.open_dataset(tmp_path / "new").fingerprint
    )
    for mine, theirs in (
        (new.image_tensor, store.image_tensor),
        (new.text_tensor, store.text_tensor),
    ):
        assert mine.dtype == theirs.dtype and bool((mine == theirs[order]).all())
    if dtype == "int8":
        np.testing.assert_allclose(new.image_scale, store.image_scale[order], rtol=2e-7)
    places = inverse_of(order)
    np.testing.assert_array_equal(new.deleted, np.sort(places[[7, 99]]))
    listed = [
        json.loads(line)
        for line in (tmp_path / "new/store/quarantine.jsonl").read_text().splitlines()
    ]
    assert [entry["row"] for entry in listed] == sorted(places[[3, 50]].tolist())
    assert {entry["key"] for entry in listed} == {keys[3], keys[50]}
    assert new.metadata["source"] == {"fingerprint": result.fingerprint, "rows": 120}
    table = helip.HardPairs.open(result.pairs)
    assert table.fingerprint == new.fingerprint
    if dtype != "int8":  # no ties here, so mining anew finds the very table
        mined = helip.mine(new, k=4)
        np.testing.assert_array_equal(mined.ids, table.ids)
        np.testing.assert_array_equal(mined.scores, table.scores)


def test_what_belongs_to_other_data_is_refused(
    data: Any, shards: Path, pairs: helip.HardPairs, tmp_path: Path
) -> None:
    write_shard(tmp_path / "other.tar", range(1000, 1120))
    with pytest.raises(MismatchError, match="belongs to other data"):
        helip.reshard(tmp_path / "other.tar", pairs, out=tmp_path / "new")
    with pytest.raises(MismatchError, match="119 rows"):
        helip.reshard(shards, clustered_pairs(data, 10, rows=119), out=tmp_path / "new")
    with helip.EmbeddingStore.create(tmp_path / "s", image_dim=2, text_dim=2) as writer:
        writer.append([f"k{i}" for i in range(120)], np.ones((120, 2)), np.ones((120, 2)))
        writer.commit()
    with pytest.raises(MismatchError, match="belongs to other data"):
        helip.reshard(shards, pairs, out=tmp_path / "new", store=tmp_path / "s")
    assert not (tmp_path / "new").exists()


def test_a_shard_that_changed_is_refused(
    data: Any, shards: Path, pairs: helip.HardPairs, tmp_path: Path
) -> None:
    write_shard(shards / "2.tar", range(60, 89))
    with pytest.raises(MismatchError, match=r"2\.tar was changed"):
        helip.reshard(data, pairs, out=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_options_are_held_to_their_bounds(
    shards: Path, pairs: helip.HardPairs, tmp_path: Path
) -> None:
    out = tmp_path / "new"
    for options, words in (
        ({"shard_size": "much"}, "shard_size is 'much'"),
        ({"rank_max": K + 1}, f"k = {K}"),
        ({"seed": -1}, "seed is -1"),
    ):
        with pytest.raises(InvalidArgumentError, match=words):
            helip.reshard(shards, pairs, out=out, **options)  # type: ignore[arg-type]
    (tmp_path / "table.csv").write_text("filepath\tcaption\n")
    with pytest.raises((UnsupportedError, InvalidArgumentError)):
        helip.reshard(tmp_path / "table.csv", pairs, out=out)
    (tmp_path / "table.csv").write_text("filepath,caption\na.png,a\nb.png,b\n")
    with pytest.raises(UnsupportedError, match="not made of tar shards"):
        helip.reshard(helip.open_dataset(tmp_path / "table.csv", limit=1), pairs, out=out)
    out.mkdir()
    with pytest.raises(InvalidArgumentError, match="exists already"):
        helip.reshard(shards, pairs, out=out)


def test_a_full_disk_is_a_storage_error_and_leaves_nothing(
    shards: Path, pairs: helip.HardPairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(os.listdir(tmp_path))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(StorageError) as caught:
            helip.reshard(shards, pairs, out=tmp_path / "new")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG

    def refuse(*arguments: object) -> bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tar_shards, "pieces", refuse)
    with pytest.raises(StorageError, match="No space left") as caught:
        helip.reshard(shards, pairs, out=tmp_path / "new")
    assert caught.value.errno == errno.ENOSPC
    monkeypatch.setattr("shutil.disk_usage", lambda path: _Usage())
    with pytest.raises(StorageError, match="make room"):
        helip.reshard(shards, pairs, out=tmp_path / "new")
    assert sorted(os.listdir(tmp_path)) == before


class _Usage:
    free = 1000


def test_the_command_shows_counts_and_prints_json(
    shards: Path,
    pairs: helip.HardPairs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pairs.save(tmp_path / "pairs")

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["helip", "reshard", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
            sys.exit(0)
        return (int(ended.value.code or 0), *capsys.readouterr())

    common = (shards, "--pairs", tmp_path / "pairs", "--shard-size", "100KB")
    code, out, err = run(*common, "--out", tmp_path / "a")
    assert code == 0, err
    assert "120 in 3 shards" in out and "within 64" in out and "embed" in out
    code, out, _ = run(*common, "--out", tmp_path / "b", "--json")
    facts = json.loads(out)
    assert facts["members"] == 240 and facts["locality"]["64"]["after"] > 0.9
    code, _, err = run(*common, "--out", tmp_path / "b")
    assert code == 2 and "exists already" in err

    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tar_shards, "pieces", stop)
    code, _, err = run(*common, "--out", tmp_path / "c")
    assert code == 130 and "the same command begins again" in err
    assert not (tmp_path / "c").exists() and not list(tmp_path.glob(".tmp-*"))


def test_an_empty_member_list_needs_no_reader(tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", {"a.txt": b"", "b.txt": b"x"})
    pairs = helip.HardPairs.from_arrays(np.array([[1], [0]], np.int32), np.ones((2, 1), np.float32))
    helip.reshard(tmp_path / "0.tar", pairs, out=tmp_path / "new")
    assert members_of(tmp_path / "new") == {"a.txt": b"", "b.txt": b"x"}
