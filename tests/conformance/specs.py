"""One example of every kind of feature, with a column of values, and what is known of it."""

import dataclasses
from typing import Any

import pyarrow as pa
import tensorflow as tf

import tfrs_twotower as tt
from tfrs_twotower.features.features import Feature
from tfrs_twotower.features.vocabularies import Boundaries, Moments, TimeSpan

MOVIE_ID = tt.Categorical(
    name="movie_id", embedding_dim=5, min_count=2, max_size=9, num_oov_buckets=2, unknown_rate=0.1
)
WORDS = tt.Vocabulary(("red", "blue"), (5, 2))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example:
    """A feature with no setting at its default.

    Attributes:
        feature: The feature.
        column: Three good values, or None for a history, which has no column.
        raw: The same values as raw inputs.
        missing: Raw inputs of one row that says nothing.
        unknown: Raw inputs of one row that training never met, or None where there is no such thing.
        known: What is learnt of it.
    """

    feature: Feature
    column: pa.Array | None
    raw: dict[str, list[Any]]
    missing: dict[str, list[Any]]
    unknown: dict[str, list[Any]] | None
    known: dict[str, Any]

    def build_tower(self, **settings: Any) -> tt.Tower:
        tf.keras.utils.set_random_seed(0)
        config = tt.TowerConfig(**{"features": (self.feature,), "hidden_units": (6,), "output_dim": 3, **settings})
        return tt.build_tower(config, tt.Vocabularies(self.known), name="query")

    def tensors(self, raw: dict[str, list[Any]]) -> dict[str, tf.Tensor]:
        specs = self.build_tower(hidden_units=()).raw_specs
        return {spec.name: tf.constant(raw[spec.name], spec.dtype) for spec in specs}


NAN = float("nan")
EXAMPLES = [
    Example(
        feature=MOVIE_ID,
        column=pa.array(["red", "blue", "red"]),
        raw={"movie_id": ["red", "blue", "red"]},
        missing={"movie_id": [""]},
        unknown={"movie_id": ["never seen"]},
        known={"movie_id": WORDS},
    ),
    Example(
        feature=tt.Hashed(name="shop", num_buckets=7, embedding_dim=5),
        column=pa.array(["red", "blue", "red"]),
        raw={"shop": ["red", "blue", "red"]},
        missing={"shop": [""]},
        unknown={"shop": ["never seen"]},
        known={},
    ),
    Example(
        feature=tt.MultiCategorical(
            name="genres", embedding_dim=5, min_count=2, max_size=9, num_oov_buckets=2, pooling="sqrtn"
        ),
        column=pa.array([["red"], ["blue", "red"], []]),
        raw={"genres": [["red", ""], ["blue", "red"], ["", ""]]},
        missing={"genres": [[""]]},
        unknown={"genres": [["never seen", "nor this"]]},
        known={"genres": WORDS},
    ),
    Example(
        feature=tt.Text(
            name="title", embedding_dim=5, min_count=2, max_size=9, num_oov_buckets=2, max_words=3, pooling="sum"
        ),
        column=pa.array(["Red!", "blue, red", ""]),
        raw={"title": ["Red!", "blue, red", ""]},
        missing={"title": [""]},
        unknown={"title": ["never seen"]},
        known={"title": WORDS},
    ),
    Example(
        feature=tt.Numeric(name="price", log=True),
        column=pa.array([1.0, 20.0, 0.0]),
        raw={"price": [1.0, 20.0, 0.0]},
        missing={"price": [NAN]},
        unknown=None,
        known={"price": Moments(1.5, 2.0)},
    ),
    Example(
        feature=tt.Bucketized(name="age", num_buckets=3, embedding_dim=5),
        column=pa.array([1, 20, 30]),
        raw={"age": [1.0, 20.0, 30.0]},
        missing={"age": [NAN]},
        unknown=None,
        known={"age": Boundaries((10.0, 25.0))},
    ),
    Example(
        feature=tt.Bucketized(name="age", boundaries=(10, 25), embedding_dim=5),
        column=pa.array([1, 20, 30]),
        raw={"age": [1.0, 20.0, 30.0]},
        missing={"age": [NAN]},
        unknown=None,
        known={},
    ),
    Example(
        feature=tt.Timestamp(name="published"),
        column=pa.array([0, 86_400, 123_456_789]),
        raw={"published": [0, 86_400, 123_456_789]},
        missing={"published": [tt.NO_TIME]},
        unknown=None,
        known={"published": TimeSpan(0.0, 1e8)},
    ),
    Example(
        feature=tt.Embedding(name="image", dim=2),
        column=pa.array([[0.5, -1.0], [2.0, 0.0], [0.0, 0.0]]),
        raw={"image": [[0.5, -1.0], [2.0, 0.0], [0.0, 0.0]]},
        missing={"image": [[NAN, NAN]]},
        unknown=None,
        known={},
    ),
    Example(
        feature=tt.History(
            of=MOVIE_ID, name="past", length=2, embedding_dim=5, pooling="sum", by_rating=True, half_life=2.0
        ),
        column=None,
        raw={
            "past": [["red", "", ""], ["blue", "red", "red"], ["", "", ""]],
            "past_rating": [[5.0, NAN, NAN], [1.0, 2.0, 3.0], [NAN, NAN, NAN]],
        },
        missing={"past": [[""]], "past_rating": [[NAN]]},
        unknown={"past": [["never seen"]], "past_rating": [[NAN]]},
        known={"past": WORDS, "past_rating": Moments(3.0, 1.0)},
    ),
]
# The other way for a rating to count, which excludes the first.
EXAMPLES.append(
    dataclasses.replace(
        EXAMPLES[-1], feature=dataclasses.replace(EXAMPLES[-1].feature, half_life=None, rating_vectors=True)
    )
)
IDS = [f"{type(example.feature).__name__}-{place}" for place, example in enumerate(EXAMPLES)]
