"""What every Keras class of this library must do. A new class without an example here fails the first test."""

import importlib
import inspect
import json
import pkgutil

import numpy as np
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tests import forks
from tests.conformance import specs
from tfrs_twotower.features import (
    bucketized,
    codes,
    embeddings,
    history,
    numeric,
    pretrained,
    sequences,
    text,
    timestamp,
)
from tfrs_twotower.features.config import Declaration, from_config, to_config
from tfrs_twotower.features.dropout import UnitDropout
from tfrs_twotower.features.feature import NumberEncoder
from tfrs_twotower.features.self_attention import SelfAttention, SelfAttentionLayer
from tfrs_twotower.features.vocabularies import Vocabularies, Vocabulary
from tfrs_twotower.model import frequency_bias, mlp, sum_tower
from tfrs_twotower.model.batch_normalization import BatchNormalization
from tfrs_twotower.model.joint import JointModel
from tfrs_twotower.model.tasks.frequencies import FrequencyEstimator
from tfrs_twotower.model.tasks.full_softmax import FullSoftmaxTask
from tfrs_twotower.model.tasks.rating import RatingTask
from tfrs_twotower.model.tasks.sampled_softmax import SampledSoftmaxTask
from tfrs_twotower.model.tower import Tower
from tfrs_twotower.model.two_tower import TwoTowerModel, join_towers
from tfrs_twotower.training.optimizers import LazyAdam

_CONFIGURED = (
    tf.keras.layers.Layer,
    tf.keras.initializers.Initializer,
    tf.keras.optimizers.Optimizer,
    tf.keras.metrics.Metric,
    tf.keras.losses.Loss,
    tf.keras.regularizers.Regularizer,
)

TOWER = tt.MLPTowerConfig(
    features=(tt.Categorical(name="id"), tt.Numeric(name="price")),
    embedding_dim=None,
    hidden_units=(5, 4),
    output_dim=3,
    has_bias=True,
    frequency_of="id",
    activation="tanh",
    normalization="layer",
    dropout=0.1,
    residual=True,
    num_cross_layers=1,
    l2=0.5,
)
SUM_TOWER = tt.SumTowerConfig(
    features=TOWER.features, output_dim=3, has_bias=True, frequency_of="id", dropout=0.1, l2=0.5
)
LEARNT = Vocabularies({"id": Vocabulary(("a", "b"), (2, 1)), "price": numeric.Moments(2.0, 3.0)})


def build_model() -> TwoTowerModel:
    movie_id = tt.Categorical(name="id")
    past = tt.History(of=movie_id, name="past", shares_embedding=True)
    return join_towers(
        query=tt.MLPTowerConfig(features=(past,), hidden_units=(), output_dim=3),
        candidate=TOWER,
        query_vocabularies=Vocabularies({"past": LEARNT["id"]}),
        candidate_vocabularies=LEARNT,
        task=RatingTask(threshold=4.5),
    )


