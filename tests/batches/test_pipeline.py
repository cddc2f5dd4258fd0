import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrs_twotower.batches.pipeline import WHOLE, EpochCounter, Shard, number_epoch_0, number_epochs


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


def test_overlapping_iterations_keep_their_epochs():
    numbers = EpochCounter(3).number_epoch(2)
    first, second = iter(numbers), iter(numbers)
    epochs = [int(next(iteration)[0]) for iteration in (first, second, first, second)]
    assert epochs == [3, 4, 3, 4]


def test_epochs_in_one_go_are_those_of_one_iteration_after_the_other():
    counter = EpochCounter(3)
    endless = counter.from_start(lambda epoch, number: number_epochs(epoch, number, 2))
    one_by_one = [pair for _ in range(3) for pair in counter.number_epoch(2).as_numpy_iterator()]
    assert list(endless.take(6).as_numpy_iterator()) == one_by_one
    counter.start_at(4, 1)
    assert list(endless.take(3).as_numpy_iterator()) == one_by_one[3:]
    assert counter.next_epoch == 4


def test_batches_that_are_evaluated_are_always_of_epoch_0():
    numbers = number_epoch_0(2)
    assert [[(int(epoch), int(number)) for epoch, number in numbers] for _ in range(2)] == [[(0, 0), (0, 1)]] * 2
