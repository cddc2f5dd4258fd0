import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tfrs_twotower as tt
from tfrs_twotower.features.vocabularies import Boundaries, Moments, TimeSpan

DAY_S = 86_400

TABLE = pa.table(
    {
        "id": ["a", "b", "c", "d"],
        "kind": ["x", "y", "", None],
        "tags": [["p", "q"], ["q"], [], None],
        "title": ["Red fox, red dog", "The DOG", None, ""],
        "price": [1.0, 4.0, None, 100.0],
        "when": [DAY_S, 3 * DAY_S, None, 9 * DAY_S],
    }
)


def test_an_impossible_column_is_named():
    """As when a model is built: a slip of the pen must not teach nothing."""
    with pytest.raises(ValueError, match="The table has no column movieid"):
        learn(tt.Categorical(name="movieid"))
    with pytest.raises(TypeError, match="`price` must hold strings or integers to be Categorical"):
        learn(tt.Categorical(name="price"))
    with pytest.raises(ValueError, match="Only queries have a History"):
        learn(tt.History(of=tt.Categorical(name="id")))
    with pytest.raises(TypeError, match="`values` must be a sequence of strings. Received one: 'abc'"):
        tt.Vocabulary("abc")


def test_a_column_of_nulls_teaches_nothing():
    names = ("a", "b", "c", "d", "e", "f")
    table = pa.table({"id": ["x", "y"], **{name: pa.nulls(2) for name in names}})
    known = learn(
        tt.Categorical(name="a"),
        tt.MultiCategorical(name="b"),
        tt.Text(name="c"),
        tt.Numeric(name="d"),
        tt.Bucketized(name="e", num_buckets=3),
        tt.Timestamp(name="f"),
        counts=(1, 2),
        table=table,
    )
    assert [known.values_of(name) for name in "abc"] == [(), (), ()]
    assert (known["d"], known["e"], known["f"]) == (Moments(0.0, 1.0), Boundaries(()), TimeSpan(0.0, 0.0))


def test_values_beneath_a_null_list_are_none():
    tags = pa.ListArray.from_arrays(
        pa.array([0, 1, 3, 4]), pa.array(["p", "hidden", "hidden", "q"]), mask=pa.array([False, True, False])
    )
    table = pa.table({"id": ["a", "b", "c"], "tags": tags})
    known = learn(tt.MultiCategorical(name="tags"), counts=(1, 5, 2), table=table)
    assert known["tags"] == tt.Vocabulary(("q", "p"), (2, 1))


def test_numbers_that_float32_cannot_tell_apart_are_refused():
    table = pa.table({"id": ["a", "b", "c"], "price": [1.7e9, 1.7e9 + 1, 1.7e9 + 2]})
    with pytest.raises(ValueError, match="`price` must not lie so close together.*a time is a Timestamp"):
        learn(tt.Numeric(name="price"), counts=(1, 1, 1), table=table)
    table = pa.table({"id": ["a", "b"], "price": [1e-11, 3e-11]})
    assert learn(tt.Numeric(name="price"), counts=(1, 1), table=table)["price"].mean == pytest.approx(2e-11)
    assert learn(tt.Numeric(name="price"), counts=(1, 1), table=table)["price"].standard_deviation == pytest.approx(
        1e-11
    )


def learn(*features, counts=(1, 1, 1, 1), table=TABLE) -> tt.Vocabularies:
    """What a candidate tower learns if each row had so many events."""
    rows = np.repeat(np.arange(len(counts)), counts)
    train = tt.Interactions(
        queries=pa.table({"user_id": ["u"]}),
        candidates=table,
        events=pa.table({"query_row": np.zeros_like(rows), "candidate_row": rows, "rating": rows.astype(float)}),
        query_id="user_id",
        candidate_id="id",
    )
    return tt.learn_candidate_vocabularies(features, train)


def values(vocabularies: tt.Vocabularies) -> dict:
    return {name: known.values for name, known in vocabularies.items()}


