"""Random batches for the losses, on one process and on two of uneven size: values and gradients.

The references are the formulas of docs/method.md and of the docstrings, row by row in NumPy. A
gradient is compared with differences of the reference along random directions.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from dice import Dice

import helip
from helip import losses

Job = dict[str, Any]
PLAIN: Job = {
    "ranks": None, "dtype": "float64", "columns": 0, "similar_captions": None,
    "similar_images": None, "equal_captions": "mask", "hard": "target", "direction": "preserve",
    "space": "cross", "margin": 0.0, "gamma": 1.0, "bias": None, "scale": 1.0, "twins": False,
    "rank_rows": False, "loss": "helip", "alike": 0.0, "soft": 0.0,
}  # fmt: skip
LEAST = {"rows": 1, "dim": 1, "most": 1}


def draw(dice: Dice) -> Job:
    job: Job = {
        "seed": dice.whole(0, 2**31),
        "rows": dice.whole(*dice.mostly((1, 13), (13, 40), odds=0.05)),
        "loss": dice.mostly("helip", "sigmoid", "ssl", "distill", "clip", "margin", odds=0.5),
        "dim": dice.whole(1, 9), "dtype": dice.mostly("float64", "float32"),
        "hard": dice.mostly("target", "hard_rows", "both", "none", odds=0.5),
        "most": dice.whole(1, 5), "gamma": dice.of(0.0, 0.3, 1.0, 5.0),
        "margin": dice.of(0.0, 0.1, -0.2, 1.5), "direction": dice.of("preserve", "repel"),
        "space": dice.of("cross", "intra"), "columns": dice.whole(0, 4),
        "equal_captions": dice.of("mask", "positive", "separate"),
        "similar_captions": dice.mostly(None, 0.3, 0.9),
        "similar_images": dice.mostly(None, 0.3, 0.9), "scale": dice.of(0.5, 1.0, 14.3, 100.0),
        "bias": dice.of(None, -10.0, 0.5),
        "soft": dice.mostly(0.0, 0.1, 0.6, odds=0.4),
        "twins": dice.chance(0.2), "alike": dice.of(0.0, 0.7), "ranks": None, "rank_rows": False,
    }  # fmt: skip
    if job["rows"] > 1 and job["loss"] in ("helip", "sigmoid", "distill") and dice.chance(0.3):
        job.update(ranks=float(dice.random.random()), rank_rows=dice.chance(0.5))
    if job["loss"] == "margin" and job["hard"] == "none":  # it has a target always
        job["hard"] = "target"
    return job


def batch_of(job: Job) -> tuple[dict[str, np.ndarray], list[int]]:
    """The whole batch in float64, and how many rows of it each process has."""
    random, rows, dim = np.random.default_rng(job["seed"]), job["rows"], job["dim"]
    shared = random.normal(size=(rows, dim))
    made = {
        name: random.normal(size=(rows, dim)) + 3 * job["alike"] * shared
        for name in ("image", "text")
    }
    if job["twins"]:
        again = random.integers(0, rows, rows)
        made = {
            name: np.where(random.random((rows, 1)) < 0.4, each[again], each)
            for name, each in made.items()
        }
    made = {name: each.astype(job["dtype"]).astype(np.float64) for name, each in made.items()}
    counts = (
        [rows]
        if job["ranks"] is None
        else [first := 1 + int(job["ranks"] * (rows - 1)), rows - first]
    )
    made["target"] = np.arange(rows)
    made["hard_rows"] = np.full((rows, job["most"]), -1)
    begin = 0
    for count in counts:  # a target and its hard rows lie on one process
        own = np.arange(count)
        served = np.where(random.random(count) < 0.5, own, random.integers(0, count, count))
        made["target"][begin : begin + count] = served
        for row in own:
            others = random.permutation(own[own != row])[: int(random.integers(job["most"] + 1))]
            made["hard_rows"][begin + row, : len(others)] = others
        begin += count
    # Among the rows of a process.
    sizes = np.repeat(np.arange(len(counts)), counts)
    soft = random.random((rows, rows)) * (random.random((rows, rows)) < job["soft"])
    np.fill_diagonal(soft, np.where(random.random(rows) < 0.5, 1.0, random.random(rows)))
    soft[random.random(rows) < 0.1] = 0.0
    made["soft"] = np.where(sizes[:, None] == sizes, soft, 0.0).astype(np.float32)
    made["groups"] = random.integers(0, max(2, rows // 2), (rows, job["columns"]))
    made["caption"], made["picture"] = random.normal(size=(2, rows, 3))
    for name in ("teacher image", "teacher text"):
        made[name] = random.normal(size=(rows, dim)).astype(job["dtype"]).astype(np.float64)
    return made, counts


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.sqrt((rows**2).sum(axis=1, keepdims=True))


def log_sum(values: np.ndarray) -> float:
    return float(values.max() + np.log(np.exp(values - values.max()).sum()))


def equal_of(job: Job, batch: dict[str, np.ndarray]) -> np.ndarray:
    """bool [rows, rows]: rows whose captions or pictures are equal."""
    rows = job["rows"]
    found = np.zeros((rows, rows), bool)
    if job["equal_captions"] == "separate":
        return found
    for a in range(rows):
        for b in range(rows):
            same = any(
                x == y != 0 for x, y in zip(batch["groups"][a], batch["groups"][b], strict=True)
            )
            for name, bound in (("caption", "similar_captions"), ("picture", "similar_images")):
                if job[bound] is not None:
                    one, other = unit(batch[name][[a, b]])
                    same |= bool(one @ other > job[bound])
            found[a, b] = a != b and same
    return found


def hard_of(job: Job, batch: dict[str, np.ndarray], counts: list[int]) -> list[set[int]]:
    """The hard rows of each row."""
    hard: list[set[int]] = [set() for _ in range(job["rows"])]
    begin = 0
    for count in counts:
        for row in range(begin, begin + count):
            if job["hard"] in ("hard_rows", "both"):
                hard[row] = {begin + r for r in batch["hard_rows"][row].tolist() if r >= 0} - {row}
            elif job["hard"] == "target":
                hard[row] = {
                    r for r in range(begin, begin + count) if begin + batch["target"][r] == row
                } - {row}
        begin += count
    return hard


def contrast(job: Job, x: dict[str, Any], equal: np.ndarray, soft: np.ndarray) -> float:
    similar = x["scale"] * (unit(x["image"]) @ unit(x["text"]).T)
    rows, total = len(similar), 0.0
    masked = job["equal_captions"] == "mask"
    for i in range(rows):
        others = [j for j in range(rows) if not (masked and equal[i, j])]
        right = {j: soft[i, i] if equal[i, j] else soft[i, j] for j in others}
        for j in others if job["loss"] == "sigmoid" else ():
            z = similar[i, j] + x["bias"]
            total += right[j] * np.logaddexp(0, -z) + (1 - right[j]) * np.logaddexp(0, z)
        for logits in (similar[i], similar[:, i]) if job["loss"] != "sigmoid" else ():
            every = log_sum(logits[others])
            aimed = sum(right[j] * (every - logits[j]) for j in others)
            total += 0.5 * aimed / max(1.0, sum(right.values()))
    return total / rows


def mean_of(values: list[Any]) -> float:
    return float(np.mean(values)) if values else 0.0


def margin(
    job: Job, x: dict[str, Any], equal: np.ndarray, hard: list[set[int]]
) -> dict[str, float]:
    image, text = unit(x["image"]), unit(x["text"])
    pairs = (
        ((image, text), (text, image))
        if job["space"] == "cross"
        else ((image, image), (text, text))
    )
    rows, total, targets = len(image), 0.0, 0
    hinges: list[float] = []
    near: list[float] = []
    far: list[float] = []
    corners = [1.0]
    for i in range(rows):
        chosen = [r for r in hard[i] if not equal[i, r]]
        ordinary = [r for r in range(rows) if r != i and r not in hard[i] and not equal[i, r]]
        targets += bool(chosen)
        for anchor, pool in pairs if chosen else ():
            close, rest = pool[chosen] @ anchor[i], pool[ordinary] @ anchor[i]
            near += close.tolist()
            ends = np.sort(close if job["direction"] == "preserve" else -close)
            corners += np.diff(ends)[:1].tolist()
            far += rest.tolist()
            if not ordinary:
                continue
            terms = (
                rest - close.min() + job["margin"]
                if job["direction"] == "preserve"
                else np.array([close.max() - rest.mean() + job["margin"]])
            )
            hinges += terms.tolist()
            total += 0.5 * np.maximum(terms, 0).mean()
    return {
        "margin": total / max(targets, 1), "violated": mean_of([h > 0 for h in hinges]),
        "hard_similarity": mean_of(near), "ordinary_similarity": mean_of(far),
        "close call": min(map(abs, hinges), default=1.0),
        "corner": min([*corners, *map(abs, hinges)]),  # how far off the nearest kink is
    }  # fmt: skip


def value(
    job: Job, x: dict[str, Any], batch: dict[str, np.ndarray], counts: list[int]
) -> dict[str, float]:
    """What the formulas give for the whole batch."""
    kind = job["loss"]
    if kind == "ssl":
        both, total = unit(np.concatenate([x["image"], x["text"]])), 0.0
        for row in range(len(both)):
            logits = both @ both[row] / 0.1
            total += log_sum(np.delete(logits, row)) - logits[(row + job["rows"]) % len(both)]
        return {"ssl": total / len(both), "loss": job["gamma"] * total / len(both)}
    if kind == "distill":
        own, teacher = ([unit(a), unit(b)] for a, b in (
            (x["image"], x["text"]), (batch["teacher image"], batch["teacher text"])))  # fmt: skip
        total = 0.0
        for i in range(job["rows"]):
            for one in (0, 1):
                total += 0.5 * (1 - own[one][i] @ teacher[one][i])
        total /= job["rows"]
        return {"distill": total, "loss": job["gamma"] * total}
    equal = (
        equal_of(job, batch) if kind in ("helip", "sigmoid") else np.zeros((job["rows"],) * 2, bool)
    )
    soft = np.eye(job["rows"])
    if job["soft"] and kind in ("helip", "sigmoid"):
        soft = batch["soft"].astype(np.float64)
    found = {"clip": contrast(job, x, equal, soft)} if kind != "margin" else {"clip": 0.0}
    if kind == "clip":
        return {"loss": found["clip"]}
    if kind in ("helip", "sigmoid"):
        told = (
            job["columns"]
            or job["similar_captions"] is not None
            or job["similar_images"] is not None
        )
        if told and job["equal_captions"] != "separate":
            found["equal_rows"] = equal.any(axis=1).mean()
        if job["soft"]:
            found["soft_rows"] = (soft != np.eye(job["rows"])).any(axis=1).mean()
    found |= margin(job, x, equal, hard_of(job, batch, counts))
    found["loss"] = (
        found["margin"] if kind == "margin" else found["clip"] + job["gamma"] * found["margin"]
    )
    return found


def theirs(job: Job, batch: dict[str, np.ndarray], counts: list[int], rank: int) -> dict[str, Any]:
    """What helip gives for the rows of this process: values and gradients."""
    begin, own = sum(counts[:rank]), slice(sum(counts[:rank]), sum(counts[: rank + 1]))
    dtype = getattr(torch, job["dtype"])
    image, text = (
        torch.tensor(batch[name][own], dtype=dtype, requires_grad=True)
        for name in ("image", "text")
    )
    scale = torch.tensor(job["scale"], dtype=dtype, requires_grad=True)
    bias = torch.tensor(
        0.0 if job["bias"] is None else job["bias"], dtype=dtype, requires_grad=True
    )
    target, hard_rows = (torch.from_numpy(batch[name][own]) for name in ("target", "hard_rows"))
    many = len(counts) > 1
    share = {"rank_rows": counts} if job["rank_rows"] or (many and job["loss"] == "distill") else {}
    if job["loss"] == "ssl":
        found = losses.SslLoss(scale=job["gamma"])(image, text)
    elif job["loss"] == "distill":
        teacher = [
            torch.tensor(batch[f"teacher {name}"][own], dtype=dtype) for name in ("image", "text")
        ]
        found = losses.DistillationLoss(distill=job["gamma"])(image, text, *teacher, **share)
    elif job["loss"] == "clip":
        found = {"loss": helip.losses.clip_loss(image, text, scale)}
    elif job["loss"] == "margin":
        found = {
            "loss": losses.hard_negative_margin_loss(
                image,
                text,
                target,
                hard_rows=hard_rows if job["hard"] in ("hard_rows", "both") else None,
                **{name: job[name] for name in ("margin", "direction", "space")},
            )
        }
    else:
        kind = losses.HelipLoss if job["loss"] == "helip" else losses.HelipSigmoidLoss
        names = (
            "gamma",
            "margin",
            "direction",
            "space",
            "equal_captions",
            "similar_captions",
            "similar_images",
        )
        given: Job = {}
        if job["hard"] in ("target", "both"):
            given["target"] = target
        if job["hard"] in ("hard_rows", "both"):
            given["hard_rows"] = hard_rows
        if job["loss"] == "sigmoid" and job["bias"] is not None:
            given["logit_bias"] = bias
        if job["soft"]:
            given["soft_labels"] = torch.from_numpy(batch["soft"][own, own])
        if job["columns"]:
            groups = torch.from_numpy(batch["groups"][own])
            given["groups"] = groups[:, 0] if job["columns"] == 1 else groups
        if job["similar_captions"] is not None or job["similar_images"] is not None:
            given["embeddings"] = {"caption": torch.tensor(batch["caption"][own]),
                                   "image": torch.tensor(batch["picture"][own])}  # fmt: skip
        found = kind(**{name: job[name] for name in names}, gather=many)(
            image, text, scale, **given, **share
        )
    if found["loss"].requires_grad:
        found["loss"].backward()
    grads = {"image": image.grad, "text": text.grad, "scale": scale.grad, "bias": bias.grad}
    return {
        "values": {name: float(each.detach()) for name, each in found.items()}, "begin": begin,
        "grads": {n: None if each is None else each.double().numpy() for n, each in grads.items()},
    }  # fmt: skip


@cache
def two_processes() -> None:
    """This process becomes rank 0 of two; the other takes jobs as they come."""
    meeting = tempfile.mktemp(prefix="helip-soak-")
    subprocess.Popen([sys.executable, __file__, meeting])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=0, world_size=2)


def serve(meeting: str) -> None:
    """Rank 1: until rank 0 is gone."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=1, world_size=2)
    while True:
        told: list[Any] = [None]
        try:
            dist.broadcast_object_list(told, src=0)
        except RuntimeError:
            os._exit(0)
        answer(told[0], 1)


