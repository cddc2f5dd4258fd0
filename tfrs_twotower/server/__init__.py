"""Server: published bundles answer TensorFlow Serving's REST and gRPC requests, without TensorFlow Serving."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
