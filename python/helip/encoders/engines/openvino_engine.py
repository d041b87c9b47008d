"""Networks computed by OpenVINO on the CPU: several calls side by side, each on few threads."""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import os
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from helip.encoders.engines.engine import EngineName, EnginePrecision, Inputs
from helip.encoders.loading import import_extra

_HINTS = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}  # what is not quantized stays f32


# Each Core gives the process a stack for signals, and frees it when it goes, in whatever order they
# go; the next signal that Python handles, such as Ctrl-C, would crash. So there is one, and it
# stays.
@functools.cache
def _core() -> Any:
    return import_extra("openvino").Core()


def export(network: torch.nn.Module, example: Inputs, path: Path) -> None:
    """Write ``network`` as an OpenVINO graph: ``path`` (.xml), and its weights beside it (.bin).

    The number of samples stays open, and the number of tokens; pictures have the example's size.
    """
    openvino = import_extra("openvino")
    # openvino.convert_model() does the same, and reports its use over the network.
    frontend = import_extra("openvino.frontend")
    decoder = import_extra("openvino.frontend.pytorch.ts_decoder")
    with torch.inference_mode():
        traced = decoder.TorchScriptPythonDecoder(network, example_input=example)
        reader = frontend.FrontEndManager().load_by_framework("pytorch")
        graph = reader.convert(reader.load(traced))
    graph.reshape(
        {
            given: [-1, *each.shape[1:]] if each.ndim == 4 else [-1, -1]
            for given, each in zip(graph.inputs, example, strict=True)
        }
    )
    openvino.save_model(graph, path, compress_to_fp16=False)


def quantize(path: Path, samples: Sequence[Inputs], out: Path, *, transformer: bool) -> None:
    """Write the graph at ``path`` with int8 multiplications, calibrated on ``samples``."""
    # Without it nncf reports its use over the network.
    os.environ.setdefault("NNCF_CI", "1")
    openvino, nncf = import_extra("openvino"), import_extra("nncf")
    nncf.set_log_level(logging.ERROR)
    shown = io.StringIO()  # its bars
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
        quantized = nncf.quantize(
            _core().read_model(path),
            nncf.Dataset([[each.numpy() for each in inputs] for inputs in samples]),
            subset_size=len(samples),
            preset=nncf.QuantizationPreset.MIXED,
            model_type=nncf.ModelType.TRANSFORMER if transformer else None,
        )
    openvino.save_model(quantized, out, compress_to_fp16=False)


def multiplies_bfloat16() -> bool:
    """Whether OpenVINO multiplies bfloat16 on this processor without widening it."""
    return "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


class OpenVinoEngine:
    """The graph at ``path`` (:func:`export`) on ``threads`` threads."""

    name: EngineName = "openvino"
    # Calls run side by side, each on a thread or few, so that small ones stay in its caches.
    pictures: int | None = 2
    captions = 32

    def __init__(self, path: Path, precision: EnginePrecision, threads: int) -> None:
        self.precision = precision
        options = {
            "PERFORMANCE_HINT": "THROUGHPUT",
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
        }
        compiled = _core().compile_model(_core().read_model(path), "CPU", options)
        # Twice as many as are computed at once, so that none waits for who asks.
        count = 2 * compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        self._requests = [compiled.create_infer_request() for _ in range(count)]

    def run(self, calls: Iterable[Inputs]) -> Generator[torch.Tensor, None, None]:
        free = deque(self._requests)
        waiting: deque[Any] = deque()
        try:
            for inputs in calls:
                if not free:
                    yield self._taken(waiting, free)
                request = free.popleft()
                request.start_async([each.numpy() for each in inputs], share_inputs=True)
                waiting.append(request)
            while waiting:
                yield self._taken(waiting, free)
        finally:
            for request in waiting:
                request.wait()

    @staticmethod
    def _taken(waiting: deque[Any], free: deque[Any]) -> torch.Tensor:
        request = waiting.popleft()
        request.wait()
        free.append(request)
        return torch.from_numpy(request.get_output_tensor(0).data.copy()).float()
