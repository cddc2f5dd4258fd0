"""The contract of every kind of index, compared with sorting in Python."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.index.cases import APPROXIMATE, EXACT, clustered, ids
from tfrs_twotower.index.exact import ExactIndex
from tfrs_twotower.index.kinds import build_best_index, build_exact_index, build_portable_index, build_scann_index
from tfrs_twotower.index.ordering import NO_SCORE
from tfrs_twotower.index.partitions import Partitions
from tfrs_twotower.index.portable import PortableEffort, PortableIndex
from tfrs_twotower.index.scann import ScannEffort, ScannIndex

SIZES = (1, 15, 16, 99, 100, 60_000)
SIZES_IN_GRAPH = (1, 99, 60_000)  # tracing takes most of the time


def expected(queries, embeddings, k, exclude):
    """(scores, rows) by sorting in Python."""
    num_slots = min(k, len(embeddings))
    all_scores, all_rows = [], []
    for query, excluded in zip(queries, exclude, strict=True):
        scores = embeddings.astype(np.float64) @ query.astype(np.float64)
        left = [row for row in range(len(embeddings)) if row not in set(excluded)]
        best = sorted(left, key=lambda row: (-scores[row], row))[:num_slots]
        empty = num_slots - len(best)
        all_rows.append(best + [-1] * empty)
        all_scores.append([scores[row] for row in best] + [NO_SCORE] * empty)
    return np.array(all_scores).reshape(len(queries), -1), np.array(all_rows).reshape(len(queries), -1)


def require_sound(scores, rows, queries, embeddings, k, exclude=None):
    """Checks what every kind promises: number of columns, order, exact scores, no row twice, no excluded row, and no
    empty slot while candidates are left."""
    scores, rows = np.asarray(scores), np.asarray(rows)
    num = len(embeddings)
    assert scores.shape == rows.shape == (len(queries), min(k, num))
    assert np.isfinite(scores).all()
    assert (np.diff(scores, axis=1) <= 0).all()
    is_found = rows >= 0
    assert (rows < num).all()
    assert (scores[~is_found] == NO_SCORE).all()
    wanted = np.einsum("qd,qkd->qk", queries.astype(np.float64), embeddings[np.maximum(rows, 0)].astype(np.float64))
    lengths = np.linalg.norm(queries.astype(np.float64), axis=1)[:, None] * np.linalg.norm(
        embeddings[np.maximum(rows, 0)].astype(np.float64), axis=2
    )
    # A sum of float32 products errs by some units in the last place of the lengths.
    assert (np.abs(scores - wanted) <= 1e-5 * lengths + 1e-30)[is_found].all()
    for row in range(len(queries)):
        found = rows[row][is_found[row]].tolist()
        excluded = set() if exclude is None else {value for value in exclude[row] if 0 <= value < num}
        assert len(set(found)) == len(found) == min(k, num - len(excluded))
        assert not set(found) & excluded


@st.composite
def searches(draw, max_candidates: int, max_excluded: int):
    """(embeddings, queries, k, exclude)."""
    num_candidates, batch = draw(st.integers(1, max_candidates)), draw(st.integers(1, 4))
    k, num_excluded = draw(st.integers(1, max_candidates + 10)), draw(st.integers(0, max_excluded))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    # With small integers every score is exact in float32, and ties occur.
    embeddings = rng.integers(-3, 4, (num_candidates, 4)).astype(np.float32)
    queries = rng.integers(-3, 4, (batch, 4)).astype(np.float32)
    return embeddings, queries, k, rng.integers(-1, num_candidates + 2, (batch, num_excluded)).astype(np.int32)


@pytest.mark.parametrize("build", EXACT)
@settings(deadline=None, max_examples=40)
@given(search=searches(12, 15))
def test_an_exact_search_agrees_with_sorting_in_python(build, search):
    embeddings, queries, k, exclude = search
    scores, rows = build(embeddings, ids(len(embeddings))).search(tf.constant(queries), k, tf.constant(exclude))
    expected_scores, _ = expected(queries, embeddings, k, exclude)
    # Any of several equal candidates may get the last slot, so only the scores are compared.
    np.testing.assert_array_equal(scores, expected_scores.astype(np.float32))
    require_sound(scores, rows, queries, embeddings, k, exclude)


@pytest.mark.parametrize("build", APPROXIMATE)
@settings(deadline=None, max_examples=25)
@given(search=searches(90, 40))
def test_an_approximate_search_keeps_every_promise_except_to_find_the_best(build, search):
    embeddings, queries, k, exclude = search
    scores, rows = build(embeddings, ids(len(embeddings))).search(tf.constant(queries), k, tf.constant(exclude))
    require_sound(scores, rows, queries, embeddings, k, exclude)


@pytest.mark.parametrize("build", [*EXACT, *APPROXIMATE])
@pytest.mark.parametrize("num", SIZES)
def test_catalogues_of_any_size_are_searched_for_any_k(build, num):
    """Whether k is a number, or, for some sizes, a tensor whose value the graph does not know."""
    embeddings, queries = clustered(num, 8, seed=1), clustered(3, 8, seed=2)
    index = build(embeddings, ids(num))
    truth = -np.sort(-(queries.astype(np.float64) @ embeddings.T.astype(np.float64)), axis=1)
    searches = [index.search]
    if num in SIZES_IN_GRAPH:
        in_graph = tf.function(index.search)  # traced once
        searches.append(lambda queries, k: in_graph(queries, tf.constant(k)))
    for k in sorted({1, 10, 100, num, num + 1}):
        for search in searches:
            scores, rows = search(tf.constant(queries), k)
            require_sound(scores, rows, queries, embeddings, k)
            if index.is_exact or k >= num:
                np.testing.assert_allclose(scores, truth[:, :k], rtol=1e-4, atol=1e-4)  # float32 sums of 8 products


@pytest.mark.parametrize("build", [*EXACT, *APPROXIMATE])
def test_the_result_of_a_query_does_not_depend_on_its_batch(build):
    embeddings, queries = clustered(3000, 16, seed=1), tf.constant(clustered(65, 16, seed=2))
    index = build(embeddings, ids(3000))
    # Some queries exclude nothing, and some exclude so many that the search is exact.
    exclude = np.random.default_rng(0).integers(0, 3000, (65, 40)).astype(np.int32)
    exclude[np.arange(40) >= np.arange(65)[:, None]] = -1
    search = tf.function(lambda queries, exclude: index.search(queries, 20, exclude), reduce_retracing=True)
    scores, rows = search(queries, tf.constant(exclude))
    for row in range(65):
        alone = search(queries[row : row + 1], tf.constant(exclude[row : row + 1, : max(1, row)]))
        np.testing.assert_array_equal(alone[0][0], scores[row])
        np.testing.assert_array_equal(alone[1][0], rows[row])


@pytest.mark.parametrize("build", APPROXIMATE)
def test_the_effort_of_a_search_depends_on_the_number_of_exclusions(build, monkeypatch):
    index, queries = build(clustered(3000, 16, seed=1), ids(3000)), tf.constant(clustered(1, 16, seed=2))
    find, tried = index._find_remaining, []

    def record(max_exclusions, multiple, *arguments):
        tried.append((max_exclusions, multiple))
        return find(max_exclusions, multiple, *arguments)

    monkeypatch.setattr(index, "_find_remaining", record)
    for num, expected_tries in ((0, [(0, 1)]), (2, [(3, 1)]), (3, [(3, 1)]), (4, [(20, 4)]), (21, [])):
        exclude = tf.constant([[*range(num), *([-1, 3000] * 30)]])  # values that are not rows do not count
        index.search(queries, 10, exclude)
        assert tried == expected_tries
        tried.clear()


@pytest.mark.parametrize("build", [*EXACT, *APPROXIMATE])
def test_an_empty_batch_returns_no_rows_and_all_columns(build):
    index = build(clustered(100, 3, seed=1), ids(100))
    for exclude in (None, tf.zeros([0, 4], tf.int32), tf.zeros([0, 0], tf.int32)):
        scores, rows = index.search(tf.zeros([0, 3]), 7, exclude)
        assert scores.shape == rows.shape == [0, 7]


@pytest.mark.parametrize("build", [*EXACT, *APPROXIMATE])
def test_everything_excluded_leaves_empty_slots(build):
    index = build(clustered(40, 3, seed=1), ids(40))
    scores, rows = index.search(tf.ones([2, 3]), 2, tf.constant([[*range(40), -1, 7], [*range(1, 40), -1, -1, -1]]))
    assert rows.numpy().tolist() == [[-1, -1], [0, -1]]
    assert scores.numpy()[0].tolist() == [NO_SCORE, NO_SCORE]


@pytest.mark.parametrize("build", [*EXACT, *APPROXIMATE])
@pytest.mark.parametrize("kind", ["zero", "identical", "huge", "tiny", "one far away"])
@pytest.mark.parametrize("num", [20, 700])
def test_unusual_vectors_are_searched_correctly(build, kind, num):
    embeddings = clustered(num, 6, seed=1)
    embeddings = {
        "zero": np.zeros_like(embeddings),
        "identical": np.ones_like(embeddings),
        "huge": embeddings * 1e6,
        "tiny": embeddings * 1e-20,
        "one far away": np.concatenate([embeddings[1:], embeddings[:1] * 1e6]),
    }[kind].astype(np.float32)
    queries = np.concatenate([clustered(3, 6, seed=2), np.zeros((1, 6)), 1e6 * clustered(2, 6, seed=3)])
    queries = queries.astype(np.float32)
    exclude = np.random.default_rng(0).integers(-1, num, (6, 5)).astype(np.int32)
    index = build(embeddings, ids(num))
    scores, rows = index.search(tf.constant(queries), 9, tf.constant(exclude))
    require_sound(scores, rows, queries, embeddings, 9, exclude)


@pytest.mark.parametrize("build", [*EXACT, *APPROXIMATE])
def test_a_query_that_is_not_finite_gets_empty_slots_and_does_not_affect_others(build):
    index = build(clustered(300, 4, seed=1), ids(300))
    queries = clustered(3, 4, seed=2)
    scores, rows = index.search(tf.constant(queries), 5)
    for bad in (np.nan, np.inf, -np.inf, 1e19, 3e38):
        spoilt = queries.copy()
        spoilt[1, 2] = bad
        spoilt_scores, spoilt_rows = index.search(tf.constant(spoilt), 5)
        assert spoilt_rows[1].numpy().tolist() == [-1] * 5, bad
        assert spoilt_scores[1].numpy().tolist() == [NO_SCORE] * 5, bad
        for row in (0, 2):
            np.testing.assert_array_equal(spoilt_rows[row], rows[row])
            np.testing.assert_array_equal(spoilt_scores[row], scores[row])


@pytest.mark.parametrize("build", [*EXACT, *APPROXIMATE])
@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_float_types_are_converted_to_float32(build, dtype):
    embeddings, queries = clustered(200, 4, seed=1).astype(dtype), clustered(3, 4, seed=2).astype(dtype)
    scores, rows = build(embeddings, ids(200)).search(tf.constant(queries), 5)
    assert scores.dtype == tf.float32
    require_sound(scores, rows, queries.astype(np.float32), embeddings.astype(np.float32), 5)


@pytest.mark.parametrize("build", [*EXACT, *APPROXIMATE])
def test_k_may_be_a_tensor(build):
    index, queries = build(clustered(50, 4, seed=1), ids(50)), tf.constant(clustered(3, 4, seed=2))
    search = tf.function(index.search)
    for k in (1, 7, 50, 80):
        for ours, theirs in zip(search(queries, tf.constant(k)), index.search(queries, k), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(tf.errors.InvalidArgumentError, match="`k` must be at least 1"):
        search(queries, tf.constant(0))
    with pytest.raises(ValueError, match="`k` must be at least 1. Received: 0"):
        index.search(queries, 0)


@pytest.mark.parametrize("build", [*EXACT, *APPROXIMATE])
def test_ten_thousand_random_exclusions_never_leak(build):
    """There are 10,000 queries with up to 60 exclusions each, the best candidates among them, and scores up to 1e6."""
    rng = np.random.default_rng(0)
    embeddings = clustered(400, 8, seed=1) * 1000
    queries = clustered(10_000, 8, seed=2) * 100
    best = np.argsort(-(queries @ embeddings.T), axis=1)
    assert (queries @ embeddings.T).max() > 1e6
    exclude = np.where(rng.random((10_000, 60)) < 0.5, best[:, :60], rng.integers(-1, 500, (10_000, 60)))
    exclude[np.arange(60) >= rng.integers(0, 61, 10_000)[:, None]] = -1
    exclude = exclude.astype(np.int32)
    _, rows = tf.function(build(embeddings, ids(400)).search)(tf.constant(queries), 10, tf.constant(exclude))
    rows = rows.numpy()
    assert (rows >= 0).all()  # at least 340 candidates are left
    assert not (rows[:, :, None] == exclude[:, None, :]).any()


@pytest.mark.scann
def test_scann_equals_exact():
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(5000, 64)).astype(np.float32)
    queries = tf.constant(rng.normal(size=(64, 64)).astype(np.float32))
    exclude = tf.constant(rng.integers(-1, 5000, (64, 300)).astype(np.int32))
    for k in (1, 10, 100):
        exact = ExactIndex(embeddings, ids(5000)).search(queries, k, exclude)
        scann = ScannIndex(embeddings, ids(5000)).search(queries, k, exclude)
        for ours, theirs in zip(scann, exact, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("embeddings", "message"),
    [
        (np.zeros((2, 3), int), r"must be floats \[num_candidates, embedding_dim\].*Received: int64 \[2, 3\]"),
        (np.zeros((0, 3), np.float32), "at least one candidate and one dimension"),
        (np.zeros((2, 0), np.float32), "at least one candidate and one dimension"),
        (np.zeros(2, np.float32), r"Received: float32 \[2\]"),
        (np.zeros((3, 1), np.float32), "Received: 2 ids, 3 embeddings"),
        (np.array([[0], [np.nan]], np.float32), "Received 1 with NaN or infinity, of candidates 'm1'"),
        (np.array([[np.inf], [0]], np.float32), "of candidates 'm0'"),
        (np.array([[0], [1e300]]), "must be finite in float32. Received 1 with NaN or infinity, of candidates 'm1'"),
        (np.array([[0], [1e19]], np.float32), r"must be no longer than 1e\+18. Received 1 longer, of candidates 'm1'"),
    ],
)
@pytest.mark.parametrize("build", [*EXACT, *APPROXIMATE])
def test_invalid_embeddings_are_refused(build, embeddings, message):
    with pytest.raises(ValueError, match=message):
        build(embeddings, ids(2))


@pytest.mark.parametrize("build", [*EXACT, *APPROXIMATE])
def test_repeated_ids_are_refused(build):
    with pytest.raises(ValueError, match="`ids` must be unique. Received twice: 'a'."):
        build(np.eye(3, dtype=np.float32), ["a", "b", "a"])


def test_a_nan_among_many_embeddings_raises_a_python_error():
    """ScaNN's own builder would abort the process."""
    embeddings = clustered(2000, 4, seed=1)
    embeddings[1234, 2] = np.nan
    for build in (build_exact_index, build_scann_index, build_portable_index, build_best_index):
        with pytest.raises(ValueError, match="of candidates 'm1234'"):
            build(embeddings, ids(2000), embeddings[:10])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        pytest.param(
            lambda: ScannIndex(np.eye(15, dtype=np.float32), ids(15), num_partitions=2),
            "`num_partitions` needs at least 16 candidates. Received: 15",
            marks=pytest.mark.scann,
        ),
        pytest.param(
            lambda: ScannIndex(np.eye(20, dtype=np.float32), ids(20), num_partitions=21),
            "`num_partitions` must be at most num_candidates. Received: num_partitions=21, num_candidates=20",
            marks=pytest.mark.scann,
        ),
        pytest.param(
            lambda: ScannIndex(np.eye(20, dtype=np.float32), ids(20), num_partitions=0),
            "`num_partitions` must be at least 1. Received: 0",
            marks=pytest.mark.scann,
        ),
        pytest.param(
            lambda: ScannIndex(
                np.eye(20, dtype=np.float32), ids(20), num_partitions=4, effort=ScannEffort(num_partitions_to_search=5)
            ),
            "`num_partitions_to_search` must be at most num_partitions. "
            "Received: num_partitions_to_search=5, num_partitions=4",
            marks=pytest.mark.scann,
        ),
        pytest.param(
            lambda: ScannIndex(np.eye(20, dtype=np.float32), ids(20), effort=ScannEffort(num_partitions_to_search=1)),
            "`effort` needs `num_partitions`",
            marks=pytest.mark.scann,
        ),
        (lambda: ScannEffort(num_partitions_to_search=0), "`num_partitions_to_search` must be at least 1"),
        (
            lambda: ScannEffort(num_partitions_to_search=1, num_reordering_candidates=0),
            "`num_reordering_candidates` must be at least 1",
        ),
        (lambda: PortableEffort(num_partitions_to_search=0), "`num_partitions_to_search` must be at least 1"),
        *(
            (
                functools.partial(PortableIndex, np.eye(2, dtype=np.float32), ids(2), excluding=excluding),
                "`excluding` must be .* pairs, both ascending and at least 1. Received: ",
            )
            for excluding in ([(0, 1)], [(5, 0)], [(5, 1), (5, 2)], [(5, 2), (6, 1)])
        ),
    ],
)
def test_numbers_out_of_range_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.scann
def test_an_effort_is_checked_when_it_is_assigned():
    index = ScannIndex(clustered(100, 4, seed=1), ids(100), num_partitions=4)
    with pytest.raises(ValueError, match="`num_partitions_to_search` must be at most num_partitions"):
        index.effort = ScannEffort(num_partitions_to_search=5)
    assert index.effort == ScannEffort(num_partitions_to_search=1)  # a fiftieth of four partitions, rounded up


