"""What curation found of each row, the keep list of it, and the page about it."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from helip.common.files import publish_directory, write_json
from helip.common.text import number
from helip.curation.mismatched import Expected
from helip.curation.options import Reason
from helip.curation.similar_rows import Floats, Ints
from helip.data.selection import COLUMNS
from helip.reporting.pictures import Pictures
from helip.reporting.rendering import render

#: Reasons in the order in which the first one names a row that has several.
REASONS: tuple[str, ...] = get_args(Reason)
#: Reason -> what it means, what its score is, and whether the greatest scores come first.
WORDS = {
    "unreadable": ("A picture or caption that has no embedding.", "", True),
    "equal_picture": (
        "The picture is that of a row that is kept, in its bytes or its pixels; the caption may be "
        "another.", "text similarity to it", False,
    ),
    "near_duplicate": (
        "Both the picture and the caption are nearly those of a row that is kept.",
        "product of both similarities to it", True,
    ),
    "mismatched": (
        "The caption agrees with what stands at like pictures no better than a caption of another "
        "row.", "probability", True,
    ),
    "ambiguous_caption": (
        "Nearly the same caption stands at an unlike picture.", "lowest image similarity", False,
    ),
    "outlier": ("No other row is near, by picture or by caption.", "nearest similarity", False),
    "hub": ("A row that is a hard pair of very many targets.", "pools", True),
}  # fmt: skip


@dataclass(frozen=True, repr=False)
class Curation:
    """Flags, scores and what to keep, a value a row; nothing of the data is changed."""

    keys: Sequence[str]
    flags: Mapping[str, npt.NDArray[np.bool_]]
    """Reason to bool [N]: ``unreadable``, ``equal_picture``, ``near_duplicate``, ``mismatched``,
    ``ambiguous_caption``, ``outlier``, ``hub``. A row may have several."""
    scores: Mapping[str, Floats]
    """Reason to float32 [N], NaN where there is none: the text cosine to the kept row of an equal
    picture, the product of both cosines to the kept near duplicate, the probability of a wrong
    caption, the lowest image cosine to a row of the same caption, the greater cosine to the nearest
    picture and caption, and the in-degree."""
    drop: tuple[str, ...]
    """Reasons that drop a row."""
    duplicate_of: Ints
    """int64 [N]: the kept row that it is a near duplicate of; its own number where it is such a
    row, -1 where neither."""
    equal_to: Ints
    """int64 [N]: the kept row whose picture it has, -1 where there is none."""
    unread_pictures: int
    """Rows whose picture was to be compared with an equal one, and could not be read."""
    noise_rate: float
    """Estimated share of wrong captions; NaN where it could not be estimated."""
    expected: Expected | None
    """How far mismatched rows can be trusted on these data; None where it could not be tried."""
    thresholds: Mapping[str, float]
    """Bounds that were taken, also those found from the data."""
    searches: Mapping[str, Mapping[str, Any]]
    """Method of each search for like rows, its measured recall and the lower 95 % limit of that."""
    full_groups: int
    """Rows with as many near duplicates as are looked at, of which some may be missed."""
    cross_scores: str
    """By what model pictures were compared with captions; "" for none."""

    def __len__(self) -> int:
        return len(self.duplicate_of)

    @property
    def keep(self) -> npt.NDArray[np.bool_]:
        """bool [N]: rows that no reason of ``drop`` flags; as ``subset`` of `open_dataset`."""
        dropped = np.zeros(len(self), dtype=np.bool_)
        for name in self.drop:
            dropped |= self.flags[name]
        return ~dropped

    @property
    def reason(self) -> npt.NDArray[np.int8]:
        """int8 [N], places in `REASONS`: the first reason that drops the row; of rows that are kept
        the first flag; -1 without one."""
        found = np.full(len(self), -1, dtype=np.int8)
        # What comes last wins, so the order is turned around.
        ordered = [each for each in REASONS if each in self.drop]
        ordered += [each for each in REASONS if each not in self.drop]
        for name in reversed(ordered):
            found[self.flags[name]] = REASONS.index(name)
        return found

    def counts(self) -> dict[str, Any]:
        """``rows``, ``kept``, ``dropped``; ``dropped_by``, each dropped row under its first
        reason; ``flagged``, all rows of each reason; ``duplicate_groups``."""
        keep, reason = self.keep, self.reason
        by = np.bincount(reason[~keep], minlength=len(REASONS))
        return {
            "rows": len(self),
            "kept": int(keep.sum()),
            "dropped": int((~keep).sum()),
            "dropped_by": {n: int(by[REASONS.index(n)]) for n in REASONS if n in self.drop},
            "flagged": {name: int(self.flags[name].sum()) for name in REASONS},
            "duplicate_groups": int((self.duplicate_of == np.arange(len(self))).sum()),
        }

    def to_dict(self) -> dict[str, Any]:
        """Counts and settings, JSON-able."""
        known = not np.isnan(self.noise_rate)
        return {
            **self.counts(),
            "noise_rate": self.noise_rate if known else None,
            "mismatched_expected": None if self.expected is None else self.expected._asdict(),
            "unread_pictures": self.unread_pictures,
            "drop": list(self.drop),
            "thresholds": dict(self.thresholds),
            "searches": {name: dict(each) for name, each in self.searches.items()},
            "full_groups": self.full_groups,
            "cross_scores": self.cross_scores or None,
        }

    def save(self, path: str | os.PathLike[str], *, page: str | None = None) -> list[str]:
        """Write a new folder, all or nothing: ``keep.csv``, ``curation.json`` and, with ``page``,
        ``report.html``. Returns their names.

        Raises InvalidArgumentError where ``path`` exists, StorageError where the disk refuses.
        """
        with publish_directory(Path(path)) as folder:
            with (folder / "keep.csv").open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(COLUMNS)
                writer.writerows(self._lines())
            write_json(folder / "curation.json", self.to_dict())
            if page is not None:
                (folder / "report.html").write_text(page, encoding="utf-8")
            return sorted(entry.name for entry in folder.iterdir())

    def _lines(self) -> Iterator[list[str]]:
        """The keep list, whose columns are COLUMNS."""
        keep, reason = self.keep, self.reason
        names = (*REASONS, "")  # -1 is the last
        for row, key in enumerate(self.keys):
            name = names[reason[row]]
            kept = int((self.equal_to if name == "equal_picture" else self.duplicate_of)[row])
            value = self.scores[name][row] if name in self.scores else np.nan
            yield [
                key,
                "1" if keep[row] else "0",
                name,
                "" if np.isnan(value) else f"{float(value):.6g}",
                " ".join(each for each in REASONS if self.flags[each][row]),
                self.keys[kept] if kept not in (-1, row) else "",
            ]

    def __repr__(self) -> str:
        found = self.counts()
        by = ", ".join(f"{name}={n:,}" for name, n in found["dropped_by"].items() if n)
        return f"Curation(rows={found['rows']:,}, kept={found['kept']:,}{by and ', ' + by})"


def page_of(found: Curation, data: Any, examples: int) -> str:
    """HTML without scripts, as that of `helip report`."""
    pictures = Pictures(data, None, found.keys)
    counts = found.counts()
    share = 100 / max(len(found), 1)
    tiles = [
        ("rows", number(counts["rows"]), "pairs of the data set"),
        ("kept", number(counts["kept"]), f"{share * counts['kept']:.1f} %"),
        *(
            (name.replace("_", " "), number(n), f"dropped, {share * n:.1f} %")
            for name, n in counts["dropped_by"].items()
        ),
    ]
    if not np.isnan(found.noise_rate):
        tiles.append(("wrong captions", f"{100 * found.noise_rate:.0f} %", "estimated share"))
    if found.unread_pictures:
        tiles.append(("unread pictures", number(found.unread_pictures), "not compared"))
    settings = [(name, f"{value:.4g}", "") for name, value in found.thresholds.items()]
    settings += [
        (f"search: {name}", str(each["method"]), _recall_in_words(each))
        for name, each in found.searches.items()
    ]
    if found.cross_scores:
        settings.append(("cross-scores by", found.cross_scores, ""))
    if found.full_groups:
        note = "with as many near duplicates as are looked at; some of theirs may be missed"
        settings.append(("rows", number(found.full_groups), note))
    sections = [_section_of(found, name, examples) for name in REASONS]
    places = [(each["name"], each["title"]) for each in sections]
    return render(
        "curation.html", title="Curation", facts=[f"{number(len(found))} captioned pictures"],
        places=[*places, ("settings", "Settings")], pictures=pictures, tiles=tiles,
        settings=settings, sections=sections,
    )  # fmt: skip


def _section_of(found: Curation, name: str, examples: int) -> dict[str, Any]:
    """One reason, and rows of it: with the score, and the row that each is a near duplicate of."""
    lead, words, falling = WORDS[name]
    if name == "mismatched" and found.expected is not None:
        lead = f"{lead} {found.expected.in_words()}"
    rows = np.flatnonzero(found.flags[name])
    scores = found.scores.get(name)
    if scores is not None:
        order = -scores[rows] if falling else scores[rows]
        rows = rows[np.argsort(order, kind="stable")]
    shown, kept = [], {"near_duplicate": found.duplicate_of, "equal_picture": found.equal_to}
    for row in rows[:examples].tolist():
        beside = None if name not in kept else int(kept[name][row])
        score = "" if scores is None else f"{words} {number(round(float(scores[row]), 3))}"
        shown.append({"row": row, "score": score, "beside": beside})
    return {
        "name": name,
        "title": name.replace("_", " ").capitalize(),
        "lead": lead,
        "flagged": int(found.flags[name].sum()),
        "drops": name in found.drop,
        "examples": shown,
    }


def _recall_in_words(search: Mapping[str, Any]) -> str:
    if search["recall"] is None:
        return ""
    if search["recall_low"] == 1.0:
        return "recall 100 %"
    measured, low = 100 * search["recall"], 100 * search["recall_low"]
    return f"measured recall {measured:.1f} %, lower 95 % limit {low:.1f} %"
