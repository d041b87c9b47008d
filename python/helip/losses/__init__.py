"""Losses over the features of a batch: CLIP, SigLIP, the margin loss, SLIP's SSL, distillation."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
