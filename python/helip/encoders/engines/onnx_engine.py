"""Networks computed by ONNX Runtime on the CPU, in float32."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from pathlib import Path

import torch

from helip.encoders.engines.engine import EngineName, EnginePrecision, Inputs
from helip.encoders.loading import import_extra


def export(network: torch.nn.Module, example: Inputs, path: Path) -> None:
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
    """The graph at ``path`` (:func:`export`) on ``threads`` threads."""

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
