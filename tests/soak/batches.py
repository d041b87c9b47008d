"""Random tables and batch options: what docs/loader.md says of batches, epochs, ranks and states.

Most jobs ask the core's sampler what rows make a batch; some read them by a loader.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
from dice import Dice
from loaders import check_loader

import helip
from helip import _core

Job = dict[str, Any]
PLAIN: Job = {
    "loader": False, "workers": 0, "grows": False, "unique": 0, "schedule": None, "fraction": 1.0,
    "order": "rows", "short": "skip", "rank_min": 0, "rank_max": 0, "draw_temperature": 0.0,
    "targets_per_batch": 0, "world_size": 1, "strategy": "uniform", "pools": "near", "epoch": 0,
    "places": [],
}  # fmt: skip
LEAST = {
    "rows": 2,
    "k": 1,
    "batch_size": 2,
    "hard_per_target": 1,
    "block": 1,
    "community_rows": 2,
    "walk_rows": 1,
}
DRAWN = ("uniform", "temperature", "scheduled")


def draw(dice: Dice) -> Job:
    k, p = dice.whole(1, 13), dice.of(1, 1, 1, 2, 3)
    strategy = dice.of("uniform", "temperature", "scheduled", "shared", "walk", "communities")
    job: Job = {
        "seed": dice.whole(0, 2**31), "rows": dice.whole(2, 90), "k": k,
        "pools": dice.of("near", "far", "hubs", "cliques", "few"), "strategy": strategy,
        "hard_per_target": p, "batch_size": dice.whole(1 + p, 30),
        "world_size": dice.mostly(1, 2, 3, odds=0.4), "rank_min": 0, "rank_max": 0,
        "draw_temperature": 0.0, "fraction": dice.mostly(1.0, 0.0, 0.5), "targets_per_batch": 0,
        "short": dice.mostly("skip", "random", odds=0.35), "order": "rows", "schedule": None,
        "block": dice.of(1, 4, 16), "community_rows": dice.of(2, 3, 8, 16),
        "walk_rows": dice.of(1, 5, 40), "epoch": dice.of(0, 1, 5), "unique": 0, "grows": False,
        "loader": False, "workers": 0,
        # The share of the epoch after which it goes on in other batches, on other ranks.
        "places": [[dice.random.random(), dice.whole(1 + p, 30), dice.whole(1, 4)]
                   for _ in range(dice.whole(0, 3))],
    }  # fmt: skip
    if dice.chance(0.4):
        job["rank_min"] = dice.whole(0, k)
        job["rank_max"] = dice.of(0, dice.whole(job["rank_min"] + 1, k + 1))
    if (job["rank_max"] or k) - job["rank_min"] < p:
        job["hard_per_target"] = p = 1
    if strategy in ("temperature", "scheduled") or (strategy == "shared" and dice.chance(0.1)):
        job["draw_temperature"] = dice.of(0.02, 0.3, 5.0)
    if strategy == "scheduled" or (strategy == "communities" and dice.chance(0.3)):
        job["schedule"] = {
            "epochs": dice.of(0.5, 1.0, 3.0), "shape": dice.of("linear", "cosine"),
            "rank_min": dice.whole(0, (job["rank_max"] or k) - p + 1), "rank_max": None,
            "fraction": dice.of(None, 0.0, 1.0),
            "draw_temperature": 0.1 if job["draw_temperature"] else None,
        }  # fmt: skip
    if strategy in ("shared", "walk", "communities"):
        job["targets_per_batch"] = dice.of(0, dice.whole(1, job["batch_size"] + 1))
    if strategy in (*DRAWN, "shared") and dice.chance(0.2):
        job["order"] = "blocks"
    if dice.chance(0.15):
        job["unique"] = dice.whole(2, 20)
    if strategy in ("uniform", "temperature", "shared") and dice.chance(0.1):
        job["grows"] = True
    if not job["grows"] and not job["unique"] and dice.chance(0.06):
        job.update(loader=True, workers=int(dice.chance(0.02)))
    return job


def pools_of(job: Job) -> list[list[tuple[int, float]]]:
    """(row, score) of each row's hard pairs, best first; some pools are short and some empty."""
    random, n, k, kind = np.random.default_rng(job["seed"]), job["rows"], job["k"], job["pools"]
    pools = []
    for row in range(n):
        if kind == "near":
            others = [(row + step) % n for step in (*range(1, k + 1), *range(-k, 0))]
        elif kind == "hubs":
            others = list(range(min(n, k + 2)))
        elif kind == "cliques":
            size = max(2, k)
            others = list(range(row // size * size, min(n, row // size * size + size)))
        else:
            others = random.permutation(n)[: k + 1].tolist()
        others = [int(each) for each in dict.fromkeys(others) if each != row][:k]
        if random.random() < (0.7 if kind == "few" else 0.2):
            others = others[: int(random.integers(0, len(others) + 1))]
        scores = np.sort(random.random(len(others)).astype(np.float32))[::-1].tolist()
        pools.append(
            list(zip(random.permutation(others).astype(int).tolist(), scores, strict=True))
        )
    return pools


def arrays_of(
    pools: list[list[tuple[int, float]]], k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    ids, scores = np.full((len(pools), k), -1, np.int32), np.zeros((len(pools), k), np.float32)
    for row, pool in enumerate(pools):
        for rank, (other, score) in enumerate(pool):
            ids[row, rank], scores[row, rank] = other, score
    return ids, scores, np.array([len(pool) for pool in pools], np.int32)


def table_of(job: Job, pools: list[list[tuple[int, float]]]) -> Any:
    ids, scores, counts = arrays_of(pools, job["k"])
    if job["grows"]:
        table = _core.GrowingPairs(job["rows"], job["k"])
        table.assign(np.arange(job["rows"]), ids.astype(np.int64), scores, counts)
        return table
    return helip.HardPairs.from_arrays(ids, scores, counts, data_fingerprint="a" * 32)


def groups_of(job: Job) -> list[set[int]]:
    random = np.random.default_rng(job["seed"] + 1)
    if not job["unique"]:
        return [set() for _ in range(job["rows"])]
    return [
        set(random.integers(1, job["unique"] + 1, int(random.integers(1, 3))).tolist())
        for _ in range(job["rows"])
    ]


def sampler_of(job: Job, table: Any, rank: int, **division: int) -> Any:
    names = (
        "hard_per_target",
        "rank_min",
        "rank_max",
        "draw_temperature",
        "fraction",
        "strategy",
        "order",
        "block",
        "walk_rows",
        "community_rows",
        "targets_per_batch",
        "batch_size",
        "world_size",
    )
    given = {
        **{name: job[name] for name in names},
        "short_policy": job["short"],
        "seed": job["seed"],
        **division,
    }
    if job["schedule"]:
        given["schedule"] = _core.HardnessSchedule(**job["schedule"])
    if job["unique"]:
        groups = groups_of(job)
        given["group_offsets"] = np.cumsum([0, *map(len, groups)])
        given["groups"] = np.array([each for some in groups for each in sorted(some)], np.int64)
    return _core.BatchSampler(table if job["grows"] else table._core, rank=rank, **given)


def eligible_of(job: Job, pools: list[list[tuple[int, float]]]) -> list[int]:
    if job["short"] == "random" or job["grows"]:
        return list(range(job["rows"]))
    first, last = job["rank_min"], job["rank_max"] or job["k"]
    if job["schedule"]:
        first = max(
            first, job["schedule"]["rank_min"] or 0
        )  # short in the deepest window, short throughout
        last = job["rank_max"] or job["k"]
    return [
        row
        for row, pool in enumerate(pools)
        if min(len(pool), last) - first >= job["hard_per_target"]
    ]


def check(job: Job) -> Counter[str]:
    covered: Counter[str] = Counter()
    pools = pools_of(job)
    table, eligible = table_of(job, pools), eligible_of(job, pools)
    if len(eligible) < job["world_size"]:
        covered["too few targets"] += 1
        return covered
    if job["world_size"] > 1 and per_batch_of(job) == 1:
        covered["one target a batch"] += 1  # refused where some ranks would have none
        return covered
    whole = check_epoch(job, pools, table, eligible, covered)
    if job["loader"]:
        check_loader(job, table, pools_of(job), whole, covered)
    else:
        check_places(job, table, whole, eligible, covered)
    return covered


def per_batch_of(job: Job) -> int:
    if job["strategy"] in ("walk", "communities"):
        return job["targets_per_batch"] or job["batch_size"]
    return job["targets_per_batch"] or job["batch_size"] // (1 + job["hard_per_target"])


def check_epoch(
    job: Job, pools: Any, table: Any, eligible: list[int], covered: Counter[str]
) -> list[list[Any]]:
    """Every batch of every rank; returns (index, target, targets) by rank and step."""
    made, targets, sizes, left_out = [], [], [], 0
    samplers = [sampler_of(job, table, rank) for rank in range(job["world_size"])]
    per_batch = per_batch_of(job)
    steps = math.ceil(len(eligible) / (job["world_size"] * per_batch))
    groups = groups_of(job)
    for rank, sampler in enumerate(samplers):
        sampler.set_epoch(job["epoch"])
        assert sampler.eligible_targets == len(eligible) and sampler.skipped_targets == job[
            "rows"
        ] - len(eligible)
        assert sampler.batches_per_epoch == steps, (
            f"{sampler.batches_per_epoch} batches, wanted {steps}"
        )
        made.append([])
        for step in range(steps):
            sampler.reset_statistics()
            index, target = (each.tolist() for each in sampler.batch(step)[:2])
            counts = dict(sampler.statistics())
            hardness = sampler.hardness(step)
            check_hardness(job, hardness, sampler.targets_before(step) / len(eligible))
            check_batch(job, pools, groups, index, target, counts, hardness, per_batch, covered)
            made[rank].append((index, target, counts["targets"]))
            targets += index[: counts["targets"]]
            sizes.append(counts["targets"] + counts["equal_targets"])
            left_out += counts["equal_targets"]
    assert len(set(targets)) == len(targets) and set(targets) <= set(eligible), (
        "a target twice, or none"
    )
    assert len(targets) + left_out == len(eligible), f"{len(targets)} targets of {len(eligible)}"
    assert max(sizes) - min(sizes) <= 1, f"targets of batches are {sizes}"
    covered["batches"] += sum(map(len, made))
    again = sampler_of(job, table, 0)
    again.set_epoch(job["epoch"])
    for step in np.random.default_rng(job["seed"]).permutation(steps)[:3].tolist():
        assert [each.tolist() for each in again.batch(step)[:2]] == list(made[0][step][:2]), (
            "other batches with the same seed"
        )
    return made


def check_hardness(job: Job, hardness: tuple[int, int, float, float], share: float) -> None:
    """The window and the rest are between where a schedule starts and ends, by its shape."""
    schedule = job["schedule"] or {"epochs": 1.0, "shape": "linear"}
    share = 0.0 if job["strategy"] == "communities" else share  # one value for an epoch
    way = min(1.0, (job["epoch"] + share) / schedule["epochs"])
    way = 0.5 - 0.5 * math.cos(math.pi * way) if schedule["shape"] == "cosine" else way
    starts = (
        job["rank_min"],
        job["rank_max"] or job["k"],
        job["draw_temperature"],
        job["fraction"],
    )
    for name, start, now in zip(
        ("rank_min", "rank_max", "draw_temperature", "fraction"), starts, hardness, strict=True
    ):
        end = schedule.get(name)
        wanted = start if end is None else start + way * (end - start)
        if name == "draw_temperature" and end is not None:
            assert min(start, end) - 1e-12 <= now <= max(start, end) + 1e-12, (name, now)
        else:
            assert abs(now - wanted) <= (
                1.0 if name.startswith("rank") and end is not None else 1e-9
            ), (name, now, wanted)


def check_batch(
    job: Job,
    pools: Any,
    groups: list[set[int]],
    index: list[int],
    target: list[int],
    counts: dict[str, int],
    hardness: tuple[int, int, float, float],
    per_batch: int,
    covered: Counter[str],
) -> None:
    first, last, temperature, fraction = hardness
    window = [[row for row, _ in pool[first:last]] for pool in pools]
    rows, p, n = len(index), job["hard_per_target"], counts["targets"]
    assert 0 < rows <= job["batch_size"] and n <= per_batch and len(target) == rows
    assert len(set(index)) == rows, "a row twice in a batch"
    assert rows == n + counts["hard_pairs"] + counts["random_fills"], counts
    inside = set(index)
    for a in range(rows if job["unique"] else 0):
        assert not any(groups[index[a]] & groups[index[b]] for b in range(a)), (
            "two equal rows in a batch"
        )
    serving: list[list[int]] = [[] for _ in range(n)]
    for row in range(rows):
        whom = target[row]
        assert 0 <= whom < n, "it serves a row that is no target"
        if row >= n:
            assert whom != row
        elif job["strategy"] in DRAWN:
            assert whom == row, "targets come first, and serve themselves"
        if whom != row:
            serving[whom].append(index[row])
    if job["strategy"] in DRAWN:
        assert target[n:] == sorted(target[n:]), "hard pairs come target by target"
    random_fills, unfilled, without = 0, 0, 0
    for place in range(n):
        near, served = window[index[place]], serving[place]
        odd = [row for row in served if row not in near]
        random_fills += len(odd)
        assert not odd or job["short"] == "random", f"{odd} are no hard pairs of {index[place]}"
        assert len(served) <= p, f"{len(served)} hard pairs of {index[place]}"
        if not served:
            without += 1
        if len(served) < p and fraction == 1.0 and not job["unique"]:
            count = len(served) if job["strategy"] in DRAWN else sum(row in inside for row in near)
            full = rows == job["batch_size"] or (job["short"] == "random" and rows == job["rows"])
            left = [row for row in near if row not in inside]
            if job["strategy"] not in ("walk", "communities"):
                assert count >= p or not left or full, f"{left} are left for {index[place]}"
            unfilled += max(0, p - count)
    if fraction == 0.0:
        assert rows == n and without == n, "hard pairs where no target gets any"
    if job["strategy"] in DRAWN and fraction == 1.0:
        # A fill may by chance be a row that is in the window, which had none left.
        assert counts["random_fills"] >= random_fills
        assert job["unique"] or counts["unfilled"] == unfilled, (counts, unfilled)
        if n == 1 and p == 1 and not job["unique"] and served and window[index[0]]:
            tally_draw(pools[index[0]][first:last], served[0], temperature, covered)
    # A target that is alone is never without hard pairs since others have taken them.
    alone = n == 1 and not job["unique"] and job["strategy"] in DRAWN
    if alone and fraction == 0.5 and window[index[0]]:
        covered["fraction: targets"] += 1
        covered["fraction: with hard pairs"] += bool(served)


def tally_draw(
    near: list[tuple[int, float]], drawn: int, temperature: float, covered: Counter[str]
) -> None:
    """The rank of a hard pair that nothing replaced, its mean and variance."""
    ranks = np.arange(len(near))
    weights = np.ones(len(near))
    if temperature > 0:
        scores = np.array([score for _, score in near])
        weights = np.exp((scores - scores.max()) / temperature)
    weights /= weights.sum()
    mean = float(weights @ ranks)
    names = [row for row, _ in near]
    if drawn in names:
        kind = "temperature" if temperature > 0 else "uniform"
        covered[f"{kind}: rank"] += names.index(drawn)
        covered[f"{kind}: expected"] += mean
        covered[f"{kind}: variance"] += float(weights @ (ranks - mean) ** 2)


def over_all(counts: Counter[str]) -> list[str]:
    faults = []
    for kind in ("uniform", "temperature"):
        off, variance = (
            counts[f"{kind}: rank"] - counts[f"{kind}: expected"],
            counts[f"{kind}: variance"],
        )
        if off**2 > 25 * variance + 1e-6:
            faults.append(
                f"the ranks drawn by {kind} are off by {off:+.1f}, of variance {variance:.1f}"
            )
    n, some = counts["fraction: targets"], counts["fraction: with hard pairs"]
    if n and (some - n / 2) ** 2 > 25 * n / 4:
        faults.append(f"{some} of {n} targets got hard pairs, with a fraction of a half")
    return faults


def check_places(
    job: Job, table: Any, whole: list[list[Any]], eligible: list[int], covered: Counter[str]
) -> None:
    """From a place in the epoch on, each target that is left comes once, also on other ranks."""
    world = job["world_size"]
    done: list[int] = []
    samplers = [sampler_of(job, table, rank) for rank in range(world)]
    begin = 0
    for share, other_size, other_world in job["places"]:
        samplers[0].set_epoch(job["epoch"], begin)
        steps = samplers[0].batches_after(begin)
        step = int(share * steps)
        before = samplers[0].targets_before(step, begin)
        for sampler in samplers:
            sampler.set_epoch(job["epoch"], begin)
            for each in range(step):
                sampler.reset_statistics()
                index = sampler.batch(each)[0].tolist()
                done += index[: sampler.statistics()["targets"]]
        if not job["unique"]:
            assert len(done) == before and len(set(done)) == before, (
                f"{len(done)} targets before, said {before}"
            )
        size = max(other_size, job["targets_per_batch"], 1 + job["hard_per_target"])
        if len(eligible) - before < other_world or (
            other_world > 1 and per_batch_of({**job, "batch_size": size}) == 1
        ):
            return
        world, begin = other_world, before
        samplers = [
            sampler_of(job, table, rank, world_size=world, batch_size=size) for rank in range(world)
        ]
    if not job["places"]:
        return
    left, missing, sizes = list(done), 0, []
    for sampler in samplers:
        sampler.set_epoch(job["epoch"], begin)
        for step in range(sampler.batches_after(begin)):
            sampler.reset_statistics()
            index = sampler.batch(step)[0].tolist()
            counts = sampler.statistics()
            left += index[: counts["targets"]]
            missing += counts["equal_targets"]
            sizes.append(counts["targets"] + counts["equal_targets"])
    assert len(set(left)) == len(left), "a target twice"
    if not job["unique"]:
        assert sorted(left) == eligible, "targets are lost"
    assert max(sizes, default=0) - min(sizes, default=0) <= 1, sizes
    covered["places to go on"] += len(job["places"])
    covered["on other ranks"] += world != job["world_size"]
