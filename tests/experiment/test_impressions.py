"""An experiment whose events say what was shown: from its file to the recipe, and on from an earlier training."""

import dataclasses

import numpy as np
import pytest

import tfrs_twotower as tt
from tests.experiment.conftest import shop_experiment
from tfrs_twotower.cli.options import make_experiment
from tfrs_twotower.experiment import inspect_table, parse_experiment, preparation
from tfrs_twotower.experiment.preparation import prepare
from tfrs_twotower.experiment.resolution import resolve
from tfrs_twotower.experiment.sections import RetrievalModelSection, TrainingSection
from tfrs_twotower.training.state import TrainingState


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
        "Candidates shown and not chosen: compared with the chosen ones in particular, if the validation part is "
        "ranked no worse so" in lines
    )


def test_a_training_that_goes_on_has_the_impressions_of_both(experiment, shop, tmp_path, monkeypatch):
    training = dataclasses.replace(experiment.training, impression_weight=4.0)
    known = prepare(dataclasses.replace(experiment, training=training))
    assert known.recipe.impression_weight == 4.0
    again = resolve(known.experiment, known.interactions, known.recipe, is_trained_again=True)
    assert (again.training.impression_weight, again.training.dislike_weight) == (4.0, 0.0)
    assert parse_experiment(tt.experiment.format_experiment(again)) == again
    state = TrainingState(recipe=known.recipe, retrieval=None, rating=None, known=known.interactions)
    monkeypatch.setattr(preparation, "find_version", lambda path: path)
    monkeypatch.setattr(preparation, "load_state", lambda version: state)
    newer = dataclasses.replace(
        experiment,
        data=dataclasses.replace(experiment.data, ratings=write_ratings(tmp_path, shop, 400, 600), queries=None),
        training=TrainingSection(start_from="saved_models/shop/1"),
    )
    prepared = prepare(newer)
    assert prepared.recipe.impression_weight == 4.0
    first, both = (
        [ids[rows].tolist() for rows in part.events["impressions"].to_pylist()]
        for part, ids in (
            (part, part.candidates["sku"].to_numpy()) for part in (known.interactions, prepared.interactions)
        )
    )
    assert len(both) == 600
    assert both[:400] == first
    assert all(len(ids) <= 1 for ids in both)
    with pytest.raises(ValueError, match="`newer` must have the columns of events of `known`.*Missing: impressions"):
        prepare(dataclasses.replace(newer, data=dataclasses.replace(newer.data, impressions=None)))


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
    with pytest.raises(ValueError, match="`training.impression_weight` must be a number, at least 0. Received: -1"):
        TrainingSection(impression_weight=-1)
