"""Engines, which compute an encoder's network: torch, ONNX Runtime and OpenVINO."""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import torch

from helip.common.devices import autocast
from helip.common.errors import UnsupportedError
from helip.common.options import Precision
from helip.encoders.loading import import_extra

EngineName = Literal["torch", "openvino", "onnx"]
EnginePrecision = Literal["float32", "bfloat16", "float16", "int8"]
#: The inputs of one call: pixels [n, 3, H, W], or token tensors [n, tokens].
Inputs = tuple[torch.Tensor, ...]


# OpenVINO's names of precisions; what is not quantized stays f32.
_OPENVINO_PRECISIONS = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}

# Pixels of a side, from which on int8 works where the processor has AMX.
_SMALL = 96


class Engine(Protocol):
    """A network that is ready to compute. Not thread-safe."""

    name: EngineName
    precision: EnginePrecision
    pictures: int | None
    """Pictures of one call that it computes fastest; None for any number."""
    captions: int
    """The same of captions."""

    def run(self, calls: Iterable[Inputs]) -> Generator[torch.Tensor, None, None]:
        """Features [n, dim] float32 on the CPU of each call, in order.

        Calls may be computed side by side, and some ahead of who asks for them; the iterator is to
        be closed or exhausted before the next run.
        """
        ...


class TorchEngine:
    """A function over tensors on ``device``, under autocast of ``precision``."""

    name: EngineName = "torch"

    def __init__(
        self,
        network: Callable[..., torch.Tensor],
        device: torch.device,
        precision: Precision = "float32",
    ) -> None:
        self.precision: EnginePrecision = precision
        self._autocast = precision
        self._network = network
        self._device = device
        on_cpu = device.type == "cpu"
        # Activations of a larger call fall out of a CPU's caches: 16 pictures are the fastest for
        # convolutions (64 take nearly twice as long a picture).
        self.pictures = 16 if on_cpu else None
        self.captions = 32 if on_cpu else 256

    def run(self, calls: Iterable[Any]) -> Generator[torch.Tensor, None, None]:
        for inputs in calls:
            with torch.inference_mode(), autocast(self._device, self._autocast):
                features = self._network(*(self._placed(each) for each in inputs))
            # Out of inference mode, so that rows can be changed.
            yield features.detach().float().cpu().clone()

    def _placed(self, value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value  # captions of a text encoder without a tokenizer
        if value.ndim == 4:
            return value.to(self._device, memory_format=torch.channels_last)
        return value.to(self._device)


def export_onnx(network: torch.nn.Module, example: Inputs, path: Path) -> None:
    """Write ``network`` as an ONNX graph, ``path`` (.onnx).

    The number of samples stays open, and the number of tokens; pictures have the example's size.
    """
    import_extra("onnx")
    names = [f"input{i}" for i in range(len(example))]
    open_axes = {
        name: {0: "samples"} if each.ndim == 4 else {0: "samples", 1: "tokens"}
        for name, each in zip(names, example, strict=True)
    }
    with torch.inference_mode():
        torch.onnx.export(
            network, example, str(path), dynamo=False, input_names=names,
            output_names=["features"], dynamic_axes={**open_axes, "features": {0: "samples"}},
        )  # fmt: skip


class OnnxEngine:
    """The graph at ``path`` (:func:`export_onnx`) on ``threads`` threads."""

    name: EngineName = "onnx"
    precision: EnginePrecision = "float32"
    pictures: int | None = 16
    captions = 32

    def __init__(self, path: Path, threads: int) -> None:
        runtime = import_extra("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors
        self._session = runtime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        # An input that the graph does not use is not one of it.
        self._used = [int(each.name.removeprefix("input")) for each in self._session.get_inputs()]

    def run(self, calls: Iterable[Inputs]) -> Generator[torch.Tensor, None, None]:
        for inputs in calls:
            given = {f"input{i}": inputs[i].numpy() for i in self._used}
            yield torch.from_numpy(self._session.run(None, given)[0]).float()


# Each Core gives the process a stack for signals, and frees it when it goes, in whatever order they
# go; the next signal that Python handles, such as Ctrl-C, would crash. So there is one, and it
# stays.
@functools.cache
def _openvino_core() -> Any:
    return import_extra("openvino").Core()


def export_openvino(network: torch.nn.Module, example: Inputs, path: Path) -> None:
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


def quantize_openvino(
    path: Path, samples: Sequence[Inputs], out: Path, *, transformer: bool
) -> None:
    """Write the graph at ``path`` with int8 multiplications, calibrated on ``samples``."""
    # Without it nncf reports its use over the network.
    os.environ.setdefault("NNCF_CI", "1")
    levels = [(handler, handler.level) for handler in logging.root.handlers]
    openvino, nncf = import_extra("openvino"), import_extra("nncf")
    nncf.set_log_level(logging.ERROR)
    for handler, level in levels:  # which nncf 3.4 sets as well, and are not its own
        handler.setLevel(level)
    graph = _openvino_core().read_model(path)
    _refuse_small_pictures(graph)
    shown = io.StringIO()  # its bars
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
        quantized = nncf.quantize(
            graph,
            nncf.Dataset([[each.numpy() for each in inputs] for inputs in samples]),
            subset_size=len(samples),
            preset=nncf.QuantizationPreset.MIXED,
            model_type=nncf.ModelType.TRANSFORMER if transformer else None,
        )
    openvino.save_model(quantized, out, compress_to_fp16=False)


def _refuse_small_pictures(graph: Any) -> None:
    """UnsupportedError where int8 would end the process: OpenVINO's convolutions of it, up to
    2026.4, for processors with AMX."""
    shape = graph.inputs[0].partial_shape
    sides = list(shape)[2:] if shape.rank.is_static and len(shape) == 4 else []
    size = min((side.get_length() for side in sides if side.is_static), default=_SMALL)
    with contextlib.suppress(OSError):
        if size < _SMALL and " amx_int8" in Path("/proc/cpuinfo").read_text(encoding="utf-8"):
            raise UnsupportedError(
                f"precision is 'int8' for pictures of {size} pixels, and OpenVINO crashes on such "
                f"where the processor has AMX; take {_SMALL} pixels or more, or another precision"
            )


def openvino_multiplies_bfloat16() -> bool:
    """Whether OpenVINO multiplies bfloat16 on this processor without widening it."""
    return "BF16" in _openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


class OpenVinoEngine:
    """The graph at ``path`` (:func:`export_openvino`) on ``threads`` threads."""

    name: EngineName = "openvino"
    # Calls run side by side, each on a thread or few, so that small ones stay in its caches.
    pictures: int | None = 2
    captions = 32

    def __init__(self, path: Path, precision: EnginePrecision, threads: int) -> None:
        self.precision = precision
        options = {
            "PERFORMANCE_HINT": "THROUGHPUT",
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": _OPENVINO_PRECISIONS[precision],
        }
        graph = _openvino_core().read_model(path)
        if precision == "int8":
            _refuse_small_pictures(graph)
        compiled = _openvino_core().compile_model(graph, "CPU", options)
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
