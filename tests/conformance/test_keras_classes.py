"""What every class of Keras's in this library must do; a new one cannot come without."""

import importlib
import inspect
import json
import pkgutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tfrs_twotower.features import encoders, lookups
from tfrs_twotower.features.vocabularies import Moments
from tfrs_twotower.model import mlp
from tfrs_twotower.model.tasks import rating as tasks
from tfrs_twotower.model.two_tower import TwoTowerModel, join_towers

_CONFIGURED = (
    tf.keras.layers.Layer,
    tf.keras.initializers.Initializer,
    tf.keras.optimizers.Optimizer,
    tf.keras.metrics.Metric,
    tf.keras.losses.Loss,
    tf.keras.regularizers.Regularizer,
)

TOWER = tt.TowerConfig(
    features=(tt.Categorical(name="id"), tt.Numeric(name="price")),
    embedding_dim=None,
    hidden_units=(5, 4),
    output_dim=3,
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
KNOWN = tt.Vocabularies({"id": tt.Vocabulary(("a", "b"), (2, 1)), "price": Moments(2.0, 3.0)})


def build_model() -> TwoTowerModel:
    movie_id = tt.Categorical(name="id")
    history = tt.History(of=movie_id, name="past", shares_embedding=True)
    return join_towers(
        query=tt.TowerConfig(features=(history,), hidden_units=(), output_dim=3),
        candidate=TOWER,
        query_vocabularies=tt.Vocabularies({"past": KNOWN["id"]}),
        candidate_vocabularies=KNOWN,
        task=tt.RatingTask(threshold=4.5),
    )


#: One of each class, with no argument at its default.
EXAMPLES = [
    encoders.NeutralRows(3),
    encoders.CodeEmbedding(num_codes=5, embedding_dim=3, num_unknown=2, unknown_rate=0.5, regularizer="l2", name="ids"),
    encoders.PooledEmbedding(
        num_codes=5, embedding_dim=3, num_unknown=2, pooling="sqrtn", regularizer="l2", name="tags"
    ),
    encoders.FrequencyBias(num_codes=5, name="often"),
    encoders.HistoryEmbedding(
        num_codes=5,
        embedding_dim=3,
        num_unknown=2,
        pooling="sum",
        length=7,
        by_rating=True,
        rating_vectors=True,
        regularizer=tf.keras.regularizers.L2(0.5),
        half_life=2.5,
        name="past",
    ),
    lookups.ValueLookup(vocabulary=["a", "b"], mask_token="", oov_token="?", num_oov_indices=2, name="ids"),
    lookups.WordLookup(vocabulary=["a", "b"], num_oov_buckets=2, max_words=3, name="words"),
    lookups.Buckets(boundaries=(1.5, 2.5), name="ages"),
    lookups.Standardize(mean=1.5, standard_deviation=2.5, name="ratings"),
    lookups.NumberLookup(mean=1.5, standard_deviation=2.5, log=True, name="prices"),
    lookups.TimeLookup(earliest=1.5, latest=2.5, name="times"),
    lookups.VectorLookup(name="images"),
    mlp.HiddenLayer(
        units=4, activation="tanh", normalization="layer", dropout=0.25, residual=True, l2=0.5, name="hidden"
    ),
    mlp.CrossStack(num_layers=2, l2=0.5, name="cross"),
    mlp.VectorSum(dropout=0.25, has_bias=True, name="sum"),
    tasks.Task(threshold=4.5, name="any"),
    tt.RatingTask(threshold=4.5, other_cuts=(2.0, 5.0), name="liked"),
    tt.RetrievalTask(
        threshold=4.5,
        by_rating=True,
        temperature=0.5,
        learns_temperature=True,
        normalizes=True,
        num_hard_negatives=3,
        corrects_frequency=False,
        frequencies=tt.FrequencyEstimator(num_slots=7),
        name="first",
    ),
    tt.CatalogueTask(threshold=4.5, by_rating=True, temperature=0.5, learns_temperature=True, name="whole"),
    tt.FrequencyEstimator(num_slots=7, num_hashes=3, learning_rate=0.25, name="often"),
    tt.LazyAdam(
        # Keras takes one kind of clipping at a time.
        0.5,
        beta_1=0.8,
        beta_2=0.95,
        epsilon=1e-5,
        clipnorm=2.0,
        name="lazy",
    ),
    tt.build_tower(TOWER, KNOWN, name="candidate"),
    tt.build_tower(SUM_TOWER, KNOWN, name="candidate"),
    build_model(),
    tt.JointModel(retrieval=build_model(), rating=build_model(), retrieval_weight=0.5, rating_weight=2.0),
]
IDS = [type(example).__name__ for example in EXAMPLES]


def keras_classes() -> set[type]:
    """Every class of the package that Keras configures, private bases left out."""
    found = set()
    for module in pkgutil.walk_packages(tt.__path__, "tfrs_twotower."):
        for _, value in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            is_ours = value.__module__.startswith("tfrs_twotower.") and not value.__name__.startswith("_")
            if is_ours and issubclass(value, _CONFIGURED):
                found.add(value)
    return found


def test_every_class_has_an_example():
    assert keras_classes() == {type(example) for example in EXAMPLES}


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
    """Constructor's own arguments are in the configuration, but the tables that are another layer's."""
    if isinstance(example, tt.TwoTowerModel | tt.JointModel | tt.Tower):
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
print(json.dumps({
    "logits": model({"query": {"past": tf.constant([[2, 3]])}, "candidate": model.candidate_tower.lookup(
        {"id": tf.constant(["b"]), "price": tf.constant([5.0])})}).numpy().tolist(),
    "threshold": task.threshold, "optimizer": type(optimizer).__name__, "rate": float(optimizer.learning_rate),
    "steps": int(optimizer.iterations), "shared": shared,
}))
"""


def test_a_compiled_model_is_saved_and_loaded_in_a_new_process(tmp_path):
    model = build_model()
    model.compile(optimizer=tt.LazyAdam(0.25))
    candidate = model.candidate_tower.lookup({"id": tf.constant(["b"]), "price": tf.constant([5.0])})
    batch = {"query": {"past": tf.constant([[2, 3]])}, "candidate": candidate}
    model.fit(tf.data.Dataset.from_tensors({**batch, "rating": tf.constant([5.0])}), verbose=0)
    model.save(tmp_path / "model.keras")
    command = [sys.executable, "-c", LOAD, str(tmp_path / "model.keras")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    loaded = json.loads(result.stdout.splitlines()[-1])
    np.testing.assert_allclose(loaded.pop("logits"), model(batch), rtol=1e-5)
    assert loaded == {"threshold": 4.5, "optimizer": "LazyAdam", "rate": 0.25, "steps": 1, "shared": True}


def test_heads_that_share_towers_share_them_again_when_loaded(tmp_path):
    ranks = build_model()
    towers = {"query_tower": ranks.query_tower, "candidate_tower": ranks.candidate_tower}
    joint = tt.JointModel(retrieval=ranks, rating=tt.TwoTowerModel(**towers, task=tt.RatingTask(threshold=4.5)))
    joint.save(tmp_path / "joint.keras")
    loaded = tf.keras.models.load_model(tmp_path / "joint.keras")
    assert loaded.shares_towers
    assert len(loaded.trainable_variables) == len(ranks.trainable_variables)
    for ours, theirs in zip(joint.variables, loaded.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)
