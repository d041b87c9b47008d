"""The engine of an encoder: by name, or the fastest that can compute its network."""

from __future__ import annotations

import importlib.metadata
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from helip.common import devices
from helip.common.errors import InvalidArgumentError, UnsupportedError
from helip.encoders.engines import (
    Engine,
    EngineName,
    EnginePrecision,
    Inputs,
    OnnxEngine,
    OpenVinoEngine,
    TorchEngine,
    export_onnx,
    export_openvino,
    openvino_multiplies_bfloat16,
    quantize_openvino,
)
from helip.encoders.graph_cache import kept_graph
from helip.encoders.loading import quiet
from helip.encoders.network_encoder import Source

#: Engines of CPUs, the fastest first as docs/embedding.md measures them, and what each needs.
_PACKAGES: dict[str, tuple[str, ...]] = {
    "openvino": ("openvino",),
    "onnx": ("onnx", "onnxruntime"),
}
_EXTRAS = {"openvino": "embed", "onnx": "onnx"}
_PRECISIONS: dict[str, tuple[EnginePrecision, ...]] = {
    "openvino": ("float32", "bfloat16", "int8"),
    "onnx": ("float32",),
    "torch": ("float32", "bfloat16", "float16"),
}
_LEAST_COSINE = 0.9999  # of an exported graph to torch; rounding alone gives 0.999999
_FORMAT = 1  # raised when the same network is exported otherwise
#: What makes a graph, besides the packages of its engine: another version may make another.
_MAKERS = (
    "torch", "torchvision", "transformers", "timm", "open_clip_torch", "sentence-transformers",
    "efficientnet-lite-pytorch",
)  # fmt: skip


@dataclass(frozen=True)
class Chosen:
    """An engine that works, and why it is not a faster one."""

    engine: Engine
    why: str = ""


def choose_engine(source: Source, wanted: str, precision: str = "float32") -> Chosen:
    """The engine that ``wanted`` names, or for "auto" the fastest that works, in float32.

    ``precision``: one that it must be able to compute in as well.

    A network that the engine cannot take is computed by torch, with a warning and ``why``.
    Raises UnsupportedError (the engine is not installed), InvalidArgumentError (a GPU is asked for,
    and an engine of CPUs; neither the engine nor torch has the precision).
    """
    on_cpu = source.device.type == "cpu"
    if wanted in _PACKAGES and not on_cpu:
        raise InvalidArgumentError(
            f"engine is {wanted!r}, which computes on CPUs, and the device is {source.device}; "
            "give engine='torch', or device='cpu'"
        )
    if wanted == "torch" or not on_cpu:
        return Chosen(make_engine(source, "torch"))
    names: Any = _PACKAGES if wanted == "auto" else (wanted,)
    able = [name for name in names if precision in _PRECISIONS[name]]
    absent: list[str] = []
    mend = "give another one"
    if able and not isinstance(source.loaded.network, torch.nn.Module):
        absent.append("its tokenizer is within the model, which torch alone can take")
        able = []
    for name in able:
        missing = [package for package in _PACKAGES[name] if _version(package) is None]
        if missing:
            absent.append(f"{name} is not installed")
            mend = f"pip install 'helip[{_EXTRAS[name]}]'"
            if wanted == name:
                raise UnsupportedError(
                    f"engine is {name!r}, and {' and '.join(missing)} cannot be found: {mend}"
                )
            continue
        try:
            return Chosen(make_engine(source, name), "; ".join(absent))
        except _NotExportedError as error:
            absent.append(str(error))
            warnings.warn(
                f"encoder {source.spec!r} is computed by another engine: {error}",
                RuntimeWarning,
                stacklevel=2,
            )
    if precision in _PRECISIONS["torch"]:
        return Chosen(make_engine(source, "torch"), "; ".join(absent))
    if not absent:
        raise _refused(wanted, precision)
    raise UnsupportedError(
        f"encoder {source.spec!r} cannot be computed in precision {precision!r} here: "
        f"{'; '.join(absent)}: {mend}"
    )


