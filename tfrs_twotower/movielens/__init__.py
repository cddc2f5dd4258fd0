"""MovieLens in every form it comes in: TensorFlow Datasets, GroupLens's archives, the package index."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
