"""The engine that takes what no other is asked for: the core's threads in this process."""

from __future__ import annotations

from helip import _core
from helip.common.errors import Error
from helip.common.progress import Follower, ProgressBar
from helip.mining.call import MineJob
from helip.mining.engines.checkpoints import checkpoint_folder, has_checkpoint
from helip.mining.engines.parts import number_of_parts
from helip.mining.inputs import core_options, planned
from helip.pairs.hard_pairs import HardPairs


class Threads:
    """The core's threads, on rows in memory or a store; in parts where that pays."""

    def is_asked(self, job: MineJob) -> bool:
        return True

    def accepts(self, job: MineJob) -> Error | None:
        if job.path and has_checkpoint(job.path):
            return job.left_behind(checkpoint_folder(job.path))
        return None

    def run(self, job: MineJob) -> HardPairs:
        call = job.call
        parts = number_of_parts(
            call.parts, out=job.path, method=call.method,
            rows=0 if job.store is None else job.rows,
            estimate=lambda: planned(job.inputs, core_options(call, call)),
        )  # fmt: skip
        return mine_by_core(job, parts)


def mine_by_core(job: MineJob, parts: int) -> HardPairs:
    """Mines in so many parts, of which those that lie beside the table already are taken up."""
    call, inputs = job.call, job.inputs
    options = core_options(call, call, parts=parts)
    with ProgressBar(None, label="mine", unit="units", enabled=call.progress) as bar:
        follow = Follower(bar, call.on_progress)
        if inputs.store is not None:
            return HardPairs(_core.mine_store(inputs.store._core, options, follow, job.path))
        if inputs.channels:
            table = _core.mine_channels(list(inputs.channels), options, follow, job.path)
        else:
            table = _core.mine(*inputs.matrices, options, follow, job.path)
        return HardPairs(table)
