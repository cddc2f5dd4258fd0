"""An experiment on the files of a small shop, run once."""

import dataclasses
from pathlib import Path

import pytest

import tfrs_twotower as tt
from tests.checks import without_check
from tests.experiment.shop import write_shop
from tfrs_twotower.experiment import Experiment, Outcome, run_experiment
from tfrs_twotower.experiment.preparation import Prepared


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """What running an experiment gave, and what it told on the way."""

    outcome: Outcome
    prepared: Prepared
    progress: list[tuple[str, int, int]]


def run(experiment: Experiment) -> Run:
    """Runs an experiment without the check in a fresh process, which `cli/test_train.py` has."""
    calls, prepared = [], []
    with without_check():
        outcome = run_experiment(
            experiment, progress=lambda *call: calls.append(call), on_prepared=lambda found: prepared.append(found)
        )
    return Run(outcome=outcome, prepared=prepared[0], progress=calls)


@pytest.fixture(scope="session")
def shop(tmp_path_factory) -> Path:
    return write_shop(tmp_path_factory.mktemp("shop"))


def shop_experiment(shop: Path, output: Path, **changes) -> Experiment:
    once = {"epochs": 1, "batch_size": 16}
    sections = {
        "data": tt.experiment.DataSection(
            ratings=str(shop / "ratings.csv"),
            query_id="customer",
            candidate_id="sku",
            rating="stars",
            timestamp="when",
            candidates=str(shop / "items.parquet"),
            queries=str(shop / "customers.csv"),
        ),
        "retrieval_model": tt.experiment.RetrievalModelSection(**once),
        "rating_model": tt.experiment.RatingModelSection(**once),
        "index": tt.experiment.IndexSection(kind="exact"),
        "export": tt.experiment.ExportSection(output=str(output), name="shop", k=5, filter_by=("kind",)),
        "card": tt.experiment.CardSection(intended_use="Toys for_all"),
    }
    return Experiment(**{**sections, **changes})


@pytest.fixture(scope="session")
def first_run(shop, tmp_path_factory) -> Run:
    output = tmp_path_factory.mktemp("models")
    return run(shop_experiment(shop, output, training=tt.experiment.TrainingSection(run_folder=str(output / "run"))))
