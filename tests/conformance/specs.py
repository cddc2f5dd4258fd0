"""Examples of every kind of feature, each with a column of values and with what is learnt about it."""

import dataclasses
import functools
from typing import Any

import pyarrow as pa
import tensorflow as tf

import tfrs_twotower as tt
from tfrs_twotower.data.times import NO_TIME
from tfrs_twotower.features.bucketized import Boundaries
from tfrs_twotower.features.feature import Feature
from tfrs_twotower.features.numeric import Moments
from tfrs_twotower.features.timestamp import TimeSpan
from tfrs_twotower.features.vocabularies import Learnt, Vocabularies, Vocabulary
from tfrs_twotower.model.tower import Tower

MOVIE_ID = tt.Categorical(name="movie_id", embedding_dim=5, min_count=2, max_size=9, num_oov_buckets=2, id_dropout=0.1)
WORDS = Vocabulary(("red", "blue"), (5, 2))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example:
    """A feature with no setting at its default.

    Attributes:
        feature: The feature.
        column: Three good values, or None for a history, which has no column.
        raw: The same values as raw inputs.
        missing: Raw inputs of one row in which every value is missing.
        unknown: Raw inputs of one row of values that training never met, or None if no value is unknown.
    """

    feature: Feature
    column: pa.Array | None
    raw: dict[str, list[Any]]
    missing: dict[str, list[Any]]
    unknown: dict[str, list[Any]] | None
    learnt: dict[str, Learnt]

    def build_tower(self) -> Tower:
        """Builds a tower of this feature alone, with the same weights each time."""
        tf.keras.utils.set_random_seed(0)
        config = tt.MLPTowerConfig(features=(self.feature,), hidden_units=(6,), output_dim=3)
        return config.build_tower(Vocabularies(self.learnt), name="query")

    @functools.cached_property
    def tower(self) -> Tower:
        """Such a tower, for all tests that leave it as it is."""
        return self.build_tower()

    def tensors(self, raw: dict[str, list[Any]]) -> dict[str, tf.Tensor]:
        """Returns raw inputs as tensors."""
        return {spec.name: tf.constant(raw[spec.name], spec.dtype) for spec in self.feature.raw_specs}


NAN = float("nan")
EXAMPLES = [
    Example(
        feature=MOVIE_ID,
        column=pa.array(["red", "blue", "red"]),
        raw={"movie_id": ["red", "blue", "red"]},
        missing={"movie_id": [""]},
        unknown={"movie_id": ["never seen"]},
        learnt={"movie_id": WORDS},
    ),
    Example(
        feature=tt.Hashed(name="shop", num_buckets=7, embedding_dim=5),
        column=pa.array(["red", "blue", "red"]),
        raw={"shop": ["red", "blue", "red"]},
        missing={"shop": [""]},
        unknown={"shop": ["never seen"]},
        learnt={},
    ),
    Example(
        feature=tt.MultiCategorical(
            name="genres", embedding_dim=5, min_count=2, max_size=9, num_oov_buckets=2, pooling="sqrtn"
        ),
        column=pa.array([["red"], ["blue", "red"], []]),
        raw={"genres": [["red", ""], ["blue", "red"], ["", ""]]},
        missing={"genres": [[""]]},
        unknown={"genres": [["never seen", "nor this"]]},
        learnt={"genres": WORDS},
    ),
    Example(
        feature=tt.Text(
            name="title", embedding_dim=5, min_count=2, max_size=9, num_oov_buckets=2, max_words=3, pooling="sum"
        ),
        column=pa.array(["Red!", "blue, red", ""]),
        raw={"title": ["Red!", "blue, red", ""]},
        missing={"title": [""]},
        unknown={"title": ["never seen"]},
        learnt={"title": WORDS},
    ),
    Example(
        feature=tt.Numeric(name="price", log=True),
        column=pa.array([1.0, 20.0, 0.0]),
        raw={"price": [1.0, 20.0, 0.0]},
        missing={"price": [NAN]},
        unknown=None,
        learnt={"price": Moments(1.5, 2.0)},
    ),
    Example(
        feature=tt.Bucketized(name="age", num_buckets=3, embedding_dim=5),
        column=pa.array([1, 20, 30]),
        raw={"age": [1.0, 20.0, 30.0]},
        missing={"age": [NAN]},
        unknown=None,
        learnt={"age": Boundaries((10.0, 25.0))},
    ),
    Example(
        feature=tt.Bucketized(name="age", boundaries=(10, 25), embedding_dim=5),
        column=pa.array([1, 20, 30]),
        raw={"age": [1.0, 20.0, 30.0]},
        missing={"age": [NAN]},
        unknown=None,
        learnt={},
    ),
    Example(
        feature=tt.Timestamp(name="published"),
        column=pa.array([0, 86_400, 123_456_789]),
        raw={"published": [0, 86_400, 123_456_789]},
        missing={"published": [NO_TIME]},
        unknown=None,
        learnt={"published": TimeSpan(0.0, 1e8)},
    ),
    Example(
        feature=tt.PretrainedEmbedding(name="image", dim=2),
        column=pa.array([[0.5, -1.0], [2.0, 0.0], [0.0, 0.0]]),
        raw={"image": [[0.5, -1.0], [2.0, 0.0], [0.0, 0.0]]},
        missing={"image": [[NAN, NAN]]},
        unknown=None,
        learnt={},
    ),
    Example(
        feature=tt.History(
            of=MOVIE_ID,
            name="past",
            length=2,
            embedding_dim=5,
            pooling="sum",
            by_rating=True,
            half_life=2.0,
            dropout=0.5,
        ),
        column=None,
        raw={
            "past": [["red", "", ""], ["blue", "red", "red"], ["", "", ""]],
            "past_rating": [[5.0, NAN, NAN], [1.0, 2.0, 3.0], [NAN, NAN, NAN]],
        },
        missing={"past": [[""]], "past_rating": [[NAN]]},
        unknown={"past": [["never seen"]], "past_rating": [[NAN]]},
        learnt={"past": WORDS, "past_rating": Moments(3.0, 1.0)},
    ),
]
# The other ways in which a rating can count.
EXAMPLES += [
    dataclasses.replace(EXAMPLES[-1], feature=dataclasses.replace(EXAMPLES[-1].feature, half_life=None, **other))
    for other in ({"rating_vectors": True}, {"slope_per_entry": True})
]
# A history whose order counts.
EXAMPLES.append(
    Example(
        feature=tt.History(
            of=MOVIE_ID,
            name="past",
            length=2,
            embedding_dim=5,
            by_rating=True,
            by_time=True,
            encoder=tt.features.SelfAttention(num_layers=2, num_heads=3, dropout=0.1),
        ),
        column=None,
        raw={
            "past": [["red", "", ""], ["blue", "red", "red"], ["", "", ""]],
            "past_rating": [[5.0, NAN, NAN], [1.0, 2.0, 3.0], [NAN, NAN, NAN]],
            "past_time": [[100, NO_TIME, NO_TIME], [1, 20, 5000], [NO_TIME, NO_TIME, NO_TIME]],
        },
        missing={"past": [[""]], "past_rating": [[NAN]], "past_time": [[NO_TIME]]},
        unknown={"past": [["never seen"]], "past_rating": [[NAN]], "past_time": [[NO_TIME]]},
        learnt={"past": WORDS, "past_rating": Moments(3.0, 1.0)},
    )
)
IDS = [f"{type(example.feature).__name__}-{place}" for place, example in enumerate(EXAMPLES)]
