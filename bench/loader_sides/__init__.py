"""The sides of bench/loader.py, one file a kind; each says what favours it."""

from __future__ import annotations

from loader_sides import (
    dali_side,
    dataloader,
    ffcv_side,
    grain_side,
    helip_side,
    litdata_side,
    mosaic_side,
    pread_side,
    spdl_side,
    turboloader_side,
    webdataset_side,
)
from loader_sides.order import HardOrder, Order
from loader_sides.side import Batches, Side, tokenizer

__all__ = ["ORDERS", "SIDES", "Batches", "HardOrder", "Order", "Side", "tokenizer"]

ORDERS: dict[str, type[Order]] = {"hard": HardOrder, "plain": Order}

SIDES: dict[str, Side] = {
    **dataloader.SIDES,
    **webdataset_side.SIDES,
    **spdl_side.SIDES,
    **ffcv_side.SIDES,
    **dali_side.SIDES,
    **grain_side.SIDES,
    **litdata_side.SIDES,
    **mosaic_side.SIDES,
    **turboloader_side.SIDES,
    **helip_side.SIDES,
    **pread_side.SIDES,
}
