"""A text retriever by sentence-transformers, trained with hard negatives that helip mines.

    pip install "helip[data]" "sentence-transformers[train]"
    python examples/hard_negatives.py --packages torch transformers numpy

Queries are first sentences of docstrings, the corpus is the code of those functions, both read from
packages that are installed. A model is trained with the negatives of its batches alone. Then it
embeds queries and corpus, ``helip.mine`` seeks hard negatives of each query, and training goes on
with them. A control goes on without, for as many steps. A third goes on in batches of communities:
rows whose queries are alike, and whose code is. Held-out queries tell which is better.
"""

from __future__ import annotations

import argparse
import ast
import copy
import functools
import importlib.util
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

import helip


def functions(packages: list[str]) -> dict[str, str]:
    """First sentences of docstrings → the code of their functions, without it."""
    found: dict[str, str] = {}
    for package in packages:
        spec = importlib.util.find_spec(package)
        for file in sorted(Path(spec.submodule_search_locations[0]).rglob("*.py")):
            try:
                nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
            except (SyntaxError, ValueError):
                continue
            for node in nodes:
                if not isinstance(node, ast.FunctionDef) or len(node.body) < 2:
                    continue
                sentence = (ast.get_docstring(node) or "").split("\n\n")[0].replace("\n", " ")
                code = " ".join(map(ast.unparse, node.body[1:]))[:600]
                if 20 < len(sentence) < 300 and len(code) > 40:
                    arguments = ast.unparse(node.args)
                    found.setdefault(sentence, f"def {node.name}({arguments}): {code}")
    by_code = {code: sentence for sentence, code in found.items()}  # each code once
    return {sentence: code for code, sentence in by_code.items()}


def new_model(texts: list[str]) -> SentenceTransformer:
    """A mean of word pieces' vectors, untrained."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Replace("_", " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(
        texts, trainers.WordPieceTrainer(vocab_size=16_000, special_tokens=["[UNK]", "[PAD]"])
    )
    return SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=256)])


def trained(
    model: SentenceTransformer, data: datasets.Dataset, epochs: float, rate: float,
    batches: Callable[..., Any] | None = None,
) -> SentenceTransformer:  # fmt: skip
    arguments = SentenceTransformerTrainingArguments(
        "build/hard_negatives", num_train_epochs=epochs, per_device_train_batch_size=256,
        learning_rate=rate, report_to=[], save_strategy="no", seed=0, disable_tqdm=True,
        use_cpu=True, **({"batch_sampler": batches} if batches else {}),
    )  # fmt: skip
    trainer = SentenceTransformerTrainer(
        model, arguments, train_dataset=data, loss=MultipleNegativesRankingLoss(model)
    )
    trainer.train()
    return model


def communities(
    table: str, data: datasets.Dataset, batch_size: int, **_: Any
) -> helip.BatchSampler:
    return helip.BatchSampler(table, batch_size, rank=0, world_size=1, data=data[:])


def reciprocal_rank(
    model: SentenceTransformer, queries: list[str], corpus: list[str], own: np.ndarray
) -> float:
    """Mean over queries of 1 / rank of their own row."""
    a, b = (model.encode(texts, normalize_embeddings=True) for texts in (queries, corpus))
    scores = a @ b.T
    ranks = (scores >= scores[np.arange(len(own)), own][:, None]).sum(axis=1)
    return float((1 / ranks).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packages", nargs="+", default=["torch", "transformers", "numpy"])
    parser.add_argument("--epochs", type=float, default=6, help="before negatives are mined")
    parser.add_argument("--seed", type=int, default=0, help="of the split")
    options = parser.parse_args()

    pairs = functions(options.packages)
    order = np.random.default_rng(options.seed).permutation(len(pairs))
    queries = [list(pairs)[row] for row in order]
    corpus = [list(pairs.values())[row] for row in order]
    train = len(pairs) * 9 // 10
    print(f"{train:,} pairs to train on, {len(pairs) - train:,} held out")

    plain = datasets.Dataset.from_dict({"anchor": queries[:train], "positive": corpus[:train]})
    model = trained(new_model(queries[:train] + corpus[:train]), plain, options.epochs, 0.1)
    embedded = {name: model.encode(texts) for name, texts in (("q", queries), ("c", corpus))}
    negatives = helip.mine(
        queries=embedded["q"][:train], corpus=embedded["c"], positives=np.arange(train),
        k=20, progress=False,
    )  # fmt: skip
    print(negatives, negatives.report["drops"])
    hard = negatives.to_dataset(
        queries[:train], corpus, np.arange(train), "n-tuple", num_negatives=3
    )
    results = {"before": model}
    more = 2.0  # epochs, of as many steps for both
    results["control"] = trained(
        copy.deepcopy(model), plain, more * len(hard) / len(plain), rate=0.03
    )
    results["hard negatives"] = trained(copy.deepcopy(model), hard, more, rate=0.03)
    table = helip.mine(
        image=embedded["q"][:train], text=embedded["c"][:train], k=50, progress=False
    )
    with tempfile.TemporaryDirectory() as folder:
        table.save(path := f"{folder}/pairs")  # checkpoints hold the path
        results["communities"] = trained(
            copy.deepcopy(model), plain, more * len(hard) / len(plain), 0.03,
            functools.partial(communities, path),
        )  # fmt: skip
    own = np.arange(train, len(pairs))
    for name, each in results.items():
        rank = reciprocal_rank(each, queries[train:], corpus, own)
        print(f"{name}: mean reciprocal rank {rank:.4f}")


if __name__ == "__main__":
    main()