def answer(job: Job, rank: int) -> list[Any]:
    """What both processes give for a job; an error is its text."""
    batch, counts = batch_of(job)
    try:
        found: Any = theirs(job, batch, counts, rank)
    except Exception:
        found = traceback.format_exc()
    everyone: list[Any] = [None, None]
    dist.all_gather_object(everyone, found)
    return everyone


def check(job: Job) -> Counter[str]:
    if job["ranks"] is not None and job["rows"] < 2:
        job = {**job, "ranks": None}
    batch, counts = batch_of(job)
    if len(counts) > 1:
        two_processes()
        dist.broadcast_object_list([job], src=0)
        found = answer(job, 0)
        for each in found:
            assert not isinstance(each, str), each
    else:
        torch.set_num_threads(1)
        found = [theirs(job, batch, counts, 0)]
    bias = 0.0 if job["bias"] is None else job["bias"]
    x = {"image": batch["image"], "text": batch["text"], "scale": job["scale"], "bias": bias}
    want = value(job, x, batch, counts)
    double = job["dtype"] == "float64"
    # A loss is a sum over terms as large as the scale; in float32 each is off by 1e-7 of that.
    size = 1 + job["scale"] + abs(bias)
    near = 1e-10 * size if double else 3e-5 * size
    covered: Counter[str] = Counter()
    for name, wanted in want.items():
        if name in ("close call", "corner", "clip", "margin") and name not in found[0]["values"]:
            continue
        if name not in found[0]["values"]:
            assert job["loss"] == "margin", f"{name} is not told"
            continue
        if name == "violated" and want["close call"] < (1e-9 if double else 1e-5):
            covered["too close to tell"] += 1
            continue
        got = float(np.mean([each["values"][name] for each in found]))
        assert abs(got - wanted) <= near * max(1.0, job["gamma"]), (
            f"{name} is {got!r}, wanted {wanted!r}"
        )
    check_gradients(job, x, batch, counts, found, covered)
    covered["two processes"] += len(counts) > 1
    covered["of uneven size"] += len(set(counts)) > 1
    covered["soft rows met"] += want.get("soft_rows", 0) > 0
    covered["equal rows met"] += want.get("equal_rows", 0) > 0
    covered["margin above 0"] += want.get("margin", 0) > 0
    return covered


