"""Every float32 and every int64 that a request can hold becomes finite numbers, by the lookups that train, too."""

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tests.conformance.specs import EXAMPLES, IDS
from tests.every_kind import missing
from tfrs_twotower.data.times import NO_TIME
from tfrs_twotower.features.numeric import MAX_DEVIATIONS, Moments, NumberLookup, Standardize
from tfrs_twotower.features.timestamp import TimeLookup

FLOAT32 = np.finfo(np.float32)
NUMBERS = [np.nan, np.inf, -np.inf, FLOAT32.max, FLOAT32.min, 3e38, -3e38, 1e20, -1e20, FLOAT32.tiny, 1e-45, -1e-45]
NUMBERS += [0.0, -0.0]
TIMES = [NO_TIME, NO_TIME + 1, 2**63 - 1, -(2**62), 2**53 + 1, -1, 0]
EXTREMES = {tf.float32: np.array(NUMBERS, np.float32), tf.int64: np.array(TIMES)}


def extreme_inputs(specs) -> dict[str, tf.Tensor]:
    """Inputs with each extreme value in a row of its own; strings are known ids."""
    num_rows = max(map(len, EXTREMES.values()))
    inputs = {}
    for spec in specs:
        shape = [num_rows, *(size or 2 for size in spec.shape[1:])]
        values = EXTREMES.get(spec.dtype, np.array(["red", "m1"], object))
        rows = np.resize(values, num_rows).reshape([num_rows] + [1] * (len(shape) - 1))
        inputs[spec.name] = tf.constant(np.broadcast_to(rows, shape), spec.dtype)
    return inputs


@pytest.mark.parametrize("example", EXAMPLES, ids=IDS)
def test_every_number_gives_a_finite_embedding(example):
    tower = example.build_tower()
    inputs = extreme_inputs(tower.raw_specs)
    for codes in tower.lookup(inputs).values():
        if codes.dtype.is_floating:
            assert np.isfinite(codes).all()
    assert np.isfinite(tower(inputs)).all()


@pytest.mark.parametrize("example", EXAMPLES, ids=IDS)
def test_every_number_gives_a_finite_embedding_with_cross_layers(example):
    config = tt.MLPTowerConfig(features=(example.feature,), hidden_units=(6,), num_cross_layers=3, output_dim=3)
    tower = config.build_tower(tt.features.Vocabularies(example.learnt))
    assert np.isfinite(tower(extreme_inputs(tower.raw_specs))).all()


@pytest.mark.parametrize("name", ["recommend", "score", "embed_query", "embed_candidate"])
def test_a_bundle_returns_finite_numbers_for_every_number(every_kind, name):
    signature = every_kind.signatures[name]
    specs = signature.structured_input_signature[1].values()
    given = {name: values for name, values in extreme_inputs(specs).items() if values.dtype != tf.string}
    num_rows = len(next(iter(given.values())))
    given |= {"history": [["m1", "m2"]] * num_rows, "candidate_id": ["m1"] * num_rows}
    names = {spec.name for spec in specs}
    outputs = signature(**missing(signature, num_rows, **{name: given[name] for name in given.keys() & names}))
    for output, values in outputs.items():
        if values.dtype == tf.float32:
            assert np.isfinite(values).all(), output
        else:
            assert all(len(set(row)) == len(row) and b"" not in row for row in values.numpy().tolist())


def test_what_is_not_extreme_is_standardised_as_ever():
    """(x - 3) / 2 and (log(1 + x) - 3) / 2, whose results are compared bit by bit with NumPy's in float32."""
    numbers = np.array([-1900.0, 0.0, 2.5, 5.0, 1900.0], np.float32)
    expected = (numbers - np.float32(3)) / np.float32(2)
    np.testing.assert_array_equal(Standardize(mean=3.0, standard_deviation=2.0)(tf.constant(numbers)), expected)
    of_logs = NumberLookup(mean=3.0, standard_deviation=2.0, log=True)(tf.constant(numbers))[:, 0]
    logs = np.log1p(np.maximum(numbers, 0))
    np.testing.assert_allclose(of_logs, (logs - 3) / 2, rtol=1e-6, atol=1e-6)


def test_a_number_beyond_the_range_counts_as_the_bound():
    lookup = Standardize(mean=3.0, standard_deviation=2.0)
    numbers = tf.constant([3 + 2 * MAX_DEVIATIONS, 1e9, FLOAT32.max, -1e9, FLOAT32.min, np.inf, np.nan])
    bound = MAX_DEVIATIONS
    assert lookup(numbers).numpy().tolist() == [bound, bound, bound, -bound, -bound, 0.0, 0.0]


def test_a_spread_that_float32_does_not_know_is_none():
    column = pa.array([1e-50, 3e-50])
    feature = tt.Numeric(name="price")
    learnt = feature.learn(column, np.ones(2, int))
    assert isinstance(learnt, Moments)
    codes = feature.build_lookup(learnt, "lookup")(tf.constant(column.to_numpy(), tf.float32))
    assert codes.numpy().tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_a_time_may_be_the_first_or_the_last_that_int64_holds():
    codes = TimeLookup(earliest=0, latest=1)(tf.constant([NO_TIME + 1, 2**63 - 1])).numpy()
    assert np.abs(codes[:, :4]).max() <= 1
    assert codes[:, 4:].tolist() == [[1000.0, 0.0], [0.0, 0.0]]


def test_a_vector_beyond_the_range_counts_as_the_bound_and_is_refused_in_a_column():
    feature = tt.PretrainedEmbedding(name="image", dim=2)
    lookup = feature.build_lookup(None, "lookup")
    codes = lookup(tf.constant([[3e38, -3e38], [np.inf, 0.0], [2.5, -1e6]]))
    assert codes.numpy().tolist() == [[1e6, -1e6, 0.0], [0.0, 0.0, 1.0], [2.5, -1e6, 0.0]]
    feature.require_possible_values(pa.array([[1e6, -1e6], None]))
    with pytest.raises(ValueError, match="`image` must hold vectors of numbers in ±1,000,000; scale them down.*row 1"):
        feature.require_possible_values(pa.array([[0.0, 0.0], [0.0, 2e6]]))
