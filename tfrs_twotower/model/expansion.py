"""New ids for a trained model, which scores everything as before until it is trained again."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from tfrs_twotower._settings import require_having
from tfrs_twotower.data.interactions import Interactions, require_interactions
from tfrs_twotower.features.learning import learn_candidate_vocabularies, learn_query_vocabularies
from tfrs_twotower.features.vocabularies import Vocabularies
from tfrs_twotower.model.tower import Tower
from tfrs_twotower.model.two_tower import TwoTowerModel, join_towers


def expand_vocabulary(model: TwoTowerModel, train: Interactions) -> TwoTowerModel:
    """Returns a model whose vocabulary also has the ids of a newer training split.

    Every known value keeps its vector; a new one starts with the vector of unknown values that it had until now, so
    that training goes on from what the old model predicts. Statistics stay as they are.

    Args:
        model: A trained model; it stays as it is.
        train: The newer training split.

    Returns:
        A new model, not compiled.

    Example:
        >>> import pyarrow as pa
        >>> from tfrs_twotower.features.categorical import Categorical
        >>> from tfrs_twotower.model.build import build_two_tower
        >>> from tfrs_twotower.model.sum_tower import SumTowerConfig
        >>> def ratings(*movies):
        ...     return Interactions(
        ...         queries=pa.table({"user_id": ["u"]}), candidates=pa.table({"movie_id": movies}),
        ...         events=pa.table({"query_row": [0] * len(movies), "candidate_row": range(len(movies)),
        ...                          "rating": [4.0] * len(movies)}),
        ...         query_id="user_id", candidate_id="movie_id",
        ...     )
        >>> user, movie = (SumTowerConfig(features=(Categorical(name=name),)) for name in ("user_id", "movie_id"))
        >>> model = build_two_tower(ratings("a", "b"), query=user, candidate=movie)
        >>> expand_vocabulary(model, ratings("a", "c")).candidate_tower.vocabularies.values_of("movie_id")
        ('a', 'b', 'c')
    """
    require_having(model, "model", "query_tower", "a `TwoTowerModel`; expand the models of a joint model one by one")
    require_interactions(train, "train")
    return _rebuild(model, *_expanded_vocabularies(model, train))


def _expanded_vocabularies(model: TwoTowerModel, train: Interactions) -> tuple[Vocabularies, Vocabularies]:
    query, candidate = model.query_tower, model.candidate_tower
    newer_query = learn_query_vocabularies(query.config.features, train, context=query.config.context)
    newer_candidate = learn_candidate_vocabularies(candidate.config.features, train)
    return query.vocabularies.expand(newer_query), candidate.vocabularies.expand(newer_candidate)


def _rebuild(model: TwoTowerModel, of_queries: Vocabularies, of_candidates: Vocabularies) -> TwoTowerModel:
    """Returns the model with other vocabularies, whose values keep their vectors."""
    query, candidate = model.query_tower, model.candidate_tower
    expanded = join_towers(
        query=query.config.with_fixed_dims(query.encoders),
        candidate=candidate.config.with_fixed_dims(candidate.encoders),
        query_vocabularies=of_queries,
        candidate_vocabularies=of_candidates,
        task=type(model.task).from_config(model.task.get_config()),
    )
    expanded.task.set_weights(model.task.get_weights())
    _copy_weights(query, expanded.query_tower)
    _copy_weights(candidate, expanded.candidate_tower)
    return expanded


def carry_vectors(earlier: TwoTowerModel, model: TwoTowerModel) -> None:
    """Gives each value that an earlier model knows as well the vector that it has there.

    Everything else stays as it is: biases, which follow from popularity, statistics, and the vectors of values that the
    earlier model does not know.

    Args:
        earlier: A trained model.
        model: An untrained one with the same features and the same sizes, whose vectors are set.

    Example:
        >>> import numpy as np
        >>> import pyarrow as pa
        >>> import tfrs_twotower as tt
        >>> def build(*movies):
        ...     ratings = Interactions(
        ...         queries=pa.table({"user_id": ["u"]}), candidates=pa.table({"movie_id": movies}),
        ...         events=pa.table({"query_row": [0] * len(movies), "candidate_row": range(len(movies)),
        ...                          "rating": [1.0, *[5.0] * (len(movies) - 1)]}),
        ...         query_id="user_id", candidate_id="movie_id",
        ...     )
        ...     user, movie = (
        ...         tt.SumTowerConfig(features=[tt.features.Categorical(name=name)]) for name in ("user_id", "movie_id")
        ...     )
        ...     return tt.build_two_tower(ratings, query=user, candidate=movie)
        >>> earlier, model = build("a", "b"), build("b", "c")
        >>> carry_vectors(earlier, model)
        >>> vectors = [one.candidate_tower.encoders["movie_id"].vectors() for one in (earlier, model)]
        >>> [bool(np.array_equal(vectors[0][-1], vectors[1][row])) for row in (-2, -1)]  # b is known, and c is new
        [True, False]
    """
    for old, new in ((earlier.query_tower, model.query_tower), (earlier.candidate_tower, model.candidate_tower)):
        for before, after, rows in _weight_pairs(old, new):
            if len(before.shape) < 2:
                continue
            carried = before.numpy() if rows is None else before.numpy()[rows]
            current = after.numpy()
            is_known = np.ones(len(carried), bool) if rows is None else _is_first(rows)
            # The last entry of a vector is its part of the bias.
            width = current.shape[1] - (1 if rows is not None and old.config.has_bias else 0)
            current[is_known, :width] = carried[is_known, :width]
            after.assign(current)


def _is_first(rows: np.ndarray) -> np.ndarray:
    """Tells which entries occur for the first time: a new value has the row of unknown values, which is the first."""
    is_first = np.zeros(len(rows), bool)
    is_first[np.unique(rows, return_index=True)[1]] = True
    return is_first


def expand_tower(tower: Tower, vocabularies: Vocabularies) -> Tower:
    """Returns a tower with an expanded vocabulary, as `expand_vocabulary` does for a model.

    Args:
        tower: A trained tower; it stays as it is.
        vocabularies: The tower's own, expanded: `tower.vocabularies.expand(newer)`.

    Raises:
        ValueError: If a known value has changed its place, or a statistic has changed.

    Example:
        >>> from tfrs_twotower.features.categorical import Categorical
        >>> from tfrs_twotower.features.vocabularies import Vocabulary
        >>> from tfrs_twotower.model.sum_tower import SumTowerConfig
        >>> config = SumTowerConfig(features=(Categorical(name="user_id"),))
        >>> tower = config.build_tower(Vocabularies({"user_id": Vocabulary(("42",))}))
        >>> newer = Vocabularies({"user_id": Vocabulary(("7",))})
        >>> expand_tower(tower, tower.vocabularies.expand(newer)).vocabularies.values_of("user_id")
        ('42', '7')
    """
    for name, learnt in tower.vocabularies.items():
        if not learnt.is_start_of(vocabularies.get(name)):
            raise ValueError(
                f"`vocabularies[{name!r}]` must be expanded from the tower's own: use `tower.vocabularies.expand`."
            )
    expanded = tower.config.with_fixed_dims(tower.encoders).build_tower(vocabularies, name=tower.name)
    _copy_weights(tower, expanded)
    return expanded


def _copy_weights(tower: Tower, expanded: Tower) -> None:
    for old, new, rows in _weight_pairs(tower, expanded):
        new.assign(old if rows is None else tf.gather(old, rows))


def _weight_pairs(tower: Tower, expanded: Tower) -> Iterator[tuple[tf.Variable, tf.Variable, np.ndarray | None]]:
    """Yields each weight, the expanded one, and the rows of the former that the latter has; None for all of them."""
    for old, new in zip(tower.top.weights, expanded.top.weights, strict=True):
        yield old, new, None
    for feature in tower.config.features:
        sources = feature.source_codes(tower.lookups, expanded.vocabularies)
        encoder = tower.encoders[feature.name]
        for old, new in zip(encoder.weights, expanded.encoders[feature.name].weights, strict=True):
            # Weights other than the tables of vectors have the same shape in both, which may be that of a table.
            is_table = any(old is table.embeddings for table in getattr(encoder, "tables", ()))
            yield old, new, sources if is_table else None
        if feature.name == tower.config.frequency_of and tower.frequency is not None and expanded.frequency is not None:
            yield tower.frequency.factor, expanded.frequency.factor, None
            yield tower.frequency.log_counts, expanded.frequency.log_counts, sources
