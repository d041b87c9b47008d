"""Random features, groups and ties for evaluation tasks, against loops by docs/evaluation.md.

Tasks compare float32 sums, so where two cosines are about 1e-6 apart, the bound of a tie, the rank
of a query may be either; there it must lie between both.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import torch
from dice import Dice

from helip import evaluation

Job = dict[str, Any]
PLAIN: Job = {
    "values": "normal", "ties": "against", "duplicates": "any", "captions": False,
    "compared": False, "bootstrap": 0, "chunk": 4096, "dtype": "float64", "groups": False,
}  # fmt: skip
LEAST = {"rows": 1, "dim": 1, "per_picture": 1, "classes": 1}
DOUBT = 6e-7  # what float32 may make of a cosine, on either side
FEWEST = 6  # queries of which a median has an interval


def left_open(n: int) -> float:
    """What n queries that all came to the same leave open: Wilson's upper limit of none of n."""
    return 1.959963984540054**2 / (n + 1.959963984540054**2)


def draw(dice: Dice) -> Job:
    return {
        "seed": dice.whole(0, 2**31), "task": dice.of("retrieval", "zero_shot", "composition"),
        "rows": dice.whole(*dice.mostly((1, 40), (40, 300), odds=0.05)), "dim": dice.whole(1, 17),
        "per_picture": dice.whole(1, 5), "classes": dice.whole(1, 15),
        "values": dice.of("normal", "grid", "copies", "aligned", "equal", "zeros"),
        "ties": dice.of("against", "for"), "duplicates": dice.of("any", "strict"),
        "captions": dice.chance(0.6), "bootstrap": dice.of(0, 0, 1, 20),
        "chunk": dice.of(4096, 1, 7), "dtype": dice.of("float32", "float64", "float16"),
        "compared": dice.chance(0.2), "groups": dice.chance(0.5),
    }  # fmt: skip


