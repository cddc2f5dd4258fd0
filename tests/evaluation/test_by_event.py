"""The test part event by event: each event is predicted from all that its query did before it."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

import tfrs_twotower as tt
from tests.evaluation import events
from tfrs_twotower.data.splits import Split
from tfrs_twotower.evaluation import by_event
from tfrs_twotower.evaluation.by_event import split_by_event
from tfrs_twotower.evaluation.report import Report


def make_events(rows, *columns, num_queries=2) -> tt.Interactions:
    """Events of five candidates, each (query, candidate, rating, time), and further columns."""
    queries = {"user_id": [f"u{row}" for row in range(num_queries)], "request": ["old"] * num_queries}
    return events.make_events(rows, ["timestamp", *columns], queries=queries, num_candidates=5)


# Query 1 goes through the candidates one after the other. Query 0 chooses in the test part alone: 4 and 2 at the same
# time, and then 3, which it does not like.
TRAIN = make_events([(1, 0, 5.0, 10), (1, 1, 1.0, 20)])
TEST = make_events([(1, 3, 5.0, 50), (0, 4, 5.0, 30), (1, 2, 5.0, 40), (0, 2, 5.0, 30), (0, 3, 1.0, 60)])
SPLIT = Split(train=TRAIN, validation=make_events([]), test=TEST, history=make_events([]))


@dataclasses.dataclass
class NextModel:
    """A model that ranks first what comes after the latest candidate of a query, and then the others in order."""

    threshold, vector_dim, embedding_dim, history_length, rating_model = 3.0, 5, 5, 0, None

    def embed(self, interactions, *, known=None):
        queries = np.zeros((interactions.num_queries, 5))
        queries += [0.5, 0.4, 0.3, 0.2, 0.1]
        order = np.argsort(known.timestamps, kind="stable")
        latest = dict(zip(known.query_rows[order], known.candidate_rows[order], strict=True))
        for query, candidate in latest.items():
            queries[query, (candidate + 1) % 5] = 1.0
        return queries, np.eye(5)

    retrieval_model = property(lambda self: self)


def test_a_query_knows_what_it_did_before_the_event():
    found = split_by_event(SPLIT)
    np.testing.assert_array_equal(found.query_rows, [1, 0, 1, 0, 0])
    assert found.split.test.query_rows.tolist() == [0, 1, 2, 3, 4]
    assert found.split.test.query_id == "request_"  # the queries have a column `request`
    assert found.split.test.queries["user_id"].to_pylist() == ["u1", "u0", "u1", "u0", "u0"]
    known = found.split.seen
    pairs = set(zip(known.query_rows.tolist(), known.candidate_rows.tolist(), strict=True))
    assert pairs == {(0, 0), (0, 1), (0, 2), (2, 0), (2, 1), (4, 4), (4, 2)}
    assert known.num_events == len(pairs)


@pytest.mark.parametrize("seed", range(5))
def test_what_is_known_is_that_of_a_loop_over_the_events(seed):
    rng = np.random.default_rng(seed)
    times = np.sort(rng.integers(0, 30, 200))  # many at the same time
    rows = list(zip(rng.integers(0, 7, 200), rng.integers(0, 5, 200), rng.integers(1, 6, 200), times, strict=True))
    whole = make_events(rows, num_queries=7)
    train, validation, test = (whole.with_events(part) for part in np.split(np.arange(200), [100, 120]))
    test = test.with_events(rng.permutation(80))
    split = Split(train=train, validation=validation, test=test, history=whole.with_events(np.zeros(0, np.int64)))
    found = split_by_event(split, max_events=50)
    asked, known = found.split.test, found.split.seen
    assert asked.num_events == 50 == len(found.query_rows)
    for row, (query, time) in enumerate(zip(found.query_rows, asked.timestamps, strict=True)):
        is_of_row = known.query_rows == row
        got = sorted(zip(known.candidate_rows[is_of_row], known.timestamps[is_of_row], strict=True))
        before = [
            (candidate, when)
            for part, limit in ((split.seen, np.inf), (test, time))
            for own, candidate, when in zip(part.query_rows, part.candidate_rows, part.timestamps, strict=True)
            if own == query and when < limit
        ]
        assert got == sorted(before)
    again = split_by_event(split, max_events=50)
    assert again.split.test.events.equals(asked.events)


def test_each_liked_event_is_measured_with_what_its_query_has_just_done():
    report = tt.evaluate(NextModel(), SPLIT, k=1, by_event=True)
    # Of the events that are liked: 3 comes after 2, and 2 after 1; 4 and 2 come after nothing, where 0 is ranked first.
    assert report.metrics["num_queries"] == 4
    assert report.metrics["hit_rate@1"] == 0.5
    assert report.num_left_out == 1
    assert (report.num_ranked, report.num_test_queries, report.num_events) == (5, 5, 5)
    assert {segment.name: segment.num for segment in report.by_history} == {"no events": 2, "1 to 9 events": 2}
    assert report.notes() == [
        "Candidates were ranked for all 5 events of the test part.",
        "Each event was predicted from all that its query did before, in the test part as well.",
        "Candidates that a query had seen before the event were left out of its ranking.",
    ]
    assert Report.from_dict(report.to_dict()) == report
    # As one list for the whole test part, query 1 gets 2 first, and never 3.
    assert tt.evaluate(NextModel(), SPLIT, k=1).metrics["recall@1"] == (0.5 + 0) / 2


def test_the_bootstrap_draws_all_events_of_a_query_together():
    report = tt.evaluate(NextModel(), SPLIT, k=1, by_event=True)
    np.testing.assert_array_equal(report.of_queries.units, [1, 0, 1, 0])
    # One query has found everything, and the other nothing.
    assert (report.intervals["hit_rate@1"].low, report.intervals["hit_rate@1"].high) == (0.0, 1.0)


def test_baselines_learn_from_the_earlier_parts_alone():
    later = make_events([(0, 4, 5.0, time) for time in range(30, 40)] + [(1, 4, 5.0, 60), (1, 2, 5.0, 61)])
    train = make_events([(0, 2, 5.0, 10), (1, 3, 1.0, 20)])
    split = dataclasses.replace(SPLIT, train=train, test=later)
    baselines = {"own": (np.array([[1.0], [-1.0]]), np.arange(5.0)[:, np.newaxis])}
    report = tt.evaluate(NextModel(), split, k=1, by_event=True, recommend_seen=True, baselines=baselines)
    # 2 is the most popular candidate of the training part, though the test part is full of 4.
    assert report.cases["popularity"]["hit_rate@1"] == pytest.approx(1 / 12)
    # The rows of its queries are those of the split: query 0 gets 4 first, and query 1 gets 0.
    assert report.cases["own"]["hit_rate@1"] == pytest.approx(10 / 12)


def test_probabilities_are_those_of_events_and_biases_those_of_their_queries():
    train = make_events([(0, 0, 5.0, 1), (0, 1, 5.0, 2), (1, 0, 1.0, 3), (1, 1, 1.0, 4), (0, 2, 1.0, 5)])
    test = make_events([(1, 3, 1.0, 50), (0, 4, 5.0, 30), (1, 4, 1.0, 60), (0, 3, 5.0, 31)])
    model = NextModel()
    model.rating_model = model
    report = tt.evaluate(model, dataclasses.replace(SPLIT, train=train, test=test), k=1, by_event=True)
    # Query 0 likes more than query 1 does, which the biases know, and nothing else.
    assert report.cases["biases"]["auc"] == 1.0
    # 1 for what comes after the latest candidate, which nothing does, and .2 and .1 for 3 and 4: (1, 3), (0, 4), ...
    scores = np.array([0.2, 0.1, 1.0, 0.2])
    assert report.metrics["log_loss"] == pytest.approx(
        np.mean(np.log1p(np.exp(np.where([False, True, False, True], -scores, scores))))
    )


def test_an_event_keeps_its_context():
    train = make_events([(0, 0, 5.0, 10, "9"), (1, 1, 5.0, 20, "20")], "hour")
    test = make_events([(0, 1, 5.0, 30, "9"), (0, 2, 5.0, 40, "20")], "hour")
    nothing = train.with_events(np.zeros(0, np.int64))
    split = Split(train=train, validation=nothing, test=test, history=nothing)

    class HourModel(NextModel):
        def embed(self, interactions, *, known=None):
            requests = interactions.requests
            given = interactions.contexts.table["hour"].take(pa.array(requests.context_rows)).to_pylist()
            return np.eye(5)[[1 if hour == "9" else 2 for hour in given]], np.eye(5)

    report = tt.evaluate(HourModel(), split, k=1, by_event=True, segment_by=["hour"])
    assert report.metrics["hit_rate@1"] == 1.0
    assert {segment.name: segment.num for segment in report.by_feature["hour"]} == {"9": 1, "20": 1}
    np.testing.assert_array_equal(report.of_queries.units, [0, 0])


def test_more_events_than_are_ranked_are_a_sample(monkeypatch):
    monkeypatch.setattr(by_event, "MAX_EVENTS", 3)
    report = tt.evaluate(NextModel(), SPLIT, k=1, by_event=True)
    assert report.notes()[0] == "Candidates were ranked for a random sample of 3 of the 5 events of the test part."
    assert tt.evaluate(NextModel(), SPLIT, k=1, by_event=True, max_queries=4).num_ranked == 4


def test_what_it_cannot_do_is_refused():
    untimed = (
        dataclasses.replace(part, events=part.events.drop_columns(["timestamp"]))
        for part in (TRAIN, make_events([]), TEST, make_events([]))
    )
    split = Split(**dict(zip(("train", "validation", "test", "history"), untimed, strict=True)))
    with pytest.raises(ValueError, match="`by_event` needs the order of the events. They have no timestamps: name"):
        tt.evaluate(NextModel(), split, by_event=True)
    with pytest.raises(ValueError, match="`max_queries`"):
        tt.evaluate(NextModel(), SPLIT, by_event=True, max_queries=0)
