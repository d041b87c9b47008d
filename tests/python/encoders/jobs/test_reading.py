"""Pictures read by the core: the features and the account of Pillow, and one reader a store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from open_clip.transform import image_transform
from PIL import Image

from helip.common.errors import InvalidArgumentError, MismatchError
from helip.data.opening import open_dataset
from helip.encoders.jobs.reading import (
    Samples,
    batches_of,
    core_reader,
    read_batches,
    read_batches_by_core,
)
from helip.encoders.network_encoder import NetworkImageEncoder
from helip.store.embedding_store import EmbeddingStore
from support.embed_samples import Numbered, lines_of, run
from support.encoder_samples import torch_images
from support.picture_samples import photograph

ROWS = 40


class Lengths:
    """A text encoder of one's own."""

    spec = "own:lengths"
    dim = 2

    def encode(self, texts: list[str]) -> torch.Tensor:
        return torch.tensor([[float(len(text)), 1.0] for text in texts])


def shrunk() -> NetworkImageEncoder:
    """Pictures of 8 x 8 pixels as features."""

    def embed(images: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(images, 8).flatten(1)

    return torch_images(embed, image_transform(32, is_train=False), spec="own:shrunk")


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    """A CSV of pictures of four formats, some of them lost."""
    folder = tmp_path_factory.mktemp("pictures")
    lines = ["filepath,title"]
    for row in range(ROWS):
        kind = ("jpg", "png", "webp", "gif")[row % 4]
        image = photograph(60 + row, 90 - row, seed=row)
        name = f"{row:02}.{kind}"
        if row == 9:
            image = Image.new("RGB", (505, 5))
        image.save(folder / name)
        if row == 3:
            (folder / name).write_bytes(b"no picture")
        if row == 12:
            (folder / name).write_bytes((folder / name).read_bytes()[:200])
        if row == 20:
            (folder / name).unlink()
        lines.append(f"{name},{'' if row == 30 else 'x' * (row + 1)}")
    (folder / "data.csv").write_text("\n".join(lines) + "\n")
    return folder / "data.csv"


def made(table: Path, out: Path, **options) -> EmbeddingStore:
    given = {"image_encoder": shrunk(), "text_encoder": Lengths(), "batch_size": 7} | options
    return run(open_dataset(table), out, max_quarantined=0.5, **given)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_core_gives_the_rows_and_the_account_of_pillow(table, workers, tmp_path):
    core = made(table, tmp_path / "core", workers=workers)
    pillow = made(table, tmp_path / "pillow", reader="pillow")
    assert (core.metadata["reader"], pillow.metadata["reader"]) == ("core", "pillow")
    assert core.metadata["quarantined"] == pillow.metadata["quarantined"]
    assert core.metadata["quarantined"] == {
        "extreme_aspect": 1, "missing_caption": 1, "missing_image": 1, "unreadable_image": 2,
    }  # fmt: skip
    told = [
        [{**line, "message": ""} for line in lines_of(Path(store.path))] for store in (core, pillow)
    ]
    assert told[0] == told[1]
    assert np.array_equal(core.text, pillow.text)
    read = np.flatnonzero(pillow.image.any(axis=1))
    assert len(read) == ROWS - 5
    a, b = (store.image[read].astype(np.float64) for store in (core, pillow))
    cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert cosines.min() > 0.9999


def test_the_core_says_of_an_extreme_picture_what_pillow_says(table, tmp_path):
    told = []
    for reader in ("core", "pillow"):
        made(table, tmp_path / reader, reader=reader)
        told += [line["message"] for line in lines_of(tmp_path / reader) if line["row"] == 9]
    assert "505 x 5; one side may be 100 times the other" in told[0]
    assert told[0] == told[1]


def test_batches_of_the_core_are_those_of_pillow(table):
    data = open_dataset(table)
    transform = shrunk().preprocess
    from helip.data.image_transform import core_transform

    batches = batches_of(14, ROWS, 7, 4096)
    reader = core_reader(data, core_transform(transform), 2)
    ours = list(read_batches_by_core(data, reader, batches))
    reading, decoding = reader.time()
    assert reading > 0 and decoding > 0
    theirs = list(read_batches(Samples(data, transform), batches, 0))
    for one, other in zip(ours, theirs, strict=True):
        assert (one.read, one.captions) == (other.read, other.captions)
        assert [(p, e.reason) for p, e in one.failures] == [
            (p, e.reason) for p, e in other.failures
        ]
        assert one.images.shape == other.images.shape


def test_a_store_goes_on_by_the_reader_that_began_it(table, tmp_path):
    made(table, tmp_path / "s", reader="pillow")
    more = table.read_text() + "again.png,a new one\n"
    photograph(50, 50).save(table.parent / "again.png")
    (table.parent / "more.csv").write_text(more)
    store = made(table.parent / "more.csv", tmp_path / "s", update=True)
    assert store.metadata["reader"] == "pillow" and len(store) == ROWS + 1
    with pytest.raises(MismatchError, match="reader is 'pillow' there and 'core' here"):
        made(table, tmp_path / "s", reader="core")


def test_parts_of_different_readers_are_not_put_together(table, tmp_path, monkeypatch):
    made(table, tmp_path / "s", part=(1, 2))
    with pytest.raises(MismatchError, match='reader null, here "pillow"'):
        made(table, tmp_path / "s", part=(2, 2), reader="pillow")
    with monkeypatch.context() as patch:  # a machine on which the core does not know it
        patch.setattr("helip.encoders.jobs.job.chosen_core", lambda *_: None)
        made(table, tmp_path / "s", part=(2, 2))
    with pytest.raises(MismatchError, match=r"read by the core and .* by Pillow"):
        made(table, tmp_path / "s")


def test_the_core_is_refused_where_it_cannot_read(tmp_path):
    with pytest.raises(InvalidArgumentError, match="reader is 'core', and the pictures of"):
        run(Numbered(9), tmp_path / "s", reader="core")
