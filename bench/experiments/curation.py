"""What curating finds in data with shuffled captions, and what training on the rest gains.

    python bench/experiments/curation.py --cleanlab /tmp/cleanlab

The 3,326 training pictures of the demo's emoji, with embeddings of EfficientNet-Lite0 and MiniLM
(``bench/grown.py`` makes both; ``--cache`` says where they lie). A share of the captions is
shuffled. Measured are precision, recall and average precision of finding these, by `helip.curate`
and by others; then recall@1 of the 621 held-out pictures, after small heads were trained on frozen
features (`heads.Heads`) of all rows, of the rows that curating keeps, and of those whose captions
are right. Runs are kept in ``--work``, so that a call which was stopped goes on. Writes
``results/curation.json``.

``--cleanlab`` names a folder with that package (``pip install --no-deps --target FOLDER cleanlab``
beside scikit-learn and pandas); without it that line is left out.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import records
import summary
import torch
import ways
from heads import Heads
from sklearn.metrics import average_precision_score
from torch.nn.functional import normalize

import helip
from helip.data.dataset import Dataset

NOISES = (0.1, 0.3)
SEEDS = (0, 1, 2)
ROWS, STEPS, LR, WARM, WIDTH, OUT = 128, 250, 1e-3, 20, 256, 128
SPLITS = ("train", "heldout-concepts", "heldout-variants")
WAYS = ("plain", "hard pairs")
Arrays = Mapping[str, np.ndarray]


class Emoji:
    """Features of all pictures and captions, unit rows, and the rows of each split."""

    def __init__(self, cache: Path) -> None:
        store = helip.EmbeddingStore.open(cache / "openmoji.store")
        place = {key: row for row, key in enumerate(store.keys)}
        self.image, self.text = (_unit(np.asarray(m)) for m in (store.image, store.text))
        self.data: dict[str, Dataset] = {}
        self.rows: dict[str, np.ndarray] = {}
        for split in SPLITS:
            shards = sorted(map(str, (cache / "openmoji" / split).glob("*.tar")))
            self.data[split] = helip.open_dataset(shards, progress=False)
            self.rows[split] = np.array([place[key] for key in self.data[split].keys])
        self.train = self.rows["train"]
        self.held_out = np.concatenate([self.rows[split] for split in SPLITS[1:]])


def shuffled(count: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """int64 [n]: whose caption each row has; bool [n]: whether that is another's."""
    rng = np.random.default_rng(3)
    of = np.arange(count)
    wrong = rng.choice(count, round(noise * count), replace=False)
    of[wrong] = of[np.roll(wrong, 1)]
    return of, of != np.arange(count)


def store_at(path: Path, keys: Any, image: np.ndarray, text: np.ndarray) -> helip.EmbeddingStore:
    if not (path / "manifest.json").exists():
        width = {"image_dim": image.shape[1], "text_dim": text.shape[1]}
        with helip.EmbeddingStore.create(path, dtype="float32", **width) as writer:
            writer.append(list(keys), image, text)
    return helip.EmbeddingStore.open(path)


def table_of(store: helip.EmbeddingStore, path: Path) -> helip.HardPairs:
    return helip.mine(store, k=50, out=path, device="cpu", progress=False)


