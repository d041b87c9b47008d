"""Hard pair mining: from two embedding matrices to a table of hard pairs.

For a target i, another pair j scores ``s_image(i, j) * s_text(i, j)``, the product of two cosine
similarities, each set to zero for near duplicates (above ``image_max``, ``text_max``) and below
zero; the k pairs of largest score are i's hard pairs (HPM, arXiv 2305.05208).
"""

from __future__ import annotations

import logging
import os
import warnings
from dataclasses import replace

from helip.common.errors import Error, InvalidArgumentError, MismatchError
from helip.common.options import keywords
from helip.common.remote.outputs import written_to
from helip.common.remote.urls import url_of
from helip.mining.call import Engine, MineCall, MineJob
from helip.mining.engines.checkpoints import remove_checkpoint
from helip.mining.engines.gpu import Gpu
from helip.mining.engines.parts import OnePart, remove_parts
from helip.mining.engines.ray import Ray
from helip.mining.engines.stages import Stages, goes_in_stages, why_not_method
from helip.mining.engines.threads import Threads
from helip.mining.negatives import mine_negatives
from helip.mining.options import EXACT_ROWS, MineOptions
from helip.mining.report_words import shortfall_words
from helip.mining.stages.bases import is_earlier
from helip.mining.stages.job import remove_stages
from helip.mining.unrelated import warn_of_unrelated
from helip.mining.verdict_rules import mine_without, refuse_other_verdicts, remove_longer
from helip.pairs.hard_negatives import HardNegatives
from helip.pairs.hard_pairs import HardPairs
from helip.pairs.hard_pairs_part import HardPairsPart
from helip.store.data_identity import short
from helip.store.embedding_store import EmbeddingStore
from helip.verdicts.exclusions import Exclusions
from helip.verdicts.verdicts import exclusions_of

_log = logging.getLogger(__name__)

# Options that change the table of some methods only.
_OPTIONS_OF = {
    "seed": ("sample", "hnsw", "partition"),
    "candidates": ("sample",),
    "refresh": ("sample",),
    "recall": ("hnsw", "partition"),
}
_DEFAULT_CANDIDATES = 3_000_000  # of the core


