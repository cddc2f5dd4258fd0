"""What tests of several kinds of feature share: learning from counted rows, and looking values up."""

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.features.feature import Feature
from tfrs_twotower.features.learning import learn_candidate_vocabularies
from tfrs_twotower.features.vocabularies import Vocabularies

DAY_S = 86_400

#: Four candidates, each with a value or none in every kind of column.
TABLE = pa.table(
    {
        "id": ["a", "b", "c", "d"],
        "kind": ["x", "y", "", None],
        "tags": [["p", "q"], ["q"], [], None],
        "title": ["Red fox, red dog", "The DOG", None, ""],
        "price": [1.0, 4.0, None, 100.0],
        "when": [DAY_S, 3 * DAY_S, None, 9 * DAY_S],
    }
)


def learn(*features: Feature, counts=(1, 1, 1, 1), table: pa.Table = TABLE) -> Vocabularies:
    """Returns what a candidate tower learns if the rows of a table have these numbers of events."""
    rows = np.repeat(np.arange(len(counts)), counts)
    train = Interactions(
        queries=pa.table({"user_id": ["u"]}),
        candidates=table,
        events=pa.table({"query_row": np.zeros_like(rows), "candidate_row": rows, "rating": rows.astype(float)}),
        query_id="user_id",
        candidate_id="id",
    )
    return learn_candidate_vocabularies(features, train)


def look_up(feature: Feature, values, vocabularies: Vocabularies | None = None, dtype: tf.DType = tf.string) -> list:
    """Returns the codes of raw values, as nested lists."""
    lookups = feature.build_lookups(Vocabularies() if vocabularies is None else vocabularies)
    return lookups[feature.name](tf.constant(values, dtype)).numpy().tolist()
