"""A recipe that the test part has measured is trained again on all events."""

import dataclasses

import numpy as np
import pytest

import tfrs_twotower as tt
from tests.conftest import make_planted
from tests.training.conftest import leave_training_out
from tests.training.test_warm_start import QUICK
from tfrs_twotower.data.splits import Split


@pytest.fixture(scope="module")
def split() -> Split:
    return make_planted().split


@pytest.fixture(scope="module")
def everything(split) -> tt.Interactions:
    parts = (split.train, split.validation, split.test)
    return tt.data.merge_interactions(tt.data.merge_interactions(*parts[:2])[0], parts[2])[0]


@pytest.fixture(scope="module")
def measured(split):
    """Stands for models that were measured: nothing goes on from their weights."""
    recipe = tt.choose_recipe(split.train).with_settings(**{**QUICK, "epochs": 3}).with_ids_alone()
    with pytest.MonkeyPatch.context() as patch:
        leave_training_out(patch)
        return tt.fit_recipe(recipe, split, seed=0)


def test_it_is_the_training_of_a_split_without_a_test_part(split, everything, measured):
    nothing = everything.with_events(np.zeros(0, np.int64))
    whole = Split(train=everything, validation=nothing, test=nothing, history=nothing)
    expected = tt.fit_recipe(measured.recipe, whole, seed=0)
    again = tt.training.refit(measured, everything, seed=0)
    assert (again.recipe, again.history) == (measured.recipe, measured.history)
    for ours, theirs in zip(again.model.get_weights(), expected.model.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)  # rounding
    assert again.state.known.num_events == measured.state.known.num_events + split.test.num_events


def test_after_a_warm_start_it_goes_on_from_the_same_state(split, everything, measured, untrained):
    untrained()
    warm = tt.training.warm_start(measured.state, split, seed=0)
    again = tt.training.refit(warm, everything, seed=0, earlier=measured.state)
    assert (again.share, again.notes) == (warm.share, warm.notes)
    assert again.state.known.num_events == everything.num_events


def test_wrong_arguments_are_told_apart(everything, measured):
    for change, error, message in (
        ({"trained": measured.model}, TypeError, "`trained` must be a Trained"),
        ({"everything": measured}, TypeError, "`everything` must be `Interactions`"),
        ({"seed": -1}, ValueError, "`seed` must be"),
    ):
        arguments = {"trained": measured, "everything": everything, "seed": 0, **change}
        with pytest.raises(error, match=message):
            tt.training.refit(**arguments)


def test_the_recipe_is_that_of_the_models_that_were_measured(everything, measured, untrained):
    untrained()
    recipe = dataclasses.replace(measured.recipe, rating=None)
    again = tt.training.refit(dataclasses.replace(measured, recipe=recipe), everything, seed=0)
    assert again.model.rating_model is None