def _refused(name: str, precision: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"precision is {precision!r} and engine {name!r}, which computes in "
        f"{' or '.join(_PRECISIONS[name])}"
    )


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def make_engine(
    source: Source,
    name: EngineName,
    precision: EnginePrecision = "float32",
    *,
    calibration: Sequence[Inputs] = (),
) -> Engine:
    """An engine of this name and precision, on as many threads as torch has.

    ``calibration``: samples that int8 needs, to see how large numbers become.
    """
    if precision not in _PRECISIONS[name]:
        raise _refused(name, precision)
    if name == "torch":
        return TorchEngine(source.loaded.network, source.device, precision)  # type: ignore[arg-type]
    if not isinstance(source.loaded.network, torch.nn.Module):
        raise _NotExportedError(f"{name} cannot take it: its tokenizer is within the model")
    threads = torch.get_num_threads()
    with _graph(source, name) as path:
        if precision == "int8":
            return _quantized(source, path, calibration, threads)
        return _opened(name, path, precision, threads)


def _opened(name: EngineName, path: Path, precision: EnginePrecision, threads: int) -> Engine:
    if name == "onnx":
        return OnnxEngine(path, threads)
    return OpenVinoEngine(path, precision, threads)


def _quantized(
    source: Source, path: Path, calibration: Sequence[Inputs], threads: int
) -> OpenVinoEngine:
    if _version("nncf") is None:
        raise UnsupportedError(
            "precision is 'int8', and nncf cannot be found here: pip install 'helip[int8]'"
        )
    # Attention is what its scheme for transformers is for.
    network: Any = source.loaded.network
    kinds = {type(each).__name__.lower() for each in network.modules()}
    transformer = any("attention" in kind for kind in kinds)
    with tempfile.TemporaryDirectory(prefix="helip-int8-") as folder, quiet():
        out = Path(folder) / "graph.xml"
        quantize_openvino(path, calibration, out, transformer=transformer)
        return OpenVinoEngine(out, "int8", threads)


class _NotExportedError(Exception):
    """A network that an engine cannot take, and why."""


def multiplies_bfloat16(engine: Engine, device: torch.device) -> bool:
    """Whether this engine multiplies bfloat16 here without widening it first."""
    if engine.name == "openvino":
        return openvino_multiplies_bfloat16()
    return engine.name == "torch" and devices.multiplies_bfloat16(device)


def _graph(source: Source, name: EngineName) -> Any:
    """A context that gives the exported graph of the source."""
    example, trial = source.example(), source.trial()
    of = {
        "encoder": source.spec,
        "weights": source.loaded.weights,
        "engine": name,
        "shapes": [list(each.shape[1:]) if each.ndim == 4 else each.ndim for each in example],
    }
    found = {package: _version(package) for package in (*_PACKAGES[name], *_MAKERS)}
    versions = {"format": str(_FORMAT), **{key: each for key, each in found.items() if each}}
    network: Any = source.loaded.network
    (expected,) = TorchEngine(network, source.device).run([trial])

    def cosine_of(path: Path) -> float:
        (rows,) = _opened(name, path, "float32", 1).run([trial])
        same = rows.shape == expected.shape
        return float(torch.cosine_similarity(rows, expected).min()) if same else float("nan")

    def is_right(path: Path) -> bool:
        # A setting of the model that is no weight may have changed since.
        return cosine_of(path) >= _LEAST_COSINE

    def make(folder: Path) -> Path:
        path = folder / ("graph.onnx" if name == "onnx" else "graph.xml")
        export = export_onnx if name == "onnx" else export_openvino
        try:
            with quiet(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of tracing, which what follows makes sure of
                export(network, example, path)
                cosine = cosine_of(path)
        except (OSError, MemoryError):
            raise
        except Exception as error:  # libraries fail to export in dozens of ways
            lines = str(error).strip().splitlines() or ["no message"]
            raise _NotExportedError(
                f"{name} cannot take it ({type(error).__name__}: {lines[0][:200]})"
            ) from error
        if not cosine >= _LEAST_COSINE:
            raise _NotExportedError(
                f"{name} gives other features than torch (cosine {cosine:.6f}, at least "
                f"{_LEAST_COSINE} is wanted)"
            )
        return path

    return kept_graph(of, versions, make, is_right)
