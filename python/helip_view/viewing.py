"""One viewer: everything that belongs to a table, opened together and closed together."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helip import InvalidArgumentError
from helip.common import ArrayCache
from helip.common.files import own_cache
from helip.common.options import ProgressOptions
from helip.common.progress import ProgressBar
from helip.evaluation import ModelFeatures
from helip.pairs import HardPairs, open_together
from helip.reporting import Similarities
from helip.verdicts import Verdicts
from helip_view.cards import Cards, ComparedPools
from helip_view.maps import Maps
from helip_view.options import ViewOptions
from helip_view.orders import Orders
from helip_view.pages import Pages
from helip_view.queries import ShownOrders
from helip_view.search import CaptionSearch, Seeking
from helip_view.study import Study, table_digest
from helip_view.study_pages import StudyPages
from helip_view.thumbnails import Thumbnails
from helip_view.verdicts import Proposed, TakenVerdicts


@dataclass(frozen=True, kw_only=True)
class ViewCall(ViewOptions, ProgressOptions):
    """What the viewer is asked."""

    pairs: HardPairs | str | os.PathLike[str] = field(kw_only=False)
    """A table of hard pairs, or its path."""
    data: Any = field(kw_only=False)
    """Its Dataset, or what open_dataset takes."""
    model: Sequence[Any] = ()
    """None, one, or the one before tuning and the one after: what create_model takes, or a store
    that one CLIP made of the data."""
    store: Any = None
    """The store that was mined, or its path: similarities, near duplicates."""
    verdicts: str | os.PathLike[str] | None = None
    """The file of verdicts; None: beside the table, where that is in a folder. A table at a URL
    needs one."""
    study: str | os.PathLike[str] | None = None
    """The file of a study of this table: its questions are asked, and nothing else is shown."""


@contextlib.contextmanager
def viewing(call: ViewCall) -> Iterator[Pages]:
    """The pages of a viewer, with all orders made.

    Raises as `report` does where table, data and store do not belong together, and as
    `Verdicts.open` does.
    """
    models = [call.model] if isinstance(call.model, (str, os.PathLike)) else list(call.model)
    if len(models) > 2:
        raise InvalidArgumentError(
            f"{len(models)} models are given; give one, or the one before tuning and the one after"
        )
    pairs, data, store = open_together(call.pairs, call.data, call.store)
    with contextlib.ExitStack() as stack:
        # Never that of the table: mined of a store alone, it knows keys alone, and other data may
        # have the same.
        fingerprint = getattr(data, "fingerprint", "") or secrets.token_hex(16)
        taken = TakenVerdicts(_verdicts(pairs, data, call.verdicts))
        stack.callback(taken.close)
        of_data = ArrayCache({"data": fingerprint, "rows": len(data)}, call.view_cache_bytes)
        stack.callback(of_data.close)
        features = [ModelFeatures.of(m, data, of_data, progress=call.progress) for m in models]
        of_table = ArrayCache(
            {
                "table": table_digest(pairs),
                "store": "" if store is None else store.fingerprint,
                "models": [each.digest for each in features],
            },
            call.view_cache_bytes,
        )
        stack.callback(of_table.close)
        orders = Orders(pairs, store, features, of_table, with_verdicts=taken.there)
        label = "orders of targets"
        with ProgressBar(
            len(orders.ways), label=label, unit="orders", enabled=call.progress
        ) as bar:
            orders.prepare(lambda _: bar.update())
        thumbnails = Thumbnails(data)
        search = CaptionSearch(data, of_data.folder)
        stack.callback(search.close)
        search.start()
        similarities = None if store is None else Similarities(store, pairs.options)
        cards = Cards(pairs, data, thumbnails, orders.degrees, similarities, features)
        title = Path(pairs.path).name if pairs.path else "Hard pairs"
        of_store = of_data
        if store is not None:
            of_store = ArrayCache({"store": store.fingerprint}, call.view_cache_bytes)
            stack.callback(of_store.close)
        maps = Maps(store, of_store)
        stack.callback(maps.close)
        by = next((each.store for each in features[::-1] if each.store is not None), None)
        proposed = Proposed(pairs, store, data, taken.verdicts, by)
        shown = ShownOrders(orders, search, maps, proposed)
        yield Pages(
            cards, shown, thumbnails, taken, data.keys, title, search,
            Seeking(store), maps, ComparedPools(pairs, similarities, features),
        )  # fmt: skip


def _verdicts(pairs: HardPairs, data: Any, path: Any) -> Any:
    if path is None:
        if not pairs.path:
            return None
        if Path(pairs.path).resolve().is_relative_to(own_cache().resolve()):
            raise InvalidArgumentError(
                "the table was downloaded to the cache, where verdicts could be lost; name a file: "
                "--verdicts FILE"
            )
        path = Verdicts.usual_path(pairs.path)
    return Verdicts.open(path, pairs=pairs, keys=data.keys)


@contextlib.contextmanager
def asking(call: ViewCall) -> Iterator[StudyPages]:
    """The pages that ask the questions of ``call.study``.

    Raises InvalidArgumentError where models or verdicts are given, which a study does not show or
    take, and else as `report` does where table, data and store do not belong together, and as
    `Study.open`.
    """
    assert call.study is not None
    for name, value in (("model", call.model), ("verdicts", call.verdicts)):
        if value:
            raise InvalidArgumentError(
                f"{name} is {value!r}, and a study shows no model and takes no verdicts; leave out "
                f"{name}, or study"
            )
    pairs, data, _ = open_together(call.pairs, call.data, call.store)
    with Study.open(call.study, pairs=pairs, data=data) as study:
        yield StudyPages(study, data, Thumbnails(data))
