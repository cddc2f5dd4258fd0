"""The bundle: one SavedModel with everything a host needs, and the manifest that describes it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
