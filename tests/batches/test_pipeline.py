import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrs_twotower.batches.pipeline import WHOLE, Shard, epoch_numbers


@pytest.mark.parametrize(("index", "count"), [(1, 1), (-1, 2), (0, 0)])
def test_a_shard_beyond_the_number_of_workers_is_refused(index, count):
    with pytest.raises(ValueError, match=rf"`index` must be in 0\.\.count - 1. Received: index={index}, count={count}"):
        Shard(index=index, count=count)


@given(num_events=st.integers(0, 50), count=st.integers(1, 12))
def test_a_shards_size_is_the_number_of_its_events(num_events, count):
    for index in range(count):
        assert Shard(index=index, count=count).size(num_events) == len(range(index, num_events, count))


def test_a_single_worker_has_every_event():
    assert WHOLE.size(7) == 7


def test_epoch_numbers_go_on_with_each_iteration():
    numbers = epoch_numbers(3)
    assert [[int(number) for number in numbers] for _ in range(3)] == [[3], [4], [5]]
