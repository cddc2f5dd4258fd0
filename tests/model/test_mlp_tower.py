import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tfrs_twotower.features.config import from_config, to_config
from tfrs_twotower.features.vocabularies import Vocabularies, Vocabulary
from tfrs_twotower.model.mlp_tower import MLPTower

CONFIG = tt.MLPTowerConfig(
    features=(
        tt.Categorical(name="user_id"),
        tt.Bucketized(name="age", boundaries=(20, 40)),
        tt.MultiCategorical(name="tags"),
    ),
    embedding_dim=4,
    hidden_units=(8,),
    output_dim=3,
)
KNOWN = Vocabularies({"user_id": Vocabulary(("1", "2")), "tags": Vocabulary(("a", "b"))})


def raw(rows: slice = slice(None)) -> dict[str, tf.Tensor]:
    return {
        "user_id": tf.constant(["1", "2", "?"])[rows],
        "age": tf.constant([15.0, 30.0, np.nan])[rows],
        "tags": tf.constant([["a", ""], ["a", "b"], ["", ""]])[rows],
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": tt.Categorical(name="a")}, r"`features` must be a tuple. Received: Categorical\("),
        (
            {"features": ("user_id",)},
            r"`features` must be features, such as Categorical\(\.\.\.\). Received: 'user_id'",
        ),
        ({"hidden_units": 64}, "`hidden_units` must be a tuple. Received: 64"),
        ({"hidden_units": (64.5,)}, "`hidden_units` must be a whole number. Received: 64.5"),
        ({"output_dim": None}, "`output_dim` must be a whole number"),
        ({"activation": tf.nn.relu}, "`activation` must be a name that Keras knows"),
    ],
)
def test_a_setting_of_a_wrong_type_is_refused(change, message):
    with pytest.raises(TypeError, match=message):
        tt.MLPTowerConfig(**{"features": CONFIG.features, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": ()}, "`features` must be at least one, with unique names"),
        ({"features": (tt.Categorical(name="a"),) * 2}, r"unique names. Received: \['a', 'a'\]"),
        ({"hidden_units": (8, 0)}, "must be at least 1"),
        ({"output_dim": 0}, "must be at least 1"),
        ({"dropout": 1.0}, r"`dropout` must be in \[0, 1\)"),
        ({"l2": -1.0}, "`l2` must be at least 0"),
        ({"num_cross_layers": -1}, "`num_cross_layers` must be at least 0"),
        ({"activation": "rellu"}, "`activation` must be a name that Keras knows. Received: 'rellu'"),
        ({"normalization": "group"}, "`normalization` must be batch, layer or none. Received: 'group'"),
        ({"embedding_dim": 0}, "must be at least 1"),
        (
            {"has_bias": True, "frequency_of": "age"},
            "`frequency_of` must name a Categorical of a tower that has a bias",
        ),
        (
            {"features": (tt.History(of=tt.Categorical(name="a"), by_rating=True), tt.Numeric(name="history_rating"))},
            "unique names",
        ),
    ],
)
def test_an_impossible_configuration_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        tt.MLPTowerConfig(**{"features": CONFIG.features, **change})


def test_a_configuration_round_trips_with_every_setting():
    config = tt.MLPTowerConfig(
        features=(tt.Categorical(name="a"), tt.Bucketized(name="b", boundaries=(1, 2))),
        embedding_dim=None,
        hidden_units=(7, 5),
        output_dim=3,
        has_bias=True,
        frequency_of="a",
        activation="gelu",
        normalization="layer",
        dropout=0.1,
        residual=True,
        num_cross_layers=2,
        l2=0.5,
    )
    assert from_config(json.loads(json.dumps(to_config(config)))) == config


def test_a_tower_with_every_setting_embeds_each_row_alone_as_in_a_batch():
    config = dataclasses.replace(
        CONFIG, embedding_dim=None, activation="gelu", normalization="layer", residual=True, num_cross_layers=2
    )
    tower = config.build_tower(KNOWN, name="query")
    whole = tower(raw()).numpy()
    assert np.isfinite(whole).all()
    for row in range(3):
        np.testing.assert_allclose(tower(raw(slice(row, row + 1))), whole[row : row + 1], rtol=1e-5, atol=1e-6)


def test_without_layers_the_tower_is_linear_in_the_features_vectors():
    tower = dataclasses.replace(CONFIG, hidden_units=(), dropout=0.0).build_tower(KNOWN)
    assert isinstance(tower, MLPTower)
    codes = tower.lookup(raw())
    vectors = np.concatenate([tower.encoders[name](codes[name]).numpy() for name in ("user_id", "age", "tags")], axis=1)
    kernel, bias = (weight.numpy() for weight in tower.top.weights)
    assert kernel.shape == (3 * 4, 3)
    np.testing.assert_allclose(tower(raw()), vectors @ kernel + bias, rtol=1e-5, atol=1e-6)


def test_l2_applies_to_every_kernel_and_no_bias():
    tower = tt.MLPTowerConfig(
        features=(tt.PretrainedEmbedding(name="a", dim=3),),
        hidden_units=(5, 2),
        output_dim=3,
        normalization="none",
        dropout=0.0,
        residual=True,
        num_cross_layers=1,
        l2=0.1,
    ).build_tower(Vocabularies())
    tower({"a": tf.ones([5, 3])})
    kernels = [weight.numpy() for weight in tower.top.trainable_weights if "kernel" in weight.name]
    assert len(kernels) == 1 + 2 + 2 + 1  # cross, hidden, shortcuts, output
    expected = 0.1 * sum((kernel**2).sum() for kernel in kernels)
    assert sum(tower.losses).numpy() == pytest.approx(expected, rel=1e-5)
