"""One study with all that belongs to it, opened together and closed together."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator

from helip import InvalidArgumentError
from helip.common import ArrayCache
from helip.pairs import open_together
from helip_view.study import Study
from helip_view.study_pages import StudyPages
from helip_view.thumbnails import Thumbnails
from helip_view.viewing import ViewCall


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
    with contextlib.ExitStack() as stack:
        study = stack.enter_context(Study.open(call.study, pairs=pairs, data=data))
        # As the viewer names it, so that both keep one set of thumbnails.
        fingerprint = getattr(data, "fingerprint", "") or secrets.token_hex(16)
        cache = ArrayCache({"data": fingerprint, "rows": len(data)}, call.view_cache_bytes)
        stack.callback(cache.close)
        thumbnails = Thumbnails(data, cache.folder, call.view_cache_bytes // 2)
        stack.callback(thumbnails.close)
        yield StudyPages(study, data, thumbnails)
