import dataclasses
import json
import math
import string

import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tfrs_twotower.features.bucketized import Boundaries, Bucketized
from tfrs_twotower.features.categorical import Categorical
from tfrs_twotower.features.config import Declaration, describe, from_config, to_config
from tfrs_twotower.features.hashed import Hashed
from tfrs_twotower.features.history import History
from tfrs_twotower.features.multi_categorical import MultiCategorical
from tfrs_twotower.features.numeric import Moments, Numeric
from tfrs_twotower.features.pretrained import PretrainedEmbedding
from tfrs_twotower.features.text import Text
from tfrs_twotower.features.timestamp import TimeSpan, Timestamp
from tfrs_twotower.features.vocabularies import Vocabulary


def through_json(declared: Declaration) -> Declaration:
    """Returns what is left of a declaration after it has been written to JSON and read."""
    return from_config(json.loads(json.dumps(to_config(declared))))


# A name that starts with "n" cannot be a Python keyword if a digit ends it.
names = st.text(string.ascii_letters + string.digits + "_", max_size=8).map(lambda text: f"n{text}1")
whole_numbers = st.integers(1, 10**6)
finite = st.floats(-1e6, 1e6)
poolings = st.sampled_from(["sum", "mean", "sqrtn"])
pooled_settings = {
    "name": names,
    "embedding_dim": st.none() | whole_numbers,
    "min_count": whole_numbers,
    "max_size": st.none() | whole_numbers,
    "num_oov_buckets": whole_numbers,
    "pooling": poolings,
}
categoricals = st.builds(
    Categorical,
    name=names,
    embedding_dim=st.none() | whole_numbers,
    min_count=whole_numbers,
    max_size=st.none() | whole_numbers,
    num_oov_buckets=whole_numbers,
    id_dropout=st.floats(0, 1, exclude_max=True),
)
hashed = st.builds(Hashed, name=names, num_buckets=st.integers(2, 10**6), embedding_dim=st.none() | whole_numbers)
boundaries = st.lists(finite, min_size=1, max_size=5, unique=True).map(sorted)
ratings = st.fixed_dictionaries({"by_rating": st.booleans()}) | st.sampled_from(
    [{"by_rating": True, "rating_vectors": True}, {"by_rating": True, "slope_per_entry": True}]
)
dims = st.fixed_dictionaries({"embedding_dim": st.none() | whole_numbers}) | st.just({"shares_embedding": True})
histories = st.builds(
    lambda dim_settings, rating_settings, **settings: History(**settings, **dim_settings, **rating_settings),
    dims,
    ratings,
    of=categoricals | hashed,
    name=names,
    length=whole_numbers,
    pooling=poolings,
    half_life=st.none() | st.floats(1e-6, 1e6),
    dropout=st.floats(0, 1, exclude_max=True),
)
declarations = st.one_of(
    categoricals,
    hashed,
    st.builds(MultiCategorical, **pooled_settings),
    st.builds(Text, **pooled_settings, max_words=st.none() | whole_numbers),
    st.builds(Numeric, name=names, log=st.booleans()),
    st.builds(Bucketized, name=names, boundaries=boundaries, embedding_dim=st.none() | whole_numbers),
    st.builds(Bucketized, name=names, num_buckets=st.integers(2, 10**6)),
    st.builds(Timestamp, name=names),
    st.builds(PretrainedEmbedding, name=names, dim=whole_numbers),
    histories,
    st.builds(Vocabulary, st.lists(st.text(min_size=1), unique=True)),
    st.lists(st.tuples(st.text(min_size=1), whole_numbers), unique_by=lambda pair: pair[0]).map(
        lambda pairs: Vocabulary([value for value, _ in pairs], [count for _, count in pairs])
    ),
    st.builds(Moments, finite, st.floats(1e-6, 1e6)),
    st.builds(Boundaries, boundaries),
    st.builds(TimeSpan, finite, finite),
)


@given(declarations)
def test_a_declaration_round_trips_through_json(declared):
    read = through_json(declared)
    assert type(read) is type(declared)
    assert read == declared
    assert hash(read) == hash(declared)  # lists have become tuples again