def features(
    job: Job, random: np.random.Generator, rows: int, like: np.ndarray | None = None
) -> np.ndarray:
    shape = (rows, job["dim"])
    values = random.normal(size=shape)
    if job["values"] == "grid":
        values = random.integers(-1, 2, shape).astype(float)
    elif job["values"] == "copies":
        values = values[random.integers(0, max(1, rows // 3), rows)]
    elif job["values"] == "equal":
        values = np.ones(shape)
    elif job["values"] == "zeros":
        values[random.random(rows) < 0.3] = 0
    elif job["values"] == "aligned" and like is not None:
        values = like + 0.3 * values
    return values.astype(job["dtype"]).astype(np.float64)


def unit(rows: np.ndarray) -> np.ndarray:
    lengths = np.sqrt((rows**2).sum(axis=1, keepdims=True))
    return np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)


def given(job: Job, rows: np.ndarray) -> Any:
    values = rows.astype(job["dtype"])
    return torch.from_numpy(values) if job["seed"] % 2 else values


def bounds_of_rank(scores: np.ndarray, right: set[int], ties: str) -> tuple[int, int]:
    """1 plus the wrong candidates that score as high as the best right one, or higher."""
    best = max(scores[j] for j in right)
    found = []
    for doubt in (DOUBT, -DOUBT):
        limit = best - 1e-6 + doubt if ties == "against" else best + 1e-6 + doubt
        found.append(1 + sum(scores[j] >= limit for j in range(len(scores)) if j not in right))
    return found[0], found[1]


def check_ranks(
    ranks: list[int], scores: np.ndarray, right: list[set[int]], ties: str, covered: Counter[str]
) -> None:
    assert len(ranks) == len(right)
    for query, rank in enumerate(ranks):
        low, high = bounds_of_rank(scores[query], right[query], ties)
        assert low <= rank <= high, f"query {query} has rank {rank}, wanted {low} to {high}"
        covered["ranks"] += 1
        covered["ranks that rounding decides"] += low < high


def check_figure(
    figure: dict[str, Any],
    value: float,
    n: int,
    job: Job,
    covered: Counter[str],
    *,
    share: bool = True,
) -> None:
    assert figure["n"] == n and abs(figure["value"] - value) < 1e-12, (
        f"{figure}, wanted {value} of {n}"
    )
    low, high = figure["low"], figure["high"]
    if job["bootstrap"] == 0:
        assert low is None and high is None
        return
    assert low <= high and (not share or (low >= -1e-12 and high <= 1 + 1e-12)), figure
    assert not share or high - low >= left_open(n) - 1e-12, figure
    if job["bootstrap"] > 1:
        covered["intervals"] += 1
        covered["intervals that hold the value"] += low - 1e-12 <= value <= high + 1e-12


def lower_median(ranks: list[int]) -> int:
    return sorted(ranks)[(len(ranks) - 1) // 2]


def check_direction(
    found: Any, ranks: list[int], groups: list[int] | None, job: Job, covered: Counter[str]
) -> None:
    n = len(ranks)
    for k in (1, 5, 10):
        check_figure(found[f"recall@{k}"], sum(rank <= k for rank in ranks) / n, n, job, covered)
    few = len(set(range(n) if groups is None else groups)) < FEWEST
    drawn = {**job, "bootstrap": 0} if few else job
    check_figure(found["median_rank"], lower_median(ranks), n, drawn, covered, share=False)
    check_figure(
        found["mean_reciprocal_rank"], sum(1 / rank for rank in ranks) / n, n, job, covered
    )


def retrieval(job: Job, random: np.random.Generator, covered: Counter[str]) -> Any:
    pictures = job["rows"]
    image_of = np.concatenate(
        [np.arange(pictures), random.integers(0, pictures, pictures * (job["per_picture"] - 1))]
    )
    image_of = random.permutation(image_of)
    images = features(job, random, pictures)
    texts = features(job, random, len(image_of), images[image_of])
    said, captions = np.arange(len(image_of)), None
    if job["captions"]:  # equal ones are spelled in several ways
        said = random.integers(0, max(2, len(image_of) // 2), len(image_of))
        spelled = ["a cat {}", "A  Cat {}.", " a cat {} !", "a\u00a0CAT {}"]
        captions = [str(random.choice(spelled)).format(number) for number in said]
    found = evaluation.retrieval(
        given(job, images),
        given(job, texts),
        image_of=image_of,
        captions=captions,
        keep_ranks=True,
        **{name: job[name] for name in ("duplicates", "ties", "chunk", "bootstrap")},
    )
    # Queries and candidates: distinct captions, the first of each, where any picture will do.
    candidates: list[int] = []
    bearers: list[set[int]] = []
    number: dict[int, int] = {}
    for row, what in enumerate(said.tolist()):
        name = what if job["duplicates"] == "any" and job["captions"] else -1 - row
        if name not in number:
            number[name] = len(candidates)
            candidates.append(row)
            bearers.append(set())
        bearers[number[name]].add(int(image_of[row]))
    scores = unit(images) @ unit(texts[candidates]).T
    of_image = [
        {c for c, who in enumerate(bearers) if picture in who} for picture in range(pictures)
    ]
    for name, table, right in (
        ("image_to_text", scores, of_image),
        ("text_to_image", scores.T, bearers),
    ):
        ranks, groups = (found["per_query"][name][each] for each in ("ranks", "groups"))
        check_ranks(ranks, table, right, job["ties"], covered)
        check_direction(found[name], ranks, groups, job, covered)
    equal = sum(said.tolist().count(what) > 1 for what in said.tolist())
    assert found["equal_captions"] == (equal if job["captions"] else 0), (
        found["equal_captions"],
        equal,
    )
    covered["equal captions"] += equal > 0 and job["captions"]
    covered["several captions a picture"] += job["per_picture"] > 1
    return found


def check_kinds(
    found: Any,
    hits: list[bool],
    kinds: list[int],
    names: list[str],
    mean: str,
    place: Any,
    job: Job,
    covered: Counter[str],
) -> None:
    shares = []
    for kind, name in enumerate(names):
        of_kind = [hit for hit, other in zip(hits, kinds, strict=True) if other == kind]
        if of_kind:
            shares.append(sum(of_kind) / len(of_kind))
            figure = place(found, name)
            drawn = job if figure["low"] is not None else {**job, "bootstrap": 0}
            check_figure(figure, shares[-1], len(of_kind), drawn, covered)
    check_figure(found[mean], sum(shares) / len(shares), len(hits), job, covered)


def zero_shot(job: Job, random: np.random.Generator, covered: Counter[str]) -> Any:
    names = [f"class {c}" for c in range(job["classes"])]
    labels = random.integers(0, job["classes"], job["rows"])
    classes = features(job, random, job["classes"])
    images = features(job, random, job["rows"], classes[labels])
    found = evaluation.zero_shot(
        given(job, images), labels, given(job, classes), class_names=names, keep_ranks=True,
        **{name: job[name] for name in ("ties", "chunk", "bootstrap")})  # fmt: skip
    ranks = found["per_query"]["ranks"]
    check_ranks(
        ranks,
        unit(images) @ unit(classes).T,
        [{int(label)} for label in labels],
        job["ties"],
        covered,
    )
    for k in (1, 5):
        check_figure(
            found[f"top{k}"],
            sum(rank <= k for rank in ranks) / len(ranks),
            len(ranks),
            job,
            covered,
        )
    check_kinds(found, [rank <= 1 for rank in ranks], labels.tolist(), names, "mean_per_class",
                lambda found, name: found["per_class"][name], job, covered)  # fmt: skip
    assert found["classes_without_samples"] == [
        n for c, n in enumerate(names) if c not in labels.tolist()
    ]
    return found


def composition(job: Job, random: np.random.Generator, covered: Counter[str]) -> Any:
    shape = (job["rows"], 1 if job["per_picture"] == 1 else 2, 2)
    scores = (
        random.integers(0, 3, shape) / 10
        if job["values"] in ("grid", "equal")
        else random.normal(size=shape)
    )
    names = [f"kind {random.integers(job['classes'])}" for _ in range(job["rows"])]
    groups = random.integers(0, job["rows"], job["rows"]) if job["groups"] else None
    found = evaluation.composition(
        scores, categories=names, groups=groups, bootstrap=job["bootstrap"], keep_ranks=True
    )
    hits: dict[str, list[bool]] = {"text_score": [], "image_score": [], "group_score": []}
    for item in scores.tolist():
        if len(item) == 1:
            hits["text_score"].append(item[0][0] > item[0][1] + 1e-6)
            continue
        (aa, ab), (ba, bb) = item
        text = aa > ab + 1e-6 and bb > ba + 1e-6
        image = aa > ba + 1e-6 and bb > ab + 1e-6
        for name, hit in zip(hits, (text, image, text and image), strict=True):
            hits[name].append(hit)
    for name, each in hits.items():
        if each:
            check_figure(found[name], sum(each) / len(each), len(each), job, covered)
    kinds = list(dict.fromkeys(names))
    check_kinds(
        found,
        hits["text_score"],
        [kinds.index(n) for n in names],
        kinds,
        "mean_per_category",
        lambda found, name: found["categories"][name]["text_score"],
        job,
        covered,
    )
    return found


TASKS = {"retrieval": retrieval, "zero_shot": zero_shot, "composition": composition}


def check(job: Job) -> Counter[str]:
    torch.set_num_threads(1)
    covered: Counter[str] = Counter()
    random = np.random.default_rng(job["seed"])
    found = TASKS[job["task"]](job, random, covered)
    if job["compared"] and job["bootstrap"] and job["task"] != "composition":
        check_compared(job, found, covered)
    return covered


def check_compared(job: Job, found: Any, covered: Counter[str]) -> None:
    """A result less itself is nothing; less another it is the difference of their figures."""
    other = {**found, "per_query": {**found["per_query"]}}
    random = np.random.default_rng(job["seed"] + 1)

    def moved(ranks: list[int]) -> list[int]:
        return [max(1, rank + int(random.integers(-2, 3))) for rank in ranks]

    if job["task"] == "retrieval":
        for name in ("image_to_text", "text_to_image"):
            kept = found["per_query"][name]
            other["per_query"][name] = {**kept, "ranks": moved(kept["ranks"])}
        ways = [
            (found["per_query"][n]["ranks"], other["per_query"][n]["ranks"], (n,))
            for n in ("image_to_text", "text_to_image")
        ]
        figures = [f"recall@{k}" for k in (1, 5, 10)]
    else:
        other["per_query"]["ranks"] = moved(found["per_query"]["ranks"])
        ways = [(found["per_query"]["ranks"], other["per_query"]["ranks"], ())]
        figures = ["top1", "top5"]
    task = job["task"]
    difference = evaluation.compare({task: found}, {task: other}, bootstrap=job["bootstrap"])[task]
    nothing = evaluation.compare({task: found}, {task: found}, bootstrap=job["bootstrap"])[task]
    for mine, its, place in ways:
        for name in figures:
            k = int(name.removeprefix("recall@").removeprefix("top"))
            said, none = (
                each[place[0]][name] if place else each[name] for each in (difference, nothing)
            )
            wanted = sum(a <= k for a in mine) / len(mine) - sum(b <= k for b in its) / len(its)
            assert abs(said["value"] - wanted) < 1e-12 and said["low"] <= said["high"], (
                said,
                wanted,
            )
            assert none["value"] == 0 and none["high"] >= left_open(len(mine)) - 1e-12, none
            assert abs(none["low"] + none["high"]) < 1e-12, none
            covered["differences"] += 1
