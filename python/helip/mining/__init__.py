"""Hard pair mining: from two embedding matrices to a table of hard pairs."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
