"""What every kind of feature must do. A new kind without an example in specs.py fails the first test."""

import dataclasses
import inspect
import json

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tests import forks
from tests.conformance.specs import EXAMPLES, IDS, Example
from tfrs_twotower import features
from tfrs_twotower.features.columns import MISSING
from tfrs_twotower.features.config import from_config, to_config
from tfrs_twotower.features.feature import Feature
from tfrs_twotower.features.vocabularies import Vocabularies
from tfrs_twotower.model.tower import Tower


def for_each(condition=lambda example: True):
    """Runs a test on every example that meets a condition."""
    chosen = [(example, name) for example, name in zip(EXAMPLES, IDS, strict=True) if condition(example)]
    return pytest.mark.parametrize("example", [example for example, _ in chosen], ids=[name for _, name in chosen])


def has_column(example) -> bool:
    return example.column is not None


def is_list(example) -> bool:
    return any(isinstance(values[0], list) for values in example.raw.values()) and example.unknown is not None


def can_be_unknown(example) -> bool:
    return example.unknown is not None


def concrete_kinds() -> set[type]:
    """Returns every kind of feature that the namespace `tt.features` has and that can be declared."""
    public = [getattr(features, name) for name in features.__all__]
    kinds = {value for value in public if inspect.isclass(value) and issubclass(value, Feature)}
    return {kind for kind in kinds if not inspect.isabstract(kind)}


def defined_kinds(base: type = Feature) -> set[type]:
    """Returns every kind of feature that the package defines and that can be declared."""
    kinds = {base} | {kind for child in base.__subclasses__() for kind in defined_kinds(child)}
    return {kind for kind in kinds if kind.__module__.startswith("tfrs_twotower.") and not inspect.isabstract(kind)}


def test_every_kind_has_an_example_and_a_public_name():
    assert concrete_kinds() == {type(example.feature) for example in EXAMPLES}
    assert concrete_kinds() == defined_kinds()
    assert all(getattr(tt, kind.__name__) is kind for kind in concrete_kinds())


@for_each()
def test_the_examples_change_every_setting(example):
    siblings = [other.feature for other in EXAMPLES if type(other.feature) is type(example.feature)]
    for field in dataclasses.fields(example.feature):
        # `shares_embedding` excludes `embedding_dim`; it has tests of its own in model/test_two_tower.py.
        if field.default is not dataclasses.MISSING and field.name != "shares_embedding":
            assert any(getattr(sibling, field.name) != field.default for sibling in siblings), field.name


@for_each()
def test_its_configuration_round_trips_through_json(example):
    config = json.loads(json.dumps(to_config(example.feature)))
    assert from_config(config) == example.feature


@for_each()
def test_its_first_raw_input_has_its_name(example):
    assert example.feature.raw_specs[0].name == example.feature.name


@for_each(has_column)
def test_a_column_and_raw_inputs_give_the_same_codes(example):
    tower = example.tower
    from_table = tower.encode_table(pa.table({example.feature.name: example.column}))
    from_raw = tower.lookup(example.tensors(example.raw))
    assert from_table.keys() == from_raw.keys()
    for name, codes in from_table.items():
        np.testing.assert_array_equal(codes, from_raw[name])


@for_each()
def test_a_batch_of_one_equals_its_row_in_a_batch_of_many(example):
    tower = example.tower
    raw = example.tensors(example.raw)
    many = {name: tf.concat([values] * 11, axis=0)[:32] for name, values in raw.items()}
    whole = tower(many).numpy()
    for row in (0, 1, 2, 31):
        alone = tower({name: values[row : row + 1] for name, values in many.items()})
        # The last bits of a matrix product depend on the batch size.
        np.testing.assert_allclose(alone, whole[row : row + 1], rtol=1e-5, atol=1e-6)


@for_each()
def test_an_empty_batch_gives_an_empty_batch(example):
    tower = example.tower
    raw = {name: values[:0] for name, values in example.tensors(example.raw).items()}
    assert tower(raw).shape == [0, 3]


@for_each()
def test_a_missing_value_is_recognised_and_finite(example):
    tower = example.tower
    raw = example.tensors(example.missing)
    assert example.feature.is_missing(tower.lookup(raw)).numpy().all()
    assert np.isfinite(tower(raw)).all()
    given = tower.lookup(example.tensors(example.raw))
    assert not example.feature.is_missing(given).numpy()[:2].any()


@for_each(has_column)
def test_a_null_is_missing(example):
    tower = example.tower
    table = pa.table({example.feature.name: pa.array([None], example.column.type)})
    codes = {name: tf.constant(values) for name, values in tower.encode_table(table).items()}
    assert example.feature.is_missing(codes).numpy().all()
    np.testing.assert_allclose(tower.encode(codes), tower(example.tensors(example.missing)), rtol=1e-6)


