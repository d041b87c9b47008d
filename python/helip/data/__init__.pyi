from .captions import captions_of
from .dataset import Dataset
from .decoding import decode_image
from .image_transform import ImageTransform
from .opening import open_dataset
from .packing import Packed, pack
from .picture_reader import TransformedPictures, captions_in_order
from .sample_index import SampleIndex

__all__ = [
    "Dataset",
    "ImageTransform",
    "Packed",
    "SampleIndex",
    "TransformedPictures",
    "captions_in_order",
    "captions_of",
    "decode_image",
    "open_dataset",
    "pack",
]
