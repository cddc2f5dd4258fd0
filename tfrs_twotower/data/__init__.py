"""What an interaction table is: reading it from files and frames, keeping it, splitting it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