@for_each(has_column)
def test_a_column_of_nulls_is_missing_throughout(example):
    tower = example.tower
    codes = tower.encode_table(pa.table({example.feature.name: pa.nulls(2)}))
    codes = {name: tf.constant(values) for name, values in codes.items()}
    assert example.feature.is_missing(codes).numpy().tolist() == [True, True]


@for_each(is_list)
def test_padding_never_counts(example):
    tower = example.tower
    raw = example.tensors(example.raw)
    padded = {
        name: tf.pad(values, [[0, 0], [1, 2]], constant_values=MISSING[values.dtype]) for name, values in raw.items()
    }
    np.testing.assert_allclose(tower(padded), tower(raw), rtol=1e-6)


@for_each(can_be_unknown)
def test_an_unknown_value_is_finite_and_not_missing(example):
    tower = example.tower
    raw = example.tensors(example.unknown)
    assert not example.feature.is_missing(tower.lookup(raw)).numpy().any()
    assert np.isfinite(tower(raw)).all()


@for_each()
def test_its_weights_are_trained(example):
    """Every weight of the feature's encoder has a finite gradient that is not zero."""
    tower = example.tower
    raw = example.tensors({name: values[:2] for name, values in example.raw.items()})
    weights = tower.encoders[example.feature.name].trainable_weights
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tower(raw, training=True) ** 2)
    for gradient in tape.gradient(loss, weights):
        dense = tf.convert_to_tensor(gradient)
        assert np.isfinite(dense).all()
        assert np.abs(dense).max() > 0


LOAD = """
import json, sys
import tfrs_twotower as tt
import tensorflow as tf
replies = {}
for path, raw in json.load(open(sys.argv[1])).items():
    tower = tf.keras.models.load_model(path)
    inputs = {spec.name: tf.constant(raw[spec.name], spec.dtype) for spec in tower.raw_specs}
    replies[path] = {"vectors": tower(inputs).numpy().tolist(), "vocabularies": tower.vocabularies.to_config()}
json.dump(replies, open(sys.argv[2], "w"))
"""


def in_groups() -> list[list[Example]]:
    """Returns all examples, in groups whose features have different names."""
    groups: list[list[Example]] = []
    for example in EXAMPLES:
        for group in groups:
            if example.feature.name not in [other.feature.name for other in group]:
                group.append(example)
                break
        else:
            groups.append([example])
    return groups


# Keras's own format for each example alone, and the older one, which takes seconds to write, for a few towers with all.
SAVED = {
    **{f"{name}.keras": [example] for name, example in zip(IDS, EXAMPLES, strict=True)},
    **{f"folder_{place}": group for place, group in enumerate(in_groups())},
}


@dataclasses.dataclass(frozen=True)
class Saved:
    """A tower, raw inputs, and what a new process that has loaded the tower tells of them."""

    tower: Tower
    raw: dict[str, list]
    reply: dict

    def vectors(self) -> np.ndarray:
        inputs = {spec.name: tf.constant(self.raw[spec.name], spec.dtype) for spec in self.tower.raw_specs}
        return self.tower(inputs).numpy()


@pytest.fixture(scope="module")
def loaded(tmp_path_factory) -> dict[str, Saved]:
    folder = tmp_path_factory.mktemp("towers")
    towers, requests = {}, {}
    for file, examples in SAVED.items():
        tf.keras.utils.set_random_seed(0)
        features = tuple(example.feature for example in examples)
        config = tt.MLPTowerConfig(features=features, hidden_units=(6,), output_dim=3)
        learnt = {name: value for example in examples for name, value in example.learnt.items()}
        towers[file] = config.build_tower(Vocabularies(learnt), name="query")
        towers[file].save(folder / file)
        requests[file] = {name: values for example in examples for name, values in example.raw.items()}
    (folder / "requests.json").write_text(json.dumps(requests))
    forks.start(["-c", LOAD, "requests.json", "replies.json"], folder=folder, as_for_users=False).finish()
    replies = json.loads((folder / "replies.json").read_text())
    return {file: Saved(towers[file], requests[file], replies[file]) for file in SAVED}


@pytest.mark.parametrize("file", SAVED)
def test_a_saved_tower_is_the_same_in_a_new_process(loaded, file):
    """Keras's own `save` and `load_model` keep the weights and the vocabularies."""
    saved = loaded[file]
    np.testing.assert_allclose(saved.reply["vectors"], saved.vectors(), rtol=1e-5, atol=1e-6)
    assert Vocabularies.from_config(saved.reply["vocabularies"]) == saved.tower.vocabularies
