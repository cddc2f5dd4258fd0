"""A search for settings: what is declared, what is tried, what is kept, and that the test part plays no role."""

import dataclasses
import re

import optuna
import pytest

import tfrs_twotower as tt
from tests.experiment.conftest import shop_experiment
from tfrs_twotower.experiment import tuning
from tfrs_twotower.experiment.ranges import DEFAULT_RANGES, NumberRange

LEARNING_RATES = [1e-5, 0.03, 0.06, 0.1]


@pytest.fixture
def experiment(shop, tmp_path):
    section = tt.experiment.RetrievalModelSection(
        max_epochs=6, batch_size=4, output_dim=8, dropout=0.1, learning_rate=1e-5
    )
    ranges = {"learning_rate": LEARNING_RATES, "dropout": {"min": 0.0, "max": 0.2}}
    tune = tt.experiment.TuneSection(ranges=ranges)
    return shop_experiment(shop, tmp_path, retrieval_model=section, tune=tune)


class Untouchable:
    """A test part that fails the test when it is looked at."""

    def __getattr__(self, name):
        raise AssertionError(f"The search has looked at the test part's {name}.")


def load_study(folder) -> optuna.Study:
    backend = optuna.storages.journal.JournalFileBackend(str(folder / "trials.log"))
    return optuna.load_study(study_name=None, storage=optuna.storages.JournalStorage(backend))


def test_a_search_finds_better_settings_and_goes_on_with_what_was_not_finished(experiment, tmp_path, monkeypatch):
    def without_test_part(*arguments, **options):
        prepared = prepare(*arguments, **options)
        split = dataclasses.replace(prepared.split)
        object.__setattr__(split, "test", Untouchable())
        return dataclasses.replace(prepared, split=split)

    prepare = tuning.prepare
    monkeypatch.setattr(tuning, "prepare", without_test_part)
    folder, calls = tmp_path / "search", []
    first = tt.experiment.tune_experiment(
        experiment, folder=folder, num_trials=4, progress=lambda *call: calls.append(call)
    )
    assert (first.num_trials, first.model, calls[-1][1:]) == (4, "retrieval_model", (4, 4))
    # A learning rate of 0.00001 learns nothing in six epochs.
    assert first.own_value < first.value
    assert first.settings["learning_rate"] in LEARNING_RATES[1:]
    assert tt.experiment.read_experiment(first.path) == first.experiment
    assert first.experiment.retrieval_model == dataclasses.replace(experiment.retrieval_model, **first.settings)
    assert first.experiment.rating_model == experiment.rating_model

    study = load_study(folder)
    study.enqueue_trial({"learning_rate": 0.03, "dropout": 0.15})
    interrupted = study.ask(
        {
            "learning_rate": optuna.distributions.CategoricalDistribution(LEARNING_RATES),
            "dropout": optuna.distributions.FloatDistribution(0.0, 0.2),
        }
    )
    again = tt.experiment.tune_experiment(experiment, folder=folder, num_trials=5)
    assert again.num_trials == 5
    trials = load_study(folder).trials
    assert trials[interrupted.number].state == optuna.trial.TrialState.FAIL
    assert trials[-1].params == interrupted.params
    assert again.value >= first.value

    other = dataclasses.replace(experiment, training=tt.experiment.TrainingSection(seed=1))
    with pytest.raises(ValueError, match="is the folder of a search with another experiment"):
        tt.experiment.tune_experiment(other, folder=folder, num_trials=6)


def test_a_trial_that_is_worse_than_the_median_is_stopped():
    study = optuna.create_study(direction="maximize", pruner=optuna.pruners.MedianPruner(n_startup_trials=1))
    good = study.ask()
    tuning._StopBadTrials(good, "val_ndcg@10").on_epoch_end(0, {"val_ndcg@10": 0.9})
    study.tell(good, 0.9)
    with pytest.raises(optuna.TrialPruned):
        tuning._StopBadTrials(study.ask(), "val_ndcg@10").on_epoch_end(0, {"val_ndcg@10": 0.1})


def test_without_ranges_wide_ones_are_searched():
    for model, ranges in DEFAULT_RANGES.items():
        assert set(tt.experiment.TuneSection(model=model).parsed) == set(ranges)


def test_a_range_of_whole_numbers_is_of_whole_numbers():
    section = tt.experiment.TuneSection(ranges={"output_dim": {"min": 8, "max": 64, "log": True}})
    assert section.parsed == {"output_dim": NumberRange(min=8, max=64, log=True, is_whole=True)}


@pytest.mark.parametrize(
    ("ranges", "error", "message"),
    [
        ({"learnin_rate": [0.1]}, ValueError, "has no key `learnin_rate`. Did you mean `learning_rate`?"),
        ({"epochs": [1]}, ValueError, "has no key `epochs`"),
        ({"dropout": 0.1}, TypeError, "`tune.ranges.dropout` must be a list of values, or a table"),
        ({"dropout": []}, ValueError, "`tune.ranges.dropout` must list at least one value"),
        ({"dropout": {"min": 0.1}}, TypeError, "must be a list of values, or a table with `min`, `max`"),
        ({"dropout": {"min": 0.5, "max": 0.5}}, ValueError, "`tune.ranges.dropout.max` must be above `min`, 0.5"),
        ({"dropout": {"min": 0.5, "max": 1.5}}, ValueError, "`tune.ranges.dropout` must hold possible values."),
        ({"dropout": {"min": 0, "max": 0.5, "log": True}}, ValueError, "`tune.ranges.dropout.min` must be above 0"),
        ({"output_dim": {"min": 1.5, "max": 3}}, TypeError, "`tune.ranges.output_dim.min` must be a whole number"),
        ({"output_dim": [8, "many"]}, TypeError, "`tune.ranges.output_dim` must hold possible values."),
        ([], TypeError, "`tune.ranges` must be a section"),
    ],
)
def test_a_wrong_range_is_named(ranges, error, message):
    with pytest.raises(error, match=re.escape(message)):
        tt.experiment.TuneSection(ranges=ranges)


def test_a_model_that_there_is_not_is_not_searched(experiment, tmp_path):
    other = dataclasses.replace(
        experiment,
        rating_model=tt.experiment.RatingModelSection(train=False),
        tune=tt.experiment.TuneSection(model="rating_model"),
    )
    with pytest.raises(ValueError, match="`tune.model` must be a model that there is"):
        tt.experiment.tune_experiment(other, folder=tmp_path / "search")
