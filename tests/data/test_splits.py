import dataclasses
import re
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import make_interactions
from tests.data.reading import exactly
from tfrs_twotower.data import splits
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.data.splits import Split


def interactions(num_events: int) -> Interactions:
    # Every event has a different rating, which identifies it, and a candidate of its own.
    rows = np.arange(num_events)
    return make_interactions(rows * 0, rows, rows, num_queries=1, num_candidates=num_events)


def parts(split: Split) -> list[list[float]]:
    return [part.ratings.tolist() for part in (split.train, split.validation, split.test)]


@st.composite
def timed(draw) -> Interactions:
    """Data with several events per query, few different times, and a different rating for each event."""
    num_queries, num_events = draw(st.integers(3, 12)), draw(st.integers(20, 80))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    data = make_interactions(
        rng.integers(0, num_queries, num_events),
        rng.integers(0, 6, num_events),
        np.arange(num_events),
        num_queries=num_queries,
        num_candidates=6,
    )
    times = rng.integers(0, draw(st.integers(3, 40)), num_events)
    return dataclasses.replace(data, events=data.events.append_column("timestamp", [times]))


TOO_SMALL = (
    "Every part must have at least one event",
    "A random split needs at least",
    "A query must have at least",
)


def quietly(make, *arguments, **options) -> Split | None:
    """Makes a split without showing its warnings; None if the data is too small for one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return make(*arguments, **options)
        except ValueError as error:
            if not any(text in str(error) for text in TOO_SMALL):
                raise
            return None


def check_partition(split: Split, data: Interactions) -> None:
    """Checks that every event is in exactly one part, unchanged."""
    everything = [event for part in (*parts(split), split.history.ratings.tolist()) for event in part]
    assert sorted(everything) == list(range(data.num_events))
    for part in (split.train, split.validation, split.test, split.history):
        rows = part.ratings.astype(int)
        assert part.events.equals(data.events.take(rows))
        assert (part.queries, part.candidates) == (data.queries, data.candidates)


def pairs_of(data: Interactions, query: int) -> set[int]:
    """Returns the candidates that a query has an event with."""
    return set(data.candidate_rows[data.query_rows == query])


@settings(deadline=None)
@given(data=timed(), num_test=st.integers(1, 3), num_validation=st.integers(1, 3))
def test_leave_last_out_holds_out_each_querys_latest_events(data, num_test, num_validation):
    split = quietly(splits.leave_last_out_split, data, num_test=num_test, num_validation=num_validation)
    if split is None:
        return
    check_partition(split, data)
    for query in range(data.num_queries):
        events = [event for event in range(data.num_events) if data.query_rows[event] == query]
        events.sort(key=lambda event: (data.timestamps[event], event))
        held = num_test + num_validation if len(events) > num_test + num_validation else 0
        expected = [
            events[: len(events) - held],
            events[len(events) - held : len(events) - num_test] if held else [],
            events[len(events) - num_test :] if held else [],
        ]
        for part, wanted in zip((split.train, split.validation, split.test), expected, strict=True):
            assert part.ratings[part.query_rows == query].tolist() == sorted(wanted)


@settings(deadline=None)
@given(data=timed(), test=st.floats(0.05, 0.6), validation=st.floats(0.05, 0.6))
def test_training_events_are_earlier_than_validation_and_test_events(data, test, validation):
    different = np.unique(data.timestamps)
    if len(different) < 3:
        with pytest.raises(ValueError, match="A split by time needs events at three different times or more"):
            splits.temporal_split(data, test=test, validation=validation)
        return
    split = quietly(splits.temporal_split, data, test=test, validation=validation)
    assert split is not None
    check_partition(split, data)
    assert split.train.timestamps.max() < split.validation.timestamps.min()
    assert split.validation.timestamps.max() < split.test.timestamps.min()
    # The test part has at least its share, unless that would need the two earliest times, and exceeds it by less than
    # the number of events at its first time.
    wanted = max(1, round(data.num_events * test))
    assert split.test.num_events >= wanted or split.test.timestamps.min() == different[2]
    first = np.sum(data.timestamps == split.test.timestamps.min())
    assert split.test.num_events - first < wanted


@settings(deadline=None)
@given(data=timed(), start=st.integers(1, 39), length=st.integers(1, 10))
def test_a_split_at_given_times_has_its_boundaries_there(data, start, length):
    split = quietly(splits.temporal_split_at, data, validation_start=start, test_start=start + length)
    if split is None:
        return
    check_partition(split, data)
    assert split.train.timestamps.max() < start <= split.validation.timestamps.min()
    assert split.validation.timestamps.max() < start + length <= split.test.timestamps.min()


@settings(deadline=None)
@given(data=timed(), seed=st.integers(0, 1000), target=st.floats(0.1, 0.9), share=st.floats(0.2, 0.6))
def test_unseen_queries_do_not_occur_in_training(data, seed, target, share):
    options = {"test": share, "validation": share, "target": target, "seed": seed}
    split = quietly(splits.unseen_queries_split, data, **options)
    if split is None:
        return
    check_partition(split, data)
    trained, validated, tested = (set(part.query_rows) for part in (split.train, split.validation, split.test))
    assert not trained & validated
    assert not trained & tested
    assert not validated & tested
    assert set(split.history.query_rows) <= validated | tested
    for query in validated | tested:
        total = len(pairs_of(data, query))
        held = pairs_of(split.validation, query) | pairs_of(split.test, query)
        assert len(held) == max(1, min(round(total * target), total - 1))
        assert not held & pairs_of(split.history, query)
    again = quietly(splits.unseen_queries_split, data, **options)
    assert parts(again) == parts(split)


@settings(deadline=None)
@given(data=timed(), seed=st.integers(0, 1000), num_folds=st.integers(2, 5))
def test_folds_hold_out_every_query_once(data, seed, num_folds):
    occurring = np.unique(data.query_rows)
    if not 2 <= num_folds <= len(occurring):
        with pytest.raises(
            ValueError,
            match=f"`num_folds` must be at most .* Received: num_folds={num_folds}, {len(occurring)} queries",
        ):
            splits.unseen_queries_folds(data, num_folds=num_folds, seed=seed)
        return
    folds = quietly(lambda: list(splits.unseen_queries_folds(data, num_folds=num_folds, seed=seed)))
    if folds is None:
        return
    assert sorted(np.concatenate([np.unique(fold.test.query_rows) for fold in folds])) == occurring.tolist()
    for fold in folds:
        check_partition(fold, data)
        held_out = {*fold.validation.query_rows, *fold.test.query_rows}
        assert not held_out & set(fold.train.query_rows)
        assert not set(fold.validation.query_rows) & set(fold.test.query_rows)
        assert set(fold.history.query_rows) <= held_out


def test_coarse_times_are_split_between_days():
    """There are twenty events on each of five days: the test part is the last day, validation the day before."""
    data = interactions(100)
    data = dataclasses.replace(data, events=data.events.append_column("timestamp", [np.repeat(np.arange(5), 20)]))
    split = splits.temporal_split(data, test=0.1, validation=0.1)
    assert [len(part) for part in parts(split)] == [60, 20, 20]


def test_a_held_out_query_of_two_events_has_a_history():
    data = make_interactions(np.repeat(np.arange(10), 2), [0, 1] * 10, np.arange(20), num_queries=10, num_candidates=2)
    split = splits.unseen_queries_split(data, test=0.3, validation=0.3, target=0.9, seed=0)
    assert sorted(split.history.query_rows) == sorted({*split.test.query_rows, *split.validation.query_rows})


def test_a_warning_points_at_the_callers_line():
    data = make_interactions([0] * 6, [0, 0, 0, 1, 2, 3], np.arange(6), num_queries=1, num_candidates=4)
    data = dataclasses.replace(data, events=data.events.append_column("timestamp", [np.arange(6)]))
    for make in (
        lambda: splits.temporal_split(data),
        lambda: splits.temporal_split_at(data, validation_start=3, test_start=4),
        lambda: splits.leave_last_out_split(data),
    ):
        with pytest.warns(UserWarning, match="Without a training event") as record:
            make()
        assert record[0].filename == __file__


def test_a_warning_about_a_split_by_query_points_at_the_callers_line():
    rows = np.arange(6)
    data = make_interactions(rows, rows, rows, num_queries=6, num_candidates=6)
    for make in (
        lambda: splits.unseen_queries_split(data, test=0.3, validation=0.3, seed=0),
        lambda: next(splits.unseen_queries_folds(data, num_folds=3, validation=0.3, seed=0)),
    ):
        with pytest.warns(UserWarning, match="Without a training event") as record:
            make()
        assert record[0].filename == __file__


def test_a_warning_counts_queries_and_candidates_without_a_training_event():
    # In order of time, query 2 and candidates 3 and 4 occur only in the test part, in two and three events.
    data = make_interactions(
        [0, 0, 1, 1, 0, 2, 2, 0],
        [0, 1, 0, 1, 0, 3, 4, 3],
        np.arange(8),
        num_queries=3,
        num_candidates=5,
    )
    data = dataclasses.replace(data, events=data.events.append_column("timestamp", [np.arange(8)]))
    message = (
        r"Without a training event: 1 of 2 queries of the test part \(2 events\); "
        r"2 of 2 candidates of the test part \(3 events\)"
    )
    with pytest.warns(UserWarning, match=message):
        splits.temporal_split_at(data, validation_start=4, test_start=5)


@pytest.mark.parametrize("seed", range(3))
def test_unseen_candidates_do_not_occur_in_training(seed):
    data = many_candidates()
    split = quietly(splits.unseen_candidates_split, data, test=0.3, validation=0.2, seed=seed)
    check_partition(split, data)
    trained, validated, tested = (set(part.candidate_rows) for part in (split.train, split.validation, split.test))
    assert not trained & validated
    assert not trained & tested
    assert not validated & tested
    assert (len(tested), len(validated), len(trained)) == (6, 3, 11)  # 20 * 0.3, 14 * 0.2 and the rest
    assert parts(quietly(splits.unseen_candidates_split, data, test=0.3, validation=0.2, seed=seed)) == parts(split)


def test_there_is_no_warning_about_candidates_held_out_on_purpose():
    with warnings.catch_warnings(record=True) as issued:
        warnings.simplefilter("always")
        splits.unseen_candidates_split(many_candidates(), test=0.3, validation=0.2, seed=0)
    assert not any("candidates" in str(warning.message) for warning in issued)


def many_candidates() -> Interactions:
    """Data in which each of five queries has an event with each of twenty candidates."""
    rows = np.arange(100)
    return make_interactions(rows % 5, rows // 5, np.arange(100.0), num_queries=5, num_candidates=20)


@pytest.mark.parametrize(
    "make",
    [
        splits.leave_last_out_split,
        splits.temporal_split,
        lambda data: splits.temporal_split_at(data, validation_start=1, test_start=2),
    ],
)
def test_a_split_by_time_needs_times(make):
    with pytest.raises(ValueError, match="A split by time needs `timestamp`"):
        make(interactions(30))


def test_the_times_of_a_split_must_be_in_order():
    with pytest.raises(ValueError, match="`validation_start` must be before `test_start`. Received: 5 and 5"):
        splits.temporal_split_at(interactions(30), validation_start=5, test_start=5)


@pytest.mark.parametrize("option", ["num_test", "num_validation"])
def test_a_held_out_number_must_be_positive(option):
    with pytest.raises(ValueError, match=f"`{option}` must be at least 1. Received: 0"):
        splits.leave_last_out_split(interactions(30), **{option: 0})


@settings(deadline=None, max_examples=50)
@given(
    num_events=st.integers(30, 400),
    seed=st.integers(0, 2**32),
    test=st.floats(0.1, 0.8),
    validation=st.floats(0.1, 0.8),
)
def test_a_split_is_a_seeded_partition(num_events, seed, test, validation):
    data = interactions(num_events)
    split = splits.random_split(data, test=test, validation=validation, seed=seed)
    everything = [event for part in parts(split) for event in part]
    assert sorted(everything) == list(range(num_events))
    assert split.test.num_events == round(num_events * test)
    assert parts(splits.random_split(data, test=test, validation=validation, seed=seed)) == parts(split)


def test_another_seed_gives_another_split():
    data = interactions(200)
    assert parts(splits.random_split(data, seed=0)) != parts(splits.random_split(data, seed=1))


def test_parts_keep_the_order_of_the_data():
    split = splits.random_split(interactions(100), seed=0)
    for part in parts(split):
        assert part == sorted(part)


def test_seen_consists_of_training_and_validation():
    split = splits.random_split(interactions(100), seed=0)
    train, validation, _ = parts(split)
    assert split.seen.ratings.tolist() == train + validation


def test_context_is_training_and_the_history_of_held_out_queries():
    rows = np.arange(50)
    data = make_interactions(rows // 5, rows % 5, rows, num_queries=10, num_candidates=5)
    split = splits.unseen_queries_split(data, test=0.3, validation=0.3, seed=0)
    assert split.context.ratings.tolist() == split.train.ratings.tolist() + split.history.ratings.tolist()
    # 10 - 3 - 2 queries of 5 events train; the other 5 have round(5 * 0.2) = 1 target and 4 events of history each.
    assert split.context.num_events == 5 * 5 + 5 * 4


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1])
def test_a_share_outside_0_to_1_is_refused(share):
    with pytest.raises(ValueError, match=r"`test` must be a share in \(0, 1\)"):
        splits.random_split(interactions(10), test=share, seed=0)
    with pytest.raises(ValueError, match=r"`validation` must be a share in \(0, 1\)"):
        splits.random_split(interactions(10), validation=share, seed=0)


def test_an_empty_part_is_refused():
    one_pair = make_interactions(np.zeros(30, int), np.zeros(30, int), np.arange(30), num_queries=1, num_candidates=1)
    with pytest.raises(ValueError, match="Every part must have at least one event. Received 30 events"):
        splits.random_split(one_pair, seed=0)


# round(n * test) and round((n - that) * validation) are 1 or more from this n on.
@pytest.mark.parametrize(
    ("test", "validation", "needed"), [(0.2, 0.1, 7), (0.5, 0.5, 4), (0.2, 0.25, 4), (0.01, 0.1, 51), (0.9, 0.5, 16)]
)
def test_a_random_split_of_too_few_events_says_how_many_it_needs(test, validation, needed):
    split = quietly(splits.random_split, interactions(needed), test=test, validation=validation, seed=0)
    assert split is not None
    message = f"A random split needs at least {needed} events with test={test} and validation={validation}. Received: "
    with pytest.raises(ValueError, match=f"{re.escape(message)}{needed - 1}. Change the shares, or split more events."):
        splits.random_split(interactions(needed - 1), test=test, validation=validation, seed=0)


@pytest.mark.parametrize(("test", "validation"), [(1e-300, 0.5), (0.5, 1e-300), (1 - 1e-16, 1 - 1e-16)])
def test_extreme_shares_need_more_events_than_there_are(test, validation):
    with pytest.raises(ValueError, match="A random split needs at least .* Received: 30. Change the shares"):
        splits.random_split(interactions(30), test=test, validation=validation, seed=0)


def test_leave_last_out_of_queries_with_too_few_events_says_how_many_they_need():
    rows = np.arange(5)
    data = make_interactions(np.array([0, 0, 0, 1, 1]), rows, rows, num_queries=2, num_candidates=5)
    data = dataclasses.replace(data, events=data.events.append_column("timestamp", [rows]))
    with pytest.raises(
        ValueError,
        match="A query must have at least 4 events to leave its last 2 to the test and 1 before them to validation. "
        "Received: at most 3 events of a query, 5 in all. Split them at random or by time, or in smaller parts.",
    ):
        splits.leave_last_out_split(data, num_test=2)


@settings(deadline=None)
@given(data=timed(), seed=st.integers(0, 1000), test=st.floats(0.1, 0.5), validation=st.floats(0.1, 0.5))
def test_a_random_split_keeps_the_events_of_a_pair_together(data, seed, test, validation):
    split = quietly(splits.random_split, data, test=test, validation=validation, seed=seed)
    if split is None:
        return
    check_partition(split, data)
    pairs = [set(zip(part.query_rows, part.candidate_rows, strict=True)) for part in (split.train, split.test)]
    pairs.append(set(zip(split.validation.query_rows, split.validation.candidate_rows, strict=True)))
    assert sum(map(len, pairs)) == len(set.union(*pairs))
    # The size differs from the share by the events of one pair at most.
    largest = np.unique(data.query_rows * 6 + data.candidate_rows, return_counts=True)[1].max()
    assert 0 <= split.test.num_events - round(data.num_events * test) < largest


SPLIT = splits.random_split(interactions(30), seed=0)
SEEDED = (splits.random_split, splits.unseen_queries_split, splits.unseen_candidates_split, splits.unseen_queries_folds)
AT = {"validation_start": 1, "test_start": 2}
SEED_TEXT = "`seed` must be a whole number of at least 0. Received: {}. The same seed gives the same result."


@pytest.mark.parametrize("make", SEEDED)
@pytest.mark.parametrize(
    ("seed", "error", "received"),
    [(None, TypeError, "None"), (-1, ValueError, "-1"), (1.5, TypeError, "1.5"), (True, TypeError, "True")],
)
def test_a_seed_is_a_whole_number(make, seed, error, received):
    with exactly(error, SEED_TEXT.format(received)):
        make(interactions(30), seed=seed)


@pytest.mark.parametrize(
    ("make", "options"),
    [
        *((make, {"seed": 0}) for make in SEEDED),
        (splits.leave_last_out_split, {}),
        (splits.temporal_split, {}),
        (splits.temporal_split_at, AT),
    ],
)
@pytest.mark.parametrize(
    ("data", "received"),
    [
        (SPLIT, "a Split. Pass one part of the split, such as `split.train` or `split.seen`."),
        (7, "a int. Read a table or a file with `load_ratings` first."),
        ("ratings.csv", "a str. Read a table or a file with `load_ratings` first."),
    ],
)
def test_only_interactions_can_be_split(make, options, data, received):
    with exactly(TypeError, f"`interactions` must be `Interactions`. Received: {received}"):
        make(data, **options)


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (splits.random_split, {"test": None, "seed": 0}, "`test` must be a share in (0, 1). Received: None."),
        (splits.temporal_split, {"validation": "1"}, "`validation` must be a share in (0, 1). Received: '1'."),
        (
            splits.temporal_split_at,
            {"validation_start": "2024-01-01", "test_start": 5},
            "`validation_start` must be a number of seconds since 1970-01-01 UTC. Received: '2024-01-01'.",
        ),
    ],
)
def test_an_option_of_the_wrong_type_is_named(make, options, message):
    with exactly(TypeError, message):
        make(interactions(30), **options)
