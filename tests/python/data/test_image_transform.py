"""Transforms in C++ against Pillow, torchvision and open_clip, with the same draws."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from torchvision.transforms import RandomResizedCrop

import helip
from helip.common.errors import InvalidArgumentError
from helip.data.decoding import decode_image
from helip.data.image_transform import ImageTransform
from support.data_samples import encoded
from support.image_reference import CounterRandom, random_region, reference
from support.picture_samples import PIXELS, off, photograph, whole

# Decoding


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("size", [(61, 47), (160, 120), (8, 8), (1, 1), (17, 200)])
def test_a_whole_jpeg_has_the_pixels_of_pillow(size, subsampling, progressive):
    data = encoded(
        photograph(*size), "JPEG", quality=90, subsampling=subsampling, progressive=progressive
    )
    assert off(whole(data), decode_image(data)) == 0


def test_a_grey_jpeg_has_the_pixels_of_pillow():
    data = encoded(photograph(90, 60).convert("L"), "JPEG")
    assert off(whole(data), decode_image(data)) == 0


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_a_whole_png_has_the_pixels_of_pillow(mode):
    image = photograph(61, 47)
    if mode in ("LA", "RGBA"):
        image.putalpha(photograph(61, 47, seed=1).convert("L"))
    data = encoded(image.convert(mode), "PNG")
    assert off(whole(data), decode_image(data)) == 0


def test_a_transparent_palette_entry_of_a_png_lies_over_white():
    image = photograph(40, 30).quantize(8)
    data = encoded(image, "PNG", transparency=3)
    assert off(whole(data), decode_image(data)) == 0


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("lossless", [False, True])
def test_a_whole_webp_has_the_pixels_of_pillow(mode, lossless):
    image = photograph(61, 47)
    if mode == "RGBA":
        image.putalpha(photograph(61, 47, seed=1).convert("L"))
    data = encoded(image, "WEBP", lossless=lossless, quality=80)
    assert off(whole(data), decode_image(data)) == 0


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_upright(orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(photograph(61, 40), kind, exif=exif.tobytes())
    upright = decode_image(data)
    assert off(whole(data), upright) == 0
    transform = ImageTransform(size=(20, 24), exact_decode=True, **PIXELS)
    for row in range(8):
        assert off(transform.from_bytes(data, row=row), reference(upright, transform, row=row)) <= 1


def test_orientation_may_stand_in_xmp():
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    data = encoded(photograph(61, 40), "JPEG", xmp=xmp)
    assert decode_image(data).size == (40, 61)
    exact = ImageTransform(size=(61, 40), crop="squash", exact_decode=True, **PIXELS)
    assert off(exact.from_bytes(data), decode_image(data)) == 0


def test_a_damaged_orientation_is_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    block = exif.tobytes()
    for length in range(6, len(block)):
        exact = ImageTransform(size=(40, 61), crop="squash", **PIXELS)
        data = encoded(photograph(61, 40), "JPEG", exif=block[:length])
        assert exact.from_bytes(data).shape == (40, 61, 3)


# Cropping and resizing


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_a_random_crop_is_that_of_torchvision_within_a_level(subsampling, interpolation):
    data = encoded(photograph(301, 222), "JPEG", subsampling=subsampling)
    image = decode_image(data)
    transform = ImageTransform(
        size=(64, 80), interpolation=interpolation, exact_decode=True, **PIXELS
    )
    for row in range(60):
        found = transform.from_bytes(data, seed=3, epoch=1, row=row)
        assert off(found, reference(image, transform, 3, 1, row)) <= 1


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_crops_of_other_formats_are_those_of_torchvision_too(kind):
    data = encoded(photograph(130, 222), kind)
    image = decode_image(data)
    transform = ImageTransform(size=50, **PIXELS)
    for row in range(40):
        assert off(transform.from_bytes(data, row=row), reference(image, transform, row=row)) <= 1


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize(
    ("source", "result"),
    [((100, 80), (37, 51)), ((33, 20), (90, 70)), ((3, 2), (40, 40)), ((400, 300), (7, 5)),
     ((1, 1), (9, 9)), ((64, 64), (64, 64)), ((5000, 3), (20, 20))],
)  # fmt: skip
def test_resizing_is_that_of_pillow_within_a_level(source, result, interpolation):
    image = photograph(*source) if min(source) > 3 else photograph(64, 64).resize(source)
    transform = ImageTransform(size=result, crop="squash", interpolation=interpolation, **PIXELS)
    found, expected = transform.from_image(image), reference(image, transform)
    difference = np.abs(found.numpy().astype(int) - expected.astype(int))
    # Where a picture grows, two of the roundings may fall otherwise.
    assert np.quantile(difference, 0.999) <= 1 and difference.max() <= 2
    assert (difference > 0).mean() < 0.1


def test_one_colour_stays_itself_at_any_size():
    for level in (0, 1, 127, 254, 255):
        image = Image.new("RGB", (701, 433), (level, 255 - level, 9))
        for row in range(10):
            found = ImageTransform(size=97, **PIXELS).from_image(image, row=row)
            assert (found.numpy() == (level, 255 - level, 9)).all()


def test_crops_are_distributed_as_those_of_torchvision():
    size, scale, ratio = (120, 200), (0.08, 1.0), (3 / 4, 4 / 3)
    ours = np.array([random_region(size, scale, ratio, CounterRandom(row)) for row in range(4000)])
    torch.manual_seed(0)
    image = Image.new("RGB", size[::-1])
    theirs = [RandomResizedCrop.get_params(image, scale, ratio) for _ in range(4000)]
    for column, other in zip(ours.T, np.array(theirs).T, strict=True):
        both = np.sort(np.concatenate([column, other]))
        below = [np.searchsorted(np.sort(part), both, side="right") for part in (column, other)]
        # Kolmogorov and Smirnov: p = 0.001 at 1.95 * sqrt(2 / n).
        assert np.abs(below[0] - below[1]).max() / 4000 < 1.95 * (2 / 4000) ** 0.5


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("size", [48, (40, 64)])
@pytest.mark.parametrize("picture", [(300, 200), (200, 301), (64, 64), (31, 500), (20, 20)])
def test_recipes_of_evaluation_are_those_of_open_clip(picture, size, mode):
    image = photograph(*picture)
    theirs = open_clip.image_transform(size, is_train=False, resize_mode=mode)
    ours = ImageTransform.eval(size, crop=mode)
    # Two levels of 255, over the smallest deviation: Pillow 13 may resize rows first.
    torch.testing.assert_close(ours(image), theirs(image), rtol=0, atol=2.01 / 255 / 0.2613)


def test_the_recipe_of_training_is_that_of_open_clip():
    image = photograph(300, 200)
    ours = ImageTransform.train(64)
    assert ours.scale == (0.9, 1.0) and ours.interpolation == "bicubic"
    found = ours.from_image(image, row=5).permute(1, 2, 0).numpy()
    pixels = reference(image, ours, row=5)
    expected = (pixels / 255.0 - ours.mean) / ours.std
    np.testing.assert_allclose(found, expected, rtol=0, atol=1.01 / 255 / 0.2613)


def test_what_is_not_the_picture_is_filled():
    image = Image.new("RGB", (40, 20), (1, 2, 3))
    transform = ImageTransform(size=40, crop="longest", fill=(7, 8, 9), **PIXELS)
    found = transform.from_image(image)
    assert (found[:10].numpy() == (7, 8, 9)).all() and (found[30:].numpy() == (7, 8, 9)).all()
    assert (found[10:30].numpy() == (1, 2, 3)).all()


def test_a_large_jpeg_is_decoded_smaller_and_looks_the_same():
    data = encoded(photograph(1200, 900), "JPEG", quality=92)
    fast, exact = (
        ImageTransform(size=224, scale=(0.9, 1.0), exact_decode=exact, **PIXELS)
        for exact in (False, True)
    )
    worst = 0.0
    for row in range(10):
        one, other = (t.from_bytes(data, row=row).numpy().astype(float) for t in (fast, exact))
        assert (one != other).any()
        worst = max(worst, float(np.sqrt(np.mean((one - other) ** 2))))
    assert worst < 2.0


# Augmentation


@pytest.mark.parametrize("step", ["brightness", "contrast", "saturation", "hue"])
def test_each_step_of_colour_jitter_is_that_of_torchvision(step):
    image = photograph(64, 64)
    strength = 0.5 if step == "hue" else 0.9
    transform = ImageTransform(
        size=64, crop="squash", jitter_probability=1.0, **{step: strength}, **PIXELS
    )
    for row in range(30):
        assert off(transform.from_image(image, row=row), reference(image, transform, row=row)) == 0


def test_every_hue_turns_as_in_pillow():
    levels = np.array([0, 1, 63, 127, 128, 200, 254, 255], dtype=np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(16, 32, 3)
    image = Image.fromarray(colours)
    transform = ImageTransform(
        size=(16, 32), crop="squash", jitter_probability=1.0, hue=0.5, **PIXELS
    )
    for row in range(60):
        assert off(transform.from_image(image, row=row), reference(image, transform, row=row)) == 0


@pytest.mark.parametrize("sigma", [0.0, 0.1, 0.3, 1.0, 1.7, 2.0, 5.0, 8.0])
@pytest.mark.parametrize("size", [(40, 31), (3, 2), (1, 1)])
def test_blur_is_that_of_pillow(sigma, size):
    image = photograph(64, 64).resize(size[::-1])
    transform = ImageTransform(
        size=size, crop="squash", blur_probability=1.0, blur_sigma=(sigma, sigma), **PIXELS
    )
    assert off(transform.from_image(image), reference(image, transform)) == 0


def test_grayscale_is_that_of_torchvision():
    image = photograph(64, 64)
    transform = ImageTransform(size=64, crop="squash", grayscale_probability=1.0, **PIXELS)
    assert off(transform.from_image(image), reference(image, transform)) == 0


def test_the_recipe_of_slip_is_that_of_torchvision():
    image = photograph(200, 150)
    transform = ImageTransform.slip(64, **PIXELS)
    for row in range(60):
        found = transform.from_image(image, seed=5, epoch=2, row=row, view=1)
        expected = reference(image, transform, 5, 2, row, 1)
        # A level of the resize grows by the factors of contrast, brightness and saturation, and a
        # level may turn the hue of a dark pixel.
        difference = np.abs(found.numpy().astype(int) - expected.astype(int))
        assert difference.mean() < 0.05 and difference.max() <= 12


def test_chances_are_those_that_were_asked_for():
    image = photograph(16, 16)
    for name in ("flip_probability", "grayscale_probability", "blur_probability"):
        transform = ImageTransform(size=16, crop="squash", **{name: 0.3}, **PIXELS)
        changed = [
            bool((transform.from_image(image, row=row).numpy() != np.asarray(image)).any())
            for row in range(2000)
        ]
        assert abs(np.mean(changed) - 0.3) < 0.04


# What a result depends on


def test_a_result_depends_on_its_key_alone():
    data = encoded(photograph(120, 90), "JPEG")
    transform = ImageTransform.slip(48)
    keys = [
        {"seed": s, "epoch": e, "row": r, "view": v}
        for s in (0, 1) for e in (0, 1) for r in (0, 1, 2) for v in (0, 1)
    ]  # fmt: skip
    alone = [transform.from_bytes(data, **key) for key in keys]
    assert len({value.numpy().tobytes() for value in alone}) == len(keys)
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda key: transform.from_bytes(data, **key), keys * 4))
    for found, expected in zip(together, alone * 4, strict=True):
        assert torch.equal(found, expected)


def test_turning_an_augmentation_off_leaves_the_crop_as_it_was():
    image = photograph(120, 90)
    jittered = ImageTransform(
        size=48, jitter_probability=1.0, brightness=1e-9, grayscale_probability=0.0, **PIXELS
    )
    plain = ImageTransform(size=48, **PIXELS)
    for row in range(5):
        assert off(jittered.from_image(image, row=row), plain.from_image(image, row=row)) <= 1


def test_bytes_and_pixels_give_the_same():
    data = encoded(photograph(120, 90), "JPEG")
    transform = ImageTransform.slip(48, exact_decode=True)
    for row in range(10):
        from_bytes = transform.from_bytes(data, row=row)
        from_image = transform.from_image(decode_image(data), row=row)
        torch.testing.assert_close(from_bytes, from_image, rtol=0, atol=1e-6)


def test_called_on_an_image_it_follows_the_generator_of_torch():
    image = photograph(120, 90)
    transform = ImageTransform.train(48)
    torch.manual_seed(1)
    first, second = transform(image), transform(image)
    torch.manual_seed(1)
    assert torch.equal(transform(image), first) and torch.equal(transform(image), second)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "uint8"])
def test_numbers_are_those_of_to_tensor_and_normalize(dtype, layout):
    from torchvision.transforms import functional as F

    image = photograph(30, 20)
    transform = ImageTransform(size=(20, 30), crop="squash", dtype=dtype, layout=layout)
    found = transform(image)
    expected = F.normalize(F.to_tensor(image), transform.mean, transform.std)
    if dtype == "uint8":
        expected = F.pil_to_tensor(image)
    if layout == "nhwc":
        expected = expected.permute(1, 2, 0)
    assert found.dtype == getattr(torch, dtype)
    assert tuple(found.shape) == transform.shape
    assert torch.equal(found, expected.to(found.dtype))


def test_it_pickles_compares_and_shows_what_was_changed():
    transform = ImageTransform.slip(96, dtype=torch.bfloat16)
    again = pickle.loads(pickle.dumps(transform))
    assert again == transform and hash(again) == hash(transform)
    image = photograph(120, 90)
    assert torch.equal(again.from_image(image, row=3), transform.from_image(image, row=3))
    assert repr(ImageTransform.eval(64)) == "ImageTransform(size=64, crop='shortest')"
    assert "hue=0.1" in repr(transform) and "dtype='bfloat16'" in repr(transform)
    assert helip.ImageTransform is ImageTransform


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"size": 0}, "height is 0"),
        ({"size": (1, 20000)}, "width is 20000"),
        ({"size": (1, 2, 3)}, "size"),
        ({"crop": "middle"}, "use random, shortest, longest or squash"),
        ({"interpolation": "nearest"}, "use bilinear or bicubic"),
        ({"scale": (0.5, 0.1)}, "scale is (0.5, 0.1)"),
        ({"scale": (0.5, 1.1)}, "<= 1"),
        ({"ratio": (0.0, 1.0)}, "width / height"),
        ({"flip_probability": 1.5}, "0 .. 1"),
        ({"blur_probability": float("nan")}, "blur_probability is nan"),
        ({"hue": 0.6}, "0 .. 0.5"),
        ({"blur_sigma": (0.1, 9.0)}, "8"),
        ({"dtype": "int8"}, "dtype is int8"),
        ({"layout": "chw"}, "use nhwc or nchw"),
        ({"std": (1.0, 0.0, 1.0)}, "std of channel 1"),
        ({"max_pixels": 0}, "max_pixels is 0"),
        ({"fill": (0, 0, 300)}, "fill"),
    ],
)
def test_options_outside_their_bounds_are_refused(options, part):
    with pytest.raises(InvalidArgumentError) as caught:
        ImageTransform(**options)
    assert part in str(caught.value)
