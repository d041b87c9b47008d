from .dataset import Dataset
from .image_transform import ImageTransform
from .opening import open_dataset
from .sample_index import SampleIndex

__all__ = [
    "Dataset",
    "ImageTransform",
    "SampleIndex",
    "open_dataset",
]
