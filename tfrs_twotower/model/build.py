"""From a training split to an untrained model that fits it."""

from __future__ import annotations

from tfrs_twotower._settings import require_having
from tfrs_twotower.data.interactions import Interactions, require_interactions
from tfrs_twotower.features.history import histories
from tfrs_twotower.features.input_names import require_free_inputs, require_input_name
from tfrs_twotower.features.learning import learn_candidate_vocabularies, learn_query_vocabularies
from tfrs_twotower.model.tasks.rating import RatingTask
from tfrs_twotower.model.tasks.task import Task
from tfrs_twotower.model.tower_config import TowerConfig
from tfrs_twotower.model.two_tower import TwoTowerModel, join_towers


def build_two_tower(
    train: Interactions, *, query: TowerConfig, candidate: TowerConfig, task: Task | None = None
) -> TwoTowerModel:
    """Builds an untrained model whose vocabularies come from the training split.

    Args:
        train: The training split.
        query: The query tower; its features are columns of `train.queries`, those of its context of `train.events`.
        candidate: The candidate tower; its features are columns of `train.candidates`.
        task: What to train for; by default the binary rating task, with ratings of at least 3 as positive.

    Raises:
        ValueError: If a feature has no column, or one with values that it cannot take; if the towers' output lengths
            differ, a history is not of the candidates' id, or a query feature has the name of another input of the
            signatures, such as `candidate_id`.
        TypeError: If a column's type does not suit its feature.

    Example:
        >>> import pyarrow as pa
        >>> from tfrs_twotower.features.categorical import Categorical
        >>> from tfrs_twotower.model.mlp_tower import MLPTowerConfig
        >>> ratings = Interactions(
        ...     queries=pa.table({"customer": ["c7"]}), candidates=pa.table({"sku": ["x", "y"]}),
        ...     events=pa.table({"query_row": [0, 0], "candidate_row": [0, 1], "rating": [5.0, 1.0]}),
        ...     query_id="customer", candidate_id="sku",
        ... )
        >>> model = build_two_tower(
        ...     ratings,
        ...     query=MLPTowerConfig(features=(Categorical(name="customer"),)),
        ...     candidate=MLPTowerConfig(features=(Categorical(name="sku"),)),
        ... )
        >>> model.candidate_tower.vocabularies.values_of("sku")
        ('x', 'y')
    """
    require_interactions(train, "train")
    for name, config in (("query", query), ("candidate", candidate)):
        require_having(config, name, "build_tower", "the declaration of a tower, such as an `MLPTowerConfig`")
    # Columns are checked where they are learnt from.
    names = [feature.name for feature in query.features]
    if histories(query.features) and train.query_id not in names:
        # The signatures take it nevertheless, to look up the history of a known query.
        require_input_name(train.query_id)
        names.append(train.query_id)
    require_free_inputs(names)
    names_of_histories = [spec.name for past in histories(query.features) for spec in past.raw_specs]
    if train.query_id in names_of_histories:
        raise ValueError(f"No history may have the name of the queries' id. Received: {train.query_id!r}.")
    for history in histories(query.features):
        if history.of.name != train.candidate_id:
            raise ValueError(
                f"`of` of the history {history.name!r} must be the candidates' id, {train.candidate_id!r}, "
                f"which is what histories list. Received: {history.of.name!r}."
            )
        if history.by_time and train.timestamps is None:
            raise ValueError(
                f"`by_time` of the history {history.name!r} needs the events' times. `train` has none: name their "
                "column as the `timestamp` of the schema, or leave `by_time` out."
            )
    return join_towers(
        query=query,
        candidate=candidate,
        query_vocabularies=learn_query_vocabularies(query.features, train, context=query.context),
        candidate_vocabularies=learn_candidate_vocabularies(candidate.features, train),
        task=task if task is not None else RatingTask(),
    )
