"""Fine-tuning with hard pairs: a recipe, a loop, and a run on disk."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
