"""Kinds that a user defines in their own file: a feature, a subclass of a feature, two tasks and two indexes.

They are trained, saved with Keras, loaded, exported and served like those of the library, which does not know them. The
data are planted: every customer buys what is sold where they live, in the north or in the south.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tests import forks
from tests.conftest import export_unchecked, export_version
from tfrs_twotower.batches.batch import EventBatch, QueryBatch
from tfrs_twotower.batches.negatives import InBatchNegatives
from tfrs_twotower.data.rows import NO_ROW
from tfrs_twotower.features.categorical import Categorical
from tfrs_twotower.features.columns import as_float64, is_any_list, is_number, list_rows, require_not
from tfrs_twotower.features.config import describe
from tfrs_twotower.features.feature import NumberFeature
from tfrs_twotower.features.vocabularies import Learnt
from tfrs_twotower.index.approximate import ApproximateIndex, Effort
from tfrs_twotower.index.build import build_approximate, build_exact
from tfrs_twotower.index.embeddings import check_embeddings
from tfrs_twotower.index.index import Index
from tfrs_twotower.index.tuning import IndexTarget
from tfrs_twotower.index.vectors import CandidateVectors
from tfrs_twotower.model.history_parts import HistoryParts
from tfrs_twotower.model.sum_tower import SumTowerConfig
from tfrs_twotower.model.tasks.task import EventTask, QueryTask
from tfrs_twotower.model.tower_config import TowerConfig
from tfrs_twotower.model.two_tower import TwoTowerModel
from tfrs_twotower.training.optimizers import LazyAdam

# A feature.


@dataclasses.dataclass(frozen=True, kw_only=True)
class GeoPoint(NumberFeature):
    """A point of the globe per row, a list of latitude and longitude in degrees, as a unit vector in three dimensions.

    Raw input: float32 [batch, 2]; a point with NaN is missing.

    Attributes:
        name: Name of the column and of the raw input.
        scale: Length of the vector.
    """

    scale: float = 1.0

    wanted_values: ClassVar[str] = "lists of latitude and longitude"

    @property
    def raw_specs(self) -> tuple[tf.TensorSpec, ...]:
        return (tf.TensorSpec([None, 2], tf.float32, name=self.name),)

    def accepts(self, kind: pa.DataType) -> bool:
        return is_any_list(kind) and is_number(kind.value_type)

    def require_possible_values(self, column: pa.Array) -> None:
        degrees = as_float64(column.flatten())
        rows, places = list_rows(column), np.arange(len(degrees)) % 2
        is_bad = np.zeros(len(column), bool)
        is_bad[rows[~(np.abs(degrees) <= np.where(places == 0, 90, 180))]] = True
        require_not(is_bad, column, self.name, "hold latitudes in -90..90 and longitudes in -180..180")

    def build_lookup(self, learnt: Learnt | None, name: str) -> tf.keras.layers.Layer:
        return PointLookup(scale=self.scale, name=name)


class PointLookup(tf.keras.layers.Layer):
    """Codes points, float32 [batch, 2], as float32 [batch, 4]: x, y, z, and whether the point is missing."""

    def __init__(self, *, scale: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale = scale

    def call(self, degrees: tf.Tensor) -> tf.Tensor:
        is_missing = tf.reduce_any(~tf.math.is_finite(degrees), axis=1)
        latitude, longitude = tf.unstack(degrees * (np.pi / 180), axis=1)
        x = tf.cos(latitude) * tf.cos(longitude)
        y = tf.cos(latitude) * tf.sin(longitude)
        vector = self.scale * tf.stack([x, y, tf.sin(latitude)], axis=1)
        vector = tf.where(is_missing[:, tf.newaxis], 0.0, vector)
        return tf.concat([vector, tf.cast(is_missing, tf.float32)[:, tf.newaxis]], axis=1)


@tf.keras.utils.register_keras_serializable(package="own_kinds")
@dataclasses.dataclass(frozen=True, kw_only=True)
class PrefixCategorical(Categorical):
    """A `Categorical` of the first characters of a string, such as the country of a customer's number.

    Attributes:
        num_characters: Number of characters that count.
    """

    num_characters: int = 1

    minimums: ClassVar[Mapping[str, int]] = {**Categorical.minimums, "num_characters": 1}

    def learn(self, column: pa.Array, counts: np.ndarray) -> Learnt | None:
        prefixes = pa.compute.utf8_slice_codeunits(column.cast(pa.string()), 0, self.num_characters)
        return super().learn(prefixes, counts)

    def build_value_lookup(self, values: Sequence[str], name: str) -> tf.keras.layers.Layer:
        return PrefixLookup(super().build_value_lookup(values, "prefixes"), self.num_characters, name=name)


class PrefixLookup(tf.keras.layers.Layer):
    """Codes strings of any shape by the first characters."""

    def __init__(self, prefixes: tf.keras.layers.Layer, num_characters: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.prefixes, self.num_characters = prefixes, num_characters

    def call(self, values: tf.Tensor) -> tf.Tensor:
        return self.prefixes(tf.strings.substr(values, 0, self.num_characters, unit="UTF8_CHAR"))


# Tasks.


class PairwiseTask(EventTask):
    """Ranks each positive before the batch's other candidates, by the logistic loss of the difference of their scores.

    Args:
        margin: What the difference should exceed.

    References:
        Rendle et al. 2009, "BPR: Bayesian Personalized Ranking from Implicit Feedback", section 4.
    """

    def __init__(self, *, margin: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.margin = margin
        self.pairwise_loss = tf.keras.metrics.Mean(name="pairwise_loss")

    def check_events(self, train: tt.Interactions, negatives: Any, batch_size: int) -> None:
        if batch_size < 2 or train.ratings.max() < self.threshold:
            raise ValueError("`train` must have a positive event, and a batch at least two events.")

    def default_negatives(self, train: tt.Interactions) -> InBatchNegatives:
        return InBatchNegatives(train, threshold=self.threshold)

    def event_loss(self, queries: tf.Tensor, candidates: tf.Tensor, batch: EventBatch, training: bool) -> tf.Tensor:
        scores = tf.matmul(queries, candidates, transpose_b=True)
        differences = tf.linalg.diag_part(scores)[:, tf.newaxis] - scores - self.margin
        is_positive = (batch.ratings >= self.threshold)[:, tf.newaxis]
        weights = tf.cast(is_positive & ~batch.negatives.is_other_positive, tf.float32)
        loss = tf.math.divide_no_nan(tf.reduce_sum(weights * tf.math.softplus(-differences)), tf.reduce_sum(weights))
        self.pairwise_loss.update_state(loss)
        return loss

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "margin": self.margin}


@tf.keras.utils.register_keras_serializable(package="own_kinds")
class SquaredErrorTask(QueryTask):
    """Predicts 1 for a positive event and 0 for another, by the squared error.

    References:
        Koren et al. 2009, "Matrix Factorization Techniques for Recommender Systems", eq. 2.
    """

    def check_queries(self, train: tt.Interactions) -> None:
        if train.ratings.max() < self.threshold:
            raise ValueError("`train` must have a positive event.")

    def num_sampled_for(self, train: tt.Interactions) -> int | None:
        return None

    def query_loss(
        self, queries: tf.Tensor, parts: HistoryParts, candidates: tf.Tensor, batch: QueryBatch, training: bool
    ) -> tf.Tensor:
        scores = tf.matmul(queries, candidates, transpose_b=True)
        labels = tf.cast(batch.ratings >= self.threshold, tf.float32)
        return tf.reduce_mean(tf.square(tf.gather_nd(scores, batch.pairs) - labels))


# Indexes.


class ProductIndex(Index):
    """Finds the best candidates by one matrix product and its largest entries."""

    kind = "product"
    is_exact = True

    def __init__(self, embeddings: np.ndarray, ids: Sequence[str]) -> None:
        super().__init__(CandidateVectors(tf.Variable(check_embeddings(embeddings, ids))))

    def find_rows(self, queries: tf.Tensor, k: Any, width: Any, exclude: tf.Tensor | None) -> tf.Tensor:
        scores = tf.matmul(queries, self.vectors.matrix, transpose_b=True)
        if exclude is not None:
            is_excluded = tf.reduce_any(tf.range(self.num_candidates) == exclude[:, :, tf.newaxis], axis=1)
            scores = tf.where(is_excluded, -np.inf, scores)
        best, rows = tf.math.top_k(scores, width)
        return tf.where(best == -np.inf, NO_ROW, rows)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SliceEffort(Effort):
    """How many slices of the catalogue a query searches."""

    num_slices: int


class SliceIndex(ApproximateIndex[SliceEffort]):
    """Slices the catalogue along its main axis, and scores the candidates of the slices with the best middles."""

    kind = "slice"
    max_candidates_for_exact = 50
    exclusion_multiples = (1, 2)
    slice_size = 10

    def __init__(self, embeddings: np.ndarray, ids: Sequence[str]) -> None:
        embeddings = check_embeddings(embeddings, ids)
        main_axis = np.linalg.svd(embeddings - embeddings.mean(axis=0))[2][0]
        order = np.argsort(embeddings @ main_axis).reshape(-1, self.slice_size)  # 120 candidates make whole slices
        self.num_slices = len(order)
        super().__init__(CandidateVectors(tf.Variable(embeddings)), effort=SliceEffort(num_slices=1))
        self.slices = tf.Variable(order.astype(np.int32), trainable=False)
        self.middles = tf.Variable(embeddings[order].mean(axis=1), trainable=False)

    @property
    def is_exact(self) -> bool:
        return False

    def list_efforts(self) -> list[SliceEffort]:
        return [SliceEffort(num_slices=num) for num in (1, 3, 6)]

    def find_approximately(self, queries: tf.Tensor, width: Any, num_columns: Any, multiple: int) -> tf.Tensor:
        num_slices = min(multiple * self.effort.num_slices, self.num_slices)
        promises = tf.matmul(queries, self.middles, transpose_b=True)
        rows = tf.gather(self.slices, tf.math.top_k(promises, num_slices).indices)
        rows = tf.reshape(rows, [-1, num_slices * self.slice_size])
        scores = tf.einsum("qd,qnd->qn", queries, self.vectors.take(rows))
        num_found = tf.minimum(num_columns, num_slices * self.slice_size)
        found = tf.gather(rows, tf.math.top_k(scores, num_found).indices, batch_dims=1)
        return tf.pad(found, [[0, 0], [0, num_columns - num_found]], constant_values=NO_ROW)


# Planted data.

NUM_QUERIES, NUM_CANDIDATES = 160, 120
IS_NORTHERN_QUERY = np.arange(NUM_QUERIES) % 2 == 0
IS_NORTHERN_CANDIDATE = np.arange(NUM_CANDIDATES) % 2 == 0
LIKES = IS_NORTHERN_QUERY[:, np.newaxis] == IS_NORTHERN_CANDIDATE

QUERY_FEATURES = (GeoPoint(name="home", scale=2.0), PrefixCategorical(name="user_id", num_characters=2))
CANDIDATE_FEATURES = (Categorical(name="movie_id"),)


@pytest.fixture(scope="module")
def train() -> tt.Interactions:
    """Returns a quarter of all pairs, rated 5 where both are northern or both southern, and 1 elsewhere."""
    rng = np.random.default_rng(0)
    query_rows, candidate_rows = np.nonzero(rng.random([NUM_QUERIES, NUM_CANDIDATES]) < 0.25)
    latitudes = np.where(IS_NORTHERN_QUERY, 50, -35) + rng.normal(0, 5, NUM_QUERIES)
    homes = np.stack([latitudes, rng.uniform(-180, 180, NUM_QUERIES)], axis=1).tolist()
    return tt.Interactions(
        # The first two characters of a user's id say nothing about the hemisphere.
        queries=pa.table({"user_id": [f"{row // 2 % 5:02d}-{row}" for row in range(NUM_QUERIES)], "home": homes}),
        candidates=pa.table({"movie_id": [f"m{row}" for row in range(NUM_CANDIDATES)]}),
        events=pa.table(
            {
                "query_row": query_rows,
                "candidate_row": candidate_rows,
                "rating": np.where(LIKES[query_rows, candidate_rows], 5.0, 1.0),
            }
        ),
        query_id="user_id",
        candidate_id="movie_id",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """A task with towers that suit it; both kinds of tower take the features."""

    query: TowerConfig
    candidate: TowerConfig
    task: EventTask | QueryTask
    epochs: int

    def fit(self, train: tt.Interactions) -> TwoTowerModel:
        """Trains a model by event or by query, as its task is trained."""
        tf.keras.utils.set_random_seed(0)
        task = type(self.task).from_config(self.task.get_config())  # a model of its own has a task of its own
        model = tt.build_two_tower(train, query=self.query, candidate=self.candidate, task=task)
        model.compile(optimizer=LazyAdam(1e-2))
        if isinstance(task, EventTask):
            batches = model.training_batches(train, batch_size=256, seed=0)
        else:
            batches = model.query_batches(train, batch_size=32, seed=0)
        model.fit(batches, epochs=self.epochs, verbose=0)
        return model


CASES = {
    "event": Case(
        query=tt.MLPTowerConfig(features=QUERY_FEATURES, hidden_units=(16,), output_dim=8, dropout=0.0),
        candidate=tt.MLPTowerConfig(features=CANDIDATE_FEATURES, hidden_units=(16,), output_dim=8, dropout=0.0),
        task=PairwiseTask(threshold=4.0, margin=0.5, name="pairwise"),
        epochs=20,
    ),
    "query": Case(
        query=SumTowerConfig(features=QUERY_FEATURES, output_dim=8),
        candidate=SumTowerConfig(features=CANDIDATE_FEATURES, output_dim=8, has_bias=True),
        task=SquaredErrorTask(threshold=4.0, name="squared_error"),
        epochs=20,
    ),
}


@pytest.fixture(scope="module")
def models(train: tt.Interactions) -> dict[str, TwoTowerModel]:
    return {name: case.fit(train) for name, case in CASES.items()}


def test_a_point_is_a_unit_vector_and_a_missing_one_is_marked():
    codes = PointLookup(scale=1.0)(tf.constant([[0.0, 90.0], [-90.0, 0.0], [60.0, 180.0], [np.nan, 3.0]])).numpy()
    # (cos lat cos lon, cos lat sin lon, sin lat); float32 holds cos 90 degrees as 0 within 1e-7.
    expected = [[0, 1, 0, 0], [0, 0, -1, 0], [-0.5, 0, np.sqrt(3) / 2, 0], [0, 0, 0, 1]]
    np.testing.assert_allclose(codes, expected, atol=1e-6)


def test_an_impossible_point_is_named_with_its_row(train: tt.Interactions):
    homes = train.queries["home"].to_pylist()
    homes[3] = [91.0, 0.0]
    queries = train.queries.set_column(1, "home", pa.array(homes))
    with pytest.raises(ValueError, match="`home` must hold latitudes in -90..90.*first in row 3: \\[91.0, 0.0\\]"):
        tt.build_two_tower(
            dataclasses.replace(train, queries=queries), query=CASES["event"].query, candidate=CASES["event"].candidate
        )


@pytest.mark.parametrize("name", CASES)
def test_the_planted_preference_is_learnt(models: dict[str, TwoTowerModel], train: tt.Interactions, name: str):
    """Every liked candidate scores higher than every disliked one, in particular those that no event is about."""
    queries, candidates = models[name].embed(train)
    scores = queries @ candidates.T
    assert (np.where(LIKES, scores, np.inf).min(axis=1) > np.where(LIKES, -np.inf, scores).max(axis=1)).all()


LOAD = """
import json, sys
import tfrs_twotower as tt
import tensorflow as tf
tt.model.TwoTowerModel  # registers the model's class; Keras's older format does not import modules
raw = {"home": tf.constant([[50.0, 7.0], [-35.0, 7.0]]), "user_id": tf.constant(["03-7", "never seen"])}

