"""The trainings of a recipe, kept in a folder: an interrupted run goes on, and only with the same data and settings."""

import dataclasses
import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

import tfrs_twotower as tt
from tests import forks
from tests.conftest import make_planted
from tests.training.test_checkpoints import Killed, KilledAfter
from tfrs_twotower.training.recipe import fit_recipe
from tfrs_twotower.training.run_folder import RunFolder, hold

QUICK = {"max_epochs": 6, "batch_size": 16, "learning_rate": 3e-2, "decay": 0.8, "output_dim": 8, "patience": 3}


@pytest.fixture(scope="module")
def split() -> tt.splits.Split:
    return make_planted().split


@pytest.fixture(scope="module")
def recipe(split) -> tt.Recipe:
    recipe = tt.choose_recipe(split.train).with_settings(**QUICK).with_ids_alone()
    return dataclasses.replace(recipe, linear=None, starts_from_biases=False)


def fit(recipe, split, folder, *, seed=0, **options):
    """Trains each model once, as the validation part chooses: a second training is kept in the same way."""
    return fit_recipe(recipe, split, seed=seed, retrain=False, run_folder=folder, **options)


def test_an_interrupted_run_goes_on_and_a_second_interruption_does_no_harm(recipe, split, tmp_path):
    whole = fit(recipe, split, None)
    trained = []
    for killed_after in (3, 8):
        with pytest.raises(Killed):
            fit(recipe, split, tmp_path / "run", callbacks=[KilledAfter(killed_after)])
        trained.append(sorted(path.name for path in (tmp_path / "run" / "trainings").iterdir()))
    assert trained[0] == ["training-the-retrieval-model"]
    assert len(trained[-1]) > 1
    done = fit(recipe, split, tmp_path / "run")
    assert done.recipe == whole.recipe
    assert done.notes == (f"The training was begun before, and went on from {tmp_path / 'run'}.", *whole.notes)
    for ours, theirs in zip(done.model.get_weights(), whole.model.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)  # rounding, over a hundred steps


@pytest.fixture(scope="module")
def ranking(recipe) -> tt.Recipe:
    return dataclasses.replace(recipe, rating=None)


@pytest.fixture(scope="module")
def interrupted(ranking, split, tmp_path_factory) -> Path:
    """The folder of a run that was interrupted after a step."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.raises(Killed):
        fit(ranking, split, folder, callbacks=[KilledAfter(1)])
    return folder


def test_other_data_settings_or_seeds_are_refused_with_the_difference(ranking, split, interrupted):
    kept = sorted(path for path in interrupted.rglob("*"))
    fewer = dataclasses.replace(split, train=split.train.with_events(np.arange(split.train.num_events - 1)))
    for changed, message in (
        (
            (ranking.with_settings(output_dim=4, batch_size=8), split, 0),
            "`recipe.retrieval.output_dim` was 8, and is 4; `recipe.retrieval.batch_size` was 16, and is 8. To go on",
        ),
        ((ranking, fewer, 0), '`data.train` was "[0-9a-f]+.*, and is "[0-9a-f]+'),
        ((ranking, split, 1), "`seed` was 0, and is 1. To go on with it, change these back"),
    ):
        with pytest.raises(ValueError, match=message):
            fit(changed[0], changed[1], interrupted, seed=changed[2])
    assert sorted(path for path in interrupted.rglob("*")) == kept


def test_after_a_run_that_has_ended_another_begins(tmp_path):
    run = RunFolder(tmp_path)
    assert not run.begin({"seed": 1})
    (tmp_path / "trainings" / "a").mkdir(parents=True)
    (tmp_path / "trainings" / "a" / "checkpoint-000001-000000000.npz").touch()
    run.end()
    assert not list(tmp_path.rglob("checkpoint-*"))
    assert not run.begin({"seed": 2})
    assert json.loads((tmp_path / "run.json").read_text())["description"] == {"seed": 2}


def test_a_folder_of_other_things_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="`run_folder` must be a new folder, or that of a run. Received: "):
        RunFolder(tmp_path).begin({})
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"has_ended": false}', '{"has_ended": true, "description": 5}'])
def test_a_damaged_description_is_refused(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(ValueError, match="run.json is damaged: .*Remove the folder to train anew"):
        RunFolder(tmp_path).begin({})


def test_a_folder_that_another_process_holds_is_refused_until_that_process_ends(ranking, split, interrupted, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(interrupted, folder)
    kept = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    script = (
        "import pathlib, sys, time\n"
        "from tfrs_twotower._locks import try_lock\n"
        "with try_lock(pathlib.Path(sys.argv[1])):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(600)\n"
    )
    other = forks.start(["-c", script, folder])
    try:
        while other.output() != "held\n":
            assert other.is_running(), other.output()
            time.sleep(0.05)
        with pytest.raises(ValueError, match=f"no other process is training in. Received: {folder}. Wait until"):
            fit(ranking, split, folder)
        assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == kept
    finally:
        other.kill()
    assert "went on from" in fit(ranking, split, folder).notes[0]


def test_a_run_is_held_once_and_given_back_after_an_error(tmp_path):
    run = RunFolder(tmp_path / "run")
    with hold(run) as first, hold(first) as again:
        assert first is again is run
        with pytest.raises(ValueError, match="no other process is training in"), hold(tmp_path / "run"):
            pass
    with pytest.raises(Killed), hold(tmp_path / "run"):
        raise Killed
    with hold(tmp_path / "run") as other, hold(None) as nothing:
        assert other is not None
        assert nothing is None
