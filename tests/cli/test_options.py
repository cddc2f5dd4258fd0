"""Options become an experiment; they override its file, and errors name them."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tfrs_twotower.cli.app import app
from tfrs_twotower.cli.options import make_experiment, options_named
from tfrs_twotower.experiment import (
    DataSection,
    Experiment,
    ExportSection,
    IndexSection,
    MovieLensSection,
    RatingModelSection,
    RetrievalModelSection,
    SplitSection,
    TrainingSection,
)
from tfrs_twotower.experiment.writing import format_experiment


def test_without_options_it_is_movielens():
    assert make_experiment({}) == Experiment(movielens=MovieLensSection())


def test_every_option_sets_its_key():
    parameters = {
        "ratings": "r.csv",
        "query_id": "customer",
        "candidate_id": "sku",
        "rating": "stars",
        "timestamp": "when",
        "weight": "w",
        "catalogue": "items.parquet",
        "queries": "customers.parquet",
        "on_invalid": "drop",
        "repeats": "mean",
        "encoding": "latin-1",
        "delimiter": "\\t",
        "column_names": "customer, sku,stars,when",
        "split": "temporal",
        "threshold": 4.0,
        "epochs": 3,
        "batch_size": 32,
        "seed": 5,
        "logs": "logs",
        "resume": True,
        "run_folder": "kept",
        "deterministic": True,
        "k": 20,
        "filter_by": ("kind", "color"),
        "recommend_seen": True,
        "output": "out",
        "name": "shop",
        "keep": 2,
        "with_portable": False,
        "index": "exact",
        "config": None,
    }
    assert make_experiment(parameters) == Experiment(
        data=DataSection(
            ratings="r.csv",
            query_id="customer",
            candidate_id="sku",
            rating="stars",
            timestamp="when",
            weight="w",
            candidates="items.parquet",
            queries="customers.parquet",
            on_invalid="drop",
            repeats="mean",
            encoding="latin-1",
            delimiter="\t",
            column_names=("customer", "sku", "stars", "when"),
        ),
        split=SplitSection(kind="temporal"),
        training=TrainingSection(
            threshold=4,
            seed=5,
            logs="logs",
            resume=True,
            run_folder="kept",
            deterministic=True,
        ),
        retrieval_model=RetrievalModelSection(epochs=3, batch_size=32),
        rating_model=RatingModelSection(epochs=3, batch_size=32),
        export=ExportSection(
            output="out",
            name="shop",
            k=20,
            filter_by=("kind", "color"),
            recommend_seen=True,
            keep=2,
            with_portable=False,
        ),
        index=IndexSection(kind="exact"),
    )


def test_movielens_options_set_its_section():
    parameters = {"dataset": "movielens/1m-ratings", "archive": "ml.zip", "data_dir": "data", "filter_by": []}
    section = MovieLensSection(dataset="movielens/1m-ratings", archive="ml.zip", data_dir="data")
    assert make_experiment(parameters) == Experiment(movielens=section)


CONFIG = """
[data]
ratings = "a.csv"
query_id = "u"
candidate_id = "m"
repeats = "sum"
[training]
seed = 7
[retrieval_model]
output_dim = 16
epochs = 9
"""


def test_options_override_the_file_key_by_key(tmp_path):
    path = tmp_path / "e.toml"
    path.write_text(CONFIG)
    experiment = make_experiment({"config": path, "ratings": "b.csv", "epochs": 2, "seed": 0})
    assert experiment.data == DataSection(ratings="b.csv", query_id="u", candidate_id="m", repeats="sum")
    assert experiment.training == TrainingSection(seed=0)
    assert experiment.retrieval_model == RetrievalModelSection(output_dim=16, epochs=2)
    assert experiment.rating_model == RatingModelSection(epochs=2)


def test_a_table_takes_the_place_of_movielens_in_the_file_and_the_other_way_round(tmp_path):
    path = tmp_path / "e.toml"
    path.write_text("[movielens]\n[training]\nseed = 7\n")
    assert make_experiment({"config": path, "ratings": "b.csv"}).data == DataSection(ratings="b.csv")
    path.write_text(CONFIG)
    changed = make_experiment({"config": path, "dataset": "movielens/1m-ratings"})
    assert (changed.data, changed.movielens.dataset, changed.training.seed) == (None, "movielens/1m-ratings", 7)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"k": 0}, "`-k` must be a whole number, at least 1. Received: 0."),
        ({"epochs": 0}, "`--epochs` must be a whole number, at least 1. Received: 0."),
        (
            {"split": "time"},
            "`--split` must be one of 'random', 'temporal', 'leave-last-out'. Received: 'time'.",
        ),
        ({"index": "tree"}, "`--index` must be one of 'auto', 'scann', 'portable', 'exact'. Received: 'tree'."),
        (
            {"ratings": "r.csv", "dataset": "movielens/1m-ratings"},
            "`--dataset` is for MovieLens, and `FILE` for a table of your own. Received: both; leave one out.",
        ),
        (
            {"query_id": "u"},
            "`--query-id` needs a table of ratings. Name its file first, as in: tfrs-twotower train ratings.csv "
            "--query-id customer --candidate-id sku",
        ),
        (
            {"ratings": "r.csv", "split": "temporal"},
            "`--timestamp` must name the column of times, because `--split` is 'temporal'. Received: none.",
        ),
    ],
)
def test_a_mistake_names_the_option(parameters, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"), options_named(parameters):
        make_experiment(parameters)


def test_a_mistake_of_the_file_names_the_key_and_one_of_an_option_the_option(tmp_path):
    path = tmp_path / "e.toml"
    path.write_text(CONFIG + "[export]\nkeep = 0\n")
    parameters = {"config": path, "seed": -1}
    with pytest.raises(ValueError, match="`export.keep` must be"), options_named(parameters):
        make_experiment(parameters)
    path.write_text(CONFIG)
    with pytest.raises(ValueError, match="`--seed` must be"), options_named(parameters):
        make_experiment(parameters)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Give `column_names`, for `stars`.", "Give `--column-names`, for `stars`."),
        (
            "Name it, probably with text_format=TextFormat(encoding='utf-16-le'), or save it as UTF-8.",
            "Name it, probably with --encoding utf-16-le, or save it as UTF-8.",
        ),
        ("Name the right one with text_format=TextFormat(delimiter=...).", "Name the right one with --delimiter."),
        (
            "Name its columns with text_format=TextFormat(column_names=(...)), one name for each.",
            "Name its columns with --column-names, one name for each.",
        ),
        (
            "Correct them, or leave them out with on_invalid='drop'.",
            "Correct them, or leave them out with --on-invalid drop.",
        ),
    ],
)
def test_arguments_of_the_library_become_options(text, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"), options_named({}):
        raise ValueError(text)


def test_errors_of_other_types_stay_what_they_are():
    error = UnicodeDecodeError("utf-8", b"x", 0, 1, "`encoding`")
    with pytest.raises(UnicodeDecodeError) as raised, options_named({}):
        raise error
    assert raised.value is error


def make_version(folder: Path) -> Path:
    """Makes a version without anything in it that a bundle has."""
    (folder / "assets.extra").mkdir(parents=True)
    (folder / "saved_model.pb").touch()
    return folder


@pytest.mark.parametrize("given", ["3", "."])
def test_a_version_says_what_is_done_with_newer_events_and_where(tmp_path, given):
    version = make_version(tmp_path / "models" / "shop" / "3")
    make_version(version.with_name("1"))
    older = Experiment(data=DataSection(ratings="old.csv", query_id="customer"), training=TrainingSection(seed=5))
    (version / "assets.extra" / "experiment.toml").write_text(format_experiment(older))
    start_from = str(version.parent / given)
    made = make_experiment({"start_from": start_from, "ratings": "new.csv", "config": None})
    assert made.directory == version.parent
    assert made.data == DataSection(ratings="new.csv", query_id="customer")
    assert made.training == TrainingSection(seed=5, start_from=start_from)


def test_a_version_without_an_experiment_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="`--from` must name a version that `train` published"):
        make_experiment({"start_from": str(make_version(tmp_path / "3")), "ratings": "new.csv", "config": None})


def test_new_candidates_need_a_new_catalogue():
    error = ValueError("`newer.csv` holds ids that `candidates` does not have in 1 of 5 rows.")
    advice = " The catalogue is that of the version: give the whole new one with --catalogue."
    for catalogue, expected in ((None, advice), ("new.csv", "")):
        with (
            pytest.raises(ValueError, match="does not have") as caught,
            options_named({"start_from": "saved_models/shop", "catalogue": catalogue}),
        ):
            raise error
        assert str(caught.value) == f"`newer.csv` holds ids that `--catalogue` does not have in 1 of 5 rows.{expected}"


def test_inspect_takes_the_options_of_train_but_those_of_what_comes_after():
    options = {}
    for command in ("train", "inspect"):
        shown = CliRunner().invoke(app, [command, "--help"], env={"NO_COLOR": "1", "COLUMNS": "200"}).stdout
        options[command] = set(re.findall(r"--[a-z-]+", shown))
    assert options["train"] - options["inspect"] == {"--from", "--drop-unseen-after-days", "--gate"}
    assert options["inspect"] < options["train"]


def test_the_help_lists_the_commands_in_the_order_of_the_work():
    shown = CliRunner().invoke(app, ["--help"], env={"NO_COLOR": "1", "COLUMNS": "200"}).stdout
    places = [re.search(rf"^\W*{name} ", shown, re.M).start() for name in ("inspect", "train", "recommend", "rollback")]
    assert places == sorted(places)
