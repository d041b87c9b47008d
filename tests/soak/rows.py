"""Odd rows for the jobs of mining and streaming, and their hard pairs by docs/method.md in float64.

It shares nothing with helip. Rows of whole numbers, times a power of two each, have exact products:
every path to a cosine gives the same bits there, and pools must agree in each id. Of other rows two
ways of adding differ by ``slack`` at most: scores may be that far off, and neighbours closer than
that may change places. Nothing else may.
"""

from __future__ import annotations

from typing import Any

import numpy as np

SHAPES = (
    "clusters",
    "grid",
    "signs",
    "copies",
    "constant",
    "rank one",
    "angles",
    "zeros",
    "large",
    "noise",
)
TRIPLES = np.array(
    [(3, 4, 5), (4, 3, 5), (5, 0, 5), (0, 5, 5), (24, 7, 25), (7, 24, 25), (-3, 4, 5)]
)
SCALES = {"1": 1.0, "1e-18": 1e-18, "1e17": 1e17, "2^-60": 2.0**-60, "2^57": 2.0**57,
          "2^-700": 2.0**-700, "2^600": 2.0**600, "2^-8": 2.0**-8, "2^5": 2.0**5}  # fmt: skip
SCALES_OF = {"float32": list(SCALES)[:5], "float64": list(SCALES)[:7], "bfloat16": list(SCALES)[:5],
             "float16": ["1", "2^-8", "2^5"], "int8": list(SCALES)[:5]}  # fmt: skip


def side(random: np.random.Generator, shape: str, centres: np.ndarray, dims: int) -> np.ndarray:
    """Rows [n, dims] float64 of one modality; rows of one centre are alike."""
    n = len(centres)
    if shape == "grid":
        return random.integers(-2, 3, (n, dims)).astype(float)
    if shape == "signs":
        return random.choice([-1.0, 1.0], (n, dims))
    if shape == "copies":
        return random.integers(-9, 10, (centres.max() + 1, dims)).astype(float)[centres]
    if shape == "constant":
        return 3 + 1e-3 * random.normal(size=(n, dims))
    if shape == "rank one":
        return random.integers(-3, 4, (n, 1)) * random.integers(-3, 4, (1, dims)).astype(float)
    if shape == "angles":  # cosines such as 24/25, right at a limit
        pairs = TRIPLES[random.integers(0, len(TRIPLES), n)][:, :2].astype(float)
        return np.pad(pairs, ((0, 0), (0, max(0, dims - 2))))[:, :dims]
    if shape == "large":
        near = random.integers(-60, 61, (centres.max() + 1, dims))[centres]
        return (near + random.integers(-25, 26, (n, dims))).astype(float)
    if shape == "noise":
        return random.normal(size=(n, dims))
    rows = random.normal(size=(centres.max() + 1, dims))[centres]
    rows = rows + random.choice([0.02, 0.3, 0.8]) * random.normal(size=(n, dims))
    if shape == "zeros":
        rows[random.random(n) < 0.4] = 0
    return rows


