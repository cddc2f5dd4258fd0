"""Data: tables of interactions are read from files and data frames, stored, and split."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
