"""Edges of numbers and of shapes in every dtype and by every method, as docs/method.md has them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import helip
from helip.common.errors import InvalidArgumentError
from helip.common.options import ProgressOptions, keywords
from support.mining_reference import mine_plainly

N, K = 12, 4
METHODS = ("exact", "sample", "partition", "hnsw")
#: The largest finite number of each dtype, and the smallest positive one, which is subnormal.
DTYPES = {
    "float16": (65504.0, 2.0**-24),
    "bfloat16": (3.3895313892515355e38, 2.0**-133),
    "float32": (3.4028234663852886e38, 2.0**-149),
    "float64": (1.7976931348623157e308, 2.0**-1074),
}


def test_a_call_that_cannot_be_understood_says_how_to_write_it() -> None:
    image, text = np.eye(4, 3, dtype=np.float32), np.eye(4, 2, dtype=np.float32)
    call: Any = helip.mine
    with pytest.raises(TypeError, match=r"position.*such as helip\.mine\(image=I, text=T\)"):
        call(image, text)
    with pytest.raises(TypeError, match=r"no option 'images'; did you mean image="):
        call(images=image, text=text)
    by_name: Any = keywords(ProgressOptions)(lambda call: call)
    with pytest.raises(TypeError, match="1 argument is given by position, none can be; give each"):
        by_name(True)
    with pytest.raises(InvalidArgumentError, match=r"image has 3 rows of 4 .*was it transposed\?"):
        helip.mine(image=image.T, text=text.T)


def rows(seed: int, width: int) -> np.ndarray:
    """Small whole numbers whose cosines are mostly positive, no two rows alike."""
    values = np.random.default_rng(seed).integers(-3, 4, (N, width)).astype(np.float64)
    values[:, 0] = 4
    return values


def cast(values: np.ndarray, dtype: str) -> Any:
    tensor = torch.from_numpy(np.ascontiguousarray(values, np.float64))
    return tensor.to(getattr(torch, dtype))


def mine(image: Any, text: Any, dtype: str, method: str, **options: Any) -> helip.HardPairs:
    options = {"k": K, "threads": 2, "device": "cpu", "progress": False, **options}
    return helip.mine(
        image=cast(image, dtype), text=cast(text, dtype), method=method, **options
    )  # fmt: skip


def check(pairs: helip.HardPairs, image: np.ndarray, text: np.ndarray, **options: Any) -> None:
    wanted = mine_plainly(image, text, pairs.k, **options)
    np.testing.assert_array_equal(pairs.counts, wanted.counts)
    np.testing.assert_array_equal(pairs.ids, wanted.ids)
    np.testing.assert_allclose(pairs.scores, wanted.scores, atol=1e-6)


@pytest.fixture(params=DTYPES)
def dtype(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def exactly(method: str) -> dict[str, Any]:
    """Options under which a method meets all of so few rows."""
    return {"candidates": N} if method == "sample" else {}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("modality", ["image", "text"])
def test_a_number_that_is_not_finite_is_refused_with_its_row(dtype, method, bad, modality):
    given = {"image": rows(0, 6), "text": rows(1, 5)}
    given[modality][7, 2] = bad
    with pytest.raises(InvalidArgumentError, match=f"{modality} embedding of row 7 holds a NaN or"):
        mine(given["image"], given["text"], dtype, method)


@pytest.mark.parametrize("edge", [0, 1], ids=["largest", "subnormal"])
def test_the_largest_and_the_smallest_numbers_have_their_directions(dtype, method, exactly, edge):
    image, text = rows(0, 6), rows(1, 5)
    unit = DTYPES[dtype][0] / 8 if edge == 0 else DTYPES[dtype][1]
    if edge == 0:  # powers of two times whole numbers are exact in every dtype
        unit = 2.0 ** np.floor(np.log2(unit))
    check(mine(image * unit, text * unit, dtype, method, **exactly), image, text)


def test_a_row_of_zeros_has_no_pool_and_is_in_nobody_s(dtype, method, exactly):
    image, text = rows(0, 6), rows(1, 5)
    image[3], text[8] = 0, -0.0
    pairs = mine(image, text, dtype, method, **exactly)
    check(pairs, image, text)
    assert pairs.counts[[3, 8]].tolist() == [0, 0]
    assert not np.isin(pairs.ids, [3, 8]).any()


def test_rows_that_are_all_alike_tie_and_the_lowest_numbers_win(dtype, method, exactly):
    image, text = np.ones((N, 6)), np.ones((N, 5))
    pairs = mine(image, text, dtype, method, image_max=1.0, text_max=1.0, **exactly)
    check(pairs, image, text, image_max=1.0, text_max=1.0)
    assert mine(image, text, dtype, method, **exactly).counts.tolist() == [0] * N  # duplicates


def test_of_no_row_there_is_an_empty_table_and_of_one_an_empty_pool(dtype, method):
    none = mine(np.ones((0, 6)), np.ones((0, 5)), dtype, method, threads=1)
    assert (len(none), none.k) == (0, K)
    one = mine(np.ones((1, 6)), np.ones((1, 5)), dtype, method, threads=1)
    assert one.ids.tolist() == [[-1] * K]
    assert one.counts.tolist() == [0]


def test_pools_are_as_long_as_there_are_rows(dtype, method, exactly):
    image, text = rows(0, 6), rows(1, 5)
    pairs = mine(image, text, dtype, method, k=3 * N, **exactly)
    assert pairs.k == 3 * N
    check(pairs, image, text)
    assert pairs.counts.max() <= N - 1


@pytest.mark.parametrize(
    ("image", "text", "options", "message"),
    [
        ((N, 6), (N, 5), {"k": 0}, "k is 0, must be at least 1"),
        ((N, 6), (N, 5), {"k": -3}, "k is -3, must be at least 1"),
        ((N, 6), (N - 1, 5), {}, f"image has {N} rows and text {N - 1}"),
        ((N, 0), (N, 5), {}, "image embeddings have 0 dimensions"),
    ],
)
def test_shapes_that_make_no_table_are_refused(dtype, method, image, text, options, message):
    with pytest.raises(InvalidArgumentError, match=message):
        mine(np.ones(image), np.ones(text), dtype, method, **options)


@pytest.mark.parametrize("method", METHODS)
def test_an_int8_store_gives_the_pools_of_its_rows(tmp_path, method, exactly):
    image, text = rows(0, 6), rows(1, 5)
    image[3] = 0
    image[5], text[5] = image[4] * 2.0**60, text[4] * 2.0**-60  # the same directions
    with helip.EmbeddingStore.create(
        tmp_path / "s", image_dim=6, text_dim=5, dtype="int8"
    ) as writer:
        writer.append([str(row) for row in range(N)], image, text)
        bad = np.full((1, 6), np.nan)
        with pytest.raises(InvalidArgumentError, match=f"image row {N} .* has nan in column 0"):
            writer.append(["bad"], bad, text[:1])
    store = helip.EmbeddingStore.open(tmp_path / "s")
    pairs = helip.mine(store, k=K, method=method, device="cpu", progress=False, **exactly)
    stored = store.rows(np.arange(N))
    check(pairs, np.asarray(stored[0], np.float64), np.asarray(stored[1], np.float64))
    assert pairs.counts[3] == 0
