"""NVIDIA DALI on the CPU: its reader of files, decoder of crops and resize, by threads.

The decoder decodes the region of the crop alone, in full size. ``dali`` resizes by a cubic filter
with antialias as the others do, ``dali-linear`` by a linear one, as its examples do.

Its reader goes through a list of files from front to back: here the rows in the order that is
asked for. So hard pairs take a list for the epochs to come, and another pipeline for other rows.
Captions become tokens in the main thread, while the pipeline is at its next batch.
"""

from __future__ import annotations

from pictures import Pictures

from loader_sides.order import Order
from loader_sides.side import DEVIATION, MEAN, RATIO, SCALE, SIZE, Batches, Side, tokenizer

EPOCHS = 4  # that the list is made for


def cubic(pictures: Pictures, order: Order, workers: int) -> Batches:
    return _dali(pictures, order, workers, "INTERP_CUBIC")


def linear(pictures: Pictures, order: Order, workers: int) -> Batches:
    return _dali(pictures, order, workers, "INTERP_LINEAR")


def _dali(pictures: Pictures, order: Order, workers: int, filter: str) -> Batches:
    from nvidia.dali import fn, pipeline_def, types
    from nvidia.dali.plugin.pytorch import DALIGenericIterator

    files, captions, words = pictures.files, pictures.captions, tokenizer()
    rows = order.first(EPOCHS * order.rows // order.batch * order.batch).tolist()

    @pipeline_def(batch_size=order.batch, num_threads=workers, device_id=None)
    def pipeline():
        encoded, row = fn.readers.file(
            files=[files[row] for row in rows], labels=rows, name="files", prefetch_queue_depth=2,
        )  # fmt: skip
        pixels = fn.decoders.image_random_crop(
            encoded, device="cpu", output_type=types.RGB,
            random_area=SCALE, random_aspect_ratio=RATIO,
        )  # fmt: skip
        pixels = fn.resize(
            pixels, size=(SIZE, SIZE), interp_type=getattr(types, filter), antialias=True
        )
        image = fn.crop_mirror_normalize(
            pixels, dtype=types.FLOAT, output_layout="CHW",
            mean=[255 * mean for mean in MEAN], std=[255 * deviation for deviation in DEVIATION],
        )  # fmt: skip
        return image, row

    built = pipeline()
    built.build()
    loader = DALIGenericIterator([built], ["image", "row"], reader_name="files", auto_reset=True)

    def batches() -> Batches:
        while True:
            for (batch,) in loader:
                taken = batch["row"][:, 0].tolist()
                yield batch["image"], words([captions[row] for row in taken])

    return batches()


IMPORTS = ("nvidia.dali.fn", "nvidia.dali.plugin.pytorch")
SIDES = {
    "dali": Side(cubic, IMPORTS, "nvidia-dali-cuda120"),
    "dali-linear": Side(linear, IMPORTS, "nvidia-dali-cuda120"),
}
