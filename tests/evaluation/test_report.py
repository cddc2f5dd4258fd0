import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrs_twotower.evaluation.build import evaluate
from tfrs_twotower.evaluation.intervals import Interval
from tfrs_twotower.evaluation.rating import ConfusionMatrix
from tfrs_twotower.evaluation.relevance import QueryMetrics
from tfrs_twotower.evaluation.report import Report
from tfrs_twotower.evaluation.segments import Segment

NAMES = st.text(max_size=8)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
COUNTS = st.integers(0, 10**12)
METRICS = st.dictionaries(NAMES, NUMBERS, max_size=4)
INTERVALS = st.dictionaries(NAMES, st.builds(Interval, mean=NUMBERS, low=NUMBERS, high=NUMBERS), max_size=3)
SEGMENTS = st.lists(st.builds(Segment, name=NAMES, num=COUNTS, values=METRICS), max_size=3)
CONFUSIONS = st.builds(
    ConfusionMatrix, true_positives=COUNTS, false_positives=COUNTS, false_negatives=COUNTS, true_negatives=COUNTS
)
QUERIES = QueryMetrics(query_rows=np.arange(2), values={"ndcg@3": np.array([0.5, 1.0])}, num_left_out=0)
REPORTS = st.builds(
    Report,
    cases=st.builds(lambda model, others: {"model": model, **others}, METRICS, st.dictionaries(NAMES, METRICS)),
    intervals=INTERVALS,
    above_popularity=INTERVALS,
    beyond_accuracy=METRICS,
    by_history=SEGMENTS,
    by_feature=st.dictionaries(NAMES, SEGMENTS, max_size=2),
    by_popularity=SEGMENTS,
    confusion=st.none() | CONFUSIONS,
    num_events=COUNTS,
    num_left_out=COUNTS,
    index_recall=st.none() | st.floats(0, 1),
    of_queries=st.none() | st.just(QUERIES),
)
SMALL = Report(
    cases={"model": {"ndcg@3": 0.5}, "popularity": {"ndcg@3": 0.25}},
    intervals={"ndcg@3": Interval(mean=0.5, low=0.4, high=0.6)},
    above_popularity={},
    beyond_accuracy={"coverage": 0.5},
    by_history=[Segment(name="no events", num=2, values={"ndcg@3": 0.5})],
    by_feature={},
    by_popularity=[],
    confusion=ConfusionMatrix(true_positives=1, false_positives=2, false_negatives=3, true_negatives=4),
    num_events=10,
    num_left_out=1,
    of_queries=QUERIES,
)


@given(report=REPORTS)
def test_a_report_survives_json(report):
    content = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    read = Report.from_dict(content)
    assert read == report
    assert read.of_queries is None
    assert read.to_dict() == content


def test_a_report_of_a_model_survives_a_file(planted, trained, tmp_path):
    report = evaluate(trained, planted.split, k=2, segment_by=["age"])
    report.save(tmp_path / "metrics.json")
    read = Report.load(tmp_path / "metrics.json")
    assert read == report
    assert np.isfinite(list(read.metrics.values())).all()


def test_the_form_in_json_is_plain():
    assert SMALL.to_dict() == {
        "cases": {"model": {"ndcg@3": 0.5}, "popularity": {"ndcg@3": 0.25}},
        "intervals": {"ndcg@3": {"mean": 0.5, "low": 0.4, "high": 0.6}},
        "above_popularity": {},
        "beyond_accuracy": {"coverage": 0.5},
        "by_history": [{"name": "no events", "num": 2, "values": {"ndcg@3": 0.5}}],
        "by_feature": {},
        "by_popularity": [],
        "confusion": {"true_positives": 1, "false_positives": 2, "false_negatives": 3, "true_negatives": 4},
        "num_events": 10,
        "num_left_out": 1,
        "num_ranked": None,
        "num_test_queries": None,
        "recommend_seen": False,
        "context": [],
        "by_event": False,
        "index_recall": None,
    }


def test_a_report_that_was_written_without_an_index_recall_is_read():
    """Version 0.1 wrote no such field."""
    content = SMALL.to_dict()
    del content["index_recall"]
    assert Report.from_dict(content) == SMALL


def test_the_metrics_are_the_models_own():
    assert SMALL.metrics == {"ndcg@3": 0.5}
    SMALL.metrics["ndcg@3"] = 1.0
    assert SMALL.metrics == {"ndcg@3": 0.5}


def test_a_report_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        SMALL.index_recall = 1.0


def test_a_value_that_is_not_finite_is_not_written(tmp_path):
    broken = dataclasses.replace(SMALL, cases={"model": {"ndcg@3": float("nan")}})
    with pytest.raises(ValueError, match="not JSON compliant"):
        broken.save(tmp_path / "metrics.json")
    assert not (tmp_path / "metrics.json").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"f1": 0.5}, "Missing: none. Unknown: f1."),
        ({"confusion": {"true_positives": 1}}, "Each ConfusionMatrix of a report must have the fields"),
        ({"intervals": {"ndcg@3": {"mean": 1, "low": 0, "hihg": 2}}}, "Each Interval of a report.*Received: hihg, low"),
        ({"index_recall": 1.5}, r"`index_recall` must be in \[0, 1\]. Received: 1.5"),
        ({"index_recall": float("nan")}, "`index_recall` must be in"),
        ({"cases": {"popularity": {}}}, '`cases` must have the case "model". Received: popularity'),
    ],
)
def test_what_is_not_a_report_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Report.from_dict({**SMALL.to_dict(), **changes})


def test_a_missing_field_is_named():
    content = SMALL.to_dict()
    del content["cases"]
    with pytest.raises(ValueError, match="Missing: cases. Unknown: none."):
        Report.from_dict(content)


@pytest.mark.parametrize(
    ("fields", "sentences"),
    [
        ({}, ["Candidates that a query had seen before the test part were left out of its ranking."]),
        (
            {"num_ranked": 2000, "num_test_queries": 2000, "recommend_seen": True},
            [
                "Candidates were ranked for all 2,000 queries of the test part.",
                "Candidates that a query had seen before the test part could be recommended to it again.",
            ],
        ),
        (
            {"num_ranked": 1000, "num_test_queries": 2000},
            [
                "Candidates were ranked for a random sample of 1,000 of the 2,000 queries of the test part.",
                "Candidates that a query had seen before the test part were left out of its ranking.",
            ],
        ),
    ],
)
def test_notes_say_how_the_ranking_was_measured(fields, sentences):
    report = dataclasses.replace(SMALL, **fields)
    assert report.notes() == sentences
    assert Report.from_dict(report.to_dict()) == report


def test_a_report_of_an_earlier_version_can_be_read():
    content = SMALL.to_dict()
    for name in ("num_ranked", "num_test_queries", "recommend_seen", "by_event"):
        del content[name]
    assert Report.from_dict(content) == SMALL