#: One of each class; no argument has its default.
EXAMPLES = [
    NumberEncoder(name="price"),
    UnitDropout(0.25, name="dropout"),
    embeddings.NeutralRows(3),
    embeddings.CodeEmbedding(num_codes=5, embedding_dim=3, num_unknown=2, id_dropout=0.5, regularizer="l2", name="ids"),
    embeddings.PooledEmbedding(
        num_codes=5, embedding_dim=3, num_unknown=2, pooling="sqrtn", regularizer="l2", name="tags"
    ),
    history.HistoryEmbedding(
        num_codes=5,
        embedding_dim=3,
        num_unknown=2,
        pooling="sum",
        length=7,
        by_rating=True,
        rating_vectors=True,
        regularizer=tf.keras.regularizers.L2(0.5),
        half_life=2.5,
        dropout=0.5,
        name="past",
    ),
    history.HistoryEmbedding(num_codes=5, embedding_dim=3, length=7, by_rating=True, slope_per_entry=True, name="past"),
    sequences.SequenceEmbedding(
        num_codes=5,
        embedding_dim=3,
        num_unknown=2,
        encoder=SelfAttention(num_layers=2, num_heads=3, dropout=0.1),
        length=7,
        by_rating=True,
        by_time=True,
        regularizer="l2",
        name="past",
    ),
    sequences.SecondsLookup(name="times"),
    SelfAttentionLayer(embedding_dim=3, num_layers=2, num_heads=3, dropout=0.1, name="attention"),
    codes.ValueLookup(vocabulary=["a", "b"], mask_token="", oov_token="?", num_oov_indices=2, name="ids"),
    text.WordLookup(vocabulary=["a", "b"], num_oov_buckets=2, max_words=3, name="words"),
    bucketized.Buckets(boundaries=(1.5, 2.5), name="ages"),
    numeric.Standardize(mean=1.5, standard_deviation=2.5, name="ratings"),
    numeric.NumberLookup(mean=1.5, standard_deviation=2.5, log=True, name="prices"),
    timestamp.TimeLookup(earliest=1.5, latest=2.5, name="times"),
    pretrained.VectorLookup(name="images"),
    frequency_bias.FrequencyBias(num_codes=5, name="often"),
    BatchNormalization(momentum=0.9, epsilon=0.01, name="normalize"),
    mlp.HiddenLayer(
        units=4, activation="tanh", normalization="layer", dropout=0.25, residual=True, l2=0.5, name="hidden"
    ),
    mlp.CrossStack(num_layers=2, l2=0.5, name="cross"),
    sum_tower.ProjectedEncoder(encoder=NumberEncoder(name="price"), units=4, l2=0.5, name="projected"),
    sum_tower.VectorSum(dropout=0.25, has_bias=True, name="sum"),
    RatingTask(threshold=4.5, other_thresholds=(2.0, 5.0), name="liked"),
    SampledSoftmaxTask(
        threshold=4.5,
        highest_rating=5.0,
        temperature=0.5,
        learns_temperature=True,
        normalizes=True,
        num_hard_negatives=3,
        corrects_log_q=False,
        frequencies=FrequencyEstimator(num_slots=7),
        name="first",
    ),
    FullSoftmaxTask(
        threshold=4.5,
        highest_rating=5.0,
        temperature=0.5,
        learns_temperature=True,
        max_candidates=70,
        num_sampled=30,
        name="whole",
    ),
    FrequencyEstimator(num_slots=7, num_hashes=3, learning_rate=0.25, name="often"),
    LazyAdam(
        # Keras takes one kind of clipping at a time.
        0.5,
        beta_1=0.8,
        beta_2=0.95,
        epsilon=1e-5,
        clipnorm=2.0,
        name="lazy",
    ),
    TOWER.build_tower(LEARNT, name="candidate"),
    SUM_TOWER.build_tower(LEARNT, name="candidate"),
    build_model(),
    JointModel(retrieval_model=build_model(), rating_model=build_model(), retrieval_weight=0.5, rating_weight=2.0),
]
IDS = [type(example).__name__ for example in EXAMPLES]

#: One of each declaration that Keras saves as a part of a model.
DECLARATIONS = [
    *(example.feature for example in specs.EXAMPLES),
    SelfAttention(num_layers=2, num_heads=3, dropout=0.1),
    TOWER,
    SUM_TOWER,
    Vocabulary(("a", "b"), (2, 1)),
    numeric.Moments(1.5, 2.5),
    bucketized.Boundaries((1.5, 2.5)),
    timestamp.TimeSpan(1.5, 2.5),
]


def classes_of(bases: type | tuple[type, ...]) -> set[type]:
    """Returns the package's classes of some kind, without those that are only there for others to build on."""
    found = set()
    for module in pkgutil.walk_packages(tt.__path__, "tfrs_twotower."):
        for _, value in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if value.__module__.startswith("tfrs_twotower.") and issubclass(value, bases):
                found.add(value)
    return {kind for kind in found if not any(issubclass(other, kind) for other in found - {kind})}


def test_every_class_has_an_example():
    assert classes_of(_CONFIGURED) == {type(example) for example in EXAMPLES}
    assert classes_of(Declaration) == {type(example) for example in DECLARATIONS}


