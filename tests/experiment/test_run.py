"""An experiment is run from its files to a bundle, and the file that is kept with the bundle runs it again."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest

import tfrs_twotower as tt
from tests.experiment.conftest import run, shop_experiment
from tests.experiment.shop import NUM_CUSTOMERS, NUM_EVENTS, NUM_ITEMS
from tfrs_twotower.experiment import (
    Experiment,
    Outcome,
    inspect_table,
    parse_experiment,
    read_experiment,
    run_experiment,
)
from tfrs_twotower.experiment.index_choice import index_builder
from tfrs_twotower.experiment.preparation import load_state, prepare, with_settings
from tfrs_twotower.experiment.reporting import describe_card, describe_epochs, evaluate_trained
from tfrs_twotower.experiment.resolution import resolve
from tfrs_twotower.experiment.run import EXPERIMENT_FILE
from tfrs_twotower.experiment.sections import (
    DataSection,
    EvaluationSection,
    ExportSection,
    FeaturesSection,
    IndexSection,
    LinearPartSection,
    MovieLensSection,
    RatingModelSection,
    RetrievalModelSection,
    SplitSection,
    TrainingSection,
)


def test_a_bundle_is_published_with_its_report_and_the_resolved_file(first_run):
    path = first_run.outcome.path
    assert path.name == "1"
    files = {file.name for file in (path / "assets.extra").iterdir()}
    assert {"report.html", "metrics.json", "MODEL_CARD.md", EXPERIMENT_FILE} <= files
    bundle = tt.load_bundle(path)
    found = bundle.recommend({"customer": ["c0"]}, only={"kind": ["toys"]})
    assert found.candidate_ids.shape == (1, 5)
    assert all(int(sku) % 3 == 2 for sku in found.candidate_ids[0] if sku)


def test_the_card_says_what_the_experiment_says(first_run):
    outcome, split = first_run.outcome, first_run.prepared.split
    card = (outcome.path / "assets.extra" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "- Intended use: Toys for\\_all" in card
    assert (
        f"- Split: at random, with the seed 0: {split.train.num_events:,} events to train on, "
        f"{split.validation.num_events:,} for validation and {split.test.num_events:,} to test with. "
        "Some events to train on are later than some to test with."
    ) in card
    assert f"| {outcome.report.metrics['ndcg@10']:.4f} |" in card
    assert tt.bundle.Manifest.read(outcome.path).model.card.intended_use == "Toys for_all"


def test_the_files_are_what_the_experiment_names(first_run):
    interactions = first_run.prepared.interactions
    sizes = (interactions.num_events, interactions.num_queries, interactions.num_candidates)
    assert sizes == (NUM_EVENTS, NUM_CUSTOMERS, NUM_ITEMS)
    assert set(interactions.candidates.column_names) == {"sku", "title", "kind"}
    assert set(interactions.queries.column_names) == {"customer", "age"}


def test_the_report_breaks_metrics_down_by_columns_with_few_values(first_run):
    assert set(first_run.outcome.report.by_feature) == {"age"}
    page = (first_run.outcome.path / "assets.extra" / "report.html").read_text(encoding="utf-8")
    assert "Item 3" in page  # the title, which is found by its name


def test_the_column_of_names_that_the_experiment_gives_is_that_of_the_report_and_of_the_bundle(first_run):
    trained, prepared = first_run.outcome.trained, first_run.prepared
    assert describe_card(prepared).name_column is None
    experiment = dataclasses.replace(prepared.experiment, evaluation=EvaluationSection(name_column="kind"))
    prepared = dataclasses.replace(prepared, experiment=experiment)
    assert describe_card(prepared).name_column == "kind"
    page = evaluate_trained(trained, prepared, fit_s=1.0).page
    assert "Item 3" not in page
    assert "garden" in page


def test_progress_is_told_from_the_start_to_the_end_of_each_task(first_run):
    tasks = dict.fromkeys(task for task, _, _ in first_run.progress)
    for words in ("Training the retrieval model", "Training the rating model", "Ranking", "Exporting"):
        assert any(words in task for task in tasks), words
    for task in tasks:
        calls = [(done, total) for name, done, total in first_run.progress if name == task]
        assert calls[0][0] == 0
        assert calls[-1][0] == calls[-1][1] > 0


def test_the_resolved_file_gives_every_choice(first_run):
    experiment = read_experiment(first_run.outcome.path / "assets.extra" / EXPERIMENT_FILE)
    assert experiment == first_run.outcome.experiment
    recipe = first_run.outcome.recipe
    assert experiment.data.query_features == ("age",)
    assert set(experiment.data.candidate_features) == {"title", "kind"}
    assert experiment.training.threshold == recipe.threshold
    for section, settings in (
        (experiment.retrieval_model, recipe.retrieval),
        (experiment.linear_part, recipe.linear),
        (experiment.rating_model, recipe.rating),
    ):
        for field in dataclasses.fields(settings):
            assert getattr(section, field.name) == getattr(settings, field.name), field.name


@pytest.fixture(scope="module")
def refitted(first_run) -> Outcome:
    """What the resolved file gives if the models are trained again on the test part once they are measured."""
    resolved = first_run.outcome.experiment
    training = dataclasses.replace(resolved.training, refit=True, run_folder=None)
    return run(dataclasses.replace(resolved, training=training)).outcome


def test_the_resolved_file_runs_again_with_the_same_result(first_run, refitted):
    resolved = first_run.outcome.experiment
    assert refitted.path == first_run.outcome.path.parent / "2"
    assert refitted.report.metrics == first_run.outcome.report.metrics
    # Everything was chosen: nothing is chosen anew, and the file says the same.
    training = dataclasses.replace(resolved.training, refit=True, run_folder=None)
    assert refitted.experiment == dataclasses.replace(resolved, training=training)
    ours, theirs = (
        (outcome.path / "assets.extra" / EXPERIMENT_FILE).read_text(encoding="utf-8").splitlines()
        for outcome in (first_run.outcome, refitted)
    )
    assert [line for line in ours if not line.startswith(("refit =", "run_folder ="))] == [
        line for line in theirs if not line.startswith("refit =")
    ]


def test_models_that_were_measured_are_trained_again_on_the_test_part(first_run, refitted):
    (note,) = (note for note in first_run.outcome.notes if "does not know" in note)
    num_test = first_run.prepared.split.test.num_events
    assert note.startswith(f"The published version does not know the {num_test} events of the test part: ")
    assert any(note.startswith("After they were measured, the models were trained again") for note in refitted.notes)
    assert refitted.experiment.training.refit
    everything = first_run.prepared.interactions
    assert refitted.trained.state.known.num_events == everything.num_events
    card = (refitted.path / "assets.extra" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "Afterwards the models were trained again on all of them." in card
    chosen = {customer: set() for customer in everything.queries["customer"].to_pylist()}
    for customer, item in zip(everything.query_rows.tolist(), everything.candidate_rows.tolist(), strict=True):
        chosen[f"c{customer}"].add(everything.candidates["sku"][item].as_py())
    assert recommended_again(refitted.path, chosen) == 0 < recommended_again(first_run.outcome.path, chosen)


def test_the_folder_of_a_run_that_has_ended_holds_what_came_of_it(first_run):
    version = first_run.outcome.path
    folder = version.parent.parent / "run"
    for name in (EXPERIMENT_FILE, "metrics.json"):
        assert (folder / name).read_bytes() == (version / "assets.extra" / name).read_bytes()
    trainings = {path.name for path in (folder / "trainings").iterdir()}
    assert trainings == {"training-the-retrieval-model-on-all-events", "training-the-rating-model-on-all-events"}
    assert not list(folder.rglob("checkpoint-*"))
    logs = json.loads((folder / "trainings" / "training-the-rating-model-on-all-events" / "logs.json").read_text())
    assert logs["log_loss"] == first_run.outcome.trained.history["rating"]["log_loss"]


@pytest.mark.parametrize(
    ("training", "folder"),
    [
        ({}, None),
        ({"resume": True}, "runs/shop"),
        ({"run_folder": "kept"}, "kept"),
    ],
)
def test_a_training_is_kept_if_that_is_wanted(shop, tmp_path, training, folder):
    experiment = shop_experiment(shop, tmp_path, training=TrainingSection(**training))
    assert experiment.run_folder == (None if folder is None else Path(folder))


def recommended_again(version: Path, chosen: dict[str, set[str]]) -> int:
    """How many recommendations are of candidates that their query has chosen."""
    found = tt.load_bundle(version).recommend({"customer": list(chosen)}).candidate_ids
    return sum(
        item in chosen[customer] for customer, items in zip(chosen, found.tolist(), strict=True) for item in items
    )


def test_without_ratings_there_is_no_rating_model(shop, tmp_path):
    data = DataSection(ratings=str(shop / "ratings.csv"), query_id="customer", candidate_id="sku")
    done = run(shop_experiment(shop, tmp_path, data=data, export=ExportSection(output=str(tmp_path), k=5)))
    assert done.outcome.recipe.rating is None
    assert tt.load_bundle(done.outcome.path).recommend({"customer": ["c0"]}).probabilities is None
    assert "auc" not in json.loads((done.outcome.path / "assets.extra" / "manifest.json").read_text())["metrics"]
    assert done.outcome.experiment.rating_model.train is False


def test_a_rating_model_can_be_left_out(shop, tmp_path):
    prepared = prepare(shop_experiment(shop, tmp_path, rating_model=RatingModelSection(train=False)))
    assert prepared.recipe.rating is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"export": ExportSection(output="x", k=25)},
            "`export.k` must be at most the catalogue's 24 candidates. Received: 25.",
        ),
        (
            {"export": ExportSection(output="x", filter_by=("knd",))},
            "`export.filter_by` must name columns of the candidates: sku, title, kind. Received: 'knd'. "
            "Did you mean `kind`?",
        ),
        (
            {"evaluation": EvaluationSection(segment_by=("gender",))},
            "`evaluation.segment_by` must name columns of the queries: customer, age. Received: 'gender'.",
        ),
        (
            {"training": TrainingSection(threshold=6)},
            "The training part must have a positive event. Received: none of 432 events. Lower `training.threshold`, "
            "which is 6, or train on more events.",
        ),
        (
            {"evaluation": EvaluationSection(name_column="titel")},
            "`evaluation.name_column` must name columns of the candidates: sku, title, kind. Received: 'titel'. "
            "Did you mean `title`?",
        ),
        (
            {"features": FeaturesSection(candidate={"age": None})},
            "`features.candidate` must name columns of the candidates: sku, title, kind. Received: 'age'.",
        ),
    ],
)
def test_a_mistake_is_found_before_training_and_nothing_is_published(shop, tmp_path, changes, message, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        run_experiment(shop_experiment(shop, tmp_path / "models", **changes))
    assert list(tmp_path.iterdir()) == []


def test_ids_that_are_not_named_are_found_and_said(tmp_path, shop):
    text = (shop / "ratings.csv").read_text().replace("customer,sku", "user_id,sku")
    (tmp_path / "ratings.csv").write_text(text)
    inspection = inspect_table(
        tt.experiment.Experiment(data=DataSection(ratings=str(tmp_path / "ratings.csv"), rating="stars"))
    )
    assert inspection.num_queries == NUM_CUSTOMERS
    assert "The column `user_id` is taken as the id of the query." in inspection.notes
    assert "The column `sku` is taken as the id of the candidate." in inspection.notes


def test_a_split_by_time_is_made_by_time(shop, tmp_path):
    inspection = inspect_table(shop_experiment(shop, tmp_path, split=SplitSection(kind="temporal", test=0.25)))
    days = np.sort([line.split(",")[3] for line in (shop / "ratings.csv").read_text().splitlines()[1:]])
    # Events of the day on which the last quarter begins are in the test part, too.
    assert inspection.parts["the test"] == int((days >= days[-NUM_EVENTS // 4]).sum())


def test_a_split_that_leaves_the_last_out_leaves_as_many_as_declared(shop, tmp_path):
    split = SplitSection(kind="leave-last-out", num_test=2)
    inspection = inspect_table(shop_experiment(shop, tmp_path, split=split))
    assert inspection.parts["the test"] == 2 * NUM_CUSTOMERS  # every customer has more than three events


def test_a_random_split_of_events_with_times_says_that_there_is_another(first_run):
    assert any("`--split temporal`" in note for note in first_run.prepared.notes)


def test_a_model_that_was_not_trained_again_leaves_its_epochs_open(first_run):
    prepared, recipe = first_run.prepared, first_run.outcome.recipe
    chosen = dataclasses.replace(recipe, retrieval=dataclasses.replace(recipe.retrieval, epochs=7))
    experiment = dataclasses.replace(prepared.experiment, retrieval_model=RetrievalModelSection())
    for is_trained_again, epochs in ((True, 7), (False, None)):
        resolved = resolve(experiment, prepared.interactions, chosen, is_trained_again=is_trained_again)
        assert resolved.retrieval_model.epochs == epochs
        assert resolved.retrieval_model.batch_size == recipe.retrieval.batch_size


def test_settings_that_are_given_take_the_place_of_those_of_the_recipe(first_run):
    recipe = first_run.prepared.recipe
    changed = with_settings(
        recipe,
        Experiment(
            movielens=MovieLensSection(),
            retrieval_model=RetrievalModelSection(output_dim=8, decay=0.0),
            linear_part=LinearPartSection(rank=4, weight=0.5),
            training=TrainingSection(half_life_days=30),
        ),
    )
    assert changed.retrieval == dataclasses.replace(recipe.retrieval, output_dim=8, decay=None)
    assert changed.linear == tt.model.LinearSettings(rank=4, weight=0.5)
    assert changed.half_life_days == 30
    without = Experiment(movielens=MovieLensSection(), linear_part=LinearPartSection(train=False))
    assert with_settings(recipe, without).linear is None


@pytest.mark.parametrize("kind", ["auto", "portable", "exact"])
def test_an_index_of_the_declared_kind_is_built(kind):
    built = index_builder(IndexSection(kind=kind))(np.eye(4, dtype=np.float32), list("abcd"), np.eye(4)[:2])
    assert built.index.is_exact


def test_the_recall_of_the_file_reaches_the_index():
    build = index_builder(parse_experiment("[movielens]\n[index]\nkind = 'portable'\nrecall_at_10 = 0.9").index)
    assert build.keywords["target"].recall == {10: 0.9, 100: 0.95}  # the other k keeps its default
    assert index_builder(IndexSection(max_build_s=60)).keywords["limits"].build_s == 60


def newer_events(folder: Path) -> Path:
    """A year later: the first ten customers and a new one, and the first half of the items."""
    file = folder / "newer.csv"
    lines = [
        f"c{customer},{item:03d},{5 if customer % 3 == item % 3 else 1},2025-01-{1 + item:02d}"
        for customer in (*range(10), 99)
        for item in range(12)
        if (customer + item) % 4
    ]
    file.write_text("customer,sku,stars,when\n" + "\n".join(lines) + "\n")
    return file


def test_a_training_that_starts_from_a_version_drops_ids_that_were_not_seen_for_long(first_run, shop, tmp_path):
    versions = first_run.outcome.path.parent
    version = versions / str(max(version.number for version in tt.publishing.list_versions(versions)))
    experiment = shop_experiment(shop, tmp_path)
    assert experiment.data is not None
    newer = dataclasses.replace(
        experiment,
        data=dataclasses.replace(experiment.data, ratings=str(newer_events(tmp_path)), queries=None),
        training=TrainingSection(start_from=str(versions), drop_unseen_after_days=60, refit=True),
        export=dataclasses.replace(experiment.export, gate=0.0, k=3),
    )
    found = run(newer)
    assert found.outcome.experiment.training.start_from == str(version)  # the newest of the folder
    assert found.prepared.interactions.source == f"newer.csv, and what {version} knows"
    (note,) = (note for note in found.prepared.notes if "dropped" in note)
    assert note.startswith("20 queries and 12 candidates have had no event for 60 days before the newest one")
    kept = {f"{item:03d}" for item in range(12)}
    assert set(found.prepared.interactions.candidates["sku"].to_pylist()) == kept
    assert "20 queries and 12 candidates of the earlier training were dropped." in found.outcome.notes
    assert describe_epochs(found.outcome.trained) == "1 of 1 (retrieval) and 1 of 1 (rating)"
    bundle = tt.load_bundle(found.outcome.path)
    ids = bundle.recommend({"customer": ["c0", "c29", "stranger"]}).candidate_ids
    assert set(ids.ravel().tolist()) <= {"", *kept}
    assert ids[1].tolist() == ids[2].tolist()  # dropped, and therefore unknown
    state = load_state(found.outcome.path)
    assert state.known.num_events == found.prepared.interactions.num_events  # the test part, too
    assert set(state.known.candidates["sku"].to_pylist()) == kept


def test_without_times_or_a_version_nothing_can_be_dropped(shop, tmp_path):
    experiment = shop_experiment(shop, tmp_path)
    with pytest.raises(ValueError, match="`training.drop_unseen_after_days` must be given with `training.start_from`"):
        dataclasses.replace(experiment, training=TrainingSection(drop_unseen_after_days=60))
    assert experiment.data is not None
    with pytest.raises(ValueError, match="`data.timestamp` must name the column of times, because `training.drop_uns"):
        dataclasses.replace(
            experiment,
            data=dataclasses.replace(experiment.data, timestamp=None),
            training=TrainingSection(start_from="saved_models/shop/1", drop_unseen_after_days=60),
        )
