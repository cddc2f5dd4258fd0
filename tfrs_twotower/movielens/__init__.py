"""MovieLens by every way it comes: TensorFlow Datasets, GroupLens's archives, the package index."""