def test_values_are_ordered_by_events_then_by_value():
    known = learn(tt.Categorical(name="id"), tt.MultiCategorical(name="tags"), counts=(2, 5, 2, 1))
    # p occurs in 2 events, q in 2 + 5.
    assert values(known) == {"id": ("b", "a", "c", "d"), "tags": ("q", "p")}
    assert known["tags"].counts == (7, 2)


def test_only_the_training_split_teaches():
    known = learn(tt.Categorical(name="id"), tt.Numeric(name="price"), counts=(0, 1, 0, 0))
    assert known["id"].values == ("b",)
    assert known["price"] == Moments(4.0, 1.0)


def test_missing_values_are_no_values():
    assert values(learn(tt.Categorical(name="kind"))) == {"kind": ("x", "y")}


def test_rare_values_are_left_to_the_shared_vector():
    features = [tt.Categorical(name="id", min_count=3), tt.MultiCategorical(name="tags", min_count=3)]
    assert values(learn(*features, counts=(2, 3, 4, 0))) == {"id": ("c", "b"), "tags": ("q",)}
    assert values(learn(tt.Categorical(name="id", max_size=2), counts=(2, 3, 4, 0))) == {"id": ("c", "b")}


def test_words_count_as_often_as_they_occur():
    known = learn(tt.Text(name="title"), counts=(2, 1, 1, 1))
    # red 2 * 2, dog 2 + 1, fox 2, the 1
    assert (known["title"].values, known["title"].counts) == (("red", "dog", "fox", "the"), (4, 3, 2, 1))


def test_words_that_do_not_count_are_not_learnt():
    known = learn(tt.Text(name="title", max_words=1), counts=(2, 1, 1, 1))
    assert (known["title"].values, known["title"].counts) == (("red", "the"), (2, 1))


def test_moments_are_those_of_the_events():
    # 1, 1, 4: mean 2, variance (1 + 1 + 4) / 3
    known = learn(tt.Numeric(name="price"), counts=(2, 1, 1, 0))
    assert known["price"].mean == pytest.approx(2)
    assert known["price"].standard_deviation == pytest.approx(np.sqrt(2))
    logs = np.log1p([1, 1, 4])
    known = learn(tt.Numeric(name="price", log=True), counts=(2, 1, 1, 0))
    assert known["price"].mean == pytest.approx(logs.mean())
    assert known["price"].standard_deviation == pytest.approx(logs.std())


def test_numbers_that_are_all_alike_have_a_deviation_of_1():
    table = TABLE.set_column(4, "price", [[0.1] * 4])
    assert learn(tt.Numeric(name="price"), table=table)["price"] == Moments(pytest.approx(0.1), 1.0)


def test_quantiles_are_those_of_the_events():
    feature = tt.Bucketized(name="price", num_buckets=2)
    # 1, 4, 100: half of the events lie below 4; 1, 1, 1, 4, 100: half are 1, and 4 is the first above.
    assert learn(feature, counts=(1, 1, 0, 1))["price"] == Boundaries((4.0,))
    assert learn(feature, counts=(1, 9, 0, 1))["price"] == Boundaries((4.0,))
    assert learn(feature, counts=(0, 0, 1, 0))["price"] == Boundaries(())


@given(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=40, unique=True),
    st.integers(2, 6),
)
def test_quantile_buckets_are_equally_full(numbers, num_buckets):
    table = pa.table({"id": [str(i) for i in range(len(numbers))], "price": pa.array(numbers, pa.float32())})
    known = learn(tt.Bucketized(name="price", num_buckets=num_buckets), counts=[1] * len(numbers), table=table)
    boundaries = known["price"].boundaries
    sizes = np.bincount(np.searchsorted(boundaries, np.float32(numbers), side="right"), minlength=len(boundaries) + 1)
    assert sizes.min() >= 1
    if len(numbers) >= num_buckets:
        assert len(sizes) == num_buckets
        assert sizes.max() - sizes.min() <= 1


def test_times_span_the_events():
    assert learn(tt.Timestamp(name="when"), counts=(1, 1, 1, 0))["when"] == TimeSpan(DAY_S, 3 * DAY_S)
    assert learn(tt.Timestamp(name="when"), counts=(0, 0, 1, 0))["when"] == TimeSpan(0.0, 0.0)


