"""Publishing: bundles become versions, which appear all at once and can be withdrawn."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
