"""Keras's mixed precision: what is trained with it equals what float32 gives, within the noise of training."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tests.conftest import CANDIDATE, QUERY, export_unchecked, export_version
from tfrs_twotower.evaluation.predictions import predict
from tfrs_twotower.model.joint import JointModel
from tfrs_twotower.model.two_tower import TwoTowerModel

MIXED = ["mixed_float16", "mixed_bfloat16"]
HALF = {"mixed_float16": tf.float16, "mixed_bfloat16": tf.bfloat16}
MOVIE = CANDIDATE.features[0]
SUMS = {
    "query": tt.SumTowerConfig(
        features=(tt.Categorical(name="user_id"), tt.Numeric(name="age"), tt.History(of=MOVIE, by_rating=True)),
        output_dim=8,
    ),
    "candidate": tt.SumTowerConfig(features=(MOVIE,), output_dim=8, has_bias=True, frequency_of="movie_id"),
}
# Two cross layers and a residual layer, whose parts must agree about their precision.
MLPS = {
    "query": dataclasses.replace(QUERY, num_cross_layers=2, residual=True, dropout=0.1),
    "candidate": dataclasses.replace(CANDIDATE, normalization="layer"),
}


@pytest.fixture
def precision():
    """Sets Keras's policy, and takes it back."""
    yield tf.keras.mixed_precision.set_global_policy
    tf.keras.mixed_precision.set_global_policy("float32")


def train_rating(planted) -> TwoTowerModel:
    """MLPs by event."""
    tf.keras.utils.set_random_seed(0)
    model = tt.build_two_tower(planted.split.train, **MLPS)
    model.compile(optimizer=tt.training.LazyAdam(1e-2))
    model.fit(model.training_batches(planted.split.train, batch_size=64, seed=0), epochs=20, verbose=0)
    return model


def train_sampled(planted) -> TwoTowerModel:
    """MLPs by event and a softmax over the batch, with estimated frequencies."""
    tf.keras.utils.set_random_seed(0)
    task = tt.tasks.SampledSoftmaxTask(frequencies=tt.tasks.FrequencyEstimator(num_slots=500))
    model = tt.build_two_tower(planted.split.train, **MLPS, task=task)
    model.compile(optimizer=tt.training.LazyAdam(1e-2))
    model.fit(model.training_batches(planted.split.train, batch_size=64, seed=0), epochs=30, verbose=0)
    return model


def train_joint(planted) -> JointModel:
    """Sums by query, for both tasks at once."""
    tf.keras.utils.set_random_seed(0)
    model = JointModel(
        retrieval_model=tt.build_two_tower(planted.split.train, **SUMS, task=tt.tasks.FullSoftmaxTask()),
        rating_model=tt.build_two_tower(planted.split.train, **SUMS, task=tt.tasks.RatingTask(other_thresholds=(4.0,))),
    )
    model.compile(optimizer=tt.training.LazyAdam(2e-2))
    model.fit(model.query_batches(planted.split.train, batch_size=8, seed=0), epochs=40, verbose=0)
    return model


KINDS = {"rating": train_rating, "sampled": train_sampled, "joint": train_joint}


def measure(planted, model) -> dict[str, float]:
    """The log loss of the test part, and the share of the queries whose withheld candidate ranks first."""
    predictions = predict(model, planted.split, k=1)
    measured = {"hit_rate": float(np.mean(predictions.ranked[:, 0] == planted.withheld))}
    if predictions.probabilities is not None:
        labels = planted.split.test.ratings >= 3
        right = np.where(labels, predictions.probabilities, 1 - predictions.probabilities)
        measured["log_loss"] = float(-np.log(right).mean())
    return measured


def test_training_gives_what_float32_gives(planted, precision):
    """A bfloat16 has a relative precision of 1/256: the log loss may differ by a tenth of 0.5."""
    expected = measure(planted, train_rating(planted))
    # The withheld candidate is the only liked one that a query has not seen.
    assert expected["hit_rate"] >= 0.9
    for policy in MIXED:
        found = train_with(precision, policy, "rating", planted)
        assert found["hit_rate"] >= 0.9
        assert found["log_loss"] == pytest.approx(expected["log_loss"], abs=0.05)


