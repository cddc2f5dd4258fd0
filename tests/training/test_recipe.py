import dataclasses

import numpy as np
import pytest

import tfrs_twotower as tt
from tests.conftest import make_planted
from tfrs_twotower.model.joint import JointModel
from tfrs_twotower.model.two_tower import TwoTowerModel
from tfrs_twotower.training import recipe as recipe_module
from tfrs_twotower.training.recipe import fit_recipe

QUICK = {"max_epochs": 60, "batch_size": 16, "learning_rate": 3e-2, "decay": 0.8, "output_dim": 8, "patience": 3}


@pytest.fixture(scope="module")
def split() -> tt.splits.Split:
    """Preferences that are planted: each query likes the candidates of its own kind."""
    return make_planted().split


def test_planted_preferences_are_found_and_the_validation_part_chooses_the_epochs(split):
    recipe = tt.choose_recipe(split.train).with_settings(**QUICK)
    trained = fit_recipe(recipe, split, seed=0)
    assert isinstance(trained.model, JointModel)
    for name, monitor, pick in (("retrieval", "val_ndcg@10", np.argmax), ("rating", "val_log_loss", np.argmin)):
        values = trained.history[name][monitor]
        assert getattr(trained.recipe, name).epochs == pick(values) + 1
        assert len(values) <= 60
    metrics = tt.evaluate(trained.model, split, k=1).metrics
    assert metrics["precision@1"] >= 0.95
    assert metrics["auc"] >= 0.95
    assert dataclasses.replace(trained.recipe, retrieval=recipe.retrieval, rating=recipe.rating) == recipe


def test_the_same_seed_gives_the_same_model(split):
    recipe = dataclasses.replace(tt.choose_recipe(split.train).with_settings(**{**QUICK, "epochs": 2}), rating=None)
    first, second, third = (fit_recipe(recipe, split, seed=seed).model.get_weights() for seed in (1, 1, 2))
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(first, second, strict=True))
    assert not all(np.array_equal(ours, theirs) for ours, theirs in zip(first, third, strict=True))


def test_a_given_number_of_epochs_is_trained_at_once_on_training_and_validation_part(split, monkeypatch):
    trained_on = []
    fit = recipe_module.fit_by_query
    monkeypatch.setattr(
        recipe_module,
        "fit_by_query",
        lambda model, train, **_: trained_on.append(train.num_events) or fit(model, train, **_),
    )
    recipe = tt.choose_recipe(split.train).with_settings(epochs=2)
    trained = fit_recipe(recipe, split, seed=0)
    assert trained_on == [split.train.num_events + split.validation.num_events] * 2
    assert len(trained.history["retrieval"]["softmax_loss"]) == 2


def test_without_a_second_training_the_best_epochs_weights_are_kept(split):
    recipe = dataclasses.replace(tt.choose_recipe(split.train).with_settings(**QUICK), rating=None)
    trained = fit_recipe(recipe, split, seed=0, retrain=False)
    assert isinstance(trained.model, TwoTowerModel)
    best = max(trained.history["retrieval"]["val_ndcg@10"])
    measured = tt.training.ValidationMetrics(split)
    measured.set_model(trained.model)
    logs = {}
    measured.on_epoch_end(0, logs)
    assert logs["val_ndcg@10"] == pytest.approx(best, abs=1e-12)
    assert trained.notes == (
        "The models are those of the best epoch on the training part; they were not trained again.",
    )


def test_a_split_without_a_validation_part_gets_one(split):
    nothing = split.validation.with_events(np.zeros(0, np.int64))
    recipe = dataclasses.replace(tt.choose_recipe(split.train).with_settings(**{**QUICK, "max_epochs": 2}), rating=None)
    trained = fit_recipe(recipe, dataclasses.replace(split, validation=nothing), seed=0)
    assert trained.recipe.retrieval.epochs in (1, 2)
    assert trained.notes == (
        "The split has no validation part: a tenth of the training events was set aside to choose the epochs.",
    )
    few = split.train.with_events(np.arange(0, split.train.num_events, split.train.num_events // 100))
    trained = fit_recipe(recipe, dataclasses.replace(split, train=few, validation=nothing), seed=0)
    assert trained.recipe.retrieval.epochs == 2
    assert trained.notes == ("There are too few events to choose the epochs by: 30 were taken.",)


def test_implicit_feedback_gives_a_retrieval_model_that_finds_what_was_planted(split):
    liked = {
        name: dataclasses.replace(part.with_events(np.flatnonzero(part.ratings >= 3)), has_ratings=False)
        for name, part in ((name, getattr(split, name)) for name in ("train", "validation", "test", "history"))
    }
    implicit = tt.splits.Split(**liked)
    trained = fit_recipe(tt.choose_recipe(implicit.train).with_settings(**QUICK), implicit, seed=0)
    assert trained.model.rating_model is None
    assert tt.evaluate(trained.model, implicit, k=1).metrics["precision@1"] >= 0.95


def test_progress_is_told_from_the_first_step_to_the_last(split):
    told = []
    recipe = tt.choose_recipe(split.train).with_settings(**{**QUICK, "epochs": 2})
    fit_recipe(recipe, split, seed=0, progress=lambda *step: told.append(step))
    tasks = list(dict.fromkeys(task for task, _, _ in told))
    assert tasks == ["Training the retrieval model on all events", "Training the rating model on all events"]
    for task in tasks:
        steps = [(done, total) for name, done, total in told if name == task]
        assert steps == [(done, steps[-1][1]) for done in range(steps[-1][1] + 1)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"recipe": "best"}, "`recipe` must be a Recipe, from `choose_recipe`. Received: str."),
        (
            {"split": "random"},
            "`split` must be a `Split`. Received: a str. Make one with a function such as `temporal_split`.",
        ),
        (
            {"seed": None},
            "`seed` must be a whole number of at least 0. Received: None. The same seed gives the same result.",
        ),
    ],
)
def test_wrong_arguments_are_refused(split, arguments, message):
    with pytest.raises(TypeError) as raised:
        fit_recipe(**{"recipe": tt.choose_recipe(split.train), "split": split, "seed": 0, **arguments})
    assert str(raised.value) == message


def test_of_several_settings_the_validation_part_takes_the_best(split):
    """With a learning rate of next to nothing, a model stays at popularity."""
    recipe = dataclasses.replace(tt.choose_recipe(split.train).with_settings(**QUICK), rating=None)
    useless = dataclasses.replace(recipe.retrieval, learning_rate=1e-9, l2=0.125, max_epochs=3)
    for first, second in ((recipe.retrieval, useless), (useless, recipe.retrieval)):
        both = dataclasses.replace(recipe, retrieval=first, other_retrieval=(second,))
        trained = fit_recipe(both, split, seed=0, retrain=False)
        assert trained.recipe.retrieval.learning_rate == recipe.retrieval.learning_rate
        assert trained.recipe.other_retrieval == ()
        assert "Of 2 settings of the retrieval model, the best had an l2 of 0.0002." in trained.notes
