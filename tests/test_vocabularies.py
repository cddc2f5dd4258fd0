import numpy as np
import pyarrow as pa

import tfrs_twotower as tt
from tfrs_twotower.model.vocabularies import learn_vocabularies

TABLE = pa.table(
    {
        "id": ["a", "b", "c", "d"],
        "kind": ["x", "y", "", None],
        "tags": [["p", "q"], ["q"], [], None],
        "age": [1.0, 2.0, 3.0, 4.0],
    }
)


def test_values_are_ordered_by_events_then_by_value():
    features = [tt.Categorical(name="id"), tt.MultiCategorical(name="tags")]
    # p occurs in 2 events, q in 2 + 5.
    assert learn_vocabularies(features, TABLE, np.array([2, 5, 2, 1])) == {
        "id": ("b", "a", "c", "d"),
        "tags": ("q", "p"),
    }


def test_only_the_training_split_teaches():
    assert learn_vocabularies([tt.Categorical(name="id")], TABLE, np.array([0, 1, 0, 0])) == {"id": ("b",)}


def test_missing_values_are_no_values():
    assert learn_vocabularies([tt.Categorical(name="kind")], TABLE, np.array([1, 1, 1, 1])) == {"kind": ("x", "y")}


def test_rare_values_are_left_to_the_shared_vector():
    features = [tt.Categorical(name="id", min_count=3), tt.MultiCategorical(name="tags", min_count=3)]
    assert learn_vocabularies(features, TABLE, np.array([2, 3, 4, 0])) == {"id": ("c", "b"), "tags": ("q",)}


def test_kinds_without_a_vocabulary_are_passed_over():
    assert learn_vocabularies([tt.Bucketized(name="age", boundaries=(2,))], TABLE, np.ones(4, int)) == {}