def batches(data: Dataset, image: Any, text: Any, way: str, seed: int) -> Iterator[np.ndarray]:
    """Rows of batches, for ever."""
    if way == "plain":
        random = np.random.default_rng(seed)
        while True:
            order = random.permutation(len(data))
            yield from order[: len(order) // ROWS * ROWS].reshape(-1, ROWS)
    found = helip.mine(
        image=image.numpy(), text=text.numpy(), k=50, device="cpu", threads=1, progress=False
    )  # fmt: skip
    pairs = helip.HardPairs.from_arrays(np.asarray(found.ids), np.asarray(found.scores))
    for batch, _ in ways.batches("communities of 8", data, pairs, ROWS, seed):
        yield batch


def unit(heads: Heads, image: torch.Tensor, text: torch.Tensor) -> tuple[Any, Any]:
    """Unit rows in float32, which is quicker than bfloat16 on processors without it."""
    return normalize(heads.image(image), dim=-1), normalize(heads.text(text), dim=-1)


def trained(emoji: Emoji, rows: np.ndarray, of: np.ndarray, way: str, seed: int) -> Heads:
    """Heads trained on ``rows`` of the training split, whose captions are those of ``of``."""
    image = torch.from_numpy(emoji.image[emoji.train[rows]]) * math.sqrt(emoji.image.shape[1])
    text = torch.from_numpy(emoji.text[emoji.train[of[rows]]]) * math.sqrt(emoji.text.shape[1])
    torch.manual_seed(seed)
    heads = Heads(image.shape[1], text.shape[1], width=WIDTH, out=OUT)
    optimizer = torch.optim.AdamW(heads.parameters(), lr=LR, weight_decay=0.1)
    loss_of = helip.HelipLoss(gamma=0.0)
    coming = batches(emoji.data["train"].subset(rows), image, text, way, seed)
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = (
                LR * min(1, (step + 1) / WARM) * (1 + math.cos(math.pi * step / STEPS)) / 2
            )
        batch = next(coming)
        loss = loss_of(*unit(heads, image[batch], text[batch]), heads.scale.exp().clamp(max=100))[
            "loss"
        ]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return heads


@torch.no_grad()
def features(emoji: Emoji, heads: Heads, of: np.ndarray | None = None) -> tuple[Any, Any]:
    """Of all rows; with ``of`` of the training rows with the captions that they have there."""
    image, text = emoji.image, emoji.text
    if of is not None:
        image, text = image[emoji.train], text[emoji.train[of]]
    return tuple(
        found.numpy()
        for found in unit(
            heads,
            torch.from_numpy(image) * math.sqrt(image.shape[1]),
            torch.from_numpy(text) * math.sqrt(text.shape[1]),
        )
    )  # fmt: skip


def recall(emoji: Emoji, heads: Heads) -> dict[str, float]:
    """recall@1 of held-out pictures and captions among all 3,947."""
    image, text = features(emoji, heads)
    scores, asked = image @ text.T, emoji.held_out
    found = {
        "I→T": float((scores[asked].argmax(axis=1) == asked).mean()),
        "T→I": float((scores[:, asked].argmax(axis=0) == asked).mean()),
    }
    return {"mean": (found["I→T"] + found["T→I"]) / 2, **found}


def by_curate(curation: helip.Curation) -> Arrays:
    return {
        "score": np.nan_to_num(curation.scores["mismatched"]),
        "flag": curation.flags["mismatched"],
    }  # fmt: skip


def by_score(values: np.ndarray, share: float) -> Arrays:
    """Flags the ``share`` of rows with the greatest values: such methods have no bound of theirs,
    so they are told how many captions are wrong."""
    order = np.argsort(-values, kind="stable")
    flag = np.zeros(len(values), dtype=bool)
    flag[order[: round(share * len(values))]] = True
    return {"score": values, "flag": flag}


def lemon(image: np.ndarray, text: np.ndarray, own: np.ndarray | None) -> np.ndarray:
    """The score of LEMoN (Zhang et al. 2025, arXiv 2407.18941) with k = 30, beta = gamma = 5,
    tau1 = 0.1 and tau2 = 5, none of which is fitted here; ``own``: distances of picture and
    caption by a CLIP, None for neighbours alone."""
    count = len(image)
    weight = np.exp(-5.0 * own) if own is not None else np.ones(count)
    found = np.zeros(count) if own is None else own.copy()
    for near, far in ((image, text), (text, image)):
        close = 1 - near @ near.T
        np.fill_diagonal(close, np.inf)
        ids = np.argpartition(close, 30, axis=1)[:, :30]
        apart = 1 - np.einsum("nd,nkd->nk", far, far[ids])
        scale = np.exp(-0.1 * np.take_along_axis(close, ids, 1)) * weight[ids]
        found += 5 * (apart * scale).mean(axis=1)
    return found


def by_cleanlab(image: np.ndarray, text: np.ndarray) -> Arrays:
    """Captions in 50 clusters as classes, which logistic regression tells from pictures, out of
    fold; `find_label_issues` at its defaults."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    labels = KMeans(50, n_init=1, random_state=0).fit_predict(text)
    reduced = PCA(128, random_state=0).fit_transform(image) * 10
    probabilities = cross_val_predict(
        LogisticRegression(max_iter=200), reduced, labels, cv=3, method="predict_proba"
    )
    return {
        "score": -get_label_quality_scores(labels, probabilities),
        "flag": find_label_issues(labels, probabilities, n_jobs=1),
    }


def detections(
    emoji: Emoji, noise: float, work: Path, heads: Callable[[], Heads], *, cleanlab: bool
) -> tuple[dict[str, dict[str, float]], helip.Curation]:
    """Name -> figures of finding wrong captions; and the curation by neighbours."""
    of, wrong = shuffled(len(emoji.train), noise)
    image, text = emoji.image[emoji.train], emoji.text[emoji.train[of]]
    data, folder = emoji.data["train"], work / f"noise-{noise}"
    store = store_at(folder / "store", data.keys, image, text)
    pairs = table_of(store, folder / "pairs")
    asked: dict[str, Any] = {"store": store, "threads": 1, "progress": False}
    curation = helip.curate(pairs, data, **asked)
    found: dict[str, Arrays] = {"helip curate, neighbours": by_curate(curation)}
    if noise:
        own = features(emoji, heads(), of)
        clip = store_at(folder / "clip.store", data.keys, *own)
        found["helip curate, with a CLIP of the noisy data"] = by_curate(
            helip.curate(pairs, data, model=clip, **asked)
        )
        score = (own[0] * own[1]).sum(axis=1)
        found["score of that CLIP, told the share"] = by_score(-score, noise)
        found["LEMoN, told the share"] = by_score(lemon(*own, 1 - score), noise)
        found["LEMoN's neighbour terms, told the share"] = by_score(lemon(image, text, None), noise)
        if cleanlab:
            found["cleanlab on clusters of captions"] = by_cleanlab(image, text)
    figures = {}
    for name, each in found.items():
        flag = each["flag"]
        figures[name] = {
            "flagged": float(flag.mean()),
            "precision": float(wrong[flag].mean()) if flag.any() else float("nan"),
            "recall": float(flag[wrong].mean()) if noise else float("nan"),
            "average precision": float(average_precision_score(wrong, each["score"]))
            if noise else float("nan"),
        }  # fmt: skip
    return figures, curation


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    root = Path(__file__).resolve().parents[2]
    parser.add_argument("--cache", type=Path, default=root / ".cache" / "bench")
    parser.add_argument("--work", type=Path, default=root / ".cache" / "bench" / "curation")
    parser.add_argument("--cleanlab", type=Path)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    args = parser.parse_args()
    if args.cleanlab:
        sys.path.append(str(args.cleanlab))
    torch.set_num_threads(1)
    args.work.mkdir(parents=True, exist_ok=True)
    emoji = Emoji(args.cache)
    count = len(emoji.train)

    def run(noise: float, name: str, rows: np.ndarray, way: str, seed: int) -> dict[str, float]:
        path = args.work / f"run-{noise}-{name}-{way}-{seed}.json".replace(" ", "-")
        if not path.exists():
            heads = trained(emoji, rows, shuffled(count, noise)[0], way, seed)
            path.write_text(json.dumps(recall(emoji, heads)))
        told: dict[str, float] = json.loads(path.read_text())
        return told

    found: dict[str, Any] = {}
    shown: dict[str, dict[int, Any]] = {}
    sizes: dict[str, int] = {}
    facts: dict[str, Any] = {}
    for noise in (*NOISES, 0.0):
        words = f"{100 * noise:.0f} %"
        found[words], facts[words], kept = detected(emoji, noise, args.work, bool(args.cleanlab))
        sets = {"all rows": np.arange(count), **kept}
        if noise:
            sets["right captions"] = np.flatnonzero(~shuffled(count, noise)[1])
        for name, rows in sets.items():
            if name != "all rows" and len(rows) == count:
                continue  # nothing was flagged, so it is the same
            sizes[f"{words}, {name}"] = len(rows)
            for way in args.ways:
                title = f"{words}, {way}, {name}"
                shown[title] = {seed: run(noise, name, rows, way, seed) for seed in SEEDS}
                print(title, f"{len(rows):,} rows", shown[title], flush=True)
        write(found, facts, shown, sizes)


def detected(
    emoji: Emoji, noise: float, work: Path, cleanlab: bool
) -> tuple[Any, Any, dict[str, np.ndarray]]:
    """What `detections` finds, the counts of the curation, and the rows that it keeps; from
    ``work`` if that was done before."""
    path, count = work / f"noise-{noise}.json", len(emoji.train)
    if not path.exists():
        figures, curation = detections(
            emoji, noise, work,
            lambda: trained(emoji, np.arange(count), shuffled(count, noise)[0], "plain", 0),
            cleanlab=cleanlab,
        )  # fmt: skip
        rows = {
            "without mismatched": np.flatnonzero(~curation.flags["mismatched"]).tolist(),
            "curated": np.flatnonzero(curation.keep).tolist(),
        }
        told = {"figures": figures, "facts": curation.to_dict(), "rows": rows}
        path.write_text(json.dumps(told))
    told = json.loads(path.read_text())
    print(noise, json.dumps(told["figures"], indent=1), flush=True)
    return told["figures"], told["facts"], {n: np.array(r) for n, r in told["rows"].items()}


def write(found: Any, facts: Any, shown: Mapping[str, Any], sizes: Mapping[str, int]) -> None:
    detected = [["shuffled", "by", "flagged", "precision", "recall", "average precision"]]
    for noise, by in found.items():
        detected += [
            [noise, name, *("" if math.isnan(v) else f"{100 * v:.1f}" for v in figures.values())]
            for name, figures in by.items()
        ]
    gained = [["shuffled, batches", "trained on", "rows", "recall@1", "against all rows"]]
    for title, runs in shown.items():
        noise, way, name = title.split(", ")
        base = shown[f"{noise}, {way}, all rows"]
        differences = [100 * (runs[seed]["mean"] - base[seed]["mean"]) for seed in runs]
        mean = 100 * float(np.mean([run["mean"] for run in runs.values()]))
        gain = summary.mean(differences)
        words = f"{gain['value']:+.2f} [{gain['low']:+.2f}, {gain['high']:+.2f}]"
        against = "" if runs is base else words
        gained.append(
            [f"{noise}, {way}", name, f"{sizes[f'{noise}, {name}']:,}", f"{mean:.1f}", against]
        )
    known = {
        noise: {
            name: {figure: None if math.isnan(v) else v for figure, v in figures.items()}
            for name, figures in by.items()
        }
        for noise, by in found.items()
    }
    made = {"detection": known, "curations": facts, "runs": shown, "rows": sizes}
    records.write("curation-found", {"title": "Finding shuffled captions", "table": detected})
    path = records.write(
        "curation", {"title": "Training without what curating drops", "table": gained, **made}
    )
    print(records.markdown(detected), records.markdown(gained), f"written to {path}", sep="\n\n")


def _unit(rows: np.ndarray) -> np.ndarray:
    rows = rows.astype(np.float32)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


if __name__ == "__main__":
    main()
