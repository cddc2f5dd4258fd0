"""MovieLens from TensorFlow Datasets, from GroupLens's archives, and from the Python package index."""
