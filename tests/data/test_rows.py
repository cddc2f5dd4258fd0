import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrs_twotower.data.rows import NO_ROW, pair_codes, places_within

SIZES = st.lists(st.integers(0, 20), max_size=30)


def test_no_row_is_not_a_row():
    assert NO_ROW < 0


@given(counts=SIZES)
def test_places_count_up_from_0_in_each_group(counts):
    expected = [place for count in counts for place in range(count)]
    assert places_within(np.array(counts, np.int64)).tolist() == expected


@given(counts=SIZES, dtype=st.sampled_from([np.int32, np.int64]))
def test_places_are_int64_whatever_the_type_of_the_counts(counts, dtype):
    assert places_within(np.array(counts, dtype)).dtype == np.int64


@st.composite
def pairs(draw) -> tuple[int, list[tuple[int, int]]]:
    """The size of a catalogue, and pairs of a query row and a candidate row."""
    num_candidates = draw(st.integers(1, 2**31 - 1))
    pair = st.tuples(st.integers(0, 2**31 - 1), st.integers(0, num_candidates - 1))
    return num_candidates, draw(st.lists(pair))


@given(drawn=pairs())
def test_codes_give_the_rows_back(drawn):
    num_candidates, rows = drawn
    # Both are int32, whose products overflow: the codes must not.
    query_rows, candidate_rows = np.array(rows, np.int32).reshape(-1, 2).T
    codes = pair_codes(query_rows, candidate_rows, num_candidates)
    assert codes.dtype == np.int64
    assert codes.tolist() == [query * num_candidates + candidate for query, candidate in rows]
    received = np.divmod(codes, num_candidates)
    np.testing.assert_array_equal(received, [query_rows, candidate_rows])


@given(drawn=pairs())
def test_codes_sort_like_pairs(drawn):
    num_candidates, rows = drawn
    query_rows, candidate_rows = np.array(rows, np.int64).reshape(-1, 2).T
    order = np.argsort(pair_codes(query_rows, candidate_rows, num_candidates), kind="stable")
    assert [rows[place] for place in order] == sorted(rows)


@pytest.mark.parametrize("shape", [(3, 1), (1, 4), (3, 4)])
def test_candidate_rows_are_broadcast(shape):
    candidate_rows = np.arange(np.prod(shape)).reshape(shape)
    codes = pair_codes(np.arange(3)[:, None], candidate_rows, 100)
    np.testing.assert_array_equal(codes, 100 * np.array([[0], [1], [2]]) + candidate_rows)
