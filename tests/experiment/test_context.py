"""An experiment whose events have a context: from its file to the bundle."""

import numpy as np
import pytest

import tfrs_twotower as tt
from tests.experiment.conftest import run, shop_experiment
from tfrs_twotower.cli.options import make_experiment
from tfrs_twotower.experiment import inspect_table, parse_experiment


@pytest.fixture(scope="module")
def experiment(shop, tmp_path_factory):
    """The shop, whose ratings also say at what hour and after which search they were given."""
    folder = tmp_path_factory.mktemp("context")
    header, *lines = (shop / "ratings.csv").read_text().splitlines()
    rng = np.random.default_rng(0)
    words = ("red spade", "blue book", "")
    lines = [f"{line},{rng.integers(0, 24)},{words[rng.integers(0, 3)]}" for line in lines]
    (folder / "ratings.csv").write_text("\n".join([f"{header},Order Hour,search", *lines]) + "\n")
    ranking_alone = tt.experiment.RatingModelSection(train=False)
    experiment = shop_experiment(shop, folder / "models", rating_model=ranking_alone)
    text = tt.experiment.format_experiment(experiment)
    text = text.replace(str(shop / "ratings.csv"), str(folder / "ratings.csv"))
    text = text.replace("event_features = []", 'event_features = ["Order Hour", "search"]')
    return parse_experiment(text + '\n[features.event]\nsearch = { kind = "Text", max_words = 4 }\n')


def test_the_columns_of_a_context_are_inspected(experiment):
    inspection = inspect_table(experiment)
    columns = {column.name: column for column in inspection.columns if column.table == "events"}
    assert (columns["Order Hour"].type, columns["Order Hour"].num_values) == ("whole number", 24)
    assert (columns["search"].type, columns["search"].num_values) == ("text", 3)
    lines = inspection.lines()
    assert "event column order_hour: Categorical (24 whole numbers)" in lines
    assert "event column search: Text (you chose it)" in lines


def test_a_run_serves_the_context_and_can_be_repeated(experiment):
    outcome = run(experiment).outcome
    bundle = tt.load_bundle(outcome.path)
    assert bundle.manifest.model.query.context == ("order_hour", "search")
    found = bundle.recommend({"customer": ["c1"] * 2, "order_hour": ["3", "21"], "search": ["red spade", ""]})
    assert np.abs(np.diff(found.scores, axis=0)).max() > 0
    assert outcome.report.context == ("order_hour", "search")
    assert list(outcome.report.by_feature) == ["age", "search"]
    again = outcome.experiment
    assert again.features.event["search"] == tt.Text(name="search", max_words=4)
    assert again.features.event["Order Hour"] == tt.Categorical(name="order_hour")
    assert parse_experiment(tt.experiment.format_experiment(again)) == again


def test_the_option_names_the_columns():
    made = make_experiment({"ratings": "r.csv", "event_features": ["hour", "device"]})
    assert made.data.event_features == ("hour", "device")


def test_a_feature_of_a_column_that_is_no_context_is_refused(shop, tmp_path):
    text = tt.experiment.format_experiment(shop_experiment(shop, tmp_path))
    experiment = parse_experiment(text + '\n[features.event]\nhour = "leave out"\n')
    with pytest.raises(
        ValueError, match="`features.event` must name columns of the events that are features: there are none"
    ):
        inspect_table(experiment)
