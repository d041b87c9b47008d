"""Rows a second of `helip.embed`, and what its image encoder takes on engines that it does not use.

    python bench/embed.py --rows 512 --encoder packaged
    python bench/embed.py --rows 128 --encoder dinov2

Data are JPEGs of 500 px with captions of 5 to 15 words, in a folder. Sides, each a process of its
own, alternating: ``loop``, what one writes first in torch: a DataLoader that decodes by Pillow, the
encoder's own transform and network in float32, batches of 32, captions in their order; ``helip``,
``helip.embed`` with its defaults; ``helip-bfloat16``, with ``precision="bfloat16"``. Printed are
rows a second, rows a CPU second, peak memory, and the lowest cosines to the rows of the loop.

``--engines`` times the image network alone: torch, and ONNX Runtime and OpenVINO where they are
installed, in pictures a CPU second of one thread, with the lowest cosine to torch's float32.

``packaged`` is EfficientNet-Lite0 at 224 px and MiniLM; ``dinov2`` ViT-S/14 at 224 px of random
weights and MiniLM.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import helip
from helip.encoders.registry import image_encoder, text_encoder

SIDES = ("loop", "helip", "helip-bfloat16")
ENGINES = ("torch", "torch-bfloat16", "onnx", "openvino", "openvino-bfloat16")
WORDS = ("a", "the", "red", "old", "dog", "tree", "house", "man", "of", "with", "on", "near", "sky")
_BATCH = 32


def specs(encoder: str, folder: Path) -> tuple[str, str]:
    if encoder == "packaged":
        return "packaged:efficientnet-lite0", "packaged:minilm"
    path = folder / "vit.pt"
    if not path.exists():
        import timm

        torch.manual_seed(0)
        name = "vit_small_patch14_dinov2.lvd142m"
        model = timm.create_model(name, num_classes=0, img_size=224)
        torch.save(model.state_dict(), path)
    return f"timm:vit_small_patch14_dinov2.lvd142m@{path}?size=224", "packaged:minilm"


def make_data(folder: Path, rows: int) -> Path:
    from transforms import encoded

    data = folder / "data"
    if not data.exists():
        data.mkdir()
        draw = random.Random(0)
        for row, picture in enumerate(encoded(500, rows)):
            (data / f"{row:06d}.jpg").write_bytes(picture)
            caption = " ".join(draw.choices(WORDS, k=draw.randint(5, 15)))
            (data / f"{row:06d}.txt").write_text(caption)
    return data


class _Rows(torch.utils.data.Dataset[Any]):
    def __init__(self, data: Any, preprocess: Any) -> None:
        self.data, self.preprocess = data, preprocess

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, str]:
        sample = self.data[row]
        return self.preprocess(sample["image"]), sample["text"]


def by_loop(data: Path, images: str, texts: str, threads: int) -> tuple[np.ndarray, np.ndarray]:
    image, text = image_encoder(images), text_encoder(texts)
    reader = torch.utils.data.DataLoader(
        _Rows(helip.open_dataset(data), image.preprocess), batch_size=_BATCH, num_workers=threads
    )
    found: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
    with torch.inference_mode():
        for pixels, captions in reader:
            found[0].append(image.embed(pixels))
            found[1].append(text.embed(list(captions)))
    return torch.cat(found[0]).numpy(), torch.cat(found[1]).numpy()


def by_helip(
    data: Path, images: str, texts: str, folder: Path, precision: Any
) -> tuple[np.ndarray, np.ndarray]:
    with tempfile.TemporaryDirectory(dir=folder) as out:
        store = helip.embed(
            data, out=Path(out) / "s", image_encoder=images, text_encoder=texts, dtype="float32",
            precision=precision, device="cpu", progress=False,
        )  # fmt: skip
        return np.array(store.image), np.array(store.text)


def side(name: str, args: argparse.Namespace) -> None:
    """What a process of its own measures."""
    torch.set_num_threads(args.threads)
    images, texts = specs(args.encoder, args.folder)
    data = make_data(args.folder, args.rows)
    image_encoder(images), text_encoder(texts)  # imports and files are not what is timed
    began, cpu = time.perf_counter(), _cpu()
    if name == "loop":
        rows = by_loop(data, images, texts, args.threads)
    else:
        precision = "bfloat16" if name.endswith("bfloat16") else "float32"
        rows = by_helip(data, images, texts, args.folder, precision)
    seconds, cpu = time.perf_counter() - began, _cpu() - cpu
    np.savez(args.folder / f"{name}.npz", image=rows[0], text=rows[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu, "peak": peak}))


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def lowest_cosine(rows: np.ndarray, reference: np.ndarray) -> float:
    a, b = rows.astype(np.float64), reference.astype(np.float64)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(((a * b).sum(axis=1) / norms).min())


def compare(args: argparse.Namespace) -> dict[str, Any]:
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in args.sides}
    make_data(args.folder, args.rows)
    given = [f"--{name}={getattr(args, name)}" for name in ("rows", "encoder", "threads", "folder")]
    for repeat in range(args.repeats):
        for name in args.sides[:: 1 if repeat % 2 == 0 else -1]:
            done = subprocess.run(
                [sys.executable, __file__, "--side", name, *given], capture_output=True, text=True,
                check=True, env={**os.environ, "OMP_NUM_THREADS": str(args.threads)},
            )  # fmt: skip
            runs[name].append(json.loads(done.stdout.splitlines()[-1]))
    found: dict[str, Any] = {}
    reference = np.load(args.folder / f"{args.sides[0]}.npz")
    for name, each in runs.items():
        rows = np.load(args.folder / f"{name}.npz")
        found[name] = {
            "rows_a_second": args.rows / statistics.median(run["seconds"] for run in each),
            "rows_a_cpu_second": args.rows / statistics.median(run["cpu_seconds"] for run in each),
            "peak": max(run["peak"] for run in each),
            "cosines": {k: lowest_cosine(rows[k], reference[k]) for k in ("image", "text")},
            "runs": each,
        }
    return found


def engine(name: str, network: torch.nn.Module, example: torch.Tensor) -> Callable[[Any], Any]:
    """The image network on an engine, one thread: pictures → float32 rows."""
    kind, _, precision = name.partition("-")
    if kind == "torch":
        context = torch.autocast("cpu", dtype=torch.bfloat16, enabled=bool(precision))

        def by_torch(pixels: torch.Tensor) -> np.ndarray:
            with torch.inference_mode(), context:
                layout = pixels.to(memory_format=torch.channels_last)
                return np.asarray(network(layout).float().numpy())

        return by_torch
    if kind == "openvino":
        openvino = importlib.import_module("openvino")
        with torch.inference_mode():
            graph = openvino.convert_model(network, example_input=example)
        options = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
        options["INFERENCE_PRECISION_HINT"] = "bf16" if precision else "f32"
        compiled = openvino.Core().compile_model(graph, "CPU", options)
        return lambda pixels: next(iter(compiled([pixels.numpy()]).values()))
    runtime = importlib.import_module("onnxruntime")
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        path = f"{folder}/network.onnx"
        torch.onnx.export(
            network, (example,), path, dynamo=False, input_names=["x"], output_names=["y"],
            dynamic_axes={"x": {0: "n"}, "y": {0: "n"}},
        )  # fmt: skip
        options = runtime.SessionOptions()
        options.intra_op_num_threads = 1
        session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda pixels: session.run(None, {"x": pixels.numpy()})[0]


class _Network(torch.nn.Module):
    """The function of an encoder as a module, so that it can be traced."""

    def __init__(self, embed: Any) -> None:
        super().__init__()
        self.embed = embed

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.embed(pixels)


def compare_engines(args: argparse.Namespace) -> dict[str, Any]:
    torch.set_num_threads(1)
    encoder: Any = image_encoder(specs(args.encoder, args.folder)[0])
    data = helip.open_dataset(make_data(args.folder, args.rows))
    pixels = torch.stack([encoder.preprocess(data.image(row)) for row in range(min(args.rows, 96))])
    network = _Network(encoder.embed).eval()
    found: dict[str, Any] = {}
    reference = None
    for name in ENGINES:
        try:
            run = engine(name, network, pixels[:16])
        except ImportError as error:
            print(f"{name}: not installed ({error})")
            continue
        blocks = pixels.split(16)
        run(blocks[0])
        began = time.process_time()
        rows = np.concatenate([run(block) for block in blocks])
        rate = len(pixels) / (time.process_time() - began)
        reference = rows if reference is None else reference
        found[name] = {"rows_a_cpu_second": rate, "cosine": lowest_cosine(rows, reference)}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--rows", type=int, default=512)
    add("--encoder", choices=("packaged", "dinov2"), default="packaged")
    add("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    add("--engines", action="store_true", help="the image network alone")
    add("--repeats", type=int, default=3)
    add("--threads", type=int, default=2)
    add("--side", choices=SIDES, help=argparse.SUPPRESS)
    add("--folder", type=Path, help=argparse.SUPPRESS)
    add("--out", type=Path, default=Path("build/bench/embed.json"))
    args = parser.parse_args()
    if args.side:
        side(args.side, args)
        return
    with tempfile.TemporaryDirectory() as folder:
        args.folder = Path(folder)
        found = compare_engines(args) if args.engines else compare(args)
    for name, row in found.items():
        if args.engines:
            print(f"| {name} | {row['rows_a_cpu_second']:.1f} | {row['cosine']:.6f} |")
            continue
        print(
            f"| {name} | {row['rows_a_second']:.1f} | {row['rows_a_cpu_second']:.1f} | "
            f"{row['peak'] / 2**20:.0f} MiB | {row['cosines']['image']:.6f} | "
            f"{row['cosines']['text']:.6f} |"
        )
    given = {name: str(value) for name, value in vars(args).items() if name != "folder"}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps({"options": given, "sides": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
