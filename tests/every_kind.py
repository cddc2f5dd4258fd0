"""A model whose towers take every kind of feature, and its bundle, for tests of what any request gets."""

import datetime

import numpy as np
import pyarrow as pa
import tensorflow as tf

import tfrs_twotower as tt
from tests.conftest import bundle_of
from tfrs_twotower.bundle.build import Bundle
from tfrs_twotower.index.kinds import build_exact_index
from tfrs_twotower.model.joint import JointModel

NUM_QUERIES, NUM_CANDIDATES, K = 30, 50, 10
MOVIE_ID = tt.Categorical(name="movie_id")
QUERY_FEATURES = (
    tt.Categorical(name="user_id"),
    tt.Numeric(name="height"),
    tt.Numeric(name="income", log=True),
    tt.Bucketized(name="age", boundaries=(20, 40, 60)),
    tt.Timestamp(name="joined"),
    tt.Text(name="about"),
    tt.MultiCategorical(name="tags"),
    tt.PretrainedEmbedding(name="face", dim=3),
    tt.Hashed(name="city", num_buckets=9),
    tt.History(of=MOVIE_ID, length=8, by_rating=True),
)
CANDIDATE_FEATURES = (
    MOVIE_ID,
    tt.Numeric(name="price"),
    tt.Numeric(name="length", log=True),
    tt.Bucketized(name="year", num_buckets=3),
    tt.Timestamp(name="released"),
    tt.Text(name="title"),
    tt.MultiCategorical(name="genres"),
    tt.PretrainedEmbedding(name="image", dim=3),
    tt.Hashed(name="maker", num_buckets=9),
)


def make_interactions() -> tt.Interactions:
    """Random events between queries and candidates that have a column for every feature."""
    rng = np.random.default_rng(0)
    start = datetime.datetime(2024, 1, 1)
    users, movies = range(NUM_QUERIES), range(NUM_CANDIDATES)
    queries = {
        "user_id": [f"u{row}" for row in users],
        "height": pa.array(rng.normal(170, 10, NUM_QUERIES)),
        "income": pa.array(rng.uniform(0, 1e5, NUM_QUERIES)),
        "age": pa.array(rng.uniform(10, 80, NUM_QUERIES)),
        "joined": [start + datetime.timedelta(hours=row) for row in users],
        "about": [f"Likes words {row % 7}" for row in users],
        "tags": [["x", "y"][: row % 3] for row in users],
        "face": pa.array(rng.normal(size=(NUM_QUERIES, 3)).tolist()),
        "city": [f"city {row % 5}" for row in users],
    }
    candidates = {
        "movie_id": [f"m{row}" for row in movies],
        "price": pa.array(rng.normal(20, 5, NUM_CANDIDATES)),
        "length": pa.array(rng.uniform(10, 300, NUM_CANDIDATES)),
        "year": [1990 + row % 9 for row in movies],
        "released": [start + datetime.timedelta(days=row) for row in movies],
        "title": [f"The title {row}" for row in movies],
        "genres": [["Drama", "War", "Comedy"][row % 3 : row % 5] for row in movies],
        "image": pa.array(rng.normal(size=(NUM_CANDIDATES, 3)).tolist()),
        "maker": [f"maker {row % 5}" for row in movies],
    }
    pairs = rng.permutation(NUM_QUERIES * NUM_CANDIDATES)[: 8 * NUM_QUERIES]
    return tt.Interactions(
        queries=pa.table(queries),
        candidates=pa.table(candidates),
        events=pa.table(
            {
                "query_row": pa.array(pairs // NUM_CANDIDATES, pa.int32()),
                "candidate_row": pa.array(pairs % NUM_CANDIDATES, pa.int32()),
                "rating": pa.array(rng.integers(1, 6, len(pairs)), pa.float32()),
            }
        ),
        query_id="user_id",
        candidate_id="movie_id",
        source="every kind of feature",
    )


def build_model(known: tt.Interactions) -> JointModel:
    """Builds a retrieval model that adds vectors and a rating model with an MLP, with random weights."""
    tf.keras.utils.set_random_seed(0)
    retrieval = tt.build_two_tower(
        known,
        query=tt.SumTowerConfig(features=QUERY_FEATURES, output_dim=8),
        candidate=tt.SumTowerConfig(features=CANDIDATE_FEATURES, output_dim=8, has_bias=True),
        task=tt.tasks.SampledSoftmaxTask(),
    )
    rating = tt.build_two_tower(
        known,
        query=tt.MLPTowerConfig(features=QUERY_FEATURES, embedding_dim=8, hidden_units=(16,), output_dim=8),
        candidate=tt.MLPTowerConfig(features=CANDIDATE_FEATURES, embedding_dim=8, hidden_units=(16,), output_dim=8),
    )
    return JointModel(retrieval_model=retrieval, rating_model=rating)


def build_every_kind(build_index=build_exact_index, *, k: int = K) -> Bundle:
    """Builds a bundle with filters, whose first candidates are reordered."""
    known = make_interactions()
    rerank = tt.bundle.Rerank(first=5, weight=0.5)
    return bundle_of(build_model(known), known, build_index, k=k, filter_by=["genres", "year"], rerank=rerank)


def missing(signature, num_rows: int = 1, **given) -> dict[str, tf.Tensor]:
    """Returns the inputs of a signature, all of them missing except those that are given as plain values."""
    specs = {spec.name: spec for spec in signature.structured_input_signature[1].values()}
    values = {tf.string: "", tf.float32: float("nan"), tf.int64: tt.data.NO_TIME}
    inputs = {
        name: tf.fill([num_rows, *(size or 1 for size in spec.shape[1:])], tf.constant(values[spec.dtype], spec.dtype))
        for name, spec in specs.items()
    }
    return inputs | {name: tf.constant(value, specs[name].dtype) for name, value in given.items()}
