"""webdataset: shards in sequence, a shuffle buffer of 1,000, Pillow and open_clip's transform.

What open_clip does with ``--dataset-type webdataset``. No hard pairs: it cannot read at random.
"""

from __future__ import annotations

from pictures import Pictures

from loader_sides.order import Order
from loader_sides.side import Batches, Side, open_clip_transform, tokenizer


def webdataset(pictures: Pictures, order: Order, workers: int) -> Batches:
    import webdataset as wds

    words = tokenizer()
    data = (
        wds.WebDataset(pictures.shards, shardshuffle=100, nodesplitter=wds.split_by_node)
        .repeat()
        .shuffle(1000)
        .decode("pilrgb")
        .to_tuple(pictures.suffix, "txt")
        .map_tuple(open_clip_transform(), lambda text: words([text])[0])
        .batched(order.batch, partial=False)
    )
    return iter(wds.WebLoader(data, batch_size=None, num_workers=workers))


SIDES = {"webdataset": Side(webdataset, ("webdataset",), "webdataset", hard_pairs=False)}
