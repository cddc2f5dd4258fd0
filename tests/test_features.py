import dataclasses

import pyarrow as pa
import pytest

import tfrs_twotower as tt
from tfrs_twotower.model.features import require_suitable_columns


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tt.Categorical(name="user id"), "`name` must be a letter, then letters, .*'user id'"),
        (lambda: tt.Categorical(name="_id"), "`name` must be a letter"),
        (lambda: tt.Categorical(name="âge"), "`name` must be a letter"),
        (lambda: tt.Categorical(name="a", embedding_dim=0), "`embedding_dim` of 'a' must be at least 1"),
        (lambda: tt.MultiCategorical(name="a", min_count=0), "`min_count` of 'a' must be at least 1"),
        (lambda: tt.Bucketized(name="a", boundaries=()), "`boundaries` of 'a' must be finite, ascending"),
        (lambda: tt.Bucketized(name="a", boundaries=(2, 1)), "`boundaries` of 'a' must be finite, ascending"),
        (lambda: tt.Bucketized(name="a", boundaries=(1, float("inf"))), "`boundaries` of 'a' must be finite"),
    ],
)
def test_a_bad_declaration_is_refused_when_made(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_an_unknown_setting_is_refused():
    with pytest.raises(TypeError, match="embeding_dim"):
        tt.Categorical(name="a", embeding_dim=3)


def test_a_declaration_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        tt.Categorical(name="a").name = "b"


def test_boundaries_are_floats_in_a_tuple_whatever_they_came_as():
    feature = tt.Bucketized(name="age", boundaries=[18, 25])
    assert feature.boundaries == (18.0, 25.0)
    assert hash(feature) == hash(tt.Bucketized(name="age", boundaries=(18.0, 25.0)))


TABLE = pa.table({"text": ["a"], "tags": [["a"]], "number": [1.0]})


@pytest.mark.parametrize(
    ("feature", "error", "message"),
    [
        (
            tt.Bucketized(name="age", boundaries=(1,)),
            ValueError,
            "The table has no column age. Its columns: text, tags",
        ),
        (tt.Bucketized(name="text", boundaries=(1,)), TypeError, "`text` must hold numbers to be Bucketized.*string"),
        (tt.Categorical(name="number"), TypeError, "`number` must hold strings or integers to be Categorical.*double"),
        (tt.Categorical(name="tags"), TypeError, "`tags` must hold strings or integers to be Categorical.*list"),
        (tt.MultiCategorical(name="text"), TypeError, "`text` must hold lists of strings to be MultiCategorical"),
    ],
)
def test_a_column_must_suit_its_feature(feature, error, message):
    with pytest.raises(error, match=message):
        require_suitable_columns([feature], TABLE)


def test_columns_that_suit_pass():
    require_suitable_columns(
        [
            tt.Categorical(name="text"),
            tt.MultiCategorical(name="tags"),
            tt.Bucketized(name="number", boundaries=(1,)),
        ],
        TABLE,
    )
