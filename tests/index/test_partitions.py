import numpy as np
import pytest

from tests.index.cases import clustered
from tfrs_twotower.data.rows import NO_ROW
from tfrs_twotower.index.partitions import partition_catalogue


@pytest.mark.parametrize("num", [1, 31, 32, 33, 1000])
def test_every_row_is_in_one_partition(num):
    rows = partition_catalogue(clustered(num, 4, seed=1)).rows
    assert rows.shape[1] == 32
    assert sorted(rows[rows != NO_ROW]) == list(range(num))


def test_centres_and_spreads_are_those_of_the_members():
    vectors = clustered(500, 4, seed=1)
    partitions = partition_catalogue(vectors, partition_size=8)
    for rows, centre, spread in zip(partitions.rows, partitions.centres, partitions.spreads, strict=True):
        members = vectors[rows[rows != NO_ROW]].astype(np.float64)
        np.testing.assert_allclose(centre, members.mean(axis=0), atol=1e-5)  # float32 sums of 8 values near 1
        distances = np.linalg.norm(members - members.mean(axis=0), axis=1)
        np.testing.assert_allclose(spread, np.sqrt(np.mean(distances**2)), atol=1e-5)


def test_equal_vectors_are_partitioned():
    rows = partition_catalogue(np.ones((100, 3), np.float32)).rows
    assert sorted(rows[rows != NO_ROW]) == list(range(100))