def test_exclusions_are_checked_when_they_are_assigned():
    index = PortableIndex(clustered(100, 4, seed=1), ids(100))
    with pytest.raises(ValueError, match="`excluding` must be"):
        index.excluding = [(5, 0)]
    assert index.excluding == ()


def test_a_portable_index_searches_all_of_its_partitions_at_most():
    index = PortableIndex(clustered(100, 4, seed=1), ids(100), effort=PortableEffort(num_partitions_to_search=1000))
    assert index.effort == PortableEffort(num_partitions_to_search=index.num_partitions)
    assert index.is_exact


def test_parameters_are_those_of_the_structure_and_the_effort():
    partitions = Partitions(
        rows=np.arange(320, dtype=np.int32).reshape(10, 32),
        centres=np.zeros((10, 4), np.float32),
        spreads=np.ones(10, np.float32),
    )
    index = PortableIndex(
        clustered(320, 4, seed=1),
        ids(320),
        partitions=partitions,
        effort=PortableEffort(num_partitions_to_search=3),
        excluding=[(16, 1), (64, 2)],
    )
    assert index.parameters() == {
        "num_partitions": 10,
        "partition_size": 32,
        "num_partitions_to_search": 3,
        "excluding": {16: 1, 64: 2},
    }
    assert ExactIndex(np.eye(2, dtype=np.float32), ids(2)).parameters() == {}


@pytest.mark.scann
def test_parameters_of_scann_have_the_same_names():
    effort = ScannEffort(num_partitions_to_search=3, num_reordering_candidates=50)
    tree = ScannIndex(clustered(320, 4, seed=1), ids(320), num_partitions=10, effort=effort, excluding=[(16, 1)])
    assert tree.parameters() == {
        "num_partitions": 10,
        "num_partitions_to_search": 3,
        "num_reordering_candidates": 50,
        "excluding": {16: 1},
    }
    assert ScannIndex(np.eye(2, dtype=np.float32), ids(2)).parameters() == {}