def rows_of(job: dict[str, Any], rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Image [rows, image_dim] and text [rows, text_dim] in float64, before they are rounded."""
    random = np.random.default_rng([job["seed"], seed])
    centres = random.integers(0, max(1, rows // job["alike"]), rows)
    made = []
    for name in ("image", "text"):
        values = side(random, job[f"{name}_shape"], centres, job[f"{name}_dim"])
        if job["uneven"]:
            values = values * 2.0 ** random.integers(-6, 7, (rows, 1))
        if job["twins"]:  # rows that stand twice
            values = values[
                np.where(random.random(rows) < 0.3, random.integers(0, rows, rows), np.arange(rows))
            ]
        made.append(values * SCALES[job["scale"]])
    return made[0], made[1]


def plain_rows(values: np.ndarray) -> tuple[np.ndarray, bool]:
    """The same directions far from the ends of float64, and whether products of them are exact."""
    largest = np.abs(values).max(axis=1, initial=0.0)
    exponent = np.frexp(np.where(largest > 0, largest, 1.0))[1][:, None]
    rows = np.ldexp(values, 20 - exponent)
    return rows, bool((rows == np.rint(rows)).all()) and values.shape[1] <= 1024


def cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    lengths = (
        np.sqrt((left * left).sum(axis=1))[:, None] * np.sqrt((right * right).sum(axis=1))[None]
    )
    dots = left @ right.T
    return np.clip(np.divide(dots, lengths, out=np.zeros_like(dots), where=lengths > 0), -1, 1)


RULES = range(1, 5)  # that keep a pair out: two limits, the margin, collapse


class Pools:
    """What docs/method.md says of rows under the rules ``job`` has."""

    def __init__(self, image: np.ndarray, text: np.ndarray, job: dict[str, Any], *,
                 excluded: np.ndarray | None = None) -> None:  # fmt: skip
        used = ("image", "text") if job["modality"] == "both" else (job["modality"],)
        plain = {"image": plain_rows(image), "text": plain_rows(text)}
        self.n, self.job, self.used = len(image), job, used
        self.rows = {name: plain[name][0] for name in ("image", "text")}
        needed = ("image", "text") if job["margin"] is not None else used
        self.exact = all(plain[name][1] for name in needed)
        self.slack = 0.0 if self.exact else (image.shape[1] + text.shape[1] + 16) * 2.0**-52
        self.excluded = excluded  # bool [n, n]
        # Equal rows have the same bits, whichever way is taken to them.
        self.distinct = {
            name: np.unique(self.rows[name], axis=0, return_inverse=True) for name in needed
        }
        self.kinds = np.zeros(self.n, np.int64)
        for name in needed:
            self.kinds = self.kinds * self.n + self.distinct[name][1].reshape(-1)
        self.unsure_groups = False
        self.groups = self._groups() if job["collapse"] != "none" else None

    def similar(self, left: str, right: str, targets: slice) -> np.ndarray:
        (a, a_of), (b, b_of) = self.distinct[left], self.distinct[right]
        of = a_of.reshape(-1)[targets]
        some, back = np.unique(of, return_inverse=True)
        return cosines(a[some], b)[back.reshape(-1)][:, b_of.reshape(-1)]

    def near(self, values: np.ndarray, limit: float) -> np.ndarray:
        """Where rounding decides on which side of a limit a number is."""
        return (values != limit) & (np.abs(values - limit) <= self.slack) | (
            (values == limit) & (self.slack > 0) & (limit not in (0.0, 1.0)))  # fmt: skip

    def _groups(self) -> np.ndarray:
        alike = np.ones((self.n, self.n), bool)
        for name in (
            ("image", "text") if self.job["collapse"] == "both" else (self.job["collapse"],)
        ):
            if name not in self.distinct:
                self.distinct[name] = np.unique(self.rows[name], axis=0, return_inverse=True)
            found = self.similar(name, name, slice(None))
            limit = self.job[f"{name}_max"]
            self.unsure_groups |= limit < 1 and bool(self.near(found, limit).any())
            alike &= found > limit
        group = np.arange(self.n)
        while True:  # the least row that can be reached
            reached = np.minimum(group, np.where(alike, group[None, :], self.n).min(axis=1))
            reached = reached[reached]
            if (reached == group).all():
                return group
            group = reached

    def block(self, first: int, last: int) -> dict[str, np.ndarray]:
        """Of the targets from ``first`` to ``last``: pools, and what kept pairs out of them."""
        job, targets = self.job, slice(first, last)
        own = np.arange(first, min(last, self.n))
        score, lower, upper = (
            np.ones((len(own), self.n)) for _ in range(3)
        )  # the last two: what rounding may make of it
        verdict = np.zeros(score.shape, np.int8)  # 0: may be hard; else the rule that says no
        unsure = np.zeros(len(own), bool)
        for number, name in ((1, "image"), (2, "text")):
            if name not in self.used:
                continue
            found = self.similar(name, name, targets)
            limit = job[f"{name}_max"]
            if self.slack and limit < 1:
                unsure |= self.near(found, limit).any(axis=1)
            verdict[(found > limit) & (verdict == 0)] = number
            score *= found if job["signed"] else np.maximum(found, 0)
            if self.slack:
                empty = ~self.rows[name].any(axis=1)
                e = np.where(empty[targets][:, None] | empty, 0.0, self.slack)
                least = -1.0 if job["signed"] else 0.0
                ends = [np.clip(found - e, least, 1), np.clip(found + e, least, 1)]
                products = [a * b for a in (lower, upper) for b in ends]
                lower, upper = np.minimum.reduce(products), np.maximum.reduce(products)
        if job["margin"] is not None:
            crossed = np.maximum(
                self.similar("image", "text", targets), self.similar("text", "image", targets)
            )
            bound = crossed[np.arange(len(own)), own][:, None] - job["margin"]
            if self.slack:
                close = np.abs(crossed - bound) <= 2 * self.slack
                close[np.arange(len(own)), own] = False
                unsure |= close.any(axis=1)
            verdict[(crossed > bound) & (verdict == 0)] = 3
        score[np.arange(len(own)), own] = -np.inf
        if self.slack:
            doubt = (lower <= job["min_score"]) & (upper > job["min_score"])
            doubt[np.arange(len(own)), own] = False
            unsure |= doubt.any(axis=1)
        order = np.argsort(-score, axis=1, kind="stable")  # equal scores: the lower row first
        ranked = np.take_along_axis(score, order, 1)
        verdict = np.take_along_axis(verdict, order, 1)
        verdict[ranked <= job["min_score"]] = -1
        if self.groups is not None:
            unsure |= self.unsure_groups
            for place in range(len(own)):
                kept = np.flatnonzero(verdict[place] == 0)
                _, best = np.unique(self.groups[order[place, kept]], return_index=True)
                verdict[place, np.delete(kept, best)] = 4
        if self.excluded is not None:
            taken = np.take_along_axis(self.excluded[targets], order, 1)
            verdict[taken & (verdict == 0)] = 5
        # Those that no rule but ``skip`` and ``k`` keep out, by their rank.
        rank = np.cumsum(verdict == 0, axis=1)
        last_rank = job["k"] + job["skip"]
        inside = (verdict == 0) & (rank > job["skip"]) & (rank <= last_rank)
        ids = np.full((len(own), job["k"]), -1)
        scores = np.zeros(ids.shape)
        at = np.nonzero(inside)
        places = rank[at] - job["skip"] - 1
        ids[at[0], places], scores[at[0], places] = order[at], ranked[at]
        skipped = ((verdict == 0) & (rank <= job["skip"])).sum()
        allowed = np.zeros(score.shape, bool)
        # Of a group the best that was looked at enters, which may be another than the best of all.
        np.put_along_axis(allowed, order, (verdict == 0) | (verdict == 4), 1)
        return {
            "ids": ids, "scores": scores, "counts": inside.sum(axis=1), "unsure": unsure,
            "score": score, "allowed": allowed,
            "drops": np.array([*((verdict[:, :last_rank] == n).sum() for n in RULES), skipped]),
        }  # fmt: skip

    def check(self, ids: np.ndarray, scores: np.ndarray, counts: np.ndarray, *, whole: bool,
              drops: dict[str, int] | None = None) -> dict[str, float]:  # fmt: skip
        """Compares a table. ``whole``: each pool is the best; else every pair is one, in order."""
        k, step = self.job["k"], max(1, 2**21 // max(self.n, 1))
        assert ids.shape == scores.shape == (self.n, k) and counts.shape == (self.n,)
        found = {
            "rows unsure": 0.0,
            "hits": 0.0,
            "best": 0.0,
            "recall of rows": 0.0,
            "rows with a pool": 0.0,
        }
        seen = np.zeros(5, np.int64)
        for first in range(0, self.n, step):
            want = self.block(first, first + step)
            part = slice(first, first + step)
            self._check_block(
                first, ids[part].astype(np.int64), scores[part], counts[part], want, whole, found
            )
            seen += want["drops"]
        if drops is not None and self.exact:
            names = ("image_duplicate", "text_duplicate", "margin", "collapsed", "skipped")
            assert dict(zip(names, seen.tolist(), strict=True)) == drops, (seen, drops)
        return found

    def _check_block(
        self,
        first: int,
        ids: np.ndarray,
        scores: np.ndarray,
        counts: np.ndarray,
        want: dict[str, np.ndarray],
        whole: bool,
        found: dict[str, float],
    ) -> None:
        there = np.arange(ids.shape[1]) < counts[:, None]
        assert ((ids >= 0) == there).all() and (ids < self.n).all(), "ids and counts do not agree"
        assert (ids[~there] == -1).all() and (scores[~there] == 0).all(), "padding"
        safe = np.where(there, ids, 0)
        row = np.broadcast_to(np.arange(len(ids))[:, None], ids.shape)
        assert (
            len(set(zip(row[there].tolist(), ids[there].tolist(), strict=True))) == there.sum()
        ), "an id twice"
        assert (safe != np.arange(first, first + len(ids))[:, None])[there].all(), (
            "its own hard pair"
        )
        true = np.where(there, np.take_along_axis(want["score"], safe, 1), 0.0)
        e = self.slack
        low, high = (true - e).astype(np.float32), (true + e).astype(np.float32)
        assert ((scores >= low) & (scores <= high))[there].all(), "a score is wrong: " + first_of(
            first, there & ~((scores >= low) & (scores <= high)), ids, scores, true)  # fmt: skip
        sure = ~want["unsure"]
        found["rows unsure"] += int((~sure).sum())
        allowed = np.take_along_axis(want["allowed"], safe, 1)
        assert allowed[there & sure[:, None]].all(), "a pair that the rules keep out: " + first_of(
            first, there & sure[:, None] & ~allowed, ids, scores, true)  # fmt: skip
        falling = np.diff(np.where(there, true, -np.inf), axis=1)[:, : ids.shape[1] - 1]
        both = there[:, 1:]
        assert (falling[both] <= 2 * e).all(), "scores rise"
        if self.exact:
            ties = both & (falling == 0)
            assert (np.diff(ids, axis=1)[ties] > 0).all(), "equal scores: the higher row first"
        if self.groups is not None and not self.unsure_groups:
            for place in range(len(ids)):
                groups = self.groups[ids[place, : counts[place]]]
                assert len(set(groups.tolist())) == len(groups), (
                    f"row {first + place}: near duplicates in a pool"
                )
        if whole:
            best = want["counts"]
            bad = sure & (counts != best)
            assert not bad.any(), (
                f"row {first + int(bad.argmax())} has {counts[bad][0]}, not {best[bad][0]}"
            )
            off = sure[:, None] & there & (np.abs(true - want["scores"]) > 2 * e)
            assert not off.any(), "a better pair is missing: " + first_of(
                first, off, ids, scores, want["scores"]
            )
            if self.exact:
                off = ids != want["ids"]
                assert not off.any(), "another id: " + first_of(
                    first, off, ids, scores, want["ids"]
                )
            elif self.groups is None:
                self._check_twins(first, ids, counts, want, sure)
        # What was found counts where its score, as it is stored, is no less than the last best.
        last = (
            np.take_along_axis(want["scores"], np.maximum(want["counts"] - 1, 0)[:, None], 1)
            - 2 * e
        )
        hits = np.minimum(
            want["counts"],
            (there & (true.astype(np.float32) >= last.astype(np.float32))).sum(axis=1),
        )
        filled = want["counts"] > 0
        found["hits"] += int(hits[filled].sum())
        found["best"] += int(want["counts"].sum())
        found["recall of rows"] += float((hits[filled] / want["counts"][filled]).sum())
        found["rows with a pool"] += int(filled.sum())

    def _check_twins(self, first: int, ids: np.ndarray, counts: np.ndarray,
                     want: dict[str, np.ndarray], sure: np.ndarray) -> None:  # fmt: skip
        """Equal rows have equal scores, so they stand by their numbers, and none is passed over."""
        if len(np.unique(self.kinds)) == self.n:
            return
        for place in np.flatnonzero(sure)[:200].tolist():
            may = want["allowed"][place]
            next_of: dict[int, int] = {}
            for j in ids[place, : counts[place]].tolist():
                kind = int(self.kinds[j])
                before = int((may[:j] & (self.kinds[:j] == kind)).sum())
                least = next_of.get(kind, 0)
                most = least if kind in next_of else self.job["skip"]
                assert least <= before <= most, (
                    f"row {first + place}: {j} stands before an equal row"
                )
                next_of[kind] = before + 1


def first_of(
    first: int, bad: np.ndarray, ids: np.ndarray, scores: np.ndarray, true: np.ndarray
) -> str:
    if not bad.any():
        return ""
    row, place = np.argwhere(bad)[0].tolist()
    return (f"row {first + row}, rank {place}: id {ids[row, place]}, score {scores[row, place]!r}, "
            f"wanted {true[row, place]!r}")  # fmt: skip
