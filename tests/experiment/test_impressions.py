"""An experiment whose events say what was shown: from its file to a version, and on from there."""

import dataclasses

import numpy as np
import pytest

import tfrs_twotower as tt
from tests.experiment.conftest import shop_experiment
from tfrs_twotower.cli.options import make_experiment
from tfrs_twotower.experiment import inspect_table, parse_experiment, run_experiment
from tfrs_twotower.experiment.preparation import prepare
from tfrs_twotower.experiment.sections import RetrievalModelSection, TrainingSection


def write_ratings(folder, shop, first, last):
    """The shop's ratings in a range of rows, with two items that were shown with each, of which one is unknown."""
    header, *lines = (shop / "ratings.csv").read_text().splitlines()
    shown = np.random.default_rng(0).integers(0, 24, len(lines))
    lines = [f"{line},{item:03d}|gone" for line, item in zip(lines, shown, strict=True)]
    file = folder / f"{first}.csv"
    file.write_text("\n".join([f"{header},also shown", *lines[first:last]]) + "\n")
    return str(file)


@pytest.fixture(scope="module")
def experiment(shop, tmp_path_factory):
    folder = tmp_path_factory.mktemp("impressions")
    experiment = shop_experiment(shop, folder / "models")
    text = tt.experiment.format_experiment(experiment)
    text = text.replace(str(shop / "ratings.csv"), write_ratings(folder, shop, 0, 400))
    return parse_experiment(text.replace("event_features = []", 'impressions = "also shown"'))


def test_the_impressions_are_inspected(experiment):
    inspection = inspect_table(experiment)
    (column,) = (column for column in inspection.columns if column.name == "also shown")
    assert (column.table, column.type, column.num_missing) == ("events", "list: whole number", 0)
    lines = inspection.lines()
    assert "In `ratings.also shown`, 400 of 800 ids are not in the catalogue, such as gone: they are left out." in lines
    assert any(line.startswith("`ratings.also shown` names 3") for line in lines)
    assert (
        "Candidates shown and not chosen: compared with the chosen ones in particular, if the validation part is ranked "
        "no worse so" in lines
    )
    assert "Candidates rated below the threshold: negatives like all others" in lines
    assert inspection.cost.max_s > inspect_table(weighted(experiment, 4.0)).cost.max_s


def weighted(experiment, weight: float):
    return dataclasses.replace(experiment, training=dataclasses.replace(experiment.training, impression_weight=weight))


def test_a_run_counts_them_and_another_one_goes_on_from_it(experiment, shop, tmp_path, unchecked):
    outcome = run_experiment(weighted(experiment, 4.0))
    assert outcome.trained.model.retrieval_model.task.impression_weight == 4.0
    again = outcome.experiment
    assert (again.training.impression_weight, again.training.dislike_weight) == (4.0, 0.0)
    assert parse_experiment(tt.experiment.format_experiment(again)) == again
    bundle = tt.load_bundle(outcome.path)
    assert len(set(bundle.recommend({"customer": ["c1"]}).candidate_ids[0])) == 5
    newer = dataclasses.replace(
        experiment,
        data=dataclasses.replace(experiment.data, ratings=write_ratings(tmp_path, shop, 400, 600), queries=None),
        training=TrainingSection(start_from=str(outcome.path)),
    )
    prepared = prepare(newer)
    assert prepared.recipe.impression_weight == 4.0
    first, both = experiment.data.ratings, prepared.interactions
    known = prepare(dataclasses.replace(experiment, data=dataclasses.replace(experiment.data, ratings=first)))
    ids = both.candidates["sku"].to_numpy()
    shown = [ids[rows].tolist() for rows in both.events["impressions"].to_pylist()]
    of_known = known.interactions.candidates["sku"].to_numpy()
    assert shown[:400] == [of_known[rows].tolist() for rows in known.interactions.events["impressions"].to_pylist()]
    assert len(shown) == 600
    without = dataclasses.replace(newer.data, impressions=None)
    with pytest.raises(ValueError, match="`newer` must have the columns of events of `known`.*Missing: impressions"):
        prepare(dataclasses.replace(newer, data=without))


def test_without_a_measurement_they_count_as_others_and_that_is_said(experiment):
    """The numbers of epochs are given, so that no validation part is looked at."""
    train = prepare(experiment).split
    recipe = dataclasses.replace(tt.choose_recipe(train.train).with_settings(epochs=1), rating=None, linear=None)
    trained = tt.fit_recipe(recipe, train, seed=0)
    assert trained.recipe.impression_weight == 0.0
    assert any(
        "shown and not chosen are negatives like all others, because no validation" in note for note in trained.notes
    )


def test_the_option_names_the_column():
    assert make_experiment({"ratings": "r.csv", "impressions": "shown"}).data.impressions == "shown"


def test_weights_that_nothing_could_be_done_with_are_refused(experiment, shop, tmp_path):
    with pytest.raises(ValueError, match="`data.impressions` must name the column of impressions, because `training.i"):
        shop_experiment(shop, tmp_path, training=TrainingSection(impression_weight=2.0))
    with pytest.raises(ValueError, match="`training.dislike_weight` must be 0 with `retrieval_model.history_encoder`"):
        dataclasses.replace(
            experiment,
            retrieval_model=RetrievalModelSection(history_encoder="self_attention"),
            training=TrainingSection(dislike_weight=2.0),
        )
    with pytest.raises(ValueError, match="`training.impression_weight` must be at least 0. Received: -1"):
        TrainingSection(impression_weight=-1)
