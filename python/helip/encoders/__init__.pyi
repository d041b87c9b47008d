from .embedding import embed
from .registry import PRESETS, ImageEncoder, TextEncoder, image_encoder, text_encoder
from .spec import EncoderSpec, parse_spec

__all__ = [
    "PRESETS",
    "EncoderSpec",
    "ImageEncoder",
    "TextEncoder",
    "embed",
    "image_encoder",
    "parse_spec",
    "text_encoder",
]
