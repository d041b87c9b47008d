"""What the command line writes: tables and figures for people, JSON for programs."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

from helip.common.quantities import aligned, bytes_words, duration_words

Rows = list[tuple[str, str]]


def show_table(rows: Sequence[tuple[str, str]]) -> None:
    """Names and values in two columns, to stdout."""
    if rows:
        print(aligned(rows))


def print_json(value: Any) -> None:
    """JSON to stdout."""
    print(json.dumps(value, indent=1, default=_plain))


def json_text(value: Any) -> str:
    """JSON as a file has it."""
    return json.dumps(value, indent=1, default=_plain) + "\n"


def index_shown(index: Any, scanned: int | None = None) -> dict[str, Any]:
    """What an index of tar shards holds, as `Done` shows it; ``scanned`` were read just now."""
    facts = {"path": index.path, **index.counts(), "fingerprint": index.fingerprint}
    if scanned is not None:
        facts["scanned"] = scanned
    if index.left_out:
        facts["damaged_shards"] = len(index.left_out)
    rows = [(name.replace("_", " "), figure(value)) for name, value in facts.items()]
    return {"facts": {**facts, "contents": index.has_contents}, "rows": rows}


def memory_words(own: int, mapped: int, of_unit: bool = False) -> str:
    """What ``--memory`` bounds, and what comes on top."""
    words = bytes_words(own) + " of a unit" * of_unit
    return f"{words}, and {bytes_words(mapped)} of mapped files, which the system can drop"


def pairs_shown(pairs: Any, path: str, memory: tuple[int, int] | None = None) -> dict[str, Any]:
    """What a table, or a part of one, holds, as `Done` shows it.

    ``memory``: bytes that mining took at most, of its own and of mapped files.
    """
    from helip.mining.report_words import drop_words, stage_words, update_words
    from helip.reporting.statistics import pool_rows

    stats = pairs.stats()
    names = ("fingerprint", "data_fingerprint", "options")
    facts = {"path": path, **{name: getattr(pairs, name) for name in names}, **stats}
    rows = pool_rows(stats)
    rows.insert(2, ("method", str(pairs.options.get("method", "?"))))
    if channels := pairs.options.get("channels"):
        named = (f"{name} ({weight:g})" for name, _, weight in channels)
        rows.insert(3, (pairs.options["score"], ", ".join(named) + ", with weights"))
    if "corpus_rows" in stats:
        rows.insert(1, ("corpus", f"{stats['corpus_rows']:,} rows"))
    if equal := stats.get("equal_queries"):
        rows.insert(2, ("equal queries", f"{equal:,}, which share their positives"))
    if found := dict(stats.get("score_quantiles") or ()):
        words = f"median {found[0.5]:.3f}, 1 % {found[0.01]:.3f}, 99 % {found[0.99]:.3f}"
        rows.append(("score", words))
    kept_out = ", ".join(f"{n:,} {name}" for name, n, _ in drop_words(stats.get("drops")))
    if kept_out:
        rows.append(("kept out", kept_out))
    if isinstance(stats.get("stages"), dict):
        rows.append(("stages", stage_words(stats["stages"])))
    if isinstance(stats.get("update"), dict):
        rows.append(("update", update_words(stats["update"])))
    for asked, step in zip(pairs.options.get("filter", []), stats.get("filter", []), strict=False):
        rules = ", ".join(step["reasons"]) or "no rule"
        words = f"{step['flagged']:,} of {step['pairs']:,} flagged by {rules}: {asked['action']}"
        rows.append(("filtered", words))
    recall = stats.get("recall")
    if isinstance(recall, dict):
        rows.append(("recall", ", ".join(f"{n} {figure(v)}" for n, v in recall.items())))
    if memory is not None:
        facts["memory"] = dict(zip(("own_bytes", "mapped_bytes"), memory, strict=True))
        rows.append(("memory", memory_words(*memory)))
    return {"facts": facts, "rows": rows}


def pool_shown(pool: Any) -> dict[str, Any]:
    """The hard pairs of one target, a line each, as `Done` shows them; keys and similarities where
    they are known."""
    from helip.common.text import plain

    columns: dict[str, list[Any]] = {"hard": pool.ids.tolist(), "score": pool.scores.tolist()}
    if pool.keys is not None:
        columns |= {
            "image_similarity": [_known(value) for value in pool.image_similarity.tolist()],
            "text_similarity": [_known(value) for value in pool.text_similarity.tolist()],
            "hard_key": list(pool.keys),
        }
    places = list(zip(*columns.values(), strict=True))
    pairs = [{"rank": r, **dict(zip(columns, row, strict=True))} for r, row in enumerate(places, 1)]
    name = "" if pool.key is None else f" {plain(pool.key)}"
    lines = [f"target {pool.target}{name}: {len(pool):,} hard pairs"]
    if places:
        header = ["rank", *(column.replace("_", " ") for column in columns)]
        cells = [[str(rank), *map(_pool_figure, row)] for rank, row in enumerate(places, 1)]
        texts = "<" if pool.keys is not None else ""
        lines.append(aligned([header, *cells], ">" * (len(header) - len(texts)) + texts))
    facts = {"target": pool.target, "target_key": pool.key, "pairs": pairs}
    return {"facts": facts, "text": "\n".join(lines)}


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _pool_figure(value: Any) -> str:
    from helip.common.text import plain

    if isinstance(value, float):
        return f"{value:.4f}"
    return "-" if value is None else plain(str(value))  # a key: no control characters


def filtered_rows(step: dict[str, Any], action: str) -> Rows:
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
        words = f"{step[name]['before']:,} before, {step[name]['after']:,} now"
        rows.append((name.replace("_", " "), words))
    return rows


def _rank_ranges(pairs: list[int], flagged: list[int]) -> Iterator[tuple[int, int, int, int]]:
    """(first, last, pairs, flagged) of ranks 1, 2 to 5, 6 to 10, 11 to 20, 21 to 50, ..."""
    edges = [0, 1, 5, *(m * 10**e for e in range(1, 6) for m in (1, 2, 5))]
    for first, last in itertools.pairwise(edges):
        last = min(last, len(pairs))
        if first < last and (there := sum(pairs[first:last])):
            yield first, last, there, sum(flagged[first:last])


def resharded_rows(result: Any) -> Rows:
    """What resharding wrote."""
    kept_out = ", ".join(f"{n:,} {reason}" for reason, n in result.left_out.items())
    rows = [
        ("samples", f"{result.rows:,} in {result.shards:,} shards"),
        ("members", f"{result.members:,}, {bytes_words(result.bytes)}"),
        ("left out", f"{kept_out or 'no'} members"),
    ]
    for block, share in result.locality.items():
        words = f"{share['after']:.1%} of the hard pairs, {share['before']:.1%} before"
        rows.append((f"within {block:,}", words))
    none = f"none: give --store, or embed {result.path} anew"
    rows += [("shards", result.path), ("table", result.pairs), ("store", result.store or none)]
    return rows


def planned_rows(plan: Any) -> Rows:
    """What a plan of batches holds."""
    counts = plan.counts()
    equal = counts.get("equal_targets", 0)
    each, some = counts["hard_rows"] / counts["rows"], counts["rows_with_hard_rows"]
    share = f"{some / counts['rows']:.1%} of the rows have some, {each:.2f} a row"
    strategy = plan.options["strategy"]
    if counts["communities"]:
        strategy = f"{strategy}, {counts['communities']:,} of them"
    least, most = counts["smallest"], counts["largest"]
    sizes = f"{most:,} rows" if least == most else f"{least:,} to {most:,} rows"
    ranks = f", for {plan.world_size} ranks" if plan.world_size > 1 else ""
    return [
        ("epochs", f"{plan.epochs:,} of {plan.rows:,} rows of data{ranks}"),
        ("batches", f"{counts['batches']:,} of {sizes}, by {strategy}"),
        ("hard rows", share),
        ("short targets", f"{plan.skipped_targets:,} left out"),
        *([("equal captions", f"{equal:,} rows left out")] if equal else []),
        ("digest", plan.digest),
    ]


def label_rows(labels: Any) -> Rows:
    """What soft labels hold."""
    facts = labels.to_dict()
    return [
        (
            "labels",
            f"{facts['labels']:,} of {facts['rows_with_labels']:,} of {facts['rows']:,} rows",
        ),
        ("own weight below 1", f"{facts['rows_below_one']:,} rows"),
        ("sources", ", ".join(facts["sources"])),
        ("digest", labels.digest),
    ]


def packed_rows(result: Any) -> Rows:
    """What packing wrote."""
    kept = ", ".join(f"{n:,} {reason}" for reason, n in result.as_they_were.items())
    kept_out = ", ".join(f"{n:,} {reason}" for reason, n in result.left_out.items())
    return [
        ("samples", f"{result.rows:,} in {result.shards:,} shards, {bytes_words(result.bytes)}"),
        ("resized", f"{result.resized:,} pictures"),
        ("as they were", f"{kept or 'no'} pictures"),
        ("left out", f"{kept_out or 'no'} members"),
    ]


def filter_rows(filters: dict[str, Any]) -> Rows:
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


def account_text(stats: dict[str, Any]) -> str:
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
    lines = [aligned([(name, figure(value)) for name, value in rows])]
    listed = stats.get("quarantined_rows") or []
    lines += [f"  {failure['message']}" for failure in listed[:3]]
    if sum(quarantined.values()) > 3:
        lines.append(f"  ... and {sum(quarantined.values()) - 3:,} more; --json lists a hundred")
    return "\n".join(lines)


def cache_rows(counts: dict[str, int]) -> Rows:
    """What the processes of a machine had of the cache of remote shards; nothing without one."""
    if not counts:
        return []
    blocks = counts["hits"] + counts["misses"]
    share = f" ({counts['hits'] / blocks:.1%})" if blocks else ""
    return [
        ("cache: blocks read", f"{blocks:,}, of which {counts['hits']:,}{share} were there"),
        ("  from the disk", bytes_words(counts["bytes_from_cache"])),
        ("  fetched", bytes_words(counts["bytes_fetched"])),
        *(
            (f"  {name.replace('_', ' ')}", f"{counts[name]:,}")
            for name in ("evicted", "damaged", "not_kept")
            if counts[name]
        ),
    ]


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
            *([("pools", _pools_words(plan))] if plan.minings else []),
        ]
    )


def _pools_words(plan: Any) -> str:
    times = "once" if plan.minings == 1 else f"{plan.minings:,} times"
    return f"the model encodes all data {times} and mines them; that time comes on top"


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
