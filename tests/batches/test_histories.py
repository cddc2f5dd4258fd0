import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tfrs_twotower as tt
from tests.conftest import make_interactions
from tfrs_twotower.batches.histories import HistoryApart, HistoryBefore, HistoryKnown, Timeline


@st.composite
def timed(draw) -> tt.Interactions:
    num_events = draw(st.integers(1, 25))

    def column(top: int) -> list[int]:
        return draw(st.lists(st.integers(0, top), min_size=num_events, max_size=num_events))

    data = make_interactions(column(3), column(5), range(num_events), num_queries=4, num_candidates=6)
    # Few different times, so that ties occur.
    return dataclasses.replace(data, events=data.events.append_column("timestamp", [column(4)]))


def past(data: tt.Interactions, query: int) -> list[int]:
    """A query's events by time, of equal times by row."""
    rows = [event for event in range(data.num_events) if data.query_rows[event] == query]
    return sorted(rows, key=lambda event: (data.timestamps[event], event))


def found(history, data: tt.Interactions, event: int) -> list[int]:
    """Events that the history gives, told by their ratings."""
    slots = history.slots(np.array([event]), data.query_rows[event : event + 1], data.candidate_rows[event : event + 1])
    assert slots.shape == (1, history.length)
    return [int(history.timeline.ratings[slot]) for slot in slots[0] if slot >= 0]


@settings(deadline=None)
@given(data=timed(), length=st.integers(1, 6))
def test_before_is_the_latest_before_the_target(data, length):
    history = HistoryBefore(timeline=Timeline(data), length=length)
    for event in range(data.num_events):
        events = past(data, data.query_rows[event])
        before = events[: events.index(event)][-length:]
        expected = [other for other in before if data.candidate_rows[other] != data.candidate_rows[event]]
        assert found(history, data, event) == expected


@settings(deadline=None)
@given(data=timed(), length=st.integers(1, 6))
def test_apart_is_the_latest_but_the_target(data, length):
    history = HistoryApart(timeline=Timeline(data), length=length)
    for event in range(data.num_events):
        others = [other for other in past(data, data.query_rows[event]) if other != event][-length:]
        expected = [other for other in others if data.candidate_rows[other] != data.candidate_rows[event]]
        assert found(history, data, event) == expected


@settings(deadline=None)
@given(data=timed(), length=st.integers(1, 6), query=st.integers(0, 3), candidate=st.integers(0, 5))
def test_known_is_the_latest_of_the_timeline(data, length, query, candidate):
    history = HistoryKnown(timeline=Timeline(data), length=length)
    slots = history.slots(np.array([99]), np.array([query], np.int32), np.array([candidate], np.int32))
    expected = [other for other in past(data, query)[-length:] if data.candidate_rows[other] != candidate]
    assert [int(history.timeline.ratings[slot]) for slot in slots[0] if slot >= 0] == expected


def test_without_times_the_row_is_the_order():
    data = make_interactions([0, 0, 0], [2, 1, 0], [0, 1, 2], num_queries=1, num_candidates=3)
    assert found(HistoryBefore(timeline=Timeline(data), length=5), data, 2) == [0, 1]


def test_a_timeline_may_be_empty():
    data = make_interactions([], [], [], num_queries=2, num_candidates=3)
    history = HistoryKnown(timeline=Timeline(data), length=2)
    assert history.slots(np.array([0]), np.array([1]), np.array([0])).tolist() == [[-1, -1]]


@pytest.mark.parametrize("kind", [HistoryBefore, HistoryApart])
def test_a_target_rated_twice_is_not_in_its_own_history(kind):
    data = make_interactions([0, 0, 0], [1, 2, 1], [0, 1, 2], num_queries=1, num_candidates=3)
    assert found(kind(timeline=Timeline(data), length=5), data, 2) == [1]


@pytest.mark.parametrize("kind", [HistoryBefore, HistoryApart, HistoryKnown])
def test_a_history_has_a_slot(kind):
    data = make_interactions([0], [0], [1], num_queries=1, num_candidates=1)
    with pytest.raises(ValueError, match="`length` must be at least 1. Received: 0"):
        kind(timeline=Timeline(data), length=0)
