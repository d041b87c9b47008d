"""helip's models in CLIP_benchmark (LAION-AI/CLIP_benchmark, on the registry as clip_benchmark).

    python -m helip.integrations.clip_benchmark eval --model_type helip \\
        --model RUN --pretrained RUN/checkpoints/step-000400/model.safetensors \\
        --dataset wds/imagenet1k --dataset_root "data/{dataset}" \\
        --output "{dataset}_{pretrained_full_path}_{task}.json"

is CLIP_benchmark's own command line with one more model type. In a program, ``register()`` adds
the type, and ``load_helip`` gives what ``clip_benchmark.models.load_clip`` gives.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from helip.common.errors import UnsupportedError, needed
from helip.models.bundle import ModelBundle, create_model
from helip.models.source import CONFIG_FILE

MODEL_TYPE = "helip"

Clip = tuple[torch.nn.Module, Callable[[Any], torch.Tensor], Callable[[list[str]], torch.Tensor]]


def as_clip(bundle: ModelBundle, device: str | torch.device = "cpu") -> Clip:
    """(model, transform, tokenizer) of a bundle, in eval mode on ``device``."""
    if bundle.eval_transform is None or bundle.tokenizer is None:
        raise UnsupportedError(
            f"the model {bundle.name!r} brings no eval_transform or no tokenizer; make it with "
            "create_model"
        )
    return bundle.model.to(device).eval(), bundle.eval_transform, bundle.tokenizer


def load_helip(
    model_name: str,
    pretrained: str = "",
    cache_dir: str | None = None,
    device: str | torch.device = "cpu",
) -> Clip:
    """What CLIP_benchmark's ``load_clip`` expects of a loader.

    ``pretrained`` is a saved model, a checkpoint, or its weights file; where its configuration lies
    beside it ``model_name`` is but a label. Otherwise ``model_name`` is the architecture, or a
    saved model where ``pretrained`` is empty. ``cache_dir`` is not used: nothing is downloaded.
    """
    place = Path(pretrained) if pretrained else None
    if place is not None and ((place if place.is_dir() else place.parent) / CONFIG_FILE).is_file():
        return as_clip(create_model(place), device)
    return as_clip(create_model(model_name, checkpoint=pretrained or None), device)


def register() -> None:
    """Let CLIP_benchmark know ``--model_type helip``; again is harmless."""
    with needed("this needs CLIP_benchmark", "clip_benchmark requests"):
        from clip_benchmark import models
    models.TYPE2FUNC[MODEL_TYPE] = load_helip
    if MODEL_TYPE not in models.MODEL_TYPES:
        models.MODEL_TYPES.append(MODEL_TYPE)


def main() -> Any:
    """CLIP_benchmark's command line, with helip's models."""
    register()
    from clip_benchmark import cli

    return cli.main()


if __name__ == "__main__":
    main()
