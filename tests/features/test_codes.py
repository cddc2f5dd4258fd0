import pytest
import tensorflow as tf

from tfrs_twotower.features.codes import expanded_source_codes, is_missing


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        (tf.constant([0, 1], tf.int64), [True, False]),
        (tf.constant([[0, 0], [0, 3]], tf.int64), [True, False]),
        (tf.constant([[0.0, 1.0], [5.0, 0.0]]), [True, False]),
        (tf.zeros([1, 0], tf.int64), [True]),
    ],
)
def test_codes_tell_which_values_are_missing(codes, expected):
    assert is_missing(codes).numpy().tolist() == expected


def test_a_new_value_starts_from_the_code_of_an_unknown_one():
    codes_before = {"a": 3, "b": 4, "new": 2}

    def find(values: tf.Tensor) -> tf.Tensor:
        return tf.constant([codes_before[value.decode()] for value in values.numpy()], tf.int64)

    # Code 0 and two codes of unknown values stay; then come the values, old and new.
    assert expanded_source_codes(find, ["a", "b", "new"], 2).tolist() == [0, 1, 2, 3, 4, 2]
