"""Batches that threads of the core read: the pictures, the account, resuming, and how it ends."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tarfile
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import helip
from helip.common.errors import Error
from helip.data.image_transform import ImageTransform
from helip.loading.loader import HardPairLoader
from helip.loading.views import TwoViews
from helip.pairs.hard_pairs import HardPairs
from support.loader_samples import drawing

ROWS = 23
TRANSFORM = ImageTransform.train(size=16)
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
DAMAGED = {4: b"\xff\xd8\xff\xe0 not much of a JPEG", 9: b"", 15: b"plain text"}


def picture(row: int) -> bytes:
    rng = np.random.default_rng(row)
    coarse = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((40 + row, 50), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    image.save(file, FORMATS[row % len(FORMATS)])
    return file.getvalue()


def pictures(damaged: dict[int, bytes] | None = None) -> list[bytes]:
    return [(damaged or {}).get(row, picture(row)) for row in range(ROWS)]


def name(row: int) -> str:
    return f"{row:03d}.{FORMATS[row % len(FORMATS)].lower()}"


def write_tar(folder: Path, contents: list[bytes], shards: int = 2) -> Path:
    for shard in range(shards):
        with tarfile.open(folder / f"{shard}.tar", "w") as tar:
            for row in range(ROWS * shard // shards, ROWS * (shard + 1) // shards):
                for member, data in (
                    (name(row), contents[row]),
                    (f"{row:03d}.txt", f"caption {row}".encode()),
                ):
                    info = tarfile.TarInfo(member)
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
    return folder


def write_folder(folder: Path, contents: list[bytes]) -> Path:
    for row, data in enumerate(contents):
        (folder / name(row)).write_bytes(data)
        (folder / f"{row:03d}.txt").write_text(f"caption {row}")
    return folder


def write_table(folder: Path, contents: list[bytes]) -> Path:
    (folder / "pictures").mkdir()
    lines = ["key,image,caption"]
    for row, data in enumerate(contents):
        (folder / "pictures" / name(row)).write_bytes(data)
        lines.append(f"{row:03d},pictures/{name(row)},caption {row}")
    (folder / "table.csv").write_text("\n".join(lines))
    return folder / "table.csv"


WRITERS = {"tar": write_tar, "folder": write_folder, "table": write_table}


@pytest.fixture
def data(tmp_path):
    return helip.open_dataset(write_tar(tmp_path, pictures()), progress=False)


def ring(rows: int, k: int = 4) -> HardPairs:
    ids = (np.arange(rows)[:, None] + np.arange(1, k + 1)[None]) % rows
    scores = np.tile(np.linspace(0.9, 0.5, k, dtype=np.float32), (rows, 1))
    return HardPairs.from_arrays(ids.astype(np.int32), scores, np.full(rows, k, dtype=np.int32))


def make(data, **options):
    options = {"batch_size": 8, "seed": 3, "transform": TRANSFORM, **options}
    return HardPairLoader(data, ring(len(data)), **drawing(options))


def expected(contents: list[bytes], row: int, *, augmented_as: int | None = None, view: int = 0):
    """What seed 3 makes of a picture in epoch 0."""
    as_row = row if augmented_as is None else augmented_as
    return TRANSFORM.from_bytes(contents[row], seed=3, row=as_row, view=view)


def same(first, second) -> bool:
    return len(first) == len(second) and all(
        torch.equal(one["image"], other["image"])
        and torch.equal(one["index"], other["index"])
        and torch.equal(one["target"], other["target"])
        and one["text"] == other["text"]
        for one, other in zip(first, second, strict=True)
    )


class Words:
    """A tokenizer that works row by row, and counts what it is asked for."""

    context_length = 5

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, captions: list[str]) -> torch.Tensor:
        self.asked += captions
        tokens = torch.zeros(len(captions), self.context_length, dtype=torch.int64)
        for place, caption in enumerate(captions):
            number = int(caption.split()[1])
            tokens[place, : 1 + number % 5] = torch.arange(number, number + 1 + number % 5)
        return tokens


@pytest.mark.parametrize("kind", WRITERS)
def test_a_picture_depends_on_its_bytes_and_seed_epoch_and_row_alone(tmp_path, kind):
    contents = pictures()
    data = helip.open_dataset(WRITERS[kind](tmp_path, contents), progress=False)
    loader = make(data, epoch=2)
    for batch in loader:
        for image, text, row in zip(
            batch["image"], batch["text"], batch["index"].tolist(), strict=True
        ):
            if FORMATS[row % len(FORMATS)] in ("JPEG", "PNG"):
                expected = TRANSFORM.from_bytes(contents[row], seed=3, epoch=2, row=row)
                assert torch.equal(image, expected)
            assert text == f"caption {row}"
    stats = loader.stats()
    assert stats["emitted"] == stats["targets"] + stats["hard_pairs"]
    assert stats["quarantined"] == {}


@pytest.mark.parametrize("workers", [0, 1, 2, 7])
def test_batches_are_the_same_for_any_number_of_threads(data, workers):
    first = list(make(data))
    assert same(first, list(make(data, workers=workers)))
    assert not torch.equal(first[0]["image"], next(iter(make(data, epoch=1)))["image"])


def test_formats_that_the_core_does_not_decode_go_through_pillow(data):
    whole = ImageTransform.eval(size=32)
    for batch in make(data, transform=whole, hard_per_target=0):
        for image, row in zip(batch["image"], batch["index"].tolist(), strict=True):
            by_pillow = whole(data.image(row))
            assert (image - by_pillow).abs().max() < 0.05


def test_a_subset_reads_the_rows_that_it_names(data):
    rows = [20, 3, 11, 7, 5]
    part = data.subset(rows)
    for batch in make(part, hard_per_target=0, batch_size=2):
        for image, text, row in zip(
            batch["image"], batch["text"], batch["index"].tolist(), strict=True
        ):
            assert text == f"caption {rows[row]}"
            # Augmentations count the rows of the subset, as everything else does.
            assert torch.equal(image, expected(pictures(), rows[row], augmented_as=row))


def test_slips_two_views_are_views_too(data):
    for batch in make(data, transform=TwoViews(TRANSFORM, TRANSFORM)):
        assert batch["views"].shape == (2, *batch["image"].shape)
        for number, row in enumerate(batch["index"].tolist()):
            for view in (0, 1):
                image = batch["views"][view][number]
                assert torch.equal(image, expected(pictures(), row, view=view + 1))


@pytest.mark.parametrize("tokenizer", [None, Words()], ids=["text", "tokens"])
def test_rows_that_cannot_be_read_are_left_out_and_counted(tmp_path, tokenizer):
    contents = pictures(DAMAGED)
    data = helip.open_dataset(write_folder(tmp_path, contents), progress=False)
    (tmp_path / name(12)).unlink()
    (tmp_path / "020.txt").unlink()
    loader = make(data, tokenizer=tokenizer, max_quarantined=0.5)
    seen = set()
    for batch in loader:
        seen |= set(batch["index"].tolist())
        for image, text, row in zip(
            batch["image"], batch["text"], batch["index"].tolist(), strict=True
        ):
            assert torch.equal(image, expected(contents, row))
            if tokenizer is None:
                assert text == f"caption {row}"
            else:
                assert text[0] == row
    stats = loader.stats()
    failed = sum(stats["quarantined"].values())
    assert stats["emitted"] + failed == stats["targets"] + stats["hard_pairs"]
    assert seen == set(range(ROWS)) - set(DAMAGED) - {12, 20}
    assert set(stats["quarantined"]) == {"unreadable_image", "missing_image", "missing_caption"}
    assert {entry["row"] for entry in stats["quarantined_rows"]} == {*DAMAGED, 12, 20}
    for entry in stats["quarantined_rows"]:
        assert entry["key"] == f"{entry['row']:03d}"
        assert entry["message"].startswith(f"sample '{entry['key']}' (row {entry['row']}): ")
        assert entry["message"].count("sample '") == 1


@pytest.mark.parametrize("every", [False, True])
def test_a_caption_that_is_gone_when_it_is_read_again_is_counted(tmp_path, monkeypatch, every):
    data = helip.open_dataset(write_folder(tmp_path, pictures(DAMAGED)))
    reads: dict[int, int] = {}

    def captions(self, row: int):
        reads[row] = reads.get(row, 0) + 1
        if reads[row] > 1 and (every or row in (2, 7)):
            raise OSError("the bucket is away")
        return [f"caption {row}"]

    monkeypatch.setattr(type(data), "captions", captions)
    loader = HardPairLoader(
        data, None, batch_size=ROWS, hard_per_target=0, transform=TRANSFORM, max_quarantined=1.0
    )
    reads.clear()
    if every:
        with pytest.raises(Error, match=r"no row of batch 0 .*the bucket is away"):
            list(loader)
        return
    (batch,) = loader
    kept = batch["index"].tolist()
    assert sorted(kept) == sorted({*range(ROWS)} - {*DAMAGED, 2, 7})
    assert batch["text"] == [f"caption {row}" for row in kept]
    assert len(batch["image"]) == len(batch["caption_group"]) == len(kept)
    stats = loader.stats()
    assert stats["quarantined"]["error"] == 2
    assert stats["emitted"] + sum(stats["quarantined"].values()) == ROWS


def test_a_sample_without_a_picture_is_named_once_in_a_subset_too(tmp_path):
    write_tar(tmp_path, pictures())
    with tarfile.open(tmp_path / "9.tar", "w") as tar:
        info = tarfile.TarInfo("lonely.txt")
        info.size = 7
        tar.addfile(info, io.BytesIO(b"caption"))
    data = helip.open_dataset(tmp_path, progress=False).subset([ROWS, *range(6)])
    loader = make(data, hard_per_target=0, max_quarantined=1.0)
    list(loader)
    (failure,) = loader.stats()["quarantined_rows"]
    assert failure["message"].startswith("sample 'lonely' (row 0): it has no picture in ")
    assert failure["reason"] == "missing_image"


def test_too_many_unreadable_rows_stop_the_run(tmp_path):
    contents = pictures(dict.fromkeys(range(0, ROWS, 2), b"no picture"))
    data = helip.open_dataset(write_tar(tmp_path, contents), progress=False)
    with pytest.raises(Error, match="is exceeded: 12 of 23 rows"):
        list(make(data, batch_size=ROWS, hard_per_target=0))


def test_captions_are_tokenised_once_a_row(data):
    words = Words()
    loader = make(data, tokenizer=words)
    epochs = [list(loader) for _ in range(3)]
    assert sorted(words.asked) == sorted(f"caption {row}" for row in range(ROWS))
    for batch in (batch for epoch in epochs for batch in epoch):
        expected = Words()([f"caption {row}" for row in batch["index"].tolist()])
        assert batch["text"].dtype == expected.dtype
        assert torch.equal(batch["text"], expected)


def test_a_tokenizer_that_looks_at_the_whole_batch_is_called_for_each(data):
    def padded(captions: list[str]) -> torch.Tensor:
        return torch.full((len(captions), len(captions)), len(captions))

    for batch in make(data, tokenizer=padded):
        rows = len(batch["index"])
        assert batch["text"].shape == (rows, rows)


@pytest.mark.parametrize("cut", [1, 3])
def test_resuming_repeats_and_misses_nothing(data, cut):
    whole = list(make(data))
    loader = make(data)
    iterator = iter(loader)
    start = [next(iterator) for _ in range(cut)]
    state = loader.state_dict()
    iterator.close()
    other = make(data, workers=1)
    other.load_state_dict(state)
    assert same(whole, start + list(other))


def test_an_iteration_that_is_broken_off_is_ended_by_the_next(data):
    loader = make(data)
    whole = list(make(data, epoch=1))
    old = iter(loader)
    next(old)
    assert same(whole, list(loader))
    with pytest.raises(Error, match="ended by a later one"):
        next(old)


def test_an_old_iteration_that_is_let_go_does_not_disturb_the_new_one(data):
    loader = make(data)
    old = iter(loader)
    next(old)
    new = iter(loader)
    first = next(new)
    del old
    assert same(list(make(data, epoch=1)), [first, *new])


def test_what_is_handed_over_is_not_written_to_any_more(data):
    loader = make(data)
    kept = list(loader)
    copies = [batch["image"].clone() for batch in kept]
    list(loader)
    assert all(torch.equal(a["image"], b) for a, b in zip(kept, copies, strict=True))


def test_a_forked_process_reads_by_threads_of_its_own(data):
    loader = make(data)
    iterator = iter(loader)
    next(iterator)
    child = os.fork()
    if child == 0:
        outcome = 1
        try:
            del iterator
            outcome = 0 if len(list(loader)) == len(loader) else 2
        finally:
            os._exit(outcome)
    assert os.waitpid(child, 0)[1] == 0
    assert len(list(iterator)) == len(loader) - 1


def run_script(folder: Path, text: str, *, interrupt: bool = False) -> subprocess.CompletedProcess:
    script = f"""
        import sys, time
        import helip
        from helip.data.image_transform import ImageTransform
        import numpy as np
        data = helip.open_dataset({str(folder)!r}, progress=False)
        n = len(data)
        ids = ((np.arange(n)[:, None] + 1 + np.arange(2)) % n).astype(np.int32)
        pairs = helip.HardPairs.from_arrays(
            ids, np.ones((n, 2), np.float32), np.full(n, 2, np.int32))
        loader = helip.HardPairLoader(
            data, pairs, batch_size=8, strategy="uniform",
            transform=ImageTransform.train(size=16))
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script) + textwrap.dedent(text)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    if interrupt:
        assert process.stdout.readline() == "running\n"
        process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.mark.parametrize(
    ("ending", "code"),
    [("", 0), ("sys.exit(3)", 3), ("raise RuntimeError('boom')", 1), ("del loader, batches", 0)],
)
def test_a_program_ends_in_the_middle_of_an_epoch(tmp_path, ending, code):
    folder = write_tar(tmp_path, pictures())
    done = run_script(folder, f"batches = iter(loader); next(batches)\n{ending}\n")
    assert done.returncode == code, done.stderr
    assert "Exception ignored" not in done.stderr


def test_ctrl_c_stops_a_program_that_reads(tmp_path):
    folder = write_tar(tmp_path, pictures())
    text = """
        print("running", flush=True)
        while True:
            for batch in loader:
                pass
    """
    done = run_script(folder, text, interrupt=True)
    assert "KeyboardInterrupt" in done.stderr
