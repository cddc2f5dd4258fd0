"""From a training split to an untrained model that fits it."""

from __future__ import annotations

from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.features.features import histories, require_input_name
from tfrs_twotower.features.inputs import require_free_inputs
from tfrs_twotower.features.vocabularies import learn_candidate_vocabularies, learn_query_vocabularies
from tfrs_twotower.model.tasks.rating import RatingTask, Task
from tfrs_twotower.model.tower_config import AnyTowerConfig
from tfrs_twotower.model.two_tower import TwoTowerModel, join_towers


def build_two_tower(
    train: Interactions, *, query: AnyTowerConfig, candidate: AnyTowerConfig, task: Task | None = None
) -> TwoTowerModel:
    """Builds an untrained model whose vocabularies come from the training split.

    Args:
        train: The training split.
        query: The query tower; its features are columns of `train.queries`.
        candidate: The candidate tower; its features are columns of `train.candidates`.
        task: What to train for; by default the binary rating task, positive from a rating of 3 on.

    Raises:
        ValueError: If a feature has no column, or one with values that it cannot take; if the towers' output lengths
            differ, a history is not of the candidates' id, or a query feature is called `candidate_id`.
        TypeError: If a column's type does not suit its feature.
    """
    # Columns are checked where they are learnt from.
    names = [feature.name for feature in query.features]
    if histories(query.features) and train.query_id not in names:
        # The signatures take it all the same, to look a known query's history up.
        require_input_name(train.query_id)
        names.append(train.query_id)
    require_free_inputs(names)
    if train.query_id in [name for past in histories(query.features) for name in (past.name, past.rating_name)]:
        raise ValueError(f"No history may be called like the queries' id. Received: {train.query_id!r}.")
    for history in histories(query.features):
        if history.of.name != train.candidate_id:
            raise ValueError(
                f"`of` of the history {history.name!r} must be the candidates' id, {train.candidate_id!r}, "
                f"which is what histories list. Received: {history.of.name!r}."
            )
    return join_towers(
        query=query,
        candidate=candidate,
        query_vocabularies=learn_query_vocabularies(query.features, train),
        candidate_vocabularies=learn_candidate_vocabularies(candidate.features, train),
        task=task if task is not None else RatingTask(),
    )
