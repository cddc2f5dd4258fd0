import pyarrow as pa
import pytest

from tests.features.cases import learn
from tfrs_twotower.features.bucketized import Boundaries, Bucketized
from tfrs_twotower.features.categorical import Categorical
from tfrs_twotower.features.hashed import Hashed
from tfrs_twotower.features.history import History
from tfrs_twotower.features.multi_categorical import MultiCategorical
from tfrs_twotower.features.numeric import Moments, Numeric
from tfrs_twotower.features.text import Text
from tfrs_twotower.features.timestamp import TimeSpan, Timestamp


def test_an_unsuitable_column_is_named():
    """A misspelt or mistyped column is refused as it is when a model is built."""
    with pytest.raises(ValueError, match="The table has no column movieid"):
        learn(Categorical(name="movieid"))
    with pytest.raises(TypeError, match="`price` must hold strings, integers or booleans to be Categorical"):
        learn(Categorical(name="price"))


def test_a_history_among_the_candidates_features_is_refused():
    with pytest.raises(ValueError, match="Only queries have a History"):
        learn(History(of=Categorical(name="id")))


def test_a_column_of_nulls_teaches_nothing():
    names = ("a", "b", "c", "d", "e", "f")
    table = pa.table({"id": ["x", "y"], **{name: pa.nulls(2) for name in names}})
    learnt = learn(
        Categorical(name="a"),
        MultiCategorical(name="b"),
        Text(name="c"),
        Numeric(name="d"),
        Bucketized(name="e", num_buckets=3),
        Timestamp(name="f"),
        counts=(1, 2),
        table=table,
    )
    assert [learnt.values_of(name) for name in "abc"] == [(), (), ()]
    assert (learnt["d"], learnt["e"], learnt["f"]) == (Moments(0.0, 1.0), Boundaries(()), TimeSpan(0.0, 0.0))


def test_only_the_training_events_teach():
    learnt = learn(Categorical(name="id"), Numeric(name="price"), counts=(0, 1, 0, 0))
    assert learnt["id"].values == ("b",)
    assert learnt["price"] == Moments(4.0, 1.0)


def test_each_feature_learns_its_own_column():
    learnt = learn(Categorical(name="id"), MultiCategorical(name="tags"), counts=(2, 5, 2, 1))
    assert {name: vocabulary.values for name, vocabulary in learnt.items()} == {
        "id": ("b", "a", "c", "d"),
        "tags": ("q", "p"),
    }


def test_features_that_learn_nothing_are_left_out():
    features = [Bucketized(name="price", boundaries=(2,)), Hashed(name="id", num_buckets=3)]
    assert dict(learn(*features)) == {}