def test_a_history_learns_the_candidates_and_the_ratings():
    train = tt.Interactions(
        queries=pa.table({"user_id": ["u", "v"]}),
        candidates=pa.table({"movie_id": ["m", "n"]}),
        events=pa.table({"query_row": [0, 1, 1], "candidate_row": [1, 1, 0], "rating": [1.0, 5.0, 3.0]}),
        query_id="user_id",
        candidate_id="movie_id",
    )
    past = tt.History(of=tt.Categorical(name="movie_id"), by_rating=True)
    hashed = tt.History(of=tt.Hashed(name="movie_id", num_buckets=9), name="hashed")
    assert dict(tt.learn_query_vocabularies([past, hashed], train)) == {
        "history": tt.Vocabulary(("n", "m"), (2, 1)),
        "history_rating": Moments(3.0, pytest.approx(np.sqrt(8 / 3))),
    }


def test_kinds_that_learn_nothing_are_not_there():
    features = [tt.Bucketized(name="price", boundaries=(2,)), tt.Hashed(name="id", num_buckets=3)]
    assert dict(learn(*features)) == {}


EVERYTHING = tt.Vocabularies(
    {
        "id": tt.Vocabulary(("é", "b\n"), (3, 1)),
        "words": tt.Vocabulary(("w",)),
        "price": Moments(0.1, 2.5),
        "size": Boundaries((1.5, 2.5)),
        "when": TimeSpan(0.0, 90_000.5),
    }
)


def test_they_are_saved_and_loaded(tmp_path):
    EVERYTHING.save(tmp_path / "known.json")
    assert tt.Vocabularies.load(tmp_path / "known.json") == EVERYTHING


@pytest.mark.parametrize(
    "content", ["", "[1]", '{"id": 3}', '{"id": {"kind": "Guess"}}', '{"id": {"kind": "Moments"}}']
)
def test_a_file_of_something_else_is_named(tmp_path, content):
    (tmp_path / "other.json").write_text(content)
    with pytest.raises(ValueError, match="other.json holds no vocabularies"):
        tt.Vocabularies.load(tmp_path / "other.json")


def test_they_are_shown():
    known = tt.Vocabularies({**EVERYTHING, "many": tt.Vocabulary(tuple("abcdefg"))})
    assert str(known).splitlines() == [
        "id: 2 values: é (3), b",
        " (1)",
        "words: 1 values: w",
        "price: mean 0.1, standard deviation 2.5",
        "size: 3 buckets: 1.5, 2.5",
        "when: 1970-01-01T00:00:00 to 1970-01-02T01:00:00",
        "many: 7 values: a, b, c, d, e, ...",
    ]


def test_growing_keeps_every_place_and_every_statistic():
    known = learn(tt.Categorical(name="id"), tt.Numeric(name="price"), counts=(2, 1, 0, 0))
    newer = learn(tt.Categorical(name="id"), tt.Numeric(name="price"), counts=(0, 7, 1, 9))
    grown = known.grow(newer)
    assert grown["id"] == tt.Vocabulary(("a", "b", "d", "c"), (2, 7, 9, 1))
    assert grown["price"] == known["price"]


@given(st.lists(st.text(min_size=1), unique=True), st.lists(st.text(min_size=1), unique=True))
def test_growing_adds_what_is_new_behind(older, newer):
    grown = tt.Vocabularies({"id": tt.Vocabulary(older)}).grow(tt.Vocabularies({"id": tt.Vocabulary(newer)}))
    assert list(grown.values_of("id")) == [*older, *(value for value in newer if value not in older)]


@pytest.mark.parametrize(("values", "counts"), [(("a", "a"), ()), (("",), ()), (("a",), (1, 2))])
def test_a_vocabulary_has_each_value_once_and_none_that_is_missing(values, counts):
    with pytest.raises(ValueError, match="must be"):
        tt.Vocabulary(values, counts)
