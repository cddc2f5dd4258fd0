"""Indexes: they find the best candidates for a query's vector, and know vectors and ids but no model."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
