import dataclasses
import json

import numpy as np
import pytest

import tfrs_twotower as tt
from tests.conftest import make_interactions, make_planted
from tfrs_twotower.features.self_attention import SelfAttention
from tfrs_twotower.model.joint import JointModel
from tfrs_twotower.model.two_tower import TwoTowerModel
from tfrs_twotower.training import fitting
from tfrs_twotower.training import recipe as recipe_module
from tfrs_twotower.training.recipe import fit_recipe
from tfrs_twotower.training.trend import add_trend

QUICK = {"max_epochs": 60, "batch_size": 16, "learning_rate": 3e-2, "decay": 0.8, "output_dim": 8, "patience": 3}


@pytest.fixture(scope="module")
def split() -> tt.splits.Split:
    """Preferences that are planted: each query likes the candidates of its own kind."""
    return make_planted().split


def test_planted_preferences_are_found_and_the_validation_part_chooses_the_epochs(split):
    recipe = tt.choose_recipe(split.train).with_settings(**QUICK).with_ids_alone()
    trained = fit_recipe(recipe, split, seed=0)
    assert isinstance(trained.model, JointModel)
    for name, monitor, pick in (("retrieval", "val_ndcg@10", np.argmax), ("rating", "val_log_loss", np.argmin)):
        values = trained.history[name][monitor]
        assert getattr(trained.recipe, name).epochs == pick(values) + 1
        assert len(values) <= 60
    metrics = tt.evaluate(trained.model, split, k=1).metrics
    assert metrics["precision@1"] >= 0.95
    assert metrics["auc"] >= 0.95
    chosen = {
        "retrieval": recipe.retrieval,
        "rating": recipe.rating,
        "linear": recipe.linear,
        "starts_from_biases": None,
    }
    assert dataclasses.replace(trained.recipe, **chosen) == recipe


def test_a_given_number_of_epochs_is_trained_at_once_on_all_that_is_seen_and_a_seed_gives_one_model(split, monkeypatch):
    trained_on, told = [], []
    fit = fitting.fit_by_query
    monkeypatch.setattr(
        fitting,
        "fit_by_query",
        lambda model, train, **_: trained_on.append(train.num_events) or fit(model, train, **_),
    )
    recipe = tt.choose_recipe(split.train).with_ids_alone().with_settings(**{**QUICK, "epochs": 2})
    trained = fit_recipe(recipe, split, seed=1, progress=lambda *step: told.append(step))
    assert trained_on == [split.train.num_events + split.validation.num_events] * 2
    assert len(trained.history["retrieval"]["softmax_loss"]) == 2

    tasks = list(dict.fromkeys(task for task, _, _ in told))
    assert tasks == ["Training the retrieval model on all events", "Training the rating model on all events"]
    for task in tasks:
        done = [done for name, done, _ in told if name == task]
        (total,) = {total for name, _, total in told if name == task}
        assert done == sorted(set(done))  # several steps at a time
        assert (done[0], done[-1]) == (0, total)
        assert len(done) > 2

    first = trained.model.retrieval_model.get_weights()
    ranking = dataclasses.replace(recipe, rating=None)
    second, third = (fit_recipe(ranking, split, seed=seed).model.get_weights() for seed in (1, 2))
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(first, second, strict=True))
    assert not all(np.array_equal(ours, theirs) for ours, theirs in zip(first, third, strict=True))


def test_a_recipe_with_an_encoder_reads_histories_in_order(split, untrained):
    recipe = tt.choose_recipe(split.train, encoder=SelfAttention())
    assert tt.Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    assert "Retrieval model's history: the earlier events, in order, by SelfAttention" in recipe.lines()
    untrained()
    trained = fit_recipe(dataclasses.replace(recipe.with_settings(epochs=1), rating=None), split, seed=0)
    (past,) = trained.model.query_tower.histories
    assert trained.model.query_tower.feature_names == ["history"]
    assert (past.encoder, past.by_rating, past.by_time, past.shares_embedding) == (SelfAttention(), True, False, True)
    assert trained.recipe.linear is None
    with pytest.raises(ValueError, match="Recent popularity cannot be added to biases that a history shares"):
        add_trend(trained.model, split.train, half_life_days=1.0, weight=0.5)
    with pytest.raises(TypeError, match="`encoder` must be one of histories"):
        tt.choose_recipe(split.train, encoder="self_attention")