@keywords(MineCall)
def mine(call: MineCall) -> HardPairs:
    """Mines the hard pairs of every target.

    With a method by name the result depends on the input and on the fields of MineOptions alone:
    device, threads, memory, checkpoint, codes, parts and engine change the time, not a byte of the
    table (but an engine may put ``partition`` in stages, see below).
    What ``method="auto"`` chooses (see :func:`plan`) depends above 300,000 rows on the measured
    speed; a table that is there counts as its answer where it could be. A graph (``hnsw``) that
    falls short of ``recall`` warns. ``margin`` wants image and text embeddings of one space, such
    as CLIP's own. GPUs mine exactly, without ``margin``, ``collapse`` and deleted rows; with
    another method or these, and before :func:`prove_gpu` has passed, ``device="auto"`` is the CPU.
    A job of a store with ``out`` that would take more than an hour is committed in parts of half an
    hour each, if it can be; pairs of two parts are looked at twice.

    ``method="partition"`` with ``cluster_rows``, and by ``engine="local"``, mines rows that do not
    fit one cluster in stages: each row in the ``overlap`` clusters closest to it, a
    cluster at a time, then neighbours of neighbours across clusters, and more clusters while the
    measured recall is below ``recall``. The table then depends on ``cluster_rows`` and ``overlap``
    as well. What is done lies in ``OUT.stages``; what falls short of ``recall`` warns.

    With ``verdicts`` pools are mined that are longer by as many pairs as verdicts take from one of
    them, and cut to ``k`` without what is excluded: exact methods stay exact. Pairs decided to be
    false negatives or near duplicates are excluded in either order, mismatched rows altogether.
    ``skip`` counts what is left; ``collapse`` looked at all. ``report["drops"]["verdicts"]`` counts
    what was taken out; other counts of ``drops``, and the recall, are of the longer pools.

    With ``queries`` and ``corpus`` the hard negatives of each query are mined in another data set,
    and a :class:`HardNegatives` comes back: the k rows of the corpus of largest score, without the
    positives of the query, their near duplicates (a cosine with one of them above ``image_max`` or
    ``text_max``), its own near duplicates, and what is closer than ``relative_margin`` allows. Of
    matrices the score is their one cosine; of stores that of ``modality``, or the product of both.
    Methods are ``exact`` (``auto``) and ``partition``; docs/negatives.md has more.

    With ``channels`` the score is the product, or the weighted mean, of the cosines of any named
    matrices of a store, or of ``image``, ``text`` and ``matrices``; docs/channels.md has more.

    Raises:
        InvalidArgumentError: an option out of its bound, shapes that disagree, NaN or infinity
            (with its row). MismatchError: ``out`` holds a table of something else; verdicts on
            other data.
        UnsupportedError: no such device, or an option that it does not know. StorageError: ``out``
            cannot be written, or another job is writing it; parts that are done stay.

    Examples:
        Four pairs, whose images and texts happen to have the same embeddings:

        >>> import helip, numpy as np
        >>> rows = np.float32([[1, 0], [0.8, 0.6], [0, 1], [0.6, 0.8]])
        >>> pairs = helip.mine(image=rows, text=rows, k=2, progress=False)
        >>> pairs.ids.tolist()  # of each row, the hardest first
        [[1, 3], [3, 0], [3, 1], [1, 2]]
        >>> print(pairs.scores[0].round(2))  # 0.8 * 0.8 and 0.6 * 0.6
        [0.64 0.36]
    """
    of_queries = call.queries is not None or call.corpus is not None
    if (url := url_of(call.out)) is not None:
        kind = HardNegatives if of_queries else HardPairs
        return written_to(
            url, lambda path: mine(**{**call.as_dict(), "out": path}),
            kind.open if call.part is None else HardPairsPart.open,
            answers=True, resumes=True, progress=call.progress,
        )  # fmt: skip
    if of_queries:
        return mine_negatives(call)
    _refuse_of_queries(call)
    return _mined(MineJob.of(call))


def _refuse_of_queries(call: MineCall) -> None:
    for name in ("positives", "relative_margin"):
        if getattr(call, name) is not None:
            raise InvalidArgumentError(
                f"{name} is given without queries; it belongs to queries= and corpus="
            )


def _mined(job: MineJob, *, warns: bool = True) -> HardPairs:
    """The table of a call whose input was looked at; ``warns`` of what its user should know."""
    call = job.call
    if call.part is None and (table := _answer(job)) is not None:
        return table
    for engine in ENGINES:
        if engine.is_asked(job):
            break
    if (reason := engine.accepts(job)) is not None:
        raise reason
    _log.info("mine: %s targets, k %s, method %s", f"{job.rows:,}", call.k, call.method)
    if warns:
        call.tell_of_disk(_log, job.rows, job.inputs.dimensions)
    if warns and call.modality == "both" and call.channels is None and call.part is None:
        warn_of_unrelated(job.inputs, stacklevel=5)
    table = engine.run(job)
    if warns and (words := shortfall_words(table.report, call.recall)):
        warnings.warn(words, stacklevel=4)
    return table


class UnderVerdicts:
    """Longer pools by any engine, cut to what people have not taken out."""

    def is_asked(self, job: MineJob) -> bool:
        return job.call.verdicts is not None

    def accepts(self, job: MineJob) -> Error | None:
        if job.call.part is None:
            return None
        # A part knows neither the other parts nor what is dropped of them.
        return InvalidArgumentError(
            f"part is {job.call.part}, and verdicts are given, which take pairs out of a whole "
            "table; drop verdicts=, merge the parts, and filter their table: "
            "pairs.filter(verdicts=…)"
        )

    def run(self, job: MineJob) -> HardPairs:
        call = job.call
        plain = replace(call, verdicts=None, skip=0)

        def longer(k: int, out: str) -> HardPairs:
            asked = replace(job, call=replace(plain, k=k, out=out or None), path=out)
            return _mined(asked, warns=False)

        return mine_without(_exclusions(job), longer, k=call.k, skip=call.skip, out=job.path)


