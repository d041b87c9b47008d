"""Equal captions and several captions of one picture, as a loader gives them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import helip
from helip.common.errors import InvalidArgumentError, MismatchError
from helip.data.captions import caption_group
from helip.data.image_transform import ImageTransform
from helip.loading.loader import HardPairLoader
from support.data_samples import png
from support.loader_samples import FakeData, to_tensor

ROWS = 12
TRANSFORM = ImageTransform.train(size=8)
#: Row i has the captions ("kind i % 4", and for each third row two of its own).
CAPTIONS = [
    [f"kind {row % 4}", *([f"own {row}", f"also {row}"] if row % 3 == 0 else [])]
    for row in range(ROWS)
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for row in range(ROWS):
        (tmp_path / f"{row:02d}.png").write_bytes(png(row))
    lines = [
        {"file_name": f"{row:02d}.png", "caption": captions}
        for row, captions in enumerate(CAPTIONS)
    ]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return tmp_path


class Tokenizer:
    """Row by row, as open_clip's: its tokens are kept."""

    context_length = 8

    def __call__(self, texts: list[str]) -> torch.Tensor:
        tokens = torch.zeros((len(texts), 8), dtype=torch.int64)
        for row, text in enumerate(texts):
            codes = [ord(letter) for letter in text[:8]]
            tokens[row, : len(codes)] = torch.tensor(codes)
        return tokens


def text_of(tokens: torch.Tensor) -> str:
    return "".join(chr(code) for code in tokens.tolist() if code)


def loader(data, **options) -> HardPairLoader:
    given = {"batch_size": 4, "hard_per_target": 0, "transform": TRANSFORM, "workers": 1}
    return HardPairLoader(data, None, **given | options)


@pytest.mark.parametrize("by_threads", [True, False])
@pytest.mark.parametrize("tokenizer", [None, Tokenizer()])
def test_each_caption_comes_once_in_as_many_epochs(folder, by_threads, tokenizer):
    data = helip.open_dataset(folder)
    transform = TRANSFORM if by_threads else to_fixed
    options = {"transform": transform, "tokenizer": tokenizer, "workers": 1 if by_threads else 0}
    batches = loader(data, **options)
    drawn: dict[int, list[str]] = {row: [] for row in range(ROWS)}
    for _ in range(3):
        for batch in batches:
            texts = batch["text"] if tokenizer is None else map(text_of, batch["text"])
            rows = batch["index"].tolist()
            for row, text, group in zip(rows, texts, batch["caption_group"].tolist(), strict=True):
                drawn[row].append(text)
                assert group == caption_group(text)
        assert batches.stats()["drawn_captions"] == 4
    assert {row: sorted(texts) for row, texts in drawn.items()} == {
        row: sorted(captions * (3 // len(captions))) for row, captions in enumerate(CAPTIONS)
    }


def to_fixed(image):
    return to_tensor(image.resize((2, 2)))


def test_unique_leaves_equal_rows_out_of_a_batch_and_counts_them(folder):
    data = helip.open_dataset(folder)
    batches = loader(data, unique="caption", batch_size=6)
    left_out = 0
    for _ in range(4):
        for batch in batches:
            kinds = [row % 4 for row in batch["index"].tolist()]
            assert len(set(kinds)) == len(kinds)
        told = batches.stats()
        assert told["targets"] + told["equal_targets"] == ROWS
        left_out += told["equal_targets"]
    assert left_out > 0
    assert "unique" in batches.state_dict()["options"]


def test_unique_needs_a_data_set_whose_captions_can_be_read():
    with pytest.raises(InvalidArgumentError, match="needs all captions, and FakeData is no"):
        loader(FakeData(8), unique="caption", transform=to_tensor)


def test_rows_of_one_picture_are_of_one_group_and_never_in_one_batch_under_unique(tmp_path):
    for row in range(3):
        (tmp_path / f"{row}.png").write_bytes(png(row))
    table = tmp_path / "t.csv"
    table.write_text("image,caption\n" + "".join(f"{n % 3}.png,text {n}\n" for n in range(6)))
    data = helip.open_dataset(table, key_column="row")
    for batch in loader(data, batch_size=6):
        pictures = [row % 3 for row in batch["index"].tolist()]
        assert batch["image_group"].tolist() == [picture + 1 for picture in pictures]
    for batch in loader(data, batch_size=6, unique="caption"):
        assert len(set(batch["image_group"].tolist())) == len(batch["index"]) == 3


def store_of(data, path: Path, keys=None) -> helip.EmbeddingStore:
    with helip.EmbeddingStore.create(path, image_dim=2, text_dim=3) as writer:
        rows = torch.arange(float(len(data)))
        image, text = rows[:, None].expand(-1, 2), -rows[:, None].expand(-1, 3)
        writer.append(keys or list(data.keys), image.contiguous(), text.contiguous())
    return helip.EmbeddingStore.open(path)


@pytest.mark.parametrize("by_threads", [True, False])
def test_a_batch_has_the_rows_of_the_store_and_texts_where_each_row_has_one(
    folder, tmp_path, by_threads
):
    data = helip.open_dataset(folder)
    options = {"transform": TRANSFORM if by_threads else to_fixed, "workers": int(by_threads)}
    given = 0
    for batch in loader(data, store=store_of(data, tmp_path / "store"), batch_size=2, **options):
        rows = batch["index"].float()
        assert torch.equal(batch["image_embedding"], rows[:, None].expand(-1, 2))
        one_each = all(len(CAPTIONS[row]) == 1 for row in batch["index"].tolist())
        assert ("caption_embedding" in batch) == one_each
        if one_each:
            given += 1
            assert torch.equal(batch["caption_embedding"], -rows[:, None].expand(-1, 3))
    assert 0 < given < 6


def test_the_store_of_other_data_is_refused(folder, tmp_path):
    data = helip.open_dataset(folder)
    other = store_of(data, tmp_path / "store", keys=[f"other-{row}" for row in range(ROWS)])
    with pytest.raises(
        MismatchError, match=r"belongs to other data.*the keys or their order differ"
    ):
        loader(data, store=other)