def test_implicit_feedback_gives_a_retrieval_model_with_the_weights_of_the_best_epoch_without_a_second_training(split):
    liked = {
        name: dataclasses.replace(part.with_events(np.flatnonzero(part.ratings >= 3)), has_ratings=False)
        for name, part in ((name, getattr(split, name)) for name in ("train", "validation", "test", "history"))
    }
    implicit = tt.splits.Split(**liked)
    recipe = tt.choose_recipe(implicit.train).with_settings(**QUICK).with_ids_alone()
    trained = fit_recipe(recipe, implicit, seed=0, retrain=False)
    assert isinstance(trained.model, TwoTowerModel)
    assert trained.model.rating_model is None
    assert tt.evaluate(trained.model, implicit, k=1).metrics["precision@1"] >= 0.95
    best = max(trained.history["retrieval"]["val_ndcg@10"])
    measured = tt.training.ValidationMetrics(implicit)
    measured.set_model(trained.state.retrieval)  # the model that was fitted, without the linear part
    logs = {}
    measured.on_epoch_end(0, logs)
    assert logs["val_ndcg@10"] == pytest.approx(best, abs=1e-12)
    assert trained.notes[0] == (
        "The models are those of the best epoch on the training part; they were not trained again."
    )


def test_a_split_without_a_validation_part_gets_one(split):
    nothing = split.validation.with_events(np.zeros(0, np.int64))
    recipe = tt.choose_recipe(split.train).with_ids_alone().with_settings(**{**QUICK, "max_epochs": 2})
    recipe = dataclasses.replace(recipe, rating=None, linear=None)
    without = dataclasses.replace(split, validation=nothing)
    trained = fit_recipe(recipe, without, seed=0, retrain=False)
    assert trained.recipe.retrieval.epochs in (1, 2)
    assert trained.notes == (
        "The split has no validation part: a tenth of the training events was set aside to choose the epochs.",
        "The models are those of the best epoch on the training part; they were not trained again.",
    )


