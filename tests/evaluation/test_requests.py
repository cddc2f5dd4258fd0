"""Ranking and rating by request: each test event is measured in its own context."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

import tfrs_twotower as tt
from tests.evaluation import events
from tfrs_twotower.data.splits import Split
from tfrs_twotower.evaluation import predictions as predictions_module
from tfrs_twotower.evaluation.build import build_report
from tfrs_twotower.evaluation.html.page import build_page
from tfrs_twotower.evaluation.intervals import mean_intervals
from tfrs_twotower.evaluation.predictions import Predictions, predict
from tfrs_twotower.evaluation.report import Report

QUERIES = {"user_id": ["u0", "u1"], "age": ["old", "young"]}


def make_events(rows) -> tt.Interactions:
    """Events of two queries and four candidates, each (query, candidate, rating, hour)."""
    return events.make_events(rows, ["hour"], queries=QUERIES, num_candidates=4)


# Query 1 asks at 9 for candidates 0 and 1, and at 20 for candidate 2; it has seen candidate 3. Query 0 asks at 20 only.
TRAIN = make_events([(1, 3, 5.0, "9"), (0, 1, 5.0, "9"), (0, 2, 1.0, "9")])
TEST = make_events([(1, 0, 5.0, "9"), (1, 2, 5.0, "20"), (0, 0, 5.0, "20"), (1, 1, 5.0, "9"), (0, 3, 1.0, "20")])
SPLIT = Split(train=TRAIN, validation=make_events([]), test=TEST, history=make_events([]))


@dataclasses.dataclass
class PlantedModel:
    """A model that scores candidates by the hour: ascending rows at 9, and descending rows at 20."""

    threshold, vector_dim, embedding_dim, history_length = 3.0, 1, 1, 0

    def embed(self, interactions, *, known=None):
        requests = interactions.requests
        hours = interactions.contexts.table["hour"].take(pa.array(requests.context_rows)).to_pylist()
        return np.array([[-1.0] if hour == "9" else [1.0] for hour in hours]), np.arange(4.0)[:, np.newaxis]

    retrieval_model = rating_model = property(lambda self: self)


def lists_of(predictions: Predictions) -> dict[tuple[str, str], list[int]]:
    rows = TEST.by_request().queries.to_pylist()
    return {(row["user_id"], row["hour"]): found.tolist() for row, found in zip(rows, predictions.ranked, strict=True)}


def test_the_catalogue_is_ranked_for_each_query_in_each_context_of_its_test_events():
    predictions = predict(PlantedModel(), SPLIT, k=4)
    assert lists_of(predictions) == {
        ("u1", "9"): [0, 1, 2, -1],  # without what it has seen
        ("u1", "20"): [2, 1, 0, -1],
        ("u0", "20"): [3, 0, -1, -1],
    }
    # -0, 2, 0, -1, 3 are the log-odds of the test events, each in its own context.
    odds = np.exp([0.0, 2.0, 0.0, -1.0, 3.0])
    np.testing.assert_allclose(predictions.probabilities, odds / (1 + odds))
    again = predict(PlantedModel(), SPLIT, k=4, recommend_seen=True)
    assert lists_of(again)["u1", "9"] == [0, 1, 2, 3]


def test_probabilities_are_those_of_any_number_of_events_at_once(monkeypatch):
    whole = predict(PlantedModel(), SPLIT, k=1).probabilities
    monkeypatch.setattr(predictions_module, "_MAX_EVENTS", 2)
    np.testing.assert_array_equal(predict(PlantedModel(), SPLIT, k=1).probabilities, whole)


def test_what_a_query_chose_in_another_context_is_no_hit():
    report = tt.evaluate(PlantedModel(), SPLIT, k=2, segment_by=["hour", "age"])
    # Of (u1, 9), (u1, 20) and (u0, 20): both of two found, the first place, and the second place.
    assert report.metrics["num_queries"] == 3
    assert report.metrics["recall@2"] == 1.0
    assert report.metrics["precision@2"] == pytest.approx((2 + 1 + 1) / 6)
    assert report.metrics["mrr@2"] == pytest.approx((1 + 1 + 1 / 2) / 3)
    at = {segment.name: (segment.num, segment.values["precision@2"]) for segment in report.by_feature["hour"]}
    assert at == {"20": (2, 0.5), "9": (1, 1.0)}
    assert {segment.name: segment.num for segment in report.by_feature["age"]} == {"young": 2, "old": 1}
    assert {segment.name: segment.num for segment in report.by_history} == {"1 to 9 events": 3}
    assert report.context == ("hour",)
    assert report.notes()[:2] == [
        "Candidates were ranked for all 3 requests of the test part.",
        "A request is a query with a context of its test events: hour.",
    ]
    assert Report.from_dict(report.to_dict()) == report


def test_baselines_get_the_same_lists_as_the_model():
    report = tt.evaluate(PlantedModel(), SPLIT, k=2, baselines={"own": (np.eye(2, 1), -np.arange(4.0)[:, np.newaxis])})
    assert {values["num_queries"] for name, values in report.cases.items() if "num_queries" in values} == {3.0}
    assert "biases" in report.cases


def test_a_sample_is_one_of_requests():
    predictions = predict(PlantedModel(), SPLIT, k=4, max_queries=2)
    assert len(predictions.query_rows) == 2
    assert (predictions.ranked >= 0).any(axis=1).sum() == 2
    whole = predict(PlantedModel(), SPLIT, k=4)
    np.testing.assert_array_equal(predictions.ranked[predictions.query_rows], whole.ranked[predictions.query_rows])
    report = build_report(predictions, SPLIT, threshold=3)
    assert (report.num_ranked, report.num_test_queries) == (2, 3)


def test_the_bootstrap_draws_all_requests_of_a_query_together():
    values = {"recall@10": np.array([1.0, 1.0, 0.0, 0.0])}
    # As two queries with a mean of 1 and of 0, each interval reaches from 0 to 1; four units would seldom agree.
    together = mean_intervals(values, units=np.array([7, 7, 3, 3]))["recall@10"]
    assert (together.low, together.mean, together.high) == (0.0, 0.5, 1.0)
    # A query with three requests counts three times: (3 * 1 + 0) / 4.
    assert mean_intervals({"x": np.array([1.0, 1.0, 1.0, 0.0])}, units=np.array([0, 0, 0, 1]))["x"].mean == 0.75
    report = tt.evaluate(PlantedModel(), SPLIT, k=2)
    np.testing.assert_array_equal(np.sort(report.of_queries.units), [0, 1, 1])


def test_the_page_shows_the_context_of_a_request():
    predictions = predict(PlantedModel(), SPLIT, k=2)
    page = build_page(build_report(predictions, SPLIT, threshold=3), predictions, SPLIT, threshold=3)
    assert "User u1, hour 20: NDCG@2 1.00" in page
