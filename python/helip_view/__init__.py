"""What people see and say of pairs: the web viewer, blinded studies, what is learnt from verdicts.

It ships with helip and uses its public names; ``pip install 'helip[view]'`` brings what it needs.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
