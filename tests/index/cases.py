"""Catalogues, and every kind of index, for the tests of this folder."""

import functools

import numpy as np
import pytest

from tfrs_twotower.index.exact import ExactIndex
from tfrs_twotower.index.portable import PortableEffort, PortableIndex
from tfrs_twotower.index.scann import ScannIndex

EXCLUDING = ((3, 1), (20, 4))


def build_tree(embeddings, ids):
    """A ScaNN tree, or ScaNN's exact search for fewer than 16 candidates, from which ScaNN builds no tree."""
    if len(embeddings) < 16:
        return ScannIndex(embeddings, ids)
    return ScannIndex(embeddings, ids, num_partitions=max(1, len(embeddings) // 20), excluding=EXCLUDING)


def build_portable(embeddings, ids):
    return PortableIndex(embeddings, ids, excluding=EXCLUDING)


def build_portable_searching(num_partitions, embeddings, ids):
    effort = PortableEffort(num_partitions_to_search=num_partitions)
    return PortableIndex(embeddings, ids, effort=effort, excluding=EXCLUDING)


EXACT = [
    pytest.param(ExactIndex, id="exact"),
    pytest.param(ScannIndex, id="scann", marks=pytest.mark.scann),
    pytest.param(functools.partial(build_portable_searching, 10**6), id="portable-all"),
]
APPROXIMATE = [
    pytest.param(build_tree, id="scann-tree", marks=pytest.mark.scann),
    pytest.param(build_portable, id="portable"),
    pytest.param(functools.partial(build_portable_searching, 1), id="portable-one"),
]


def ids(n: int) -> list[str]:
    return [f"m{row}" for row in range(n)]


def clustered(num: int, dim: int, seed: int) -> np.ndarray:
    """Vectors in 50 clusters, whose centres are the same for every seed."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(50, dim))
    return (centres[rng.integers(50, size=num)] + 0.5 * rng.normal(size=(num, dim))).astype(np.float32)
