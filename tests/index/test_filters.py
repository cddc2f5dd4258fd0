import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.index.cases import APPROXIMATE, EXACT, clustered, ids
from tfrs_twotower.index.exact import ExactIndex
from tfrs_twotower.index.filters import CandidateFilters, default_filters

TAGS = ("a", "b", "c", "d", "é")


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_a_candidate_needs_one_of_the_values_of_every_feature(data):
    """The expected result comes from sets in Python."""
    rows = data.draw(st.lists(st.tuples(st.lists(st.sampled_from(TAGS)), st.sampled_from((*TAGS, None))), min_size=1))
    table = pa.table({"many": pa.array([many for many, _ in rows], pa.list_(pa.string())), "one": [o for _, o in rows]})
    given_values = st.lists(st.sampled_from((*TAGS, "unknown", "")), min_size=3, max_size=3)
    asked = {name: data.draw(st.lists(given_values, min_size=2, max_size=2)) for name in ("many", "one")}
    if table["one"].type == pa.null():
        table = table.set_column(1, "one", table["one"].cast(pa.string()))
    filters = CandidateFilters(table, ["many", "one"])
    allowed = filters.only({name: tf.constant(values) for name, values in asked.items()}).allowed()

    def fits(values: set, wanted: list[str]) -> bool:
        wanted_values = {value for value in wanted if value}
        return not wanted_values or bool(values & wanted_values)

    expected = [
        [fits(set(many), asked["many"][query]) and fits({one}, asked["one"][query]) for many, one in rows]
        for query in range(2)
    ]
    assert allowed.numpy().tolist() == expected


@pytest.mark.parametrize("build", [*EXACT, *APPROXIMATE])
@pytest.mark.parametrize("share", [0.5, 0.05, 0.005, 0.001, 0.0])
def test_a_filtered_search_equals_a_search_of_masked_scores(build, share):
    num = 4000
    rng = np.random.default_rng(0)
    embeddings, queries = clustered(num, 8, seed=1), clustered(5, 8, seed=2)
    has = rng.permutation(num) < share * num
    table = pa.table({"kind": np.where(has, "wanted", "other"), "year": rng.integers(1990, 1992, num)})
    filters = CandidateFilters(table, ["kind", "year"])
    wanted = filters.only({"kind": tf.constant([["wanted", ""]] * 5), "year": tf.constant([["1990"]] * 4 + [[""]])})
    exclude = np.tile(np.flatnonzero(has)[:2], (5, 1)).astype(np.int32)
    scores, rows = build(embeddings, ids(num)).search(tf.constant(queries), 10, tf.constant(exclude), wanted)
    for query in range(5):
        fits = has & ((np.array(table["year"]) == 1990) | (query == 4))
        fits[exclude[query]] = False
        products = embeddings @ queries[query]
        expected = [row for row in np.argsort(-products, kind="stable") if fits[row]][:10]
        assert rows[query].numpy().tolist() == expected + [-1] * (10 - len(expected))
        np.testing.assert_allclose(scores[query][: len(expected)], products[expected], rtol=1e-4)


def test_a_candidate_with_very_many_values_does_not_multiply_memory():
    """Memory grows with the number of values, not with that number times the number of candidates."""
    tags = [[f"t{row % 50}"] for row in range(20_000)] + [[f"u{number}" for number in range(5000)]]
    filters = CandidateFilters(pa.table({"tags": tags}), ["tags"])
    assert sum(variable.shape.num_elements() for variable in filters.variables) < 50_000
    allowed = filters.only({"tags": tf.constant([["u17"], ["t3"]])}).allowed().numpy()
    assert np.flatnonzero(allowed[0]).tolist() == [20_000]
    assert allowed[1].sum() == 400


def test_numbers_and_truth_values_are_given_as_text():
    filters = CandidateFilters(pa.table({"year": [1994, None], "free": [True, False]}), ["year", "free"])

    def allowed(year: str, free: str) -> list[bool]:
        return (
            filters.only({"year": tf.constant([[year]]), "free": tf.constant([[free]])}).allowed().numpy()[0].tolist()
        )

    assert allowed("1994", "") == [True, False]
    assert allowed("", "false") == [False, True]
    assert allowed("", "") == [True, True]


@pytest.mark.parametrize("column", [pa.array([None, None]), pa.array([[], []]), pa.array([[], None])])
def test_a_column_without_values_meets_no_condition(column):
    filters = CandidateFilters(pa.table({"tags": column}), ["tags"])
    assert not filters.only({"tags": tf.constant([["x"]])}).allowed().numpy().any()


@pytest.mark.parametrize(
    ("columns", "message"), [(["no"], "has no column no"), (["price"], "Received: 'price' .double")]
)
def test_a_column_that_cannot_be_filtered_by_is_named(columns, message):
    with pytest.raises(ValueError, match=message):
        CandidateFilters(pa.table({"price": [1.5]}), columns)


@pytest.mark.parametrize("name", ["self", "class", "Product Type", "größe"])
def test_a_column_whose_name_no_input_can_have_is_no_default_filter(name):
    catalogue = pa.table({"sku": ["a", "b", "c", "d"], name: ["x", "x", "y", "y"], "kind": ["x", "x", "y", "y"]})
    assert default_filters(catalogue, "sku") == ("kind",)


def test_conditions_and_exclusions_must_have_a_row_for_each_query():
    index = ExactIndex(np.eye(4, dtype=np.float32), ids(4))
    filters = CandidateFilters(pa.table({"kind": ["a", "b", "a", "b"]}), ["kind"])
    for size in (1, 2, 4):
        with pytest.raises(tf.errors.InvalidArgumentError, match="`only` must have a row for each query"):
            index.search(tf.ones([3, 4]), 2, only=filters.only({"kind": tf.fill([size, 1], "a")}))
        with pytest.raises(tf.errors.InvalidArgumentError, match="`exclude` must have a row for each query"):
            index.search(tf.ones([3, 4]), 2, tf.zeros([size, 1], tf.int32))
