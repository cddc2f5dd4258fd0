import pytest
import tensorflow as tf

from tests.features.cases import learn, look_up
from tfrs_twotower.features.categorical import Categorical
from tfrs_twotower.features.vocabularies import Vocabularies, Vocabulary

IDS = Vocabularies({"id": Vocabulary(("7", "42"))})


@pytest.mark.parametrize("id_dropout", [1.0, -0.1, float("nan")])
def test_an_id_dropout_outside_its_range_is_refused(id_dropout):
    with pytest.raises(ValueError, match=rf"`id_dropout` of 'a' must be in \[0, 1\). Received: {id_dropout}"):
        Categorical(name="a", id_dropout=id_dropout)


def test_an_unknown_id_maps_to_oov_and_a_missing_one_to_0():
    assert look_up(Categorical(name="id"), ["", "never seen", "7", "42"], IDS) == [0, 1, 2, 3]


@pytest.mark.parametrize("value", ["[UNK]", "[MASK]", "0", " ", "a\n", "a\x00", "\x00", "\U0001f3ac" * 300])
def test_a_value_that_looks_reserved_or_odd_is_a_value(value):
    vocabularies = Vocabularies({"id": Vocabulary(("a", value))})
    assert look_up(Categorical(name="id"), ["a", value, "a "], vocabularies) == [2, 3, 1]


def test_a_vocabulary_may_be_empty():
    assert look_up(Categorical(name="id"), ["", "x"]) == [0, 1]


def test_unknown_values_are_spread_over_their_buckets_and_stay_in_them():
    feature = Categorical(name="id", num_oov_buckets=3)
    codes = look_up(feature, ["", "7", "42", *map(str, range(100, 160))], IDS)
    assert codes[:3] == [0, 4, 5]
    assert set(codes[3:]) == {1, 2, 3}
    assert look_up(feature, ["100"], IDS) == [codes[3]]
    # Missing, three buckets, two values.
    assert feature.num_codes(IDS.values_of("id")) == 6


def test_values_are_ordered_by_events_then_by_value():
    assert learn(Categorical(name="id"), counts=(2, 5, 2, 1))["id"] == Vocabulary(("b", "a", "c", "d"), (5, 2, 2, 1))


def test_missing_values_are_not_learnt():
    assert learn(Categorical(name="kind")).values_of("kind") == ("x", "y")


def test_rare_values_are_left_to_the_shared_vector():
    counts = (2, 3, 4, 0)
    assert learn(Categorical(name="id", min_count=3), counts=counts).values_of("id") == ("c", "b")
    assert learn(Categorical(name="id", max_size=2), counts=counts).values_of("id") == ("c", "b")


def test_the_length_of_a_vector_is_the_features_own_then_the_towers_then_the_rules():
    vocabularies, code = Vocabularies({"id": Vocabulary(("a",))}), tf.constant([0])
    fixed, free = Categorical(name="id", embedding_dim=5), Categorical(name="id")
    assert fixed.build_encoder(vocabularies, embedding_dim=3)(code).shape == [1, 5]
    assert free.build_encoder(vocabularies, embedding_dim=4)(code).shape == [1, 4]
    # 1.6 * 3 ** 0.56 = 2.96 for three codes: missing, unknown and the value.
    assert free.build_encoder(vocabularies, embedding_dim=None)(code).shape == [1, 3]


def test_vectors_that_training_may_never_meet_start_at_zero():
    feature = Categorical(name="id", num_oov_buckets=2)
    encoder = feature.build_encoder(Vocabularies({"id": Vocabulary(("a",))}), embedding_dim=3)
    vectors = encoder(tf.constant([0, 1, 2, 3])).numpy()
    assert not vectors[:3].any()
    assert vectors[3].any()


def test_the_encoder_takes_the_features_id_dropout():
    feature = Categorical(name="id", num_oov_buckets=2, id_dropout=0.25)
    encoder = feature.build_encoder(Vocabularies(), embedding_dim=3)
    assert (encoder.id_dropout, encoder.num_unknown) == (0.25, 2)
