"""Measures of a model: retrieval, zero-shot, linear probe, composition, choice, forgetting."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
