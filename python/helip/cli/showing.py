"""What the command line writes: tables and figures for people, JSON for programs."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from helip.common.quantities import aligned, bytes_words, duration_words


def show_table(rows: list[tuple[str, str]]) -> None:
    """Names and values in two columns, to stdout."""
    if rows:
        print(aligned(rows))


def print_json(value: Any) -> None:
    """JSON to stdout."""
    print(json.dumps(value, indent=1, default=_plain))


def write_json(path: Path, value: Any) -> None:
    """JSON to a file, in one step: a reader sees the old one or the new one."""
    from helip.common.files import replace_file

    replace_file(path, json.dumps(value, indent=1, default=_plain) + "\n")


def show_index(index: Any, as_json: bool, *, scanned: int | None = None) -> None:
    """What an index of tar shards holds; ``scanned`` of them were read just now."""
    facts = {"path": index.path, **index.counts(), "fingerprint": index.fingerprint}
    if scanned is not None:
        facts["scanned"] = scanned
    if index.left_out:
        facts["damaged_shards"] = len(index.left_out)
    if as_json:
        print_json({**facts, "contents": index.has_contents})
        return
    show_table([(name.replace("_", " "), figure(value)) for name, value in facts.items()])


def show_pairs(pairs: Any, path: str, as_json: bool) -> None:
    """What a table, or a part of one, holds."""
    from helip.mining.report_words import drop_words, stage_words, update_words
    from helip.reporting.statistics import pool_rows

    stats = pairs.stats()
    if as_json:
        print_json(
            {
                "path": path,
                "fingerprint": pairs.fingerprint,
                "data_fingerprint": pairs.data_fingerprint,
                "options": pairs.options,
                **stats,
            }
        )
        return
    rows = pool_rows(stats)
    rows.insert(2, ("method", str(pairs.options.get("method", "?"))))
    if stats.get("score_quantiles"):
        quantiles = dict(stats["score_quantiles"])
        rows.append(
            ("score", f"median {quantiles[0.5]:.3f}, 1 % {quantiles[0.01]:.3f}, "
                      f"99 % {quantiles[0.99]:.3f}")
        )  # fmt: skip
    kept_out = ", ".join(f"{n:,} {name}" for name, n, _ in drop_words(stats.get("drops")))
    if kept_out:
        rows.append(("kept out", kept_out))
    if isinstance(stats.get("stages"), dict):
        rows.append(("stages", stage_words(stats["stages"])))
    if isinstance(stats.get("update"), dict):
        rows.append(("update", update_words(stats["update"])))
    for asked, step in zip(pairs.options.get("filter", []), stats.get("filter", []), strict=False):
        rows.append(
            (
                "filtered",
                f"{step['flagged']:,} of {step['pairs']:,} flagged by "
                f"{', '.join(step['reasons']) or 'no rule'}: {asked['action']}",
            )
        )
    recall = stats.get("recall")
    if isinstance(recall, dict):
        rows.append(("recall", ", ".join(f"{n} {figure(v)}" for n, v in recall.items())))
    show_table(rows)


def show_pool(pool: Any, as_json: bool) -> None:
    """The hard pairs of one target, a line each; keys and similarities where they are known."""
    columns: dict[str, list[Any]] = {"hard": pool.ids.tolist(), "score": pool.scores.tolist()}
    if pool.keys is not None:
        columns |= {
            "image_similarity": [_known(value) for value in pool.image_similarity.tolist()],
            "text_similarity": [_known(value) for value in pool.text_similarity.tolist()],
            "hard_key": list(pool.keys),
        }
    if as_json:
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        pairs = [{"rank": rank, **row} for rank, row in enumerate(rows, start=1)]
        print_json({"target": pool.target, "target_key": pool.key, "pairs": pairs})
        return
    name = "" if pool.key is None else f" {_one_line(pool.key)}"
    print(f"target {pool.target}{name}: {len(pool):,} hard pairs")
    if len(pool) == 0:
        return
    header = ["rank", *(column.replace("_", " ") for column in columns)]
    lines = [header]
    for rank, row in enumerate(zip(*columns.values(), strict=True), start=1):
        lines.append([str(rank), *map(_pool_figure, row)])
    texts = "<" if pool.keys is not None else ""
    print(aligned(lines, ">" * (len(header) - len(texts)) + texts))


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _pool_figure(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    return "-" if value is None else _one_line(str(value))


def _one_line(text: str) -> str:
    """A key as a terminal may show it: no control characters."""
    from helip.common.text import plain

    return plain(text)


def show_filtered(step: dict[str, Any], action: str) -> None:
    """What one filter found in a table and left of it."""
    before = max(step["pairs"], 1)
    done = {"drop": "dropped", "downweight": "downweighted", "keep": "kept"}[action]
    rows = [
        ("hard pairs", f"{step['pairs']:,}, {step['left']:,} left"),
        ("flagged", f"{step['flagged']:,} ({step['flagged'] / before:.1%}), {done}; in the pools "
                    f"of {step['changed']:,} targets"),
        *((f"  {name}", f"{n:,} ({n / before:.1%})") for name, n in step["reasons"].items()),
        *(
            (f"  ranks {first + 1} to {last}", f"{flagged:,} of {pairs:,} ({flagged / pairs:.1%})")
            for first, last, pairs, flagged in _rank_ranges(**step["ranks"])
        ),
    ]  # fmt: skip
    for name, label in (("unjudged", "not judged: a row of zeros"), ("cut", "good, but beyond k")):
        if step[name]:
            rows.append((label, f"{step[name]:,}"))
    for name in ("outliers", "short_targets"):
        counts = step[name]
        rows.append(
            (name.replace("_", " "), f"{counts['before']:,} before, {counts['after']:,} now")
        )
    show_table(rows)


def _rank_ranges(pairs: list[int], flagged: list[int]) -> Iterator[tuple[int, int, int, int]]:
    """(first, last, pairs, flagged) of ranks 1, 2 to 5, 6 to 10, 11 to 20, 21 to 50, ..."""
    edges = [0, 1, 5, *(m * 10**e for e in range(1, 6) for m in (1, 2, 5))]
    for first, last in itertools.pairwise(edges):
        last = min(last, len(pairs))
        if first < last and (there := sum(pairs[first:last])):
            yield first, last, there, sum(flagged[first:last])


def show_resharded(result: Any, as_json: bool) -> None:
    """What resharding wrote."""
    if as_json:
        print_json(result.to_dict())
        return
    kept_out = ", ".join(f"{n:,} {reason}" for reason, n in result.left_out.items())
    rows = [
        ("samples", f"{result.rows:,} in {result.shards:,} shards"),
        ("members", f"{result.members:,}, {bytes_words(result.bytes)}"),
        ("left out", f"{kept_out or 'no'} members"),
    ]
    for block, share in result.locality.items():
        rows.append(
            (f"within {block:,}", f"{share['after']:.1%} of the hard pairs, "
                                  f"{share['before']:.1%} before")
        )  # fmt: skip
    rows.append(("shards", result.path))
    rows.append(("table", result.pairs))
    if result.store is None:
        rows.append(("store", f"none: give --store, or embed {result.path} anew"))
    else:
        rows.append(("store", result.store))
    show_table(rows)


def filter_rows(filters: dict[str, Any]) -> list[tuple[str, str]]:
    """What pairs go through before they are scored, and how many are left of them."""
    from helip.mining.report_words import filter_words, share_words, weight_words

    steps = filter_words(filters)
    rows = [
        (f"filter {number}", f"{name}: {share_words(share)} of the pairs pass")
        for number, (name, share) in enumerate(steps[:-1], start=1)
    ]
    if steps:
        rows.append(("in the end", f"{share_words(steps[-1][1])} belong to a pool"))
        if weights := weight_words(filters):
            rows.append(("filters use", weights))
    return rows


def show_account(stats: dict[str, Any]) -> None:
    """What a loader read in its last epoch, on this process: emitted + quarantined = planned."""
    quarantined: dict[str, int] = stats.get("quarantined") or {}
    planned = ("targets", "hard_pairs", "random_fills")
    rows = [
        (
            f"last epoch ({stats['epoch']}): rows planned",
            sum(stats.get(name, 0) for name in planned),
        ),
        ("  emitted", stats["emitted"]),
        *((f"  quarantined: {reason}", count) for reason, count in sorted(quarantined.items())),
        ("targets", stats["targets"]),
        *(
            (name.replace("_", " "), stats[name])
            for name in (
                "hard_pairs", "shared", "replaced", "random_fills", "unfilled", "plain_targets",
                "skipped_targets", "unreadable_rows", "skipped_batches",
            ) if stats.get(name)
        ),
    ]  # fmt: skip
    if left_out := stats.get("verdicts"):
        words = f"{left_out['hard_pairs']:,} hard pairs of {left_out['targets']:,} targets"
        rows.append(("left out by verdicts", words))
    if "target_rows" in stats:
        words = f"{stats['target_rows']:,} of the data's {stats['rows']:,}, all processes together"
        rows.append(("rows planned as targets", words))
    show_table([(name, figure(value)) for name, value in rows])
    listed = stats.get("quarantined_rows") or []
    for failure in listed[:3]:
        print(f"  {failure['message']}")
    if sum(quarantined.values()) > 3:
        print(f"  ... and {sum(quarantined.values()) - 3:,} more; --json lists a hundred")


def show_cache(counts: dict[str, int]) -> None:
    """What the processes of a machine had of the cache of remote shards; nothing without one."""
    if not counts:
        return
    blocks = counts["hits"] + counts["misses"]
    share = f" ({counts['hits'] / blocks:.1%})" if blocks else ""
    rows = [
        ("cache: blocks read", f"{blocks:,}, of which {counts['hits']:,}{share} were there"),
        ("  from the disk", bytes_words(counts["bytes_from_cache"])),
        ("  fetched", bytes_words(counts["bytes_fetched"])),
        *(
            (f"  {name.replace('_', ' ')}", f"{counts[name]:,}")
            for name in ("evicted", "damaged", "not_kept")
            if counts[name]
        ),
    ]
    show_table(rows)


def figures(result: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """(name, value [low, high]) of every figure of an evaluation."""
    for name, value in result.items():
        label = f"{prefix}{name}"
        if isinstance(value, dict) and "value" in value:
            if value["value"] is None:
                continue
            there = value.get("low") is not None
            interval = f" [{value['low']:.4f}, {value['high']:.4f}]" if there else ""
            yield label, f"{value['value']:.4f}{interval}"
        elif isinstance(value, dict):
            yield from figures(value, label + ".")
        elif isinstance(value, (int, float, str)):
            yield label, figure(value)


def show_training_plan(plan: Any, as_json: bool) -> None:
    """What a training run would take."""
    if as_json:
        print_json(plan.to_dict())
        return
    parts = ("weights", "optimizer", "copies", "batch")
    show_table(
        [
            ("steps", f"{plan.steps:,}, {plan.steps_per_epoch:,} an epoch"),
            ("rows", f"{plan.rows:,}"),
            (
                "parameters",
                f"{plan.parameters:,}, of which {plan.trained_parameters:,} train",
            ),
            ("memory", f"{bytes_words(plan.memory.peak)} at the peak on {plan.device}"),
            *((f"  {name}", bytes_words(getattr(plan.memory, name))) for name in parts),
            ("checkpoint", f"{bytes_words(plan.checkpoint_bytes)} each"),
        ]
    )


def figure(value: Any) -> str:
    """A number as people read it."""
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, default=_plain)


def cost_words(plan: dict[str, Any]) -> str:
    """What a planned job takes."""
    time = "" if plan["seconds"] is None else f"{duration_words(plan['seconds'])}, "
    return (
        f"{time}{bytes_words(plan['memory_bytes'])} of memory, "
        f"{bytes_words(plan['disk_bytes'] + plan['scratch_bytes'])} of disk"
    )


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)