def test_with_few_events_and_no_validation_part_epochs_are_not_chosen(split, untrained):
    nothing = split.validation.with_events(np.zeros(0, np.int64))
    few = split.train.with_events(np.arange(0, split.train.num_events, split.train.num_events // 100))
    recipe = tt.choose_recipe(split.train).with_ids_alone().with_settings(**{**QUICK, "max_epochs": 2})
    recipe = dataclasses.replace(recipe, rating=None, linear=None)
    untrained()
    trained = fit_recipe(recipe, dataclasses.replace(split, train=few, validation=nothing), seed=0)
    assert trained.recipe.retrieval.epochs == 2
    assert trained.notes == ("There are too few events to choose the epochs by: 30 were taken.",)


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


def test_the_linear_part_is_chosen_by_the_validation_part(split):
    recipe = dataclasses.replace(tt.choose_recipe(split.train).with_settings(**QUICK), rating=None)
    useless = dataclasses.replace(
        recipe.with_ids_alone(), retrieval=dataclasses.replace(recipe.retrieval, learning_rate=1e-9, max_epochs=2)
    )
    # A model that has learnt nothing but popularity gains from it.
    trained = fit_recipe(useless, split, seed=0, retrain=False)
    assert trained.recipe.linear.l2 in (50, 150)
    assert trained.recipe.linear.weight in (0.25, 0.5, 1)
    assert trained.model.embedding_dim > QUICK["output_dim"] + 1
    models = (trained.model, trained.state.retrieval)  # with the linear part and without
    values = [tt.evaluate(model, split, k=1).metrics["precision@1"] for model in models]
    assert values[0] > values[1] + 0.2


def test_where_the_history_tells_nothing_there_is_no_linear_part():
    rng = np.random.default_rng(0)
    pairs = np.argwhere(rng.random((200, 40)) < np.linspace(0.9, 0.01, 40))
    alike = make_interactions(*pairs.T, np.ones(len(pairs)), num_queries=200, num_candidates=40)
    noise = tt.random_split(alike, test=0.1, validation=0.2, seed=0)
    recipe = dataclasses.replace(tt.choose_recipe(noise.train).with_settings(**QUICK), rating=None)
    trained = fit_recipe(recipe, noise, seed=0)
    assert trained.recipe.linear is None
    assert trained.model.embedding_dim == QUICK["output_dim"] + 1
    assert "The retrieval model has no linear part: the validation part is ranked better without one." in trained.notes


@pytest.mark.parametrize("given", [{"l2": 5.0, "weight": 2.0}, {"l2": 5.0}, {}])
def test_what_is_given_of_the_linear_part_stays(split, untrained, given):
    untrained()
    recipe = dataclasses.replace(
        tt.choose_recipe(split.train).with_settings(**QUICK, epochs=1),
        rating=None,
        linear=tt.model.LinearSettings(rank=4, **given),
    )
    trained = fit_recipe(recipe, split, seed=0)
    # The epochs are given, so that no model is at hand to choose the rest by.
    assert trained.recipe.linear == tt.model.LinearSettings(rank=4, **{"l2": 150.0, "weight": 0.25, **given})
    assert trained.model.embedding_dim == QUICK["output_dim"] + 4 + 1


def test_biases_that_predict_better_than_the_model_are_where_it_starts_again(split, untrained, monkeypatch):
    recipe = tt.choose_recipe(split.train).with_settings(**QUICK)
    retrieval = dataclasses.replace(recipe.retrieval, epochs=1)
    recipe = dataclasses.replace(recipe, retrieval=retrieval, linear=None)
    note = "Biases alone predicted the validation part better than the rating model, which therefore starts from them."
    untrained(lambda model: 0.7)
    for of_biases, starts in ((0.6, True), (0.8, False)):
        monkeypatch.setattr(recipe_module, "rating_metrics", lambda *_, value=of_biases: {"log_loss": value})
        trained = fit_recipe(recipe, split, seed=0)
        assert trained.recipe.starts_from_biases is starts
        assert (note in trained.notes) is starts
    given = fit_recipe(dataclasses.replace(recipe, starts_from_biases=True), split, seed=0)
    assert given.recipe.starts_from_biases is True
    assert note not in given.notes
    biased, unbiased = (each.model.rating_model.candidate_tower.get_weights() for each in (given, trained))
    assert not all(np.array_equal(ours, theirs) for ours, theirs in zip(biased, unbiased, strict=True))


@pytest.mark.parametrize(("gain", "is_better"), [(1.03, True), (1.01, False)])
def test_columns_are_left_out_where_ids_alone_rank_the_validation_part_better(split, untrained, gain, is_better):
    recipe = tt.choose_recipe(split.train).with_settings(**{**QUICK, "max_epochs": 2})
    recipe = dataclasses.replace(recipe, rating=None, linear=None)
    columns = [choice.column for choice in recipe.candidate_features if choice.feature is not None]
    assert len(columns) > 1
    untrained(lambda model: gain / 2 if model.candidate_tower.feature_names == columns[:1] else 1 / 2)
    trained = fit_recipe(recipe, split, seed=0)
    assert trained.model.candidate_tower.feature_names == (columns[:1] if is_better else columns)
    kept = [choice.column for choice in trained.recipe.candidate_features if choice.feature is not None]
    assert kept == trained.model.candidate_tower.feature_names
    assert any("columns are left out" in note for note in trained.notes) is is_better


def test_columns_that_the_user_chose_stay(split):
    genres = tt.MultiCategorical(name="genres")
    recipe = tt.choose_recipe(split.train, candidate_features={"genres": genres}).with_ids_alone()
    assert [choice.column for choice in recipe.candidate_features if choice.feature is not None] == [
        "movie_id",
        "genres",
    ]
