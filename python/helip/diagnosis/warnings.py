"""What to beware of in a table, its data, and what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from helip.diagnosis.gain import HELD
from helip.diagnosis.result import ModelMeasures
from helip.diagnosis.table import TableMeasures
from helip.diagnosis.windows import WindowMeasures

EQUAL = 0.01  # share of hard pairs with the caption or the picture of their target
NEAR = 0.1  # share of near duplicates in a window
SHORT = 0.1  # share of targets without a hard pair, or with fewer than the table has room for
CROWDED = 5.0  # times the share of places that the top rows would hold by chance
LEFT_OUT = 0.2  # share of targets without a whole community


def warnings(
    table: TableMeasures,
    windows: Sequence[WindowMeasures],
    model: ModelMeasures | None,
    batch_size: int,
) -> tuple[str, ...]:
    """A sentence for each finding that is out of the ordinary, with its figure."""
    of_model = () if model is None else _of_model(model, batch_size)
    return (*_of_table(table, batch_size), *_of_windows(windows), *of_model)


def _of_table(table: TableMeasures, batch_size: int) -> Iterator[str]:
    chance = next(each for each in table.by_chance if each.batch_size == batch_size)
    if chance.members >= HELD:
        yield (
            f"the data are small for the batch: {batch_size:,} of {table.rows:,} random rows hold "
            f"{chance.members:.1f} hard pairs of each row"
        )
    if table.empty >= SHORT * table.rows:
        yield f"{table.empty:,} of {table.rows:,} targets have no hard pair"
    elif table.short >= SHORT * table.rows:
        yield f"{table.short:,} of {table.rows:,} pools are shorter than {table.k}"
    if table.saturated:
        yield (
            f"pools are saturated: rank {table.window} scores {table.flatness:.2f} of rank 1; "
            "mine with a larger k, or by other encoders"
        )
    for hubs in table.hubs:
        if hubs.top_share >= CROWDED * hubs.top_share_by_chance:
            yield (
                f"hubs: 1% of the rows fill {hubs.top_share:.0%} of the first {hubs.ranks} ranks, "
                f"{hubs.top_share_by_chance:.1%} by chance; helip report shows them"
            )


def _of_windows(windows: Sequence[WindowMeasures]) -> Iterator[str]:
    for each in windows[1:]:
        ranks = f"of the hard pairs in ranks {each.first} to {each.last}"
        if each.equal_captions >= EQUAL:
            yield (
                f"{each.equal_captions:.1%} {ranks} have their target's caption: mined with a "
                "text_max below 0.98, or by helip filter, they would be left out"
            )
        if (each.equal_pictures or 0.0) >= EQUAL:
            yield f"{each.equal_pictures:.1%} {ranks} show their target's picture"
        if each.near >= NEAR:
            yield f"{each.near:.0%} {ranks} are near duplicates by their score: rank_min passes on"


def _of_model(model: ModelMeasures, batch_size: int) -> Iterator[str]:
    features = model.features
    if features.batch_size < batch_size:
        yield (
            f"measured in batches of {features.batch_size:,} rows, not {batch_size:,}; "
            "encoded_rows sets how many can be encoded"
        )
    asked = features.within.n + features.left_out
    if features.left_out >= LEFT_OUT * asked:
        yield (
            f"{features.left_out:,} of {asked:,} targets have fewer than seven hard pairs in the "
            "window, and were left out of the accuracy within"
        )
    if model.unread:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in model.unread.items())
        yield f"rows that cannot be read: {reasons}"
    if features.random_loss is None:
        yield "the model has no logit_scale, so no loss was measured"
