import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrs_twotower.batches.shuffle import shuffled_positions


def order(num_events: int, **key: int) -> list[int]:
    return shuffled_positions(np.arange(num_events), num_events, **key).tolist()


@settings(deadline=None)
@given(num_events=st.integers(1, 3000), seed=st.integers(0, 2**40), epoch=st.integers(0, 1000))
def test_an_epoch_is_a_permutation_that_follows_from_seed_and_epoch(num_events, seed, epoch):
    events = order(num_events, seed=seed, epoch=epoch)
    assert sorted(events) == list(range(num_events))
    assert events == order(num_events, seed=seed, epoch=epoch)


@settings(deadline=None)
@given(data=st.data(), num_events=st.integers(1, 2**40), seed=st.integers(0, 100))
def test_a_place_is_computed_without_the_others(data, num_events, seed):
    places = np.array(data.draw(st.lists(st.integers(0, num_events - 1), min_size=1, max_size=20, unique=True)))
    events = shuffled_positions(places, num_events, seed=seed, epoch=0)
    assert len(set(events.tolist())) == len(places)
    assert events.min() >= 0
    assert events.max() < num_events
    alone = shuffled_positions(places[:1], num_events, seed=seed, epoch=0)
    assert alone[0] == events[0]


def test_the_order_is_the_same_on_every_machine():
    # A golden, written down once: a change of this order changes every training that is repeated or resumed.
    assert order(8, seed=1, epoch=2) == [7, 2, 6, 1, 0, 5, 3, 4]


def test_seeds_and_epochs_give_different_orders():
    orders = [order(1000, seed=seed, epoch=epoch) for seed in range(3) for epoch in range(3)]
    for first in range(9):
        for second in range(first):
            # Two independent permutations of n agree in one place on average, Poisson distributed.
            assert sum(a == b for a, b in zip(orders[first], orders[second], strict=True)) < 10


def test_every_event_comes_as_often_in_every_place():
    num_events, epochs = 30, 3000
    counts = np.zeros((num_events, num_events))
    for epoch in range(epochs):
        counts[np.arange(num_events), order(num_events, seed=5, epoch=epoch)] += 1
    expected = epochs / num_events
    statistic = ((counts - expected) ** 2 / expected).sum()
    # Chi-squared with (n - 1)^2 degrees of freedom: mean 841, standard deviation 41; six of them above the mean.
    assert statistic < 841 + 6 * 41


def test_neighbours_are_unrelated():
    events = np.array(order(100_000, seed=2, epoch=1))
    # Correlations of independent values have a standard deviation of 1 / sqrt(n) = 0.003.
    assert abs(np.corrcoef(np.arange(100_000), events)[0, 1]) < 0.02
    assert abs(np.corrcoef(events[:-1], events[1:])[0, 1]) < 0.02
