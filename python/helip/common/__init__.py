"""What every room needs: errors, files, progress, devices, processes. It knows no other room."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
