"""Trainers and loaders of others go through the batches that helip plans, in their order."""

from __future__ import annotations

import functools
import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import helip
from support.document_blocks import blocks

pytestmark = pytest.mark.usefixtures("one_thread")
ROWS, SIZE = 64, 16
FEATURES = np.random.default_rng(0).normal(size=(ROWS, 8)).astype(np.float32)
DATA = TensorDataset(torch.from_numpy(FEATURES), torch.arange(ROWS))


@functools.cache
def pairs() -> helip.HardPairs:
    return helip.mine(image=FEATURES, text=FEATURES, k=8, progress=False)


def expected(epochs: int = 2, **options) -> list[list[int]]:
    sampler = helip.BatchSampler(pairs(), SIZE, **options)
    return [rows for _ in range(epochs) for rows in sampler]


@pytest.fixture
def page(tmp_path, monkeypatch):
    """What the page defines for a library, in a folder with the table that it opens."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    pairs().save("some.pairs")

    def names(library: str) -> dict:
        here = ("run", "tests/python/loading/test_batch_sampler_trainers.py")
        (text,) = [
            block.text for block in blocks("docs/batches.md")
            if block.mark == here and library in block.text
        ]  # fmt: skip
        Path("page.py").write_text(text)
        monkeypatch.delitem(sys.modules, "page", raising=False)
        return vars(importlib.import_module("page"))

    return names


def test_sentence_transformers(page, tmp_path):
    pytest.importorskip("sentence_transformers", minversion="5.1")
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
    from sentence_transformers.losses import MultipleNegativesRankingLoss
    from sentence_transformers.models import StaticEmbedding
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = [f"{letter}{row}" for row in range(ROWS) for letter in "qd"]
    vocabulary = {word: number for number, word in enumerate([*words, "[UNK]"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    model = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=8)], device="cpu")
    seen = []

    class Recording(MultipleNegativesRankingLoss):
        def forward(self, sentence_features, labels=None):
            features = list(sentence_features)
            seen.append((features[0]["input_ids"] // 2).tolist())
            return super().forward(features, labels)

    arguments = page("SentenceTransformerTrainingArguments")["arguments"]
    assert arguments.per_device_train_batch_size == SIZE
    # Every document answers two queries, and is in no batch twice.
    columns = {"query": words[::2], "document": [words[row // 2 * 4 + 1] for row in range(ROWS)]}
    SentenceTransformerTrainer(
        model=model, args=arguments, train_dataset=Dataset.from_dict(columns),
        loss=Recording(model),
    ).train()  # fmt: skip
    assert seen == expected(data=columns, unique="caption") != expected()
    assert list(tmp_path.glob("run/checkpoint-*"))


def test_accelerate_shares_the_batches_out_itself():
    accelerate = pytest.importorskip("accelerate")
    sampler = helip.BatchSampler(pairs(), SIZE, rank=0, world_size=1)
    loader = accelerate.Accelerator(cpu=True).prepare(DataLoader(DATA, batch_sampler=sampler))
    assert [index.tolist() for _ in range(2) for _, index in loader] == expected()
    for rank in range(2):
        sampler = helip.BatchSampler(pairs(), SIZE, rank=0, world_size=1)
        shard = accelerate.data_loader.BatchSamplerShard(sampler, 2, rank)
        assert list(shard) == expected(1)[rank::2]


def test_lightning():
    lightning = pytest.importorskip("lightning")

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.seen = torch.nn.Linear(8, 4), []

        def training_step(self, batch, _):
            self.seen.append(batch[1].tolist())
            return self.layer(batch[0]).pow(2).mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    module = Module()
    lightning.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
    ).fit(module, DataLoader(DATA, batch_sampler=helip.BatchSampler(pairs(), SIZE)))  # fmt: skip
    assert module.seen == expected()


def test_the_trainer_of_transformers(page, tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    seen = []

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(8, 4)

        def forward(self, features, index):
            seen.append(index.tolist())
            return {"loss": self.layer(features).pow(2).mean()}

    arguments = transformers.TrainingArguments(
        tmp_path / "run", per_device_train_batch_size=SIZE, num_train_epochs=2, use_cpu=True,
        report_to="none", save_strategy="no", disable_tqdm=True, remove_unused_columns=False,
    )  # fmt: skip
    rows = [{"features": features, "index": index} for features, index in DATA]
    page("get_train_dataloader")["HardTrainer"](Net(), arguments, train_dataset=rows).train()
    assert seen == expected()


@pytest.fixture
def plan(tmp_path):
    return helip.plan_batches(
        pairs(), out=tmp_path / "plan", batch_size=SIZE, epochs=1, progress=False
    )


def test_hugging_face_data_sets_in_the_order_of_a_plan(plan):
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_dict({"row": range(ROWS)}).select(plan.rows_of(0))
    assert [batch["row"] for batch in data.iter(SIZE)] == expected(1)


def number(row: int) -> dict[str, int]:
    return {"row": int(row)}


@pytest.mark.slow
def test_litdata_streams_the_order_of_a_plan(plan, tmp_path):
    litdata = pytest.importorskip("litdata")
    litdata.optimize(
        fn=number, inputs=[int(row) for row in plan.rows_of(0)], output_dir=str(tmp_path / "lit"),
        chunk_size=SIZE, num_workers=2, keep_data_ordered=True,
    )  # fmt: skip
    data = litdata.StreamingDataset(str(tmp_path / "lit"), shuffle=False)
    for workers in (0, 2):
        loader = litdata.StreamingDataLoader(
            data, batch_size=SIZE, shuffle=False, num_workers=workers
        )
        numbers = [plan.number_of(0, batch["row"].numpy()) for batch in loader]
        assert sorted(numbers) == [0, 1, 2, 3]
        assert workers or numbers == [0, 1, 2, 3]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # its open file
def test_webdataset_reads_shards_in_the_order_of_a_plan(plan, tmp_path):
    webdataset = pytest.importorskip("webdataset")
    shards = str(tmp_path / "%d.tar")
    with webdataset.ShardWriter(shards, maxcount=SIZE, verbose=0) as writer:
        for row in plan.rows_of(0).tolist():
            writer.write({"__key__": f"{row:06}", "row.cls": row})
    paths = [shards % shard for shard in range(ROWS // SIZE)]
    data = webdataset.WebDataset(paths, shardshuffle=False).decode().to_tuple("row.cls")
    for workers in (0, 2):
        loader = DataLoader(data.batched(SIZE), batch_size=None, num_workers=workers)
        assert [[int(row) for row in batch[0]] for batch in loader] == expected(1)


def test_mosaicml_streams_the_order_of_a_plan(plan, tmp_path):
    streaming = pytest.importorskip("streaming")
    with streaming.MDSWriter(out=str(tmp_path / "mds"), columns={"row": "int"}) as writer:
        for row in plan.rows_of(0).tolist():
            writer.write({"row": row})
    data = streaming.StreamingDataset(
        local=str(tmp_path / "mds"), shuffle=False, batch_size=SIZE, num_canonical_nodes=1
    )
    loader = streaming.StreamingDataLoader(data, batch_size=SIZE)
    assert [batch["row"].tolist() for batch in loader] == expected(1)
