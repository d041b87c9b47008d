"""The engine of GPUs: exact mining by torch, into the same table as on the host."""

from __future__ import annotations

import json
import os
import warnings

import numpy as np

from helip import _core
from helip.common.errors import Error, InvalidArgumentError, UnsupportedError
from helip.common.machine import may_have_gpu
from helip.common.progress import Follower, OnProgress, ProgressBar
from helip.mining.call import MineJob
from helip.mining.engines.checkpoints import checkpoint_folder, has_checkpoint
from helip.mining.engines.parts import begun_parts
from helip.mining.inputs import Inputs
from helip.mining.options import MineOptions, ScoreRules
from helip.pairs.hard_pairs import HardPairs

# Rows up to which auto takes a GPU, whose time grows with their square.
_EXACT_ROWS = 20_000_000


class Gpu:
    """GPUs that are named, or where ``device`` is auto one of a kind that was proven."""

    def is_asked(self, job: MineJob) -> bool:
        call, path = job.call, job.path
        if call.device != "auto":
            return call.device != "cpu"
        if call.codes is not None or not may_have_gpu():
            return False
        if path and (has_checkpoint(path) or begun_parts(path)):
            return False
        return _chosen(job, stacklevel=8) != "cpu"

    def accepts(self, job: MineJob) -> Error | None:
        call = job.call
        if reason := _refusal(call.device, call, deleted=job.inputs.deleted, parts=call.parts):
            return reason
        if call.codes is not None:
            return UnsupportedError(
                f"codes is {os.fspath(call.codes)!r}, which only the CPU knows; use device='cpu', "
                "or drop codes="
            )
        begun = job.path and has_checkpoint(job.path)
        return job.left_behind(checkpoint_folder(job.path)) if begun else None

    def run(self, job: MineJob) -> HardPairs:
        call = job.call
        return mine_on_torch_device(
            job.inputs, call, device=_chosen(job, stacklevel=8), out=job.path,
            progress=call.progress, on_progress=call.on_progress,
        )  # fmt: skip


def _chosen(job: MineJob, *, stacklevel: int) -> str:
    call = job.call
    return choose_device(
        call.device, call, rows=job.rows, deleted=job.inputs.deleted, parts=call.parts,
        stacklevel=stacklevel,
    )  # fmt: skip


def choose_device(
    device: str,
    options: MineOptions,
    *,
    rows: int,
    deleted: int,
    parts: int | None = None,
    stacklevel: int = 5,
) -> str:
    """``cpu``, or the name of GPUs; ``deleted`` of the ``rows``, ``parts`` that are asked for.

    ``auto`` is a GPU only up to 20 million rows and where `prove_gpu` has passed. RuntimeWarning
    where it has not.

    Raises:
        InvalidArgumentError: no name of a device. UnsupportedError: no such device, or an option
        that it does not know.
    """
    if device == "cpu":
        return device
    if device == "auto":
        if parts is not None or rows > _EXACT_ROWS or _of_the_host(options, deleted):
            return "cpu"
        if not may_have_gpu():
            return "cpu"
        import torch

        found = torch.cuda.is_available()
        return "cuda" if found and _proven("cuda", "mining on the CPU; ", stacklevel) else "cpu"
    if reason := _refusal(device, options, deleted=deleted, parts=parts):
        raise reason
    _proven(device, "", stacklevel)
    return device


def _of_the_host(options: MineOptions, deleted: int) -> str:
    """What only the CPU knows of a call, in words."""
    if options.method not in ("auto", "exact"):
        return f"method is {options.method!r}"
    if options.channels is not None:
        return f"channels is {options.channels}"
    if options.margin is not None:
        return f"margin is {options.margin}"
    if options.collapse != "none":
        return f"collapse is {options.collapse!r}"
    return f"the store has {deleted:,} deleted rows" if deleted else ""


def _refusal(device: str, options: MineOptions, *, deleted: int, parts: int | None) -> Error | None:
    """Why GPUs that are named cannot take a call."""
    if device == "auto":
        return None
    if device.split(":")[0] != "cuda":
        return InvalidArgumentError(
            f'device is {device!r}; use "cpu", "cuda", "cuda:0,cuda:1", "cuda:all" or "auto"'
        )
    of_the_host = _of_the_host(options, deleted)
    if parts not in (None, 1):
        of_the_host = f"parts is {parts}"
    if of_the_host:
        return UnsupportedError(f'{of_the_host}, which only the CPU knows; use device="cpu"')
    import torch

    if not torch.cuda.is_available():
        return UnsupportedError(
            f'device is {device!r}, but torch finds no CUDA device; use device="cpu", or a CUDA '
            "build of torch"
        )
    return None


def _proven(device: str, consequence: str, stacklevel: int) -> bool:
    from helip.mining.gpu.proof import is_proven

    if proven := is_proven(device):
        return proven
    warnings.warn(
        f"mining on the GPUs {device!r} of this machine is unproven: {consequence}"
        "helip.mining.prove_gpu() compares their tables with those of the CPU, in seconds",
        RuntimeWarning,
        stacklevel=stacklevel,
    )
    return proven


def mine_on_torch_device(
    inputs: Inputs,
    options: MineOptions,
    *,
    device: str,
    out: str,
    progress: bool,
    on_progress: OnProgress | None = None,
) -> HardPairs:
    """Streams the exact pools that ``device`` finds to a table at ``out``, in memory if empty.

    Returns the table that the host's exact miner gives. Of the report's drops there is only
    ``skipped``: a device does not count what its filters keep out.
    """
    from helip.mining.gpu.miner import DeviceMiner

    rows, k, skip = inputs.rows, options.k, options.skip
    rules = ScoreRules.of(options).as_dict()
    found = {**rules, "k": k + skip}
    miner = DeviceMiner(inputs, device=device, **found)
    writer = _core.HardPairsWriter(out, rows, k)
    skipped = 0
    with ProgressBar(miner.pairs, label="mine", unit="pairs", enabled=progress) as bar:
        follow = Follower(bar, on_progress)
        for first, pools in miner.bands(lambda done, total: follow("mine", done, total)):
            over = np.minimum(pools.counts, skip)
            skipped += int(over.sum())
            ids, scores = (np.ascontiguousarray(x[:, skip:]) for x in (pools.ids, pools.scores))
            writer.write(first, ids, scores, pools.counts - over)
    report = {"pairs": rows * max(rows - 1, 0), "drops": {"skipped": skipped}, **miner.report}
    used = {"method": "exact", "margin": None, "skip": skip, "collapse": "none", **rules}
    return HardPairs(
        writer.finish(
            **inputs.fingerprints, options_json=json.dumps(used), report_json=json.dumps(report)
        )
    )
