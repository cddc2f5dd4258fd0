import numpy as np
import pytest
import tensorflow as tf

from tests.index.cases import clustered, ids
from tfrs_twotower.index.exact import ExactIndex
from tfrs_twotower.index.portable import PortableIndex
from tfrs_twotower.index.verify import verify_index


@pytest.fixture(scope="module")
def candidates() -> np.ndarray:
    return clustered(500, 16, seed=1)


def test_vectors_in_another_order_are_noticed(candidates):
    index = ExactIndex(candidates, ids(500))
    verify_index(index, candidates)
    with pytest.raises(RuntimeError, match="holds other vectors than it was given"):
        verify_index(index, candidates[::-1])


def test_scores_that_are_not_dot_products_are_noticed(candidates):
    class ScalingIndex(ExactIndex):
        def search(self, *arguments, **options):
            scores, rows = super().search(*arguments, **options)
            return scores * 1.01, rows

    with pytest.raises(RuntimeError, match="scores are not the dot products"):
        verify_index(ScalingIndex(candidates, ids(500)), candidates)


def test_an_exact_index_that_misses_candidates_is_noticed(candidates):
    class FirstRowsIndex(ExactIndex):
        def find_rows(self, queries, k, width, exclude):
            return tf.zeros_like(super().find_rows(queries, k, width, exclude)) + tf.range(width)

    with pytest.raises(RuntimeError, match="of candidates by their own vectors"):
        verify_index(FirstRowsIndex(candidates, ids(500)), candidates)


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-18, 1.0, 1e15])
def test_very_short_and_very_long_vectors_pass(candidates, scale):
    scaled = (candidates * scale).astype(np.float32)
    verify_index(ExactIndex(scaled, ids(500)), scaled)
    verify_index(PortableIndex(scaled, ids(500)), scaled)
