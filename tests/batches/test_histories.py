import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import make_interactions
from tfrs_twotower.batches.histories import CausalHistory, FixedHistory, LeaveOneOutHistory, Timeline
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.data.rows import NO_ROW


@st.composite
def timed(draw) -> Interactions:
    num_events = draw(st.integers(1, 25))

    def column(top: int) -> list[int]:
        return draw(st.lists(st.integers(0, top), min_size=num_events, max_size=num_events))

    data = make_interactions(column(3), column(5), range(num_events), num_queries=4, num_candidates=6)
    # There are few different times, so that ties occur.
    return dataclasses.replace(data, events=data.events.append_column("timestamp", [column(4)]))


def past(data: Interactions, query: int) -> list[int]:
    """A query's events in order of time; those of equal times in order of their rows."""
    rows = [event for event in range(data.num_events) if data.query_rows[event] == query]
    return sorted(rows, key=lambda event: (data.timestamps[event], event))


def found(history, data: Interactions, event: int) -> list[int]:
    """The events that the history returns, which are recognised by their ratings."""
    slots = history.slots(np.array([event]), data.query_rows[event : event + 1], data.candidate_rows[event : event + 1])
    assert slots.shape == (1, history.length)
    return [int(history.timeline.ratings[slot]) for slot in slots[0] if slot != NO_ROW]


@settings(deadline=None)
@given(data=timed(), length=st.integers(1, 6))
def test_a_causal_history_has_the_latest_candidates_before_the_target(data, length):
    history = CausalHistory(timeline=Timeline(data), length=length)
    for event in range(data.num_events):
        events = past(data, data.query_rows[event])
        before = events[: events.index(event)][-length:]
        expected = [other for other in before if data.candidate_rows[other] != data.candidate_rows[event]]
        assert found(history, data, event) == expected


@settings(deadline=None)
@given(data=timed(), length=st.integers(1, 6))
def test_a_leave_one_out_history_has_the_latest_candidates_but_the_target(data, length):
    history = LeaveOneOutHistory(timeline=Timeline(data), length=length)
    for event in range(data.num_events):
        others = [other for other in past(data, data.query_rows[event]) if other != event][-length:]
        expected = [other for other in others if data.candidate_rows[other] != data.candidate_rows[event]]
        assert found(history, data, event) == expected


@settings(deadline=None)
@given(data=timed(), length=st.integers(1, 6), query=st.integers(0, 3), candidate=st.integers(0, 5))
def test_a_fixed_history_has_the_latest_candidates_of_the_timeline_but_the_target(data, length, query, candidate):
    """As in training: the latest event with the target makes room for an earlier one."""
    history = FixedHistory(timeline=Timeline(data), length=length)
    slots = history.slots(np.array([99]), np.array([query], np.int32), np.array([candidate], np.int32))
    events = past(data, query)
    of_target = [other for other in events if data.candidate_rows[other] == candidate]
    others = [other for other in events if other not in of_target[-1:]][-length:]
    expected = [other for other in others if other not in of_target]
    assert slots.shape == (1, length)
    assert [int(history.timeline.ratings[slot]) for slot in slots[0] if slot != NO_ROW] == expected


def test_without_timestamps_events_are_in_the_order_of_their_rows():
    data = make_interactions([0, 0, 0], [2, 1, 0], [0, 1, 2], num_queries=1, num_candidates=3)
    assert found(CausalHistory(timeline=Timeline(data), length=5), data, 2) == [0, 1]


def test_a_timeline_may_be_empty():
    data = make_interactions([], [], [], num_queries=2, num_candidates=3)
    history = FixedHistory(timeline=Timeline(data), length=2)
    assert history.slots(np.array([0]), np.array([1]), np.array([0])).tolist() == [[NO_ROW, NO_ROW]]


@pytest.mark.parametrize("kind", [CausalHistory, LeaveOneOutHistory])
def test_a_candidate_rated_twice_is_not_in_its_own_history(kind):
    data = make_interactions([0, 0, 0], [1, 2, 1], [0, 1, 2], num_queries=1, num_candidates=3)
    assert found(kind(timeline=Timeline(data), length=5), data, 2) == [1]


@pytest.mark.parametrize("kind", [CausalHistory, LeaveOneOutHistory, FixedHistory])
def test_a_history_without_slots_is_refused(kind):
    data = make_interactions([0], [0], [1], num_queries=1, num_candidates=1)
    with pytest.raises(ValueError, match="`length` must be at least 1. Received: 0"):
        kind(timeline=Timeline(data), length=0)
