"""The index, the bundle that carries it, and how a version appears."""
