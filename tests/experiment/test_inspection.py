"""`inspect_table` says what is in the files, by figures that are counted by hand here."""

import numpy as np
import pytest

from tests.data.reading import exactly
from tests.experiment.conftest import shop_experiment
from tfrs_twotower.experiment import Experiment, inspect_table
from tfrs_twotower.experiment.sections import DataSection, SplitSection, TrainingSection


@pytest.fixture(scope="module")
def inspection(shop, tmp_path_factory):
    return inspect_table(shop_experiment(shop, tmp_path_factory.mktemp("models")))


def rows_of(shop) -> list[list[str]]:
    return [line.split(",") for line in (shop / "ratings.csv").read_text().splitlines()[1:]]


def test_ratings_and_times_are_described(inspection, shop):
    stars = [int(row[2]) for row in rows_of(shop)]
    shares = [f"{value} ({stars.count(value) / len(stars):.0%})" for value in sorted(set(stars))]
    assert inspection.ratings == f"Ratings: {', '.join(shares)}."
    days = sorted(row[3] for row in rows_of(shop))
    assert inspection.time_span == (f"{days[0]}T00:00:00", f"{days[-1]}T00:00:00")
    positive = sum(star >= inspection.recipe.threshold for star in stars) / len(stars)
    assert inspection.positive_share == pytest.approx(positive)


def test_columns_have_types_values_and_examples(inspection):
    columns = {(column.table, column.name): column for column in inspection.columns}
    kind = columns["candidates", "kind"]
    assert (kind.type, kind.num_values, kind.num_missing, kind.example) == ("text", 3, 0, "books")
    assert columns["queries", "customer"].num_values == 30
    assert columns["events", "stars"].type == "number"
    assert ("events", "when") in columns
    assert ("events", "query_row") not in columns


def test_parts_cover_all_events_once(inspection):
    assert sum(inspection.parts.values()) == inspection.num_events == 600
    assert inspection.parts["the test"] == 120


def test_cold_shares_and_repeats_are_counted(tmp_path):
    # By time, the last four of 20 events are the test: c9 and c0 with x, and c0 with y twice; c9 and y are new.
    rows = [f"c{row % 4},x,{row % 5 + 1},{1000 + row}" for row in range(16)]
    rows += ["c9,x,5,2000", "c0,x,1,2001", "c0,y,5,2002", "c0,y,5,2003"]
    (tmp_path / "r.csv").write_text("u,m,r,t\n" + "\n".join(rows))
    data = DataSection(ratings=str(tmp_path / "r.csv"), query_id="u", candidate_id="m", rating="r", timestamp="t")
    inspection = inspect_table(Experiment(data=data, split=SplitSection(kind="temporal", test=0.2)))
    queries, candidates = inspection.cold
    assert (queries.side, queries.share, queries.share_of_events) == ("queries", 0.5, 0.25)
    assert (candidates.side, candidates.share, candidates.share_of_events) == ("candidates", 0.5, 0.5)
    # 16 events of 4 pairs, c9 with x is new, c0 with x is not, and one of the two with y is a repeat.
    assert inspection.num_repeated == 12 + 1 + 1


def test_the_lines_say_it_all(inspection):
    text = "\n".join(inspection.lines())
    for words in (
        "600 events of 30 queries with 24 candidates.",
        "Ratings: 1 (",
        "Times: from 2024-",
        "Repeats: 0 events",
        "events for training",
        "Without an event before the test part: 0.0% of the test part's queries",
        "of memory.",
        *inspection.recipe.lines(),
        *inspection.notes,
    ):
        assert words in text


def test_implicit_data_has_no_scale(shop):
    data = DataSection(ratings=str(shop / "ratings.csv"), query_id="customer", candidate_id="sku")
    inspection = inspect_table(Experiment(data=data))
    assert inspection.ratings == "There are no ratings: every event is positive."
    assert inspection.positive_share == 1.0
    assert inspection.time_span is None
    assert "events" not in {column.table for column in inspection.columns}


def test_many_different_ratings_are_described_by_their_ends(tmp_path):
    values = np.arange(40) / 8
    rows = [f"c{row % 5},m{row % 8},{value:g}" for row, value in enumerate(values)]
    (tmp_path / "r.csv").write_text("u,m,r\n" + "\n".join(rows))
    data = DataSection(ratings=str(tmp_path / "r.csv"), query_id="u", candidate_id="m", rating="r")
    assert inspect_table(Experiment(data=data)).ratings == "Ratings: 40 different ones from 0 to 4.875."


def test_a_validation_part_that_is_too_small_to_choose_is_said_before_training(tmp_path):
    # Of ten events, two are the test and one validates.
    rows = [f"c{row},{row % 3},{5 - 4 * (row % 2)}" for row in range(10)]
    (tmp_path / "r.csv").write_text("u,m,r\n" + "\n".join(rows))
    data = DataSection(ratings=str(tmp_path / "r.csv"), query_id="u", candidate_id="m", rating="r")
    inspection = inspect_table(Experiment(data=data, training=TrainingSection(seed=1)))
    assert inspection.parts["validation"] == 1
    notes = [note for note in inspection.notes if note.startswith("The validation part has 1 event, ")]
    assert len(notes) == 1
    assert "30 are taken" in notes[0]


@pytest.mark.parametrize(
    ("rows", "threshold", "message"),
    [
        (
            [f"c{row},x,{1 + row % 5}" for row in range(20)],
            None,
            "The catalogue must have two candidates or more: a single one comes first whatever is learnt. Received: 1.",
        ),
        (
            [f"c{row},{row % 3},1" for row in range(20)],
            2,
            "The training part must have a positive event. Received: none of 14 events. Lower `training.threshold`, "
            "which is 2, or train on more events.",
        ),
        (
            [f"c{row},{row % 3},5" for row in range(6)],
            None,
            "A random split needs at least 7 events with test=0.2 and validation=0.1. Received: 6. Change the shares, "
            "or split more events.",
        ),
    ],
)
def test_what_cannot_be_trained_is_said_before_training(tmp_path, rows, threshold, message):
    (tmp_path / "r.csv").write_text("u,m,r\n" + "\n".join(rows))
    data = DataSection(ratings=str(tmp_path / "r.csv"), query_id="u", candidate_id="m", rating="r")
    with exactly(ValueError, message):
        inspect_table(Experiment(data=data, training=TrainingSection(threshold=threshold)))
