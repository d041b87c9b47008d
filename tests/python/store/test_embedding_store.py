"""What EmbeddingStore promises in Python; the format itself is tested in tests/cpp."""

from __future__ import annotations

import json
import multiprocessing
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from helip import EmbeddingStore, Error
from helip.common.errors import CorruptError, InvalidArgumentError, StorageError, UnsupportedError

ROWS, D_IMAGE, D_TEXT = 9000, 12, 7


def embeddings(rows: int = ROWS) -> tuple[list[str], np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    keys = [f"sample/{i:06d}" for i in range(rows)]
    image = random.normal(size=(rows, D_IMAGE)).astype(np.float32)
    return keys, image, random.normal(size=(rows, D_TEXT)).astype(np.float32)


def make(path: Path, dtype: str = "float32", rows: int = ROWS) -> EmbeddingStore:
    keys, image, text = embeddings(rows)
    with EmbeddingStore.create(
        path, image_dim=D_IMAGE, text_dim=D_TEXT, dtype=dtype, shard_rows=4096
    ) as writer:
        for first in range(0, rows, 1000):
            last = first + 1000
            writer.append(keys[first:last], image[first:last], text[first:last])
    return EmbeddingStore.open(path)


def test_views_span_the_shards_without_a_copy(tmp_path: Path) -> None:
    store = make(tmp_path / "s")
    _, image, text = embeddings()
    assert len(store) == ROWS
    np.testing.assert_array_equal(store.image, image)
    np.testing.assert_array_equal(store.text, text)
    assert not store.image.flags.owndata
    assert not store.image.flags.writeable
    assert torch.equal(store.image_tensor, torch.from_numpy(image))


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [("float32", 0.0), ("float16", 2.0**-9), ("bfloat16", 2.0**-6), ("int8", 0.02)],
)
def test_every_dtype_reads_back_within_its_precision(
    tmp_path: Path, dtype: str, tolerance: float
) -> None:
    store = make(tmp_path / "s", dtype)
    _, image, text = embeddings()
    decoded_image, decoded_text = store.rows(slice(None))
    assert np.abs(decoded_image.numpy() - image).max() <= tolerance
    assert np.abs(decoded_text.numpy() - text).max() <= tolerance
    some = store.rows([5, 8999, 0])[0]
    assert torch.equal(some, decoded_image[[5, 8999, 0]])
    store.verify()


def test_bfloat16_is_a_torch_view_and_numpy_says_so(tmp_path: Path) -> None:
    store = make(tmp_path / "s", "bfloat16", rows=10)
    assert store.image_tensor.dtype == torch.bfloat16
    with pytest.raises(UnsupportedError, match="image_tensor"):
        _ = store.image


def test_every_shard_opens_with_the_safetensors_package(tmp_path: Path) -> None:
    store = make(tmp_path / "s", "float16")
    found = []
    for shard in sorted((tmp_path / "s").glob("shard-*.safetensors")):
        with safe_open(shard, "np") as file:
            found.append(file.get_tensor("image"))
            offsets, blob = file.get_tensor("key_offsets"), file.get_tensor("keys")
            assert len(offsets) == len(found[-1]) + 1
            assert bytes(blob[: int(offsets[1])]).decode().startswith("sample/")
    np.testing.assert_array_equal(np.concatenate(found), store.image)


def test_keys_are_a_lazy_sequence(tmp_path: Path) -> None:
    keys = make(tmp_path / "s").keys
    expected = embeddings()[0]
    assert list(keys) == expected
    assert keys[-1] == expected[-1]
    assert keys[4094:4099] == expected[4094:4099]
    with pytest.raises(IndexError, match="9000"):
        _ = keys[ROWS]


def test_torch_tensors_of_any_float_dtype_are_taken(tmp_path: Path) -> None:
    keys, image, text = embeddings(8)
    with EmbeddingStore.create(tmp_path / "s", image_dim=D_IMAGE, text_dim=D_TEXT) as writer:
        writer.append(keys[:4], torch.from_numpy(image[:4]).double(), text[:4].astype(np.float64))
        writer.append(keys[4:], torch.from_numpy(image[4:]).bfloat16(), text[4:].astype(np.float16))
    store = EmbeddingStore.open(tmp_path / "s")
    np.testing.assert_array_equal(store.image[:4], image[:4])
    np.testing.assert_allclose(store.image[4:], image[4:], rtol=2**-8)


def test_an_exception_in_the_block_publishes_nothing(tmp_path: Path) -> None:
    keys, image, text = embeddings(4)

    def fail() -> None:
        with EmbeddingStore.create(tmp_path / "s", image_dim=D_IMAGE, text_dim=D_TEXT) as writer:
            writer.append(keys, image, text)
            raise RuntimeError("the encoder broke")

    with pytest.raises(RuntimeError, match="broke"):
        fail()
    assert not (tmp_path / "s").exists()


def test_later_rows_make_a_generation_and_metadata_travels(tmp_path: Path) -> None:
    keys, image, text = embeddings(8)
    with EmbeddingStore.create(tmp_path / "s", image_dim=D_IMAGE, text_dim=D_TEXT) as writer:
        writer.append(keys[:5], image[:5], text[:5])
        first = writer.commit({"encoder": "a", "nested": {"n": 1}})
    with EmbeddingStore.append_to(tmp_path / "s") as writer:
        assert len(writer) == 5
        writer.append(keys[5:], image[5:], text[5:])
    second = EmbeddingStore.open(tmp_path / "s")
    assert (first.generation, second.generation) == (1, 2)
    assert second.metadata == {"encoder": "a", "nested": {"n": 1}}
    assert first.fingerprint != second.fingerprint
    np.testing.assert_array_equal(first.image, image[:5])  # the open generation stays readable


