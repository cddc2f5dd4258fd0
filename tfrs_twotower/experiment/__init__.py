"""Experiments: everything from a table to a published bundle, declared in one object or one file."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