@pytest.mark.parametrize("declared", DECLARATIONS, ids=lambda declared: type(declared).__name__)
def test_a_declaration_is_registered_and_round_trips_through_json(declared):
    config = json.loads(json.dumps(to_config(declared)))
    assert config["registered_name"] == f"tfrs_twotower>{type(declared).__name__}"
    assert from_config(config) == declared


@pytest.mark.parametrize("example", EXAMPLES, ids=IDS)
def test_its_configuration_round_trips_through_json(example):
    config = json.loads(json.dumps(example.get_config(), default=float))
    assert json.loads(json.dumps(type(example).from_config(config).get_config(), default=float)) == config


@pytest.mark.parametrize("example", EXAMPLES, ids=IDS)
def test_keras_knows_it_by_name(example):
    serialized = tf.keras.saving.serialize_keras_object(example)
    assert serialized["registered_name"] == f"tfrs_twotower>{type(example).__name__}"
    assert type(tf.keras.saving.deserialize_keras_object(serialized)) is type(example)


@pytest.mark.parametrize("example", EXAMPLES, ids=IDS)
def test_its_configuration_leaves_no_argument_out(example):
    """The configuration has every argument of the constructor except tables that belong to another layer."""
    if isinstance(example, TwoTowerModel | JointModel | Tower):
        expected = set(inspect.signature(type(example).__init__).parameters) - {"shared_tables"}
    else:
        expected = set()
        for kind in type(example).__mro__:
            if kind.__module__.startswith("tfrs_twotower.") and "__init__" in vars(kind):
                expected |= {name for name in inspect.signature(kind.__init__).parameters if name != "table"}
    assert expected - {"self", "kwargs"} <= set(example.get_config())


LOAD = """
import json, sys
import numpy as np
import tfrs_twotower as tt
import tensorflow as tf
model = tf.keras.models.load_model(sys.argv[1])
task, optimizer = model.task, model.optimizer
shared = model.query_tower.encoders["past"].table is model.candidate_tower.encoders["id"].table
batch = model.lookup(
    {"past": tf.constant([["a", "b"]])},
    {"id": tf.constant(["b"]), "price": tf.constant([5.0])},
    tf.constant([5.0]),
)
print(json.dumps({
    "logits": model(batch).numpy().tolist(),
    "threshold": task.threshold, "optimizer": type(optimizer).__name__, "rate": float(optimizer.learning_rate),
    "steps": int(optimizer.iterations), "shared": shared,
}))
"""


def test_a_compiled_model_is_saved_and_loaded_in_a_new_process(tmp_path):
    model = build_model()
    model.compile(optimizer=LazyAdam(0.25))
    batch = model.lookup(
        {"past": tf.constant([["a", "b"]])},
        {"id": tf.constant(["b"]), "price": tf.constant([5.0])},
        tf.constant([5.0]),
    )
    model.fit(tf.data.Dataset.from_tensors(batch), verbose=0)
    model.save(tmp_path / "model.keras")
    output = forks.start(["-c", LOAD, tmp_path / "model.keras"]).finish()
    loaded = json.loads(output.splitlines()[-1])
    np.testing.assert_allclose(loaded.pop("logits"), model(batch), rtol=1e-5)
    assert loaded == {"threshold": 4.5, "optimizer": "LazyAdam", "rate": 0.25, "steps": 1, "shared": True}


def test_models_that_share_towers_share_them_again_when_loaded(tmp_path):
    retrieval = build_model()
    towers = {"query_tower": retrieval.query_tower, "candidate_tower": retrieval.candidate_tower}
    joint = JointModel(retrieval_model=retrieval, rating_model=TwoTowerModel(**towers, task=RatingTask(threshold=4.5)))
    joint.save(tmp_path / "joint.keras")
    loaded = tf.keras.models.load_model(tmp_path / "joint.keras")
    assert loaded.shares_towers
    assert len(loaded.trainable_variables) == len(retrieval.trainable_variables)
    for ours, theirs in zip(joint.variables, loaded.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)
