"""CLIP and SLIP models with their transforms, tokenizer and configuration."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
