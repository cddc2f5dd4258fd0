"""What every kind of feature must do; a new kind cannot come without."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tests.conformance.specs import EXAMPLES, IDS
from tfrs_twotower.features.features import KINDS, feature_from_config, feature_to_config
from tfrs_twotower.features.lookups import is_missing


def each(condition=lambda example: True):
    """Runs a test with every example that meets a condition."""
    chosen = [(example, name) for example, name in zip(EXAMPLES, IDS, strict=True) if condition(example)]
    return pytest.mark.parametrize("example", [example for example, _ in chosen], ids=[name for _, name in chosen])


def has_column(example) -> bool:
    return example.column is not None


def is_list(example) -> bool:
    return any(isinstance(values[0], list) for values in example.raw.values()) and example.unknown is not None


def can_be_unknown(example) -> bool:
    return example.unknown is not None


@each()
def test_the_examples_leave_no_kind_and_no_setting_out(example):
    assert {type(other.feature) for other in EXAMPLES} == set(KINDS.values())
    assert all(getattr(tt, kind.__name__) is kind for kind in KINDS.values())
    siblings = [other.feature for other in EXAMPLES if type(other.feature) is type(example.feature)]
    for field in dataclasses.fields(example.feature):
        # `shares_embedding` excludes `embedding_dim`; it has tests of its own in test_two_tower.py.
        if field.default is not dataclasses.MISSING and field.name != "shares_embedding":
            assert any(getattr(sibling, field.name) != field.default for sibling in siblings), field.name


@each()
def test_its_configuration_round_trips_through_json(example):
    config = json.loads(json.dumps(feature_to_config(example.feature)))
    assert feature_from_config(config) == example.feature


@each(has_column)
def test_a_column_and_raw_inputs_give_the_same_codes(example):
    tower = example.build_tower()
    from_table = tower.encode_table(pa.table({example.feature.name: example.column}))
    from_raw = tower.lookup(example.tensors(example.raw))
    assert from_table.keys() == from_raw.keys()
    for name, codes in from_table.items():
        np.testing.assert_array_equal(codes, from_raw[name])


@each()
def test_a_batch_of_one_equals_its_row_in_a_batch_of_many(example):
    tower = example.build_tower()
    raw = example.tensors(example.raw)
    many = {name: tf.concat([values] * 11, axis=0)[:32] for name, values in raw.items()}
    whole = tower(many).numpy()
    for row in (0, 1, 2, 31):
        alone = tower({name: values[row : row + 1] for name, values in many.items()})
        # A matrix product rounds differently at another batch size, in the last bits.
        np.testing.assert_allclose(alone, whole[row : row + 1], rtol=1e-5, atol=1e-6)


@each()
def test_an_empty_batch_gives_an_empty_batch(example):
    tower = example.build_tower()
    raw = {name: values[:0] for name, values in example.tensors(example.raw).items()}
    assert tower(raw).shape == [0, 3]


@each()
def test_a_missing_value_is_known_as_such_and_finite(example):
    tower = example.build_tower()
    raw = example.tensors(example.missing)
    assert is_missing(tower.lookup(raw)[example.feature.name]).numpy().all()
    assert np.isfinite(tower(raw)).all()
    given = tower.lookup(example.tensors(example.raw))[example.feature.name]
    assert not is_missing(given).numpy()[:2].any()


@each(has_column)
def test_a_null_is_missing(example):
    tower = example.build_tower()
    table = pa.table({example.feature.name: pa.array([None], example.column.type)})
    codes = {name: tf.constant(values) for name, values in tower.encode_table(table).items()}
    assert is_missing(codes[example.feature.name]).numpy().all()
    np.testing.assert_allclose(tower.encode(codes), tower(example.tensors(example.missing)), rtol=1e-6)


@each(has_column)
def test_a_column_of_nulls_is_missing_throughout(example):
    tower = example.build_tower()
    codes = tower.encode_table(pa.table({example.feature.name: pa.nulls(2)}))
    assert is_missing(tf.constant(codes[example.feature.name])).numpy().all()


@each(is_list)
def test_padding_never_counts(example):
    tower = example.build_tower()
    raw = example.tensors(example.raw)
    padded = {
        name: tf.pad(values, [[0, 0], [1, 2]], constant_values="" if values.dtype == tf.string else float("nan"))
        for name, values in raw.items()
    }
    np.testing.assert_allclose(tower(padded), tower(raw), rtol=1e-6)


@each(can_be_unknown)
def test_an_unknown_value_is_finite_and_not_missing(example):
    tower = example.build_tower()
    raw = example.tensors(example.unknown)
    assert not is_missing(tower.lookup(raw)[example.feature.name]).numpy().any()
    assert np.isfinite(tower(raw)).all()


@each()
def test_it_learns(example):
    """Every weight behind the feature has a gradient that is finite and not zero."""
    tower = example.build_tower()
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


@pytest.fixture(scope="module")
def loaded(tmp_path_factory) -> dict[str, list[dict]]:
    """Every example's tower, saved in both of Keras's formats and loaded in a new process: what it says there."""
    folder = tmp_path_factory.mktemp("towers")
    requests = {}
    for name, example in zip(IDS, EXAMPLES, strict=True):
        for path in (folder / f"{name}.keras", folder / name):
            example.build_tower().save(path)
            requests[str(path)] = example.raw
    (folder / "requests.json").write_text(json.dumps(requests))
    command = [sys.executable, "-c", LOAD, folder / "requests.json", folder / "replies.json"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    replies = json.loads((folder / "replies.json").read_text())
    return {name: [replies[str(folder / f"{name}.keras")], replies[str(folder / name)]] for name in IDS}


@pytest.mark.parametrize(("name", "example"), zip(IDS, EXAMPLES, strict=True), ids=IDS)
def test_a_saved_tower_is_the_same_in_a_new_process(loaded, name, example):
    """Keras's own `save` and `load_model`, with the vocabularies."""
    tower = example.build_tower()
    for reply in loaded[name]:
        np.testing.assert_allclose(reply["vectors"], tower(example.tensors(example.raw)), rtol=1e-5, atol=1e-6)
        assert tt.Vocabularies.from_config(reply["vocabularies"]) == tower.vocabularies
