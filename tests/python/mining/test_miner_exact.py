"""Exact mining, bit by bit: every kernel, number of threads and memory against plain float64.

Rows are whole numbers times a power of two. Their cosines take one rounding of each length and one
of the quotient on every path, so that ties and thresholds fall the same way everywhere.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import helip
from helip import _core
from helip.common.errors import InvalidArgumentError
from helip.mining.inputs import core_options
from helip.mining.options import MachineOptions, MineOptions
from helip.store.matrices import matrix_of
from support.mining_reference import (
    check_exact,
    check_same_bits,
    cosines,
    groups_of,
    lengths,
    mine_plainly,
)

Matrices = tuple[np.ndarray, np.ndarray]


@contextmanager
def kernel(name: str) -> Iterator[None]:
    """Mining runs on this one for a while."""
    _core.set_kernel(name)
    try:
        yield
    finally:
        _core.set_kernel("")


def mine(image: Any, text: Any, **options: Any) -> helip.HardPairs:
    options = {"method": "exact", "device": "cpu", "progress": False, **options}
    return helip.mine(image=image, text=text, **options)


KERNELS = _core.kernel_names()

KINDS = (
    *("normal", "anisotropic", "clustered", "copies", "ties", "opposite"),
    *("equal", "nearly_equal", "sparse", "one_direction"),
)


def whole_numbers(kind: str, rows: int, dim: int, seed: int) -> np.ndarray:
    """Rows within ±127, exact in every dtype."""
    random = np.random.default_rng([seed, KINDS.index(kind)])
    noise = random.normal(size=(rows, dim))
    if kind == "normal":
        values = 20 * noise
    elif kind == "anisotropic":  # a large mean and few strong directions, as encoders give
        values = 60 / np.sqrt(1 + np.arange(dim)) * noise + 25 * random.normal(size=dim)
    elif kind == "clustered":
        centre = random.integers(0, max(1, rows // 20), rows)
        values = 25 * random.normal(size=(rows, dim))[centre] + 5 * noise
    elif kind == "copies":  # multiples of few rows: duplicates, and scores that tie
        few = np.rint(8 * random.normal(size=(max(1, rows // 9), dim)))
        values = few[random.integers(0, len(few), rows)] * random.integers(1, 4, (rows, 1))
    elif kind == "ties":
        values = random.integers(-1, 2, (rows, dim))
    elif kind == "opposite":  # half of them the others' negatives
        values = np.repeat(20 * noise[: -(-rows // 2)], 2, axis=0)[:rows] + 3 * noise
        values[::2] *= -1
    elif kind == "equal":
        values = np.broadcast_to(np.rint(20 * noise[:1]), (rows, dim)).copy()
    elif kind == "nearly_equal":  # of what was lost all are one placeholder
        values = np.broadcast_to(np.rint(20 * noise[:1]), (rows, dim)).copy()
        others = random.permutation(rows)[: max(2, rows // 300)]
        values[others] = 20 * noise[others]
    elif kind == "sparse":  # rows of zeros among them
        values = 40 * noise * (random.random((rows, dim)) < 2 / dim)
    else:
        values = random.choice([-90, -3, 2, 3, 60], (rows, 1)) * np.ones((1, dim))
    return np.clip(np.rint(values), -127, 127)


def as_given(values: np.ndarray, dtype: str, seed: int) -> Any:
    """The rows in ``dtype``, each times a power of two: tiny and huge lengths."""
    least, most = {"float16": (-9, 8), "float64": (-1000, 1000)}.get(dtype, (-120, 100))
    spread = np.random.default_rng(seed).integers(least, most, (len(values), 1))
    scaled = np.ldexp(values, spread * (seed % 2))
    if dtype == "bfloat16":
        return torch.from_numpy(scaled).to(torch.bfloat16)
    return scaled.astype(dtype)


def edge(similar: np.ndarray, seed: int) -> float:
    """A value that some pairs have exactly, as a threshold."""
    rows, columns = np.random.default_rng(seed).integers(0, len(similar), (2, 64))
    values = similar[rows, columns][rows != columns]
    values = values[(values >= 0) & (values <= 1)]
    return float(values[seed % len(values)]) if len(values) else 0.5


@st.composite
def jobs(draw: st.DrawFn, sizes: tuple[int, ...], widths: tuple[int, ...]) -> dict[str, Any]:
    rows = draw(st.sampled_from(sizes))
    dims = draw(st.sampled_from(widths)), draw(st.sampled_from(widths))
    seed = draw(st.integers(0, 2**16))
    options: dict[str, Any] = {
        "k": draw(st.sampled_from((1, 2, 7, 30, 100, max(1, rows - 1), rows + 3))),
        "modality": draw(st.sampled_from(("both", "both", "both", "image", "text"))),
        "signed": draw(st.booleans()),
        "image_max": draw(st.sampled_from((0.98, 1.0, 0.5, 0.0, "edge"))),
        "text_max": draw(st.sampled_from((0.98, 1.0, 0.7, 0.0, "edge"))),
        "min_score": draw(st.sampled_from((0.0, 0.0, 0.2, "edge"))),
        "skip": draw(st.sampled_from((0, 0, 1, 5, rows))),
        "collapse": draw(st.sampled_from(("none", "none", "image", "text", "both"))),
    }
    if options["modality"] == "both" and draw(st.booleans()):
        options["margin"] = draw(st.sampled_from((-2.0, -0.1, 0.0, 0.1, 0.5, 2.0)))
        dims = dims[0], dims[0]
    return {
        "kinds": (draw(st.sampled_from(KINDS)), draw(st.sampled_from(KINDS))),
        "rows": rows,
        "dims": dims,
        "seed": seed,
        "dtypes": tuple(
            draw(st.sampled_from(("float32", "float16", "bfloat16", "float64"))) for _ in range(2)
        ),
        "options": options,
    }


def matrices(job: dict[str, Any]) -> Matrices:
    kinds, rows, dims, seed = (job[name] for name in ("kinds", "rows", "dims", "seed"))
    return (
        whole_numbers(kinds[0], rows, dims[0], seed),
        whole_numbers(kinds[1], rows, dims[1], seed + 1),
    )


def settle(options: dict[str, Any], values: Matrices, seed: int) -> dict[str, Any]:
    """The options with their edges found, and without what one modality forbids."""
    options = dict(options)
    sample = [x[np.random.default_rng(seed).integers(0, len(x), 64)] for x in values]
    similar = [cosines(x, x) for x in sample]
    if options["image_max"] == "edge":
        options["image_max"] = edge(similar[0], seed)
    if options["text_max"] == "edge":
        options["text_max"] = edge(similar[1], seed)
    if options["min_score"] == "edge":
        used = {"image": similar[0], "text": similar[1]}.get(options["modality"])
        options["min_score"] = edge(similar[0] * similar[1] if used is None else used, seed)
    collapse = options["collapse"]
    for name, other in (("image", "text"), ("text", "image")):
        if collapse in (name, "both") and (
            options["modality"] == other or options[f"{name}_max"] >= 1
        ):
            options["collapse"] = "none"
    return options


def check(job: dict[str, Any]) -> None:
    """One job on every kernel (a large one on the first and the last), with threads and with little
    memory, against the definition."""
    values = matrices(job)
    options = settle(job["options"], values, job["seed"])
    given_rows = [
        as_given(x, dtype, job["seed"] + i)
        for i, (x, dtype) in enumerate(zip(values, job["dtypes"], strict=True))
    ]
    base = None
    some = KERNELS if job["rows"] < 3000 else KERNELS[:: max(1, len(KERNELS) - 1)]
    for number, name in enumerate(some):
        with kernel(name):
            pairs = mine(*given_rows, **options, threads=1 + number % 2)
            if base is None:
                base = pairs
                check_same_bits(pairs, *values, **options)
            check_equal(pairs, base)
            if number == job["seed"] % len(some):
                banded = mine(*given_rows, **options, threads=2 - number % 2, memory=1)
                check_equal(banded, base)
                assert banded.report == pairs.report
                assert banded.options == pairs.options


def check_equal(pairs: helip.HardPairs, base: helip.HardPairs) -> None:
    assert pairs.ids.tobytes() == base.ids.tobytes()
    assert pairs.scores.tobytes() == base.scores.tobytes()
    assert pairs.counts.tobytes() == base.counts.tobytes()
    assert pairs.report["drops"] == base.report["drops"]


SOME = settings(deadline=None, derandomize=True, database=None)


@settings(SOME, max_examples=40)
@given(job=jobs((1, 2, 3, 17, 63, 64, 65, 130, 255), (1, 3, 16, 33, 64)))
def test_small_sets_without_filters_equal_the_definition(job: dict[str, Any]) -> None:
    check(job)


@settings(SOME, max_examples=12)
@given(job=jobs((256, 257, 300, 576, 577, 640), (1, 3, 16, 33, 64, 70, 129)))
def test_sets_with_filters_equal_the_definition(job: dict[str, Any]) -> None:
    check(job)


@pytest.mark.slow
@settings(SOME, max_examples=6)
@given(job=jobs((2047, 2048, 2049, 2100), (8, 40, 64, 150)))
def test_sets_with_a_sample_equal_the_definition(job: dict[str, Any]) -> None:
    check(job)


# Beyond 4,095 rows they are sorted into clusters, which give the first thresholds.
PLAIN = {
    "k": 20, "modality": "both", "signed": False, "image_max": 0.98, "text_max": 0.98,
    "min_score": 0.0, "skip": 0, "collapse": "none",
}  # fmt: skip
LARGE: list[tuple[int, tuple[int, int], tuple[str, str], dict[str, Any]]] = [
    (2048, (300, 200), ("anisotropic", "anisotropic"), {}),
    (2100, (40, 40), ("equal", "equal"), {"image_max": 1.0, "text_max": 1.0}),
    (2100, (64, 16), ("nearly_equal", "clustered"), {"image_max": 1.0, "k": 1}),
    (4095, (48, 24), ("clustered", "copies"), {"skip": 3}),
    (4096, (48, 24), ("clustered", "anisotropic"), {"collapse": "image", "image_max": 0.95}),
    (4097, (64, 64), ("clustered", "clustered"), {"margin": 0.2, "k": 5}),
    (4300, (80, 30), ("anisotropic", "clustered"), {"k": 200}),
    (4300, (64, 20), ("nearly_equal", "nearly_equal"), {"image_max": 1.0, "text_max": 1.0}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "dims", "kinds", "options"), LARGE, ids=str)
def test_large_sets_equal_the_definition(
    rows: int, dims: tuple[int, int], kinds: tuple[str, str], options: dict[str, Any]
) -> None:
    check(
        {"rows": rows, "dims": dims, "kinds": kinds, "seed": rows, "options": {**PLAIN, **options},
         "dtypes": ("float32", "float16")}
    )  # fmt: skip


@pytest.mark.parametrize("rows", [300, 2100])
@pytest.mark.parametrize("collapse", ["none", "text"])
def test_targets_mined_alone_have_the_pools_of_the_table(rows: int, collapse: str) -> None:
    image = whole_numbers("clustered", rows, 40, 3).astype(np.float32)
    text = whole_numbers("copies", rows, 24, 3).astype(np.float32)
    rules = {"k": 12, "skip": 2, "collapse": collapse}
    table = mine(image, text, **rules)
    options = core_options(MineOptions(method="exact", **rules), MachineOptions(threads=1))
    matrices = matrix_of(image, name="image"), matrix_of(text, name="text")
    for targets in ([7, 3, 7], [*range(0, rows, 3), 0, 3]):
        ids, scores, counts = _core.mine_targets(*matrices, targets, options)
        np.testing.assert_array_equal(ids, table.ids[targets])
        np.testing.assert_array_equal(scores, table.scores[targets])
        np.testing.assert_array_equal(counts, table.counts[targets])


def test_a_sample_of_all_rows_is_the_exact_table() -> None:
    image = whole_numbers("clustered", 2100, 40, 5).astype(np.float32)
    text = whole_numbers("anisotropic", 2100, 40, 5).astype(np.float32)
    options: dict[str, Any] = {"k": 9, "skip": 1, "margin": 0.1, "collapse": "both"}
    exact = mine(image, text, **options)
    sampled = mine(image, text, method="sample", candidates=2100, refresh=700, **options)
    check_equal(sampled, exact)


def test_rows_of_any_values_are_mined_as_in_float64() -> None:
    random = np.random.default_rng(1)
    for rows, dims in ((600, (33, 70)), (2200, (48, 48))):
        shape = random.normal(size=(rows // 10, sum(dims)))[random.integers(0, rows // 10, rows)]
        values = shape + 0.6 * random.normal(size=shape.shape) + 0.2
        image, text = values[:, : dims[0]], values[:, dims[0] :]
        rules: dict[str, Any] = {"k": 15, "skip": 1, "collapse": "image", "image_max": 0.8}
        found = []
        for name in KERNELS:
            with kernel(name):
                found.append(mine(image, text, **rules))
        check_exact(found[0], image, text, **rules)
        for other in found[1:]:
            check_equal(other, found[0])


def test_int8_rows_are_mined_by_their_codes(tmp_path: Path) -> None:
    image, text = (whole_numbers("anisotropic", 700, dim, 2) for dim in (30, 20))
    image[:, 0] = text[:, 3] = 127  # the scale of every row is then 1
    with helip.EmbeddingStore.create(
        tmp_path / "s", image_dim=30, text_dim=20, dtype="int8"
    ) as writer:
        writer.append([str(i) for i in range(700)], image, text)
    pairs = helip.mine(tmp_path / "s", k=8, method="exact", device="cpu", progress=False)
    check_same_bits(pairs, image, text)


# The options, by hand


def triangle() -> Matrices:
    """Target 0; 1 and 2 are copies of each other; 3 a little further off; 4 unlike."""
    image = np.array([[4, 3, 0], [4, 0, 3], [8, 0, 6], [3, 0, 4], [-4, 1, 0]], np.float32)
    return image, np.array([[4, 3, 0], [3, 4, 0], [3, 4, 0], [4, 0, 3], [0, 0, 1]], np.float32)


def test_of_near_duplicates_only_the_best_enters_a_pool() -> None:
    image, text = triangle()
    assert mine(image, text, k=3).ids[0].tolist() == [1, 2, 3]
    pairs = mine(image, text, k=3, collapse="both", text_max=0.99)
    assert pairs.ids[0].tolist() == [1, 3, -1]
    assert pairs.ids[3].tolist()[:2] == [1, 0]
    assert pairs.report["drops"]["collapsed"] > 0


def test_the_best_pairs_are_passed_over() -> None:
    image, text = triangle()
    pairs = mine(image, text, k=2, skip=1)
    assert pairs.ids[0].tolist() == [2, 3]
    assert pairs.report["drops"]["skipped"] == 4  # the unlike row has no pair to pass over
    assert mine(image, text, k=2, skip=9).counts.tolist() == [0] * 5


def test_a_candidate_that_fits_as_well_as_the_target_itself_is_a_false_negative() -> None:
    # The caption of row 1 fits the picture of row 0 better than its own does.
    image = np.array([[4, 3, 0], [3, 4, 0], [3, 0, 4]], np.float32)
    text = np.array([[3, 4, 0], [4, 3, 0], [3, 4, 0]], np.float32)
    assert 1 in mine(image, text, k=2).ids[0]
    pairs = mine(image, text, k=2, margin=0.0)
    assert 1 not in pairs.ids[0]
    assert pairs.report["drops"]["margin"] > 0
    assert 1 in mine(image, text, k=2, margin=-0.1).ids[0]


@pytest.mark.parametrize("rows", [90, 2100])
def test_drops_tell_which_pairs_a_filter_kept_out_of_the_pools(rows: int) -> None:
    # Without the near-duplicate rule the pools hold what the drops count, and nothing else new.
    image = whole_numbers("copies", rows, 30, 1)
    text = whole_numbers("clustered", rows, 20, 1)
    strict = mine(image, text, k=10)
    free = mine(image, text, k=10, image_max=1.0, text_max=1.0)
    gone = sum(len(set(a) - set(b) - {-1}) for a, b in zip(free.ids, strict.ids, strict=True))
    drops = strict.report["drops"]
    assert drops["image_duplicate"] + drops["text_duplicate"] == gone > 0
    assert free.report["drops"] == dict.fromkeys(drops, 0)


def test_the_report_says_what_the_filters_pass() -> None:
    image = whole_numbers("anisotropic", 2100, 64, 1)
    report = mine(image, image[::-1].copy(), k=10).report
    assert report["pairs"] == 2100 * 2099
    filters = report["filters"]
    assert filters["weight"] > 0
    assert len(filters["dimensions"]) == 3
    shares = filters["passed"]
    assert 0 < shares["score"] <= shares["sum"] <= 1
    assert "filters" not in mine(image[:100], image[:100]).report
    few = mine(image[:300], image[:300]).report["filters"]
    assert few["passed"] == {}  # without a sample nothing was measured


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margin": 2.5}, r"margin is 2\.5.*-2 \.\. 2"),
        ({"margin": float("nan")}, "margin is nan"),
        ({"margin": 0.1, "modality": "image"}, "modality is 'image'.*no margin"),
        ({"margin": 0.1}, "24 dimensions and text embeddings 17"),
        ({"skip": -1}, "skip is -1"),
        ({"skip": 1.5}, "skip is 1.5"),
        ({"skip": 2**31}, "skip is 2147483648"),
        ({"collapse": "all"}, "collapse is 'all', must be one of 'none', 'image', 'text', 'both'"),
        ({"collapse": "text", "modality": "image"}, "collapse is 'text'.*use collapse none"),
        ({"collapse": "both", "text_max": 1.0}, "text_max is 1.*lower"),
    ],
    ids=str,
)
def test_options_out_of_their_bounds_are_refused(options: dict[str, Any], message: str) -> None:
    random = np.random.default_rng(0)
    with pytest.raises(InvalidArgumentError, match=message):
        mine(random.normal(size=(50, 24)), random.normal(size=(50, 17)), **options)


def test_a_kernel_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match=r"sse9.*portable"):
        _core.set_kernel("sse9")


@pytest.mark.parametrize(("named", "says"), [("portable", "portable"), ("sse9", "is 'sse9', but")])
def test_a_process_mines_on_the_kernel_that_a_variable_names(named: str, says: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from helip import _core; print(_core.kernel_name())"],
        env={**os.environ, "HELIP_KERNEL": named},
        capture_output=True,
        text=True,
        check=False,
    )
    assert says in done.stdout + done.stderr


def test_the_reference_itself_finds_groups_and_edges() -> None:
    near = np.eye(5, dtype=bool)
    near[0, 3] = near[3, 0] = near[3, 4] = near[4, 3] = True
    assert groups_of(near).tolist() == [0, 1, 2, 0, 0]
    rows = np.array([[3.0, 4.0], [4.0, 3.0], [0.0, 0.0]])
    assert lengths(rows).tolist() == [5, 5, 0]
    assert cosines(rows, rows)[0].tolist() == [1.0, 24 / 25, 0.0]
    found = mine_plainly(rows, rows, 2, image_max=24 / 25)
    assert found.ids[0].tolist() == [1, -1]  # a cosine must exceed the threshold
    assert found.scores[0, 0] == (24 / 25) ** 2