def test_opening_takes_no_memory_in_proportion(tmp_path: Path) -> None:
    with EmbeddingStore.create(tmp_path / "s", image_dim=1024, text_dim=1024) as writer:
        block = np.ones((4096, 1024), np.float32)
        for first in range(0, 16384, 4096):
            writer.append([str(i) for i in range(first, first + 4096)], block, block)

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    EmbeddingStore.open(tmp_path / "s")
    before = resident()
    store = EmbeddingStore.open(tmp_path / "s")  # 134 MB
    assert resident() - before < 8 << 20
    assert len(store) == 16384


def _read(path: str, queue: multiprocessing.Queue) -> None:
    store = EmbeddingStore.open(path)
    queue.put((len(store), float(store.image.sum()), store.keys[-1]))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_read_side_by_side(tmp_path: Path, method: str) -> None:
    store = make(tmp_path / "s", rows=100)
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        readers = [context.Process(target=_read, args=(str(tmp_path / "s"), queue)) for _ in "ab"]
        for reader in readers:
            reader.start()
    results = [queue.get(timeout=60) for _ in readers]
    for reader in readers:
        reader.join()
    assert results == [(100, float(store.image.sum()), store.keys[-1])] * 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda i, t: (i[:, :5], t), r"\[4, 5\]"),
        (lambda i, t: (i[:3], t), r"\[3, 12\]"),
        (lambda i, t: (i[0], t), "2 dimensions"),
        (lambda i, t: (i.astype("c8"), t), "complex64"),
        (lambda i, t: ([[1.0]], t), "list"),
        (lambda i, t: (np.asfortranarray(i), t), "ascontiguousarray"),
        (lambda i, t: (np.where(i == i[2, 3], np.nan, i), t), "image row 2"),
        (lambda i, t: (i, t * np.inf), "text row 0"),
    ],
)
def test_rows_that_do_not_fit_get_one_clear_error(tmp_path: Path, change, message: str) -> None:
    keys, image, text = embeddings(4)
    with EmbeddingStore.create(tmp_path / "s", image_dim=D_IMAGE, text_dim=D_TEXT) as writer:
        with pytest.raises(InvalidArgumentError, match=message):
            writer.append(keys, *change(image, text))
        writer.append(keys, image, text)
    assert len(EmbeddingStore.open(tmp_path / "s")) == 4


def test_duplicate_keys_name_both_rows(tmp_path: Path) -> None:
    keys, image, text = embeddings(4)
    with EmbeddingStore.create(tmp_path / "s", image_dim=D_IMAGE, text_dim=D_TEXT) as writer:
        writer.append(keys, image, text)
        with pytest.raises(InvalidArgumentError, match="row 4 is that of row 1"):
            writer.append(keys[1:2], image[1:2], text[1:2])


def test_errors_are_also_the_built_in_ones(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="there is no store") as raised:
        EmbeddingStore.open(tmp_path / "absent")
    assert isinstance(raised.value, Error)
    assert raised.value.code == "io"
    with pytest.raises(ValueError, match="shard_rows is 5"):
        EmbeddingStore.create(tmp_path / "s", image_dim=1, text_dim=1, shard_rows=5)


def test_a_damaged_store_is_refused(tmp_path: Path) -> None:
    make(tmp_path / "s", rows=50)
    shard = tmp_path / "s" / "shard-00000.safetensors"
    content = bytearray(shard.read_bytes())
    content[5000] ^= 1
    shard.write_bytes(content)
    store = EmbeddingStore.open(tmp_path / "s")
    with pytest.raises(CorruptError, match='checksum of "image"'):
        store.verify()
    shard.write_bytes(content[:-1])
    with pytest.raises(CorruptError, match="its manifest says"):
        EmbeddingStore.open(tmp_path / "s")
    shard.unlink()
    with pytest.raises(StorageError, match="No such file"):
        EmbeddingStore.open(tmp_path / "s")


def test_an_edited_manifest_is_refused(tmp_path: Path) -> None:
    make(tmp_path / "s", rows=50)
    manifest = tmp_path / "s" / "manifest.json"
    content = json.loads(manifest.read_text())
    content["rows"] = 49
    manifest.write_text(json.dumps(content))
    with pytest.raises(CorruptError, match="damaged"):
        EmbeddingStore.open(tmp_path / "s")


def test_a_directory_that_cannot_be_written_says_so() -> None:
    with pytest.raises(StorageError, match="cannot"):
        EmbeddingStore.create("/proc/helip", image_dim=1, text_dim=1)


def test_what_was_committed_inside_a_block_stays_when_its_end_has_no_rows_to_add(tmp_path):
    with EmbeddingStore.create(tmp_path / "s", image_dim=3, text_dim=2) as writer:
        writer.append(["a", "b"], np.ones((2, 3)), np.ones((2, 2)))
        writer.commit()
        writer.delete(["a"])
    store = EmbeddingStore.open(tmp_path / "s")
    store.verify()
    assert (len(store), list(store.deleted)) == (2, [0])


def test_a_key_that_is_no_text_is_named_with_its_row(tmp_path: Path) -> None:
    _, image, text = embeddings(3)
    with EmbeddingStore.create(tmp_path / "s", image_dim=D_IMAGE, text_dim=D_TEXT) as writer:
        for keys in (["a", "b", 7], np.array([0, 1, 2])):
            with pytest.raises(InvalidArgumentError, match=r"key of row [02] is .*; keys are str"):
                writer.append(keys, image, text)
        assert len(writer) == 0