#: Who mines, in the order in which they are asked.
ENGINES: tuple[Engine, ...] = (
    UnderVerdicts(), OnePart(), Stages(), Ray(), Gpu(), Threads(),
)  # fmt: skip


def _exclusions(job: MineJob) -> Exclusions:
    source = job.store
    known = "" if source is None else source.data_fingerprint or source.keys_fingerprint
    return exclusions_of(job.call.verdicts, job.rows, known)


def _answer(job: MineJob) -> HardPairs | None:
    """The table that is there already, without what the job left beside it; None: there is none.

    Raises InvalidArgumentError and MismatchError where it is not the answer to this call.
    """
    path, call = job.path, job.call
    if not path or not os.path.exists(os.path.join(path, "manifest.json")):
        return None
    for reason in (job.on_ray_unfollowed(), why_not_method(call)):
        if reason is not None:
            raise reason
    table = _existing(path, job.store, call)
    if call.verdicts is not None:
        refuse_other_verdicts(table, _exclusions(job))
        remove_longer(path)
        return table
    _log.info("mine: %s is the answer already", path)
    remove_parts(path)
    remove_checkpoint(path)
    if not call.keep_stages:
        remove_stages(path)
    return table


def _existing(path: str, source: EmbeddingStore | None, call: MineCall) -> HardPairs:
    """The table at ``path`` when it answers this very call."""
    if not call.resume or source is None:
        raise InvalidArgumentError(
            f"{path} already holds a table; remove it or choose another path"
            + ("" if source is not None else " (bare arrays have no fingerprint to compare)")
        )
    pairs = HardPairs.open(path)
    if pairs.fingerprint != source.fingerprint:
        earlier = is_earlier(pairs, source)
        mend = "bring it up to date with helip.update, or " if earlier else ""
        raise MismatchError(
            f"{path} was mined from the store {short(pairs.fingerprint)}, "
            f"{'which is this one as it was' if earlier else 'another than this one'}; {mend}"
            "choose another path"
        )
    found = dict(pairs.options)
    asked = MineOptions.of(call).as_dict()
    # Tables tell of channels by their rules, and not at all where there are none.
    for name in ("weights", "maxima"):
        del asked[name]
    asked["channels"] = call.channel_rules or None
    asked["modality"] = "channels" if call.channels else call.modality
    found["channels"] = [tuple(each) for each in found.get("channels") or ()] or None
    found.setdefault("score", "product")
    # Else a table of stages is as good as one without: each says its recall.
    if call.cluster_rows is not None and goes_in_stages(call, rows=len(source)):
        asked.update(cluster_rows=call.cluster_rows, overlap=call.overlap)
    if "verdicts" in found and call.verdicts is None:
        raise MismatchError(f"{path} was mined under verdicts; choose another path")
    if "filter" in found:
        raise MismatchError(f"{path} holds a table that was filtered; choose another path")
    ignored = {name for name, methods in _OPTIONS_OF.items() if found.get("method") not in methods}
    of_auto = ("exact",) if len(source) <= EXACT_ROWS else ("exact", "partition")
    if asked["method"] == "auto" and found.get("method") in of_auto:
        ignored.add("method")
    if asked["candidates"] is None:  # the default, which depends on the rows alone
        asked["candidates"] = min(len(source), _DEFAULT_CANDIDATES)
    changed = [
        f"{name} {found.get(name)!r}, now {value!r}"
        for name, value in asked.items()
        if name not in ignored and found.get(name) != value
    ]
    if changed:
        raise MismatchError(
            f"{path} was mined with other options ({'; '.join(changed)}); choose another path"
        )
    return pairs
