"""New ids for a trained model, which scores everything as before until it is trained again."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower._settings import require_having
from tfrs_twotower.data.interactions import Interactions, require_interactions
from tfrs_twotower.features.history import histories
from tfrs_twotower.features.learning import learn_candidate_vocabularies, learn_query_vocabularies
from tfrs_twotower.features.vocabularies import Vocabularies, Vocabulary
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
    newer_query = learn_query_vocabularies(query.config.features, train)
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


def expand_trained(model: TwoTowerModel, train: Interactions) -> TwoTowerModel:
    """Returns what `expand_vocabulary` returns, compiled: training goes on with what the optimizer knows.

    Known values keep the optimizer's moments. New ones start with a first moment of zero and the mean of the second
    moments, as Adam names them; with another optimizer, they have what unknown values have. The ids of queries and
    candidates that the tables of `train` do not have are dropped, with their vectors and moments: the model then treats
    them as unknown.

    Args:
        model: A model that has been trained with an optimizer of Keras's newer kind, such as a `LazyAdam`.
        train: The newer training split.

    Example:
        >>> import pyarrow as pa
        >>> import tfrs_twotower as tt
        >>> def ratings(*movies):
        ...     return Interactions(
        ...         queries=pa.table({"user_id": ["u"]}), candidates=pa.table({"movie_id": movies}),
        ...         events=pa.table({"query_row": [0] * len(movies), "candidate_row": range(len(movies)),
        ...                          "rating": [1.0, *[5.0] * (len(movies) - 1)]}),
        ...         query_id="user_id", candidate_id="movie_id",
        ...     )
        >>> user, movie = (
        ...     tt.SumTowerConfig(features=[tt.features.Categorical(name=name)]) for name in ("user_id", "movie_id")
        ... )
        >>> model = tt.build_two_tower(ratings("a", "b"), query=user, candidate=movie)
        >>> model.compile(optimizer=tt.training.LazyAdam(1e-2))
        >>> _ = model.fit(model.training_batches(ratings("a", "b"), seed=0), verbose=0)
        >>> int(expand_trained(model, ratings("a", "b", "c")).optimizer.iterations)
        1
    """
    require_interactions(train, "train")
    expanded = _rebuild(model, *_without_missing_ids(model, train, *_expanded_vocabularies(model, train)))
    expanded.compile(optimizer=type(model.optimizer).from_config(model.optimizer.get_config()))
    expanded.optimizer.build(expanded.trainable_variables)
    rows_of = {
        old.name: rows
        for tower, newer in (
            (model.query_tower, expanded.query_tower),
            (model.candidate_tower, expanded.candidate_tower),
        )
        for old, _, rows in _weight_pairs(tower, newer)
    }
    for old, new in zip(model.optimizer.variables, expanded.optimizer.variables, strict=True):
        # The name of a moment is its kind and the name of its variable, such as "m/query/user_id/embeddings:0".
        kind, _, of_variable = old.name.partition("/")
        rows = rows_of.get(of_variable)
        new.assign(old if rows is None else _expanded_moments(kind, old.numpy(), rows))
    return expanded


def _expanded_moments(kind: str, moments: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Returns the moments of a table with more rows; those of Adam start for new rows as for known ones of average use.

    The moments of an unknown value come from many ids. They are so large that a new id would hardly move.
    """
    is_new = np.ones(len(rows), bool)
    is_new[np.unique(rows, return_index=True)[1]] = False
    is_known = ~np.isin(rows, rows[is_new])
    expanded = moments[rows]
    if is_known.any():
        if kind == "m":
            expanded[is_new] = 0.0
        elif kind == "v":
            expanded[is_new] = expanded[is_known].mean(axis=0)
    return expanded


def _without_missing_ids(
    model: TwoTowerModel, train: Interactions, of_queries: Vocabularies, of_candidates: Vocabularies
) -> tuple[Vocabularies, Vocabularies]:
    past = [history.name for history in histories(model.query_tower.config.features)]
    queries, candidates = (
        set(ids.cast(pa.string()).to_pylist())
        for ids in (train.queries[train.query_id], train.candidates[train.candidate_id])
    )
    return (
        _only(_only(of_queries, [train.query_id], queries), past, candidates),
        _only(of_candidates, [train.candidate_id], candidates),
    )


def _only(vocabularies: Vocabularies, names: list[str], kept: set[str]) -> Vocabularies:
    """Returns the vocabularies with what is kept of some of them."""
    return Vocabularies(
        {
            name: learnt.only(kept) if name in names and isinstance(learnt, Vocabulary) else learnt
            for name, learnt in vocabularies.items()
        }
    )


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
            # Weights other than the tables of vectors have the same shape in both.
            is_table = len(old.shape) == 2 and old.shape[0] == getattr(encoder, "num_codes", None)
            yield old, new, sources if is_table else None
        if feature.name == tower.config.frequency_of and tower.frequency is not None and expanded.frequency is not None:
            yield tower.frequency.factor, expanded.frequency.factor, None
            yield tower.frequency.log_counts, expanded.frequency.log_counts, sources