def check_gradients(job: Job, x: dict[str, Any], batch: dict[str, np.ndarray], counts: list[int],
                    found: list[Any], covered: Counter[str]) -> None:  # fmt: skip
    random, step = np.random.default_rng(job["seed"] + 1), 1e-6
    names = ["image", "text"]
    if job["loss"] in ("helip", "sigmoid", "clip"):
        names.append("scale")
    if job["loss"] == "sigmoid" and job["bias"] is not None:
        names.append("bias")
    if (job["gamma"] > 0 or job["loss"] == "margin") and value(job, x, batch, counts).get(
        "corner", 1.0
    ) < 1e-4:
        covered["gradients at a corner"] += 1  # where there are several
        return
    for name in names:
        grads = [each["grads"][name] for each in found]
        if any(grad is None for grad in grads):
            shapes = [x[name][:n].shape if np.ndim(x[name]) else () for n in counts]
            grads = [np.zeros(s) if g is None else g for g, s in zip(grads, shapes, strict=True)]
        along = random.normal(size=np.shape(x[name]))
        if name in ("image", "text"):  # a step for each row that suits its length
            along *= np.sqrt((x[name] ** 2).sum(axis=1, keepdims=True))
            whole = np.concatenate(grads)
        else:
            whole = sum(grads)
        got = float((whole * along).sum()) / len(found)
        up, down = (
            value(job, {**x, name: x[name] + by * along}, batch, counts)["loss"]
            for by in (step, -step)
        )
        size = 1 + job["scale"] + abs(x["bias"])
        wanted = (up - down) / (2 * step)
        near = (
            (1e-6 if job["dtype"] == "float64" else 1e-3)
            * size**2
            * max(1.0, job["gamma"])
            * max(1, job["rows"] ** 0.5)
        )
        assert abs(got - wanted) <= near + 1e-5 * abs(wanted), (
            f"gradient of {name}: {got!r}, wanted {wanted!r}"
        )
        covered["gradients"] += 1


if __name__ == "__main__":
    serve(sys.argv[1])
