"""A validation part that cannot measure a model chooses nothing for it, and that is said before the training."""

import dataclasses

import numpy as np
import pytest

import tfrs_twotower as tt
from tests.conftest import make_interactions
from tfrs_twotower.data.splits import Split
from tfrs_twotower.training.choosing import find_choices
from tfrs_twotower.training.recency import choose_half_life
from tfrs_twotower.training.trial import try_recipe

SEEN = "The validation part has 2 events, but no positive one whose candidate the query has not seen before"
POSITIVE = "The validation part has 2 events, all of them positive"
OF_RATING = (
    ", so that it cannot choose the epochs of the rating model: 30 are taken. More events, or a larger share of them "
    "for validation, would choose better ones."
)
OF_BOTH = OF_RATING.replace("the rating model", "the retrieval and the rating models")


def split_with(validation: list[tuple[int, int, float]]) -> Split:
    """Query 0 has seen candidates 0 to 3, query 1 candidates 4 to 7; the times are those of the rows."""
    train = [(query, 4 * query + place, 5.0 if place % 2 else 1.0) for query in range(2) for place in range(4)]
    events = [*train, *validation, (0, 9, 5.0)]
    query, candidate, ratings = (np.array(column) for column in zip(*events, strict=True))
    data = make_interactions(query, candidate, ratings, num_queries=2, num_candidates=10)
    times = np.arange(len(events)) * 86_400
    data = dataclasses.replace(data, events=data.events.append_column("timestamp", [times]))
    train, part, test, history = (
        data.with_events(np.arange(*bounds))
        for bounds in ((0, 8), (8, 8 + len(validation)), (len(events) - 1, len(events)), (0, 0))
    )
    return Split(train=train, validation=part, test=test, history=history)


@pytest.mark.parametrize(
    ("validation", "recommend_seen", "retrieval", "rating", "reason"),
    [
        ([(0, 5, 5.0), (1, 0, 1.0)], False, True, True, ""),
        ([(0, 5, 5.0), (1, 0, 4.0)], False, True, False, POSITIVE),
        ([(0, 5, 1.0), (1, 0, 2.0)], False, False, False, SEEN),
        ([(0, 0, 5.0), (1, 4, 1.0)], False, False, False, SEEN),
        ([(0, 0, 5.0), (1, 4, 1.0)], True, True, True, ""),
    ],
)
def test_what_a_validation_part_can_choose(validation, recommend_seen, retrieval, rating, reason):
    split = split_with(validation)
    choices = find_choices(split, threshold=3, recommend_seen=recommend_seen)
    assert (choices.retrieval, choices.rating, choices.reason) == (retrieval, rating, reason)
    recipe = tt.choose_recipe(split.train, threshold=3)
    expected = {"": [], POSITIVE: [POSITIVE + OF_RATING], SEEN: [SEEN + OF_BOTH]}[reason]
    assert choices.describe(recipe) == expected
    assert choices.describe(recipe.with_settings(epochs=2)) == []
    assert choices.describe(dataclasses.replace(recipe, rating=None)) == (
        [] if retrieval else [SEEN + OF_RATING.replace("rating", "retrieval")]
    )


def test_repeated_choices_choose_no_half_life():
    # The ranking leaves out what a query has seen, so that nothing is left to be found.
    assert choose_half_life(split_with([(0, 1, 5.0), (1, 5, 5.0)]), threshold=3) is None


@pytest.mark.parametrize(
    ("validation", "note"),
    [
        ([(0, 5, 5.0), (1, 0, 4.0)], f"{POSITIVE}: it did not choose how the rating model is trained."),
        ([(0, 0, 5.0), (1, 4, 1.0)], f"{SEEN}: it chose nothing. Epochs that were not given are 30."),
    ],
)
def test_a_model_that_is_not_measured_is_trained_all_the_same(validation, note):
    split = split_with(validation)
    recipe = tt.choose_recipe(split.train, threshold=3)
    recipe = dataclasses.replace(
        recipe,
        retrieval=dataclasses.replace(recipe.retrieval, max_epochs=1),
        rating=dataclasses.replace(recipe.rating, max_epochs=1) if POSITIVE in note else None,
        linear=None,
    )
    trained = tt.fit_recipe(recipe, split, seed=0)
    assert note in trained.notes
    assert trained.recipe.retrieval.epochs == 1
    assert trained.recipe.rating is None or trained.recipe.rating.epochs == 1


@pytest.mark.parametrize(
    ("model", "validation", "reason"),
    [("rating", [(0, 5, 5.0), (1, 0, 4.0)], POSITIVE), ("retrieval", [(0, 0, 5.0), (1, 4, 1.0)], SEEN)],
)
def test_a_search_needs_a_part_that_measures_its_model(model, validation, reason):
    split = split_with(validation)
    message = f"`split` must have a validation part that measures the {model} model. {reason}. Leave more events to it."
    with pytest.raises(ValueError, match=message):
        try_recipe(tt.choose_recipe(split.train, threshold=3), split, model, seed=0)
