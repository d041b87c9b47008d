"""What in a data set is doubled, mismatched or odd, and which rows to keep."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
