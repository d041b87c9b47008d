"""Embeddings of a data set on disk, and matrices as the C++ core takes them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
