"""Pictures that the core leaves to Pillow are decoded side by side, and change nothing else."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import helip
from helip.data.image_transform import ImageTransform
from helip.data.picture_reader import PictureReader

ROWS = 12
TRANSFORM = ImageTransform.train(size=8)
FORMATS = ("BMP", "GIF", "TIFF", "JPEG")
PATIENCE = 60.0


def picture(row: int) -> bytes:
    pixels = np.random.default_rng(row).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, FORMATS[row % len(FORMATS)])
    return file.getvalue()


@pytest.fixture
def data(tmp_path: Path):
    for row in range(ROWS):
        (tmp_path / f"{row:03d}.jpg").write_bytes(picture(row))
        (tmp_path / f"{row:03d}.txt").write_text(f"caption {row}")
    return helip.open_dataset(tmp_path, progress=False)


def reader(data, threads: int = 2) -> PictureReader:
    found = PictureReader(data, [TRANSFORM], seed=5, threads=threads)
    found.start()
    return found


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_a_picture_does_not_depend_on_the_threads(data, threads):
    pictures = reader(data, threads)
    begun = [pictures.begin(np.arange(first, ROWS, 2), epoch=first) for first in range(2)]
    for first, batch in enumerate(begun):
        assert pictures.wait(batch) == {}
        for pixels, row in zip(batch.views[0], batch.index.tolist(), strict=True):
            alone = TRANSFORM.from_bytes(picture(row), seed=5, epoch=first, row=row)
            assert torch.equal(pixels, alone)


@pytest.mark.parametrize("inference", [False, True])
def test_they_are_decoded_in_any_mode_of_torch(data, inference):
    pictures = reader(data)
    with torch.inference_mode(inference):
        begun = pictures.begin(np.arange(ROWS))
        assert pictures.wait(begun) == {}
    assert begun.views[0].is_inference() == inference
    if not inference:
        weight = torch.ones((), requires_grad=True)
        (begun.views[0] * weight).sum().backward()
        assert torch.isclose(weight.grad, begun.views[0].sum(), rtol=1e-3)


def test_two_pictures_are_decoded_at_a_time_and_never_more_than_there_are_threads(
    data, monkeypatch
):
    meeting = threading.Barrier(2)
    lock, now, most = threading.Lock(), [0], [0]
    decode = type(data)._read_image

    def met(self, row):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        meeting.wait(PATIENCE)  # broken where one thread does them in turn
        image = decode(self, row)
        with lock:
            now[0] -= 1
        return image

    monkeypatch.setattr(type(data), "_read_image", met)
    pictures = reader(data, threads=2)
    rows = np.array([row for row in range(ROWS) if FORMATS[row % 4] != "JPEG"][:8])
    assert pictures.wait(pictures.begin(rows)) == {}
    assert most[0] == 2


def test_they_are_decoded_before_anybody_waits(data, monkeypatch):
    decoded = threading.Event()
    decode = type(data)._read_image

    def noticed(self, row):
        decoded.set()
        return decode(self, row)

    monkeypatch.setattr(type(data), "_read_image", noticed)
    pictures = reader(data)
    begun = pictures.begin(np.array([0]))
    assert decoded.wait(PATIENCE)
    assert pictures.wait(begun) == {}


def test_what_cannot_be_decoded_is_told_as_if_it_were_alone(data, tmp_path):
    (tmp_path / "004.jpg").write_bytes(picture(4)[:100])  # a BMP that was cut short
    (tmp_path / "007.jpg").write_bytes(picture(7)[:100])  # a JPEG
    pictures = reader(data)
    errors = pictures.wait(pictures.begin(np.arange(ROWS)))
    assert set(errors) == {4, 7}
    for row, error in errors.items():
        assert (error.key, error.reason) == (f"{row:03d}", "unreadable_image")
        assert str(error).startswith(f"sample '{row:03d}'")


def test_the_first_fault_of_the_program_is_raised_and_the_next_batch_works(data, monkeypatch):
    decode = type(data)._read_image

    def broken(self, row):
        if row in (1, 5):
            raise ZeroDivisionError(str(row))
        return decode(self, row)

    monkeypatch.setattr(type(data), "_read_image", broken)
    pictures = reader(data)
    with pytest.raises(ZeroDivisionError, match="1"):
        pictures.wait(pictures.begin(np.arange(ROWS)))
    assert pictures.wait(pictures.begin(np.array([0, 2]))) == {}


def test_after_clear_nothing_is_decoded(data, monkeypatch):
    running, go_on = threading.Event(), threading.Event()
    calls = []

    def slow(self, row):
        calls.append(row)
        running.set()
        assert go_on.wait(PATIENCE)
        return Image.new("RGB", (4, 4))

    monkeypatch.setattr(type(data), "_read_image", slow)
    pictures = reader(data, threads=1)
    begun = pictures.begin(np.array([0, 1, 2, 4]))
    assert running.wait(PATIENCE)
    threading.Timer(0.2, go_on.set).start()
    pictures.clear()
    assert len(calls) == 1
    after = begun.views[0].clone()
    assert pictures.wait(pictures.begin(np.array([3]))) == {}
    assert torch.equal(after.nan_to_num(), begun.views[0].nan_to_num())


def test_a_forked_process_decodes_by_threads_of_its_own(data):
    pictures = reader(data)
    begun = pictures.begin(np.arange(ROWS))
    child = os.fork()
    if child == 0:
        outcome = 1
        try:
            pictures.start()
            outcome = 0 if pictures.wait(pictures.begin(np.arange(ROWS))) == {} else 2
        finally:
            os._exit(outcome)
    assert os.waitpid(child, 0)[1] == 0
    assert pictures.wait(begun) == {}
