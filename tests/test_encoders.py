import numpy as np
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tfrs_twotower.model.encoders import Buckets, MeanEmbedding, build_encoder, build_lookup


def test_unknown_id_maps_to_oov_and_missing_to_0():
    lookup = build_lookup(tt.Categorical(name="id"), ("7", "42"))
    assert lookup(tf.constant(["", "never seen", "7", "42"])).numpy().tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("value", ["[UNK]", "[MASK]", "0"])
def test_a_value_that_looks_reserved_is_a_value(value):
    assert build_lookup(tt.Categorical(name="id"), (value,))(tf.constant([value])).numpy().tolist() == [2]


def test_a_vocabulary_may_be_empty():
    lookup = build_lookup(tt.Categorical(name="id"), ())
    assert lookup(tf.constant(["", "x"])).numpy().tolist() == [0, 1]


def test_a_boundary_belongs_to_the_bucket_above():
    buckets = Buckets(boundaries=(18, 25))
    assert buckets(tf.constant([-1.0, 17.9, 18.0, 24.9, 25.0, np.inf, np.nan])).numpy().tolist() == [
        1,
        1,
        2,
        2,
        3,
        3,
        0,
    ]


def test_buckets_have_a_vector_each_and_one_for_missing():
    encoder = build_encoder(tt.Bucketized(name="age", boundaries=(18, 25)), (), embedding_dim=3)
    assert encoder(tf.constant([0, 1, 2, 3])).shape == [4, 3]
    assert encoder.input_dim == 4


def test_a_features_own_length_goes_before_the_towers():
    encoder = build_encoder(tt.Categorical(name="id", embedding_dim=5), ("a",), embedding_dim=3)
    assert encoder(tf.constant([0])).shape == [1, 5]


def test_a_list_is_the_mean_of_its_values_whatever_the_padding():
    encoder = MeanEmbedding(num_codes=4, embedding_dim=2)
    codes = tf.constant([[2, 3, 0, 0], [3, 0, 2, 0], [0, 0, 0, 0]])
    vectors = encoder(codes).numpy()
    table = encoder.embedding.embeddings.numpy()
    np.testing.assert_allclose(vectors[0], (table[2] + table[3]) / 2, rtol=1e-6)
    np.testing.assert_allclose(vectors[1], vectors[0], rtol=1e-6)
    assert vectors[2].tolist() == [0, 0]
    assert encoder(tf.zeros([2, 0], tf.int64)).numpy().tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    "layer", [Buckets(boundaries=(1.5, 2.5), name="ages"), MeanEmbedding(num_codes=7, embedding_dim=3, name="tags")]
)
def test_layers_round_trip_their_configuration(layer):
    assert type(layer).from_config(layer.get_config()).get_config() == layer.get_config()
