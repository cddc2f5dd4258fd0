"""Vocabularies and statistics of a tower's features, from the training split."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.features.columns import column_features, require_suitable_columns
from tfrs_twotower.features.feature import Feature
from tfrs_twotower.features.history import histories
from tfrs_twotower.features.vocabularies import Learnt, Vocabularies


def learn_query_vocabularies(
    features: Sequence[Feature], train: Interactions, *, context: Sequence[str] = ()
) -> Vocabularies:
    """Learns the vocabularies and statistics of a query tower, each query weighted by its training events.

    Args:
        features: Features of the query tower.
        train: The training split. Queries without an event are ignored.
        context: Names of the features that are columns of the events.

    Returns:
        Input name -> what was learnt. A history has the vocabulary of candidate ids under its name, and the moments of
        the ratings under its `rating_name`.

    Raises:
        ValueError: If a column is missing or holds values that its feature cannot take.
        TypeError: If a column's type does not suit its feature.

    Example:
        >>> import pyarrow as pa
        >>> from tfrs_twotower.features.categorical import Categorical
        >>> from tfrs_twotower.features.history import History
        >>> train = Interactions(
        ...     queries=pa.table({"user_id": ["u"]}),
        ...     candidates=pa.table({"movie_id": ["m1", "m2"]}),
        ...     events=pa.table({"query_row": [0, 0], "candidate_row": [0, 1], "rating": [5.0, 3.0]}),
        ...     query_id="user_id", candidate_id="movie_id",
        ... )
        >>> print(learn_query_vocabularies([History(of=Categorical(name="movie_id"), by_rating=True)], train))
        history: 2 values: m1 (1), m2 (1)
        history_rating: mean 4, standard deviation 1
    """
    of_events = [feature for feature in features if feature.name in context]
    features = [feature for feature in features if feature.name not in context]
    require_suitable_columns(features, train.queries)
    if of_events:
        require_context(of_events, train)
    require_suitable_columns([history.of for history in histories(features)], train.candidates)
    query_counts = np.bincount(train.query_rows, minlength=train.num_queries)
    candidate_counts = _event_counts(train)
    learnt: dict[str, Learnt] = {}
    for feature in column_features(features):
        found = feature.learn(train.queries[feature.name].combine_chunks(), query_counts)
        learnt |= {} if found is None else {feature.name: found}
    for feature in column_features(of_events):
        contexts = train.contexts
        found = feature.learn(contexts.table[feature.name].combine_chunks(), np.bincount(contexts.rows))
        learnt |= {} if found is None else {feature.name: found}
    for history in histories(features):
        of = history.of.learn(train.candidates[history.of.name].combine_chunks(), candidate_counts)
        learnt |= history.learn_from_events(of, train.ratings)
    return Vocabularies(learnt)


def require_context(features: Sequence[Feature], interactions: Interactions) -> None:
    """Checks that events have a suitable column for every feature of a context.

    Args:
        features: The features.
        interactions: The events.

    Raises:
        ValueError: If a column is missing, or holds values that its feature cannot take.
        TypeError: If a column's type does not suit its feature.

    Example:
        >>> import pyarrow as pa
        >>> from tfrs_twotower.features.categorical import Categorical
        >>> clicks = Interactions(
        ...     queries=pa.table({"user_id": ["u"]}), candidates=pa.table({"movie_id": ["m"]}),
        ...     events=pa.table({"query_row": [0], "candidate_row": [0], "rating": [1.0], "device": ["tv"]}),
        ...     query_id="user_id", candidate_id="movie_id",
        ... )
        >>> require_context([Categorical(name="hour")], clicks)
        Traceback (most recent call last):
        ValueError: The events have no feature hour, which the query tower takes as context. Their features: device.
    """
    missing = [feature.name for feature in features if feature.name not in interactions.event_features]
    if missing:
        raise ValueError(
            f"The events have no feature {', '.join(missing)}, which the query tower takes as context. "
            f"Their features: {', '.join(interactions.event_features) or 'none'}."
        )
    require_suitable_columns(features, interactions.contexts.table)


def learn_candidate_vocabularies(features: Sequence[Feature], train: Interactions) -> Vocabularies:
    """Learns the vocabularies and statistics of a candidate tower, each candidate weighted by its training events.

    Args:
        features: Features of the candidate tower, which has no history.
        train: The training split. Candidates without an event are ignored.

    Raises:
        ValueError: If a column is missing or holds values that its feature cannot take.
        TypeError: If a column's type does not suit its feature.

    Example:
        >>> import pyarrow as pa
        >>> from tfrs_twotower.features.categorical import Categorical
        >>> from tfrs_twotower.features.multi_categorical import MultiCategorical
        >>> train = Interactions(
        ...     queries=pa.table({"user_id": ["u"]}),
        ...     candidates=pa.table({"movie_id": ["m1", "m2", "m3"], "genres": [["War"], ["War", "Drama"], ["Epic"]]}),
        ...     events=pa.table({"query_row": [0, 0, 0], "candidate_row": [0, 1, 1], "rating": [5.0, 4.0, 3.0]}),
        ...     query_id="user_id", candidate_id="movie_id",
        ... )
        >>> features = [Categorical(name="movie_id"), MultiCategorical(name="genres")]
        >>> print(learn_candidate_vocabularies(features, train))
        movie_id: 2 values: m2 (2), m1 (1)
        genres: 2 values: War (3), Drama (2)
    """
    if histories(features):
        raise ValueError(
            f"Only queries have a History. Received among the candidates' features: {histories(features)}."
        )
    require_suitable_columns(features, train.candidates)
    counts = _event_counts(train)
    learnt = {
        feature.name: feature.learn(train.candidates[feature.name].combine_chunks(), counts)
        for feature in column_features(features)
    }
    return Vocabularies({name: found for name, found in learnt.items() if found is not None})


def _event_counts(train: Interactions) -> np.ndarray:
    """Returns the events of each candidate, int64 [num_candidates]; events with weights count these, rounded up."""
    if train.weights is None:
        return np.bincount(train.candidate_rows, minlength=train.num_candidates)
    sums = np.bincount(train.candidate_rows, np.maximum(train.weights, 1e-6), minlength=train.num_candidates)
    # The sum of many equal weights must not be rounded up because of its last digit.
    counts: np.ndarray = np.ceil(sums - 1e-6 * sums).astype(np.int64)
    return counts