def describe(model):
    return {
        "queries": model.embed_queries(model.query_tower.lookup(raw)).numpy().tolist(),
        "task": [type(model.task).__module__, type(model.task).__name__, model.task.get_config()],
        "features": [[type(feature).__name__, feature.get_config()] for feature in model.query_tower.config.features],
        "vocabularies": str(model.query_tower.vocabularies),
        "steps": int(model.optimizer.iterations),
    }

print(json.dumps({path: describe(tf.keras.models.load_model(path)) for path in sys.argv[1:]}))
"""
FORMS = ("model.keras", "folder")


@pytest.fixture(scope="module")
def loaded(
    models: dict[str, TwoTowerModel], train: tt.Interactions, tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, str], dict]:
    """(model, form) -> what a fresh process loads, which imports only the library.

    It finds the kinds because this module can be imported. For each form there is a process, so that a kind that one
    form has imported does not help the other.
    """
    folder, described = tmp_path_factory.mktemp("saved"), {}
    for form in FORMS:
        paths = {str(folder / name / form): name for name in CASES}
        for path, name in paths.items():
            model = models[name]
            model(next(iter(model.evaluation_batches(train))))  # Keras's older format needs an input to trace
            Path(path).parent.mkdir(exist_ok=True)
            model.save(path)
        output = forks.start(["-c", LOAD, *paths], folder=Path(__file__).parents[2], as_for_users=False).finish()
        outputs = json.loads(output.splitlines()[-1])
        described.update({(name, form): outputs[path] for path, name in paths.items()})
    return described


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", CASES)
def test_a_saved_model_is_loaded_in_a_fresh_process(
    models: dict[str, TwoTowerModel], loaded: dict[tuple[str, str], dict], name: str, form: str
):
    model, found = models[name], loaded[name, form]
    raw = {"home": tf.constant([[50.0, 7.0], [-35.0, 7.0]]), "user_id": tf.constant(["03-7", "never seen"])}
    queries = model.embed_queries(model.query_tower.lookup(raw))
    # The last bits of a matrix product may differ between processes.
    np.testing.assert_allclose(found["queries"], queries, rtol=1e-5, atol=1e-6)
    assert found["task"] == [__name__, type(model.task).__name__, model.task.get_config()]
    assert found["features"] == [[type(feature).__name__, feature.get_config()] for feature in QUERY_FEATURES]
    assert found["vocabularies"] == str(model.query_tower.vocabularies)
    if form == "model.keras":  # the older format does not restore an optimizer's state
        assert found["steps"] == model.optimizer.iterations.numpy() > 0


BUILDERS = {
    "product": functools.partial(build_exact, ProductIndex),
    "slice": functools.partial(build_approximate, SliceIndex, target=IndexTarget(recall={10: 0.8})),
}


@pytest.mark.parametrize(
    ("name", "kind", "export"), [("event", "slice", export_version), ("query", "product", export_unchecked)]
)
def test_an_exported_bundle_recommends(
    models: dict[str, TwoTowerModel], train: tt.Interactions, tmp_path: Path, name: str, kind: str, export
):
    """The first export itself loads the bundle in a process with TensorFlow alone, and compares every signature."""
    path = export(models[name], train, tmp_path / "shop", k=20, build_index=BUILDERS[kind])
    bundle = tt.load_bundle(path)
    assert (bundle.manifest.index.kind, bundle.manifest.index.is_exact) == (kind, kind == "product")
    assert bundle.manifest.index.requested == kind
    assert list(bundle.manifest.model.query.features) == [describe(feature) for feature in QUERY_FEATURES]

    # A customer whom training has never met gets what is sold where they live, in the north or in the south.
    found = bundle.recommend({"user_id": ["99-1", "99-2"], "home": [[52.0, 13.0], [-34.0, 151.0]]})
    rows = np.array([[int(candidate_id[1:]) for candidate_id in row] for row in found.candidate_ids])
    assert (rows[0] % 2 == 0).all()
    assert (rows[1] % 2 == 1).all()
    assert all(len(set(row)) == 20 for row in rows)

    # A known customer's point is remembered, and what they have rated is left out.
    (known,) = bundle.recommend({"user_id": [train.queries["user_id"][0].as_py()]}).candidate_ids
    rated = {f"m{row}" for row in train.candidate_rows[train.query_rows == 0]}
    assert all(int(candidate_id[1:]) % 2 == 0 for candidate_id in known)
    assert not rated & set(known)


def test_a_subclass_of_categorical_codes_by_its_own_rule_after_loading(tmp_path: Path, train: tt.Interactions):
    feature = PrefixCategorical(name="user_id", num_characters=2)
    learnt = tt.features.learn_query_vocabularies([feature], train)
    assert set(learnt.values_of("user_id")) == {"00", "01", "02", "03", "04"}
    tower = tt.MLPTowerConfig(features=(feature,), hidden_units=(), output_dim=3).build_tower(learnt, name="query")
    tower.save(tmp_path / "tower.keras")
    loaded = tf.keras.models.load_model(tmp_path / "tower.keras")
    assert loaded.config.features == (feature,)
    raw = {"user_id": tf.constant(["03-7", "03-8", "99-1", ""])}
    codes = loaded.lookup(raw)["user_id"].numpy()
    assert codes[0] == codes[1] > 1
    assert codes[2:].tolist() == [1, 0]
    np.testing.assert_array_equal(loaded(raw), tower(raw))
