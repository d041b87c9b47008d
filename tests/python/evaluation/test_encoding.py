"""A model turns pictures and strings into features, and is handed back as it was."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

import helip
from helip.common.errors import InvalidArgumentError
from helip.data.image_transform import ImageTransform
from helip.data.picture_reader import chosen_core
from helip.evaluation.encoding import RowReader, Subject
from helip.evaluation.evaluating import evaluate
from helip.evaluation.options import EvaluateOptions
from helip.models.locking import lock_towers, train_mode
from support.evaluate_samples import (
    COLOURS,
    ColourData,
    ColourModel,
    picture,
    png,
    tiny_model,
    tokenizer,
    transform,
    write_benchmark,
    write_sugarcrepe,
)
from support.tune_samples import RESNET, pictures, tiny, weights


def test_evaluating_in_mid_run_thaws_no_frozen_batch_norm():
    bundle = tiny(RESNET)
    lock_towers(bundle.model, image=True)
    train_mode(bundle.model)
    modes = {name: module.training for name, module in bundle.model.named_modules()}
    assert modes[""] and not modes["visual.bn1"]
    subject = Subject.of(bundle, None, None, EvaluateOptions(device="cpu"))
    with subject.ready():
        assert not any(module.training for module in bundle.model.modules())
    assert {name: m.training for name, m in bundle.model.named_modules()} == modes
    before = weights(bundle.model)["visual.bn1.running_mean"]
    with torch.no_grad():
        bundle.model.visual(pictures(bundle))
    assert torch.equal(bundle.model.visual.bn1.running_mean, before)


OPTIONS = {"bootstrap": 0, "device": "cpu", "progress": False, "keep_ranks": True}


def smooth(seed: int, size: tuple[int, int] = (90, 70)) -> Image.Image:
    """A picture with the spectrum of photographs: noise at several sizes."""
    random = np.random.default_rng(seed)
    total = np.zeros((size[1], size[0], 3))
    for step in (3, 7, 20):
        small = Image.fromarray(random.integers(0, 256, (step, step, 3), dtype=np.uint8))
        total += np.asarray(small.resize(size, Image.Resampling.BICUBIC), dtype=np.float64)
    return Image.fromarray((total / 3).astype(np.uint8))


def jpeg(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90, **options)
    return file.getvalue()


@pytest.fixture
def folder(tmp_path):
    """Photographs and others: JPEG, PNG, palette, CMYK (left to Pillow), one damaged."""
    root = tmp_path / "pictures"
    root.mkdir()
    for row in range(12):
        (root / f"{row:02d}.jpg").write_bytes(jpeg(smooth(row)))
    (root / "12.png").write_bytes(png(smooth(12)))
    smooth(13).convert("P").save(root / "13.png")
    (root / "14.jpg").write_bytes(jpeg(smooth(14).convert("CMYK")))
    smooth(15).convert("L").save(root / "15.gif")
    (root / "16.jpg").write_bytes(jpeg(smooth(16))[:900])
    for row in range(17):
        (root / f"{row:02d}.txt").write_text("" if row == 3 else f"number {row}")
    return root


def encoded_by(reader, folder, bundle, **options):
    seen = []

    class Noting(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = bundle.model

        def encode_image(self, pixels):
            features = self.model.encode_image(pixels)
            seen.append((pixels, features))
            return features

        def encode_text(self, tokens):
            return self.model.encode_text(tokens)

    result = evaluate(
        Noting(), str(folder), transform=bundle.eval_transform, tokenizer=bundle.tokenizer,
        reader=reader, **OPTIONS | options,
    )  # fmt: skip
    pixels, features = (torch.cat(part) for part in zip(*seen, strict=True))
    return result, pixels, features


@pytest.mark.parametrize("batch_size", [1, 5, 256])
def test_the_core_and_pillow_give_the_same_features_and_account(folder, batch_size):
    bundle = tiny_model(seed=3)
    pillow, pixels, reference = encoded_by("pillow", folder, bundle)
    core, ours, features = encoded_by("core", folder, bundle, batch_size=batch_size, workers=2)
    assert (core["reader"], pillow["reader"]) == ("core", "pillow")
    assert core["skipped"] == pillow["skipped"]
    assert core["skipped"]["reasons"] == {"missing_caption": 1, "unreadable_image": 1}
    assert ours.shape == pixels.shape == (16, 3, 16, 16)
    std = torch.tensor(ImageTransform.eval().std)[:, None, None]
    assert ((ours - pixels) * std * 255).abs().max() <= 2.01  # levels of a pixel
    cosine = torch.nn.functional.cosine_similarity(
        (features - reference.mean(0)).double(), (reference - reference.mean(0)).double()
    )
    assert cosine.min() > 0.999
    assert core["retrieval"]["rows"] == pillow["retrieval"]["rows"] == 15


def test_auto_takes_the_core_for_files_and_open_clips_transform_alone(folder):
    bundle = tiny_model()
    data = helip.open_dataset(str(folder))
    assert evaluate(bundle, data, **OPTIONS)["reader"] == "core"
    assert evaluate(bundle, data.subset([5, 2, 9]), **OPTIONS)["reader"] == "core"

    def own(image):
        return bundle.eval_transform(image)

    assert evaluate(bundle, data, transform=own, **OPTIONS)["reader"] == "pillow"
    colours = ColourData([(name, f"a {name} thing") for name in COLOURS])
    options = {"transform": transform, "tokenizer": tokenizer, **OPTIONS}
    assert evaluate(ColourModel(), colours, **options)["reader"] == "pillow"


def test_an_image_transform_of_helip_is_done_by_the_core_with_exact_decoding(folder):
    data = helip.open_dataset(str(folder))
    given = ImageTransform.eval(16)
    assert chosen_core("auto", data, given) == ImageTransform.eval(16, exact_decode=True)
    assert chosen_core("pillow", data, given) is None
    assert chosen_core("auto", data, ImageTransform.eval(16, layout="nhwc")) is None
    assert chosen_core("auto", data, ImageTransform.eval(16, dtype="uint8")) is None


def test_the_core_is_refused_with_the_reason_where_it_cannot_read(folder):
    data = helip.open_dataset(str(folder))
    with pytest.raises(
        InvalidArgumentError, match="reader is 'core', and the transform is neither"
    ):
        evaluate(tiny_model(), data, transform=transform, reader="core", **OPTIONS)
    colours = ColourData([(name, f"a {name} thing") for name in COLOURS])
    with pytest.raises(InvalidArgumentError, match="pictures of ColourData are not files"):
        evaluate(tiny_model(), colours, reader="core", **OPTIONS)
    with pytest.raises(InvalidArgumentError, match="reader is 'fast'"):
        evaluate(tiny_model(), data, reader="fast", **OPTIONS)


def test_every_kind_of_set_is_read_by_the_core(tmp_path):
    colours = list(COLOURS.values())
    labelled = [(png(picture(i, colours[i % 4])), str(i % 4)) for i in range(12)]
    classes = write_benchmark(tmp_path / "a", labelled, classes=list(COLOURS))
    write_benchmark(classes, labelled[::-1], split="train")
    probed = evaluate(tiny_model(), classes, tasks=("zero_shot", "linear_probe"), **OPTIONS)
    assert (probed["reader"], probed["linear_probe"]["train_reader"]) == ("core", "core")

    captioned = [(png(picture(i)), f"one {i}\ntwo {i}") for i in range(8)]
    several = write_benchmark(tmp_path / "b", captioned, retrieval=True)
    found = {r: evaluate(tiny_model(), several, reader=r, **OPTIONS) for r in ("core", "pillow")}
    assert found["core"]["retrieval"] == found["pillow"]["retrieval"]

    sugar = write_sugarcrepe(tmp_path / "c", {"swap": [(f"{i}.png", "a b", "b a") for i in (0, 1)]})
    (sugar / "images").mkdir()
    for number in (0, 1):
        (sugar / "images" / f"{number}.png").write_bytes(png(picture(number)))
    composed = evaluate(tiny_model(), sugar, **OPTIONS)
    assert composed["reader"] == "core"


def test_parts_of_pictures_are_read_by_pillow(tmp_path):
    import json

    item = {
        "image_path": "0.png", "true_caption": "a b", "false_caption": "b a",
        "bbox_x": 1, "bbox_y": 1, "bbox_w": 9, "bbox_h": 9, "relation_name": "on",
    }  # fmt: skip
    (tmp_path / "aro.json").write_text(json.dumps([item]))
    (tmp_path / "0.png").write_bytes(png(picture(0)))
    assert evaluate(tiny_model(), tmp_path / "aro.json", **OPTIONS)["reader"] == "pillow"


def test_a_reader_that_is_left_half_way_lets_its_pictures_go(folder):
    data = helip.open_dataset(str(folder))
    reader = RowReader(
        data=data, rows=np.arange(17), pictures=np.arange(17), captions=True, transform=None,
        core=ImageTransform.eval(16), batch_size=3, workers=0,
    )  # fmt: skip
    batches = iter(reader)
    first = next(batches)
    assert first.pictures == [0, 1, 2]
    batches.close()
    again = list(reader)
    assert sum(batch.rows for batch in again) == 17
    assert torch.equal(again[0].pixels, first.pixels)
