"""Embeddings in memory, in .npy files and in DataComp's .npz: what is read, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import helip
from helip import EmbeddingStore
from support.import_samples import clip_retrieval, data_comp, embeddings


def imported(tmp_path: Path, source: Any = None, **options: Any) -> EmbeddingStore:
    return EmbeddingStore.import_from(source, out=tmp_path / "store", progress=False, **options)


def saved(tmp_path: Path, rows: int = 50, **changes: Any) -> dict[str, Path]:
    whole = embeddings(rows)
    arrays = {"image": whole.image, "text": whole.text} | changes
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    return {name: tmp_path / f"{name}.npy" for name in arrays}


def test_two_files_are_a_store_of_numbered_rows(tmp_path: Path) -> None:
    store = imported(tmp_path, **saved(tmp_path))
    embeddings(50).check(store, numbered=True)
    assert store.dtype == "float16"


def test_metadata_gives_keys_and_captions(tmp_path: Path) -> None:
    whole = embeddings(50)
    whole.metadata(tmp_path / "m.parquet")
    store = imported(tmp_path, **saved(tmp_path), metadata=tmp_path / "m.parquet")
    whole.check(store)
    # The captions are those that a data set of the same table has.
    expected = helip.open_dataset(
        write_csv(tmp_path / "d.csv", whole.keys, whole.captions), key_column="key", progress=False
    )
    assert store.digests is not None
    np.testing.assert_array_equal(
        store.digests[1], expected.row_digests(np.arange(50, dtype=np.int64))[1]
    )


def write_csv(path: Path, keys: list[str], captions: list[str]) -> Path:
    rows = [f"{key},{key}.jpg,{caption}" for key, caption in zip(keys, captions, strict=True)]
    path.write_text("\n".join(["key,image,caption", *rows]))
    return path


@pytest.mark.parametrize("shard", [7, 10, 23])
def test_a_folder_of_clip_retrieval_is_read_in_the_order_of_its_numbers(
    tmp_path: Path, shard: int
) -> None:
    whole = embeddings(85)  # with 7 a shard there are numbers of two digits
    embeddings(85).check(imported(tmp_path, clip_retrieval(tmp_path / "c", whole, shard)))


def test_patterns_and_one_metadata_file_for_all(tmp_path: Path) -> None:
    whole = embeddings(85)
    folder = clip_retrieval(tmp_path / "c", whole, 7)
    whole.metadata(tmp_path / "m.parquet")
    store = imported(
        tmp_path, image=f"{folder}/img_emb/*.npy", text=f"{folder}/text_emb/text_emb_{{0..12}}.npy",
        metadata=tmp_path / "m.parquet",
    )  # fmt: skip
    whole.check(store)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_folder_of_data_comp(tmp_path: Path, compressed: bool) -> None:
    whole = embeddings(60)
    folder = data_comp(tmp_path / "d", whole, 25, compressed=compressed)
    with pytest.raises(helip.InvalidArgumentError, match="2 fit by name; name it with image_col"):
        imported(tmp_path, folder)
    whole.check(imported(tmp_path, folder, image_column="l14_img", text_column="l14_txt"))


def test_what_does_not_belong_together_is_named(tmp_path: Path) -> None:
    whole = embeddings(50)
    paths = saved(tmp_path, text=whole.text[:49])
    with pytest.raises(
        helip.InvalidArgumentError, match=r"text.npy has 49 rows and .*image.npy 50"
    ):
        imported(tmp_path, **paths)
    embeddings(51).metadata(tmp_path / "m.parquet")
    with pytest.raises(helip.InvalidArgumentError, match=r"m.parquet has 51 rows and .* 50"):
        imported(tmp_path, **saved(tmp_path), metadata=tmp_path / "m.parquet")
    (tmp_path / "m.csv").write_text("key\n")
    with pytest.raises(helip.InvalidArgumentError, match=r"m.csv is no .parquet file"):
        imported(tmp_path, **saved(tmp_path), metadata=tmp_path / "m.csv")
    folder = clip_retrieval(tmp_path / "c", embeddings(90), 7)
    (folder / "text_emb" / "text_emb_3.npy").unlink()
    with pytest.raises(helip.InvalidArgumentError, match=r"img_emb_3.npy of image .* text_emb_4"):
        imported(tmp_path, folder)
    (folder / "metadata" / "metadata_3.parquet").unlink()
    (folder / "img_emb" / "img_emb_3.npy").unlink()
    (folder / "metadata" / "metadata_5.parquet").unlink()
    with pytest.raises(helip.InvalidArgumentError, match=r"_5.npy of image .* metadata_6"):
        imported(tmp_path, folder)
    assert not (tmp_path / "store").exists()


def test_files_in_two_orders_are_refused(tmp_path: Path) -> None:
    folder = clip_retrieval(tmp_path / "c", embeddings(40), 10)
    image = [folder / "img_emb" / f"img_emb_{number}.npy" for number in range(4)]
    text = [folder / "text_emb" / f"text_emb_{number}.npy" for number in (0, 2, 1, 3)]
    with pytest.raises(helip.InvalidArgumentError, match=r"img_emb_1.npy of .* text_emb_2"):
        imported(tmp_path, image=image, text=text)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((50, 3), object), "pickled Python objects"),
        (np.zeros((50, 3), np.int32), "is of int32; embeddings are"),
        (np.zeros(50, np.float32), r"shape \(50,\)"),
        (np.asfortranarray(np.ones((50, 3), np.float32)), "by columns"),
        (np.zeros((50, 3), ">f4"), "byte order"),
    ],
)
def test_arrays_that_are_no_embeddings_are_refused(
    tmp_path: Path, array: np.ndarray, words: str
) -> None:
    with pytest.raises(helip.InvalidArgumentError, match=words):
        imported(tmp_path, **saved(tmp_path, image=array))


def test_a_file_that_is_cut_short_is_damaged(tmp_path: Path) -> None:
    paths = saved(tmp_path)
    paths["image"].write_bytes(paths["image"].read_bytes()[:-1])
    with pytest.raises(helip.CorruptError, match=r"image.npy has .* bytes, and its header tells"):
        imported(tmp_path, **paths)
    paths["image"].write_bytes(b"nothing")
    with pytest.raises(helip.InvalidArgumentError, match=r"image.npy is no .npy file"):
        imported(tmp_path, **paths)


def test_arrays_and_tensors_in_memory(tmp_path: Path) -> None:
    whole = embeddings(83, "float32")
    store = imported(
        tmp_path, image=torch.from_numpy(whole.image), text=whole.text, keys=whole.keys
    )
    whole.check(store)
    # There is no telling whether the arrays are those of then.
    with pytest.raises(helip.MismatchError, match="holds a store"):
        imported(tmp_path, image=whole.image, text=whole.text, keys=whole.keys)


def test_bfloat16_stays(tmp_path: Path) -> None:
    whole = embeddings(83, "float32")
    image, text = (torch.from_numpy(side).bfloat16() for side in (whole.image, whole.text))
    store = imported(tmp_path, image=image, text=text)
    assert store.dtype == "bfloat16"
    assert torch.equal(store.image_tensor, image)


def test_rows_that_differ_are_told(tmp_path: Path) -> None:
    whole = embeddings(83)
    with pytest.raises(helip.InvalidArgumentError, match="keys has 82 rows and image 83"):
        imported(tmp_path, image=whole.image, text=whole.text, keys=whole.keys[:-1])
    with pytest.raises(helip.InvalidArgumentError, match="image is a list; pass a NumPy array"):
        imported(tmp_path, image=whole.image.tolist(), text=whole.text)
    with pytest.raises(helip.InvalidArgumentError, match="all be files, or all arrays"):
        imported(tmp_path, image=tmp_path / "a.npy", text=whole.text)


def test_keys_are_a_sequence(tmp_path: Path) -> None:
    whole = embeddings(3)
    for keys in ("abc", (key for key in whole.keys)):
        with pytest.raises(helip.InvalidArgumentError, match="pass a sequence with one key a row"):
            imported(tmp_path, image=whole.image, text=whole.text, keys=keys)


@pytest.mark.parametrize("files", [True, False])
def test_other_matrices_are_those_that_were_named(tmp_path: Path, files: bool) -> None:
    audio = np.random.default_rng(1).normal(size=(50, 3)).astype(np.float16)
    sides: dict[str, Any] = saved(tmp_path, audio=audio)
    if not files:
        sides = {name: np.load(path) for name, path in sides.items()}
    matrices = {"audio": sides.pop("audio")}
    store = imported(tmp_path, **sides, matrices=matrices)
    embeddings(50).check(store, numbered=True)
    assert store.matrix_names == ("image", "text", "audio")
    np.testing.assert_array_equal(store.matrix("audio"), audio)
    if files:
        again = imported(tmp_path, **sides, matrices=matrices)
        assert again.fingerprint == store.fingerprint
        with pytest.raises(helip.MismatchError, match="its source or options have changed"):
            imported(tmp_path, **sides)
        mixed = {"audio": audio}
        with pytest.raises(helip.InvalidArgumentError, match="image and text and audio must all"):
            imported(tmp_path / "mixed", **sides, matrices=mixed)
    few = {"audio": np.zeros((49, 3), np.float32)}
    sides = {name: np.load(tmp_path / f"{name}.npy") for name in ("image", "text")}
    with pytest.raises(helip.InvalidArgumentError, match="audio has 49 rows and image 50"):
        imported(tmp_path / "few", **sides, matrices=few)
    few["audio"] = np.full((50, 3), np.nan, np.float32)
    with pytest.raises(helip.InvalidArgumentError, match="the audio embedding of row 0 holds NaN"):
        imported(tmp_path / "nan", **sides, matrices=few)