def test_a_configuration_has_the_form_that_keras_reads():
    declared = Numeric(name="price", log=True)
    assert tf.keras.utils.deserialize_keras_object(to_config(declared)) == declared
    assert to_config(declared) == {
        "module": "tfrs_twotower.features.numeric",
        "class_name": "Numeric",
        "registered_name": "tfrs_twotower>Numeric",
        "config": {"name": "price", "log": True},
    }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unregistered(Numeric):
    """A user's own kind, which is found because this module can be imported."""

    decimals: int = 2


@tf.keras.utils.register_keras_serializable(package="tests")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Registered(Categorical):
    """A user's own kind, which is found under the name that it is registered by."""

    ignores_case: bool = False


def test_an_unregistered_class_is_found_in_its_module():
    declared = Unregistered(name="price", log=True, decimals=3)
    assert to_config(declared)["registered_name"] == "Unregistered"
    assert through_json(declared) == declared


def test_a_registered_class_is_found_wherever_it_was_defined():
    declared = Registered(name="sku", max_size=12, ignores_case=True)
    config = {**to_config(declared), "module": "a_module.that_is_gone"}
    assert config["registered_name"] == "tests>Registered"
    assert from_config(config) == declared


def test_a_class_in_another_declaration_is_found_too():
    declared = History(of=Registered(name="sku", ignores_case=True), length=7)
    assert type(through_json(declared).of) is Registered
    assert through_json(declared) == declared


@pytest.mark.parametrize(
    "module", ["tests.features.test_config", "a_module.that_does_not_exist", "builtins", "__main__", None]
)
def test_a_class_that_cannot_be_found_is_named_with_its_module(module):
    config = {"module": module, "class_name": "Gone", "registered_name": "shop>Gone", "config": {"name": "a"}}
    with pytest.raises(ValueError, match=f"The class 'Gone' of {module!r} cannot be found. Import the module"):
        from_config(config)


def test_something_else_of_that_name_is_refused():
    config = {"module": "json", "class_name": "dumps", "registered_name": "dumps", "config": {"obj": 1}}
    with pytest.raises(ValueError, match="'dumps' of 'json' is not a class that `to_config` describes"):
        from_config(config)


def test_a_class_that_was_defined_in_a_function_cannot_be_found():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Local(Numeric):
        pass

    with pytest.raises(ValueError, match="The class 'Local' of 'tests.features.test_config' cannot be found"):
        from_config(to_config(Local(name="a")))


@pytest.mark.parametrize("key", ["module", "class_name", "registered_name", "config"])
def test_a_configuration_without_a_key_is_refused(key):
    config = to_config(Numeric(name="a"))
    del config[key]
    with pytest.raises(ValueError, match=f"`config` must be as `to_config` returns it. Received one without {key}"):
        from_config(config)


@pytest.mark.parametrize("kind", [Numeric, Unregistered])
def test_an_unknown_argument_is_refused(kind):
    config = to_config(kind(name="a"))
    config["config"]["logarithm"] = True
    with pytest.raises(TypeError, match="logarithm"):
        from_config(config)


def test_an_impossible_argument_is_refused():
    config = to_config(PretrainedEmbedding(name="a", dim=3))
    config["config"]["dim"] = 0
    with pytest.raises(ValueError, match="`dim` of 'a' must be at least 1. Received: 0"):
        from_config(config)


def test_a_description_names_the_kind_and_every_setting():
    declared = Registered(name="sku", max_size=12, ignores_case=True)
    of = {
        "kind": "Registered",
        "name": "sku",
        "embedding_dim": None,
        "min_count": 1,
        "max_size": 12,
        "num_oov_buckets": 1,
        "id_dropout": 0.0,
        "ignores_case": True,
    }
    assert describe(declared) == of
    assert describe(History(of=declared, half_life=2.5)) == {
        "kind": "History",
        "name": "history",
        "of": of,
        "length": 100,
        "embedding_dim": None,
        "pooling": "mean",
        "by_rating": False,
        "rating_vectors": False,
        "slope_per_entry": False,
        "half_life": 2.5,
        "dropout": 0.0,
        "shares_embedding": False,
        "encoder": None,
        "by_time": False,
    }


@given(declarations)
def test_a_description_is_plain_json(declared):
    description = describe(declared)
    assert json.loads(json.dumps(description)) == description
    assert set(description) == {"kind", *(field.name for field in dataclasses.fields(declared))}


def test_numbers_keep_every_digit():
    declared = Moments(math.pi, math.nextafter(1.0, 2.0))
    assert through_json(declared) == declared