@pytest.mark.parametrize(("kind", "policy"), [("sampled", "mixed_bfloat16"), ("joint", "mixed_float16")])
def test_training_by_other_tasks_finds_what_was_planted(planted, precision, kind, policy):
    """As with float32, whose log loss is below 0.001; again, it may differ by 0.05."""
    found = train_with(precision, policy, kind, planted)
    assert found["hit_rate"] >= 0.9
    assert ("log_loss" in found) == (kind == "joint")
    assert found.get("log_loss", 0) < 0.05


def train_with(precision, policy: str, kind: str, planted) -> dict[str, float]:
    """Trains a model under a policy, and measures it."""
    precision(policy)
    model = KINDS[kind](planted)
    is_scaled = isinstance(model.optimizer, tf.keras.mixed_precision.LossScaleOptimizer)
    assert is_scaled == (policy == "mixed_float16")
    assert int(model.optimizer.iterations) > 0
    return measure(planted, model)


@pytest.mark.parametrize("policy", MIXED)
def test_mlps_compute_in_half_precision_and_everything_else_in_float32(planted, precision, policy):
    precision(policy)
    for towers in (MLPS, SUMS):
        model = tt.build_two_tower(planted.split.train, **towers)
        assert {variable.dtype for variable in model.trainable_variables} == {tf.float32}
        half = {part.name for part in model.submodules if getattr(part, "compute_dtype", None) == HALF[policy].name}
        encoders = [*model.query_tower.encoders.values(), *model.candidate_tower.encoders.values(), model.task]
        assert half.isdisjoint(part.name for encoder in encoders for part in (encoder, *encoder.submodules))
        assert ("hidden_0" in half) == (towers is MLPS)
        assert not {"output", "sum", "frequency"} & half
        raw = model.query_tower.raw_features(planted.split.train.queries)
        raw |= {"history": tf.fill([40, 1], "m1"), "history_rating": tf.ones([40, 1])}
        assert model.query_tower(raw).dtype == tf.float32


def test_a_number_keeps_its_precision(planted, precision):
    """4,097 and 4,098 are one float16."""
    precision("mixed_float16")
    tower = tt.SumTowerConfig(features=(tt.Numeric(name="age"),), output_dim=8)
    model = tt.build_two_tower(planted.split.train, query=tower, candidate=SUMS["candidate"])
    one, other = model.query_tower({"age": tf.constant([4097.0, 4098.0])}).numpy()
    assert (one != other).any()


@pytest.mark.parametrize(("policy", "export"), zip(MIXED, (export_version, export_unchecked), strict=True))
def test_a_bundle_predicts_in_a_process_without_the_policy_and_returns_float32(
    planted, precision, policy, export, tmp_path
):
    precision(policy)
    model = tt.build_two_tower(planted.split.train, **MLPS)
    path = export(model, planted.split.seen, tmp_path / "bundle", k=5, build_index=tt.index.build_exact_index)
    precision("float32")
    served = tt.load_bundle(path)
    for name, signature in served.module.signatures.items():
        outputs = signature.structured_outputs
        assert {output.dtype for output in outputs.values()} <= {tf.float32, tf.string}, name
    queries, candidates = model.embed(planted.split.seen)
    found = served.score({"user_id": ["u0", "u1"]}, ["m3", "m4"]).scores
    np.testing.assert_allclose(found, [queries[0] @ candidates[3], queries[1] @ candidates[4]], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("policy", MIXED)
def test_a_saved_model_is_loaded_with_the_policy_or_without(planted, precision, policy, tmp_path):
    precision(policy)
    model = tt.build_two_tower(planted.split.train, **MLPS)
    model.save(tmp_path / "model.keras")
    expected = model.embed(planted.split.train)
    for loaded_with, tolerance in ((policy, 1e-6), ("float32", 0.1)):
        precision(loaded_with)
        loaded = tf.keras.models.load_model(tmp_path / "model.keras")
        for ours, theirs in zip(loaded.embed(planted.split.train), expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("policy", ["float16", "float64"])
def test_a_policy_whose_variables_are_not_float32_is_refused(planted, precision, policy):
    precision(policy)
    message = f"global policy must be one of float32, mixed_float16, mixed_bfloat16.*Received: {policy}"
    with pytest.raises(ValueError, match=message):
        tt.build_two_tower(planted.split.train, query=QUERY, candidate=CANDIDATE)
