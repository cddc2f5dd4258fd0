import dataclasses
import warnings

import numpy as np
import pytest

from tests.conftest import CANDIDATE, QUERY, make_interactions
from tests.evaluation.times import with_times
from tfrs_twotower.data.splits import Split
from tfrs_twotower.evaluation.build import build_report, evaluate
from tfrs_twotower.evaluation.html.page import build_page
from tfrs_twotower.evaluation.intervals import compare
from tfrs_twotower.evaluation.predictions import Predictions, predict
from tfrs_twotower.model.build import build_two_tower


def test_a_model_that_has_learnt_planted_preferences_gets_high_metrics(planted, trained):
    report = evaluate(trained, planted.split, k=3)
    model = report.cases["model"]
    # Each query has one liked and three disliked candidates that it has not seen: the liked one should come first.
    assert model["auc"] > 0.99
    assert model["hit_rate@3"] > 0.95
    assert model["precision@3"] == pytest.approx(model["hit_rate@3"] / 3)
    assert model["ndcg@3"] > report.cases["popularity"]["ndcg@3"]
    # A quarter of the test events are positive, and about half of the training events.
    assert report.cases["all-positive"]["auc"] == 0.5
    confusion = report.confusion
    assert confusion.true_positives + confusion.false_negatives == planted.split.test.num_queries
    assert report.num_events == planted.split.test.num_events


def test_seen_candidates_are_left_out_of_the_ranking(planted, trained):
    """There are as many slots as unseen candidates, so the recall is 1 unless a seen candidate takes a slot."""
    report = evaluate(trained, planted.split, k=4)
    assert report.cases["model"]["recall@4"] == 1
    assert report.cases["popularity"]["recall@4"] == 1


def test_every_metric_lies_within_its_interval(planted, trained):
    report = evaluate(trained, planted.split, k=3)
    model = report.cases["model"]
    for name, interval in report.intervals.items():
        assert interval.low - 1e-9 <= interval.mean <= interval.high + 1e-9
        assert interval.mean == pytest.approx(model[name], abs=1e-9), name
    assert {"auc", "log_loss", "ndcg@3", "mrr@3", "map@3"} <= set(report.intervals)
    assert report.above_popularity["ndcg@3"].low > 0
    assert sum(segment.num for segment in report.by_history) == model["num_queries"]
    shares = sum(segment.values["share"] for segment in report.by_popularity)
    assert shares == pytest.approx(1)


def test_a_model_below_popularity_gives_a_warning(planted, trained):
    """All queries like candidate 0. Half of them have seen it; the others are recommended something else."""
    halves = [(np.arange(30), [5]), (np.arange(30, 60), [5, 1])]
    parts = [
        make_interactions(
            np.repeat(rows, len(ratings)),
            np.tile(np.arange(len(ratings)), 30),
            np.tile(ratings, 30),
            num_queries=60,
            num_candidates=9,
        )
        for rows, ratings in halves
    ]
    nothing = parts[0].with_events(np.zeros(0, np.int64))
    split = Split(train=parts[0], validation=nothing, test=parts[1], history=nothing)
    worst = np.full((60, 1), 7)
    with pytest.warns(
        UserWarning,
        match="ranks the catalogue worse than popularity does.*Likely causes.*SampledSoftmaxTask or a FullSoftmaxTask",
    ):
        build_report(Predictions(ranked=worst, probabilities=None), split, threshold=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluate(trained, planted.split, k=1)


def test_biases_are_left_out_if_all_training_ratings_are_of_one_class(planted, trained):
    parts = {name: getattr(planted.split, name) for name in ("train", "validation")}
    liked = {name: part.with_events(np.flatnonzero(part.ratings >= 3)) for name, part in parts.items()}
    report = evaluate(trained, dataclasses.replace(planted.split, **liked), k=3)
    assert set(report.cases) == {"model", "all-positive", "random", "popularity"}


def test_clicks_are_evaluated_by_ranking_metrics_only(planted, trained):
    """All ratings are of one class, so there are no rating metrics."""
    parts = {name: part.with_events(np.flatnonzero(part.ratings >= 3)) for name, part in vars(planted.split).items()}
    report = evaluate(trained, Split(**parts), k=3)
    assert set(report.cases) == {"model", "random", "popularity"}
    assert "auc" not in report.cases["model"]
    assert report.cases["model"]["hit_rate@3"] > 0.9
    assert report.confusion is None


def test_other_baselines_and_models_are_compared_on_the_same_queries(planted, trained):
    queries, candidates = trained.embed(planted.split.test)
    report = evaluate(trained, planted.split, k=3, baselines={"itself": (queries, candidates)})
    ranking = {name: value for name, value in report.cases["model"].items() if name in report.cases["itself"]}
    assert report.cases["itself"] == pytest.approx(ranking)
    other = evaluate(build_two_tower(planted.split.train, query=QUERY, candidate=CANDIDATE), planted.split, k=3)
    assert compare(report.of_queries, other.of_queries)["ndcg@3"].low > 0


def test_predictions_of_the_wrong_shape_are_refused(planted, trained):
    good = predict(trained, planted.split, k=3)
    for bad, message in (
        ({"ranked": good.ranked[:-1]}, "`ranked` must have a row for each of the 40 queries. Received: 39 rows"),
        ({"ranked": good.ranked + 1}, "`ranked` must hold rows of the 24 candidates, or -1"),
        (
            {"probabilities": good.probabilities[1:]},
            "`probabilities` must be finite, one for each of the 160 labels. Received: 159",
        ),
        ({"probabilities": good.probabilities * np.nan}, "`probabilities` must be finite.*160 of them not finite"),
    ):
        with pytest.raises(ValueError, match=message):
            build_report(dataclasses.replace(good, **bad), planted.split, threshold=3)


def test_novelty_counts_each_query_once():
    """Nine of ten queries have an event with candidate 0, and one query has many events with candidate 1."""
    rows = [*range(9), *([9] * 30)]
    columns = [*([0] * 9), *([1] * 30)]
    seen = make_interactions(rows, columns, [5] * 39, num_queries=10, num_candidates=3)
    test = make_interactions([0], [2], [5], num_queries=10, num_candidates=3)
    nothing = seen.with_events(np.zeros(0, np.int64))
    split = Split(train=seen, validation=nothing, test=test, history=nothing)
    ranked = np.full((10, 1), -1)
    ranked[0] = 1
    report = build_report(Predictions(ranked=ranked, probabilities=None), split, threshold=3)
    assert report.beyond_accuracy["novelty"] == pytest.approx(-np.log2(2 / 11))


def test_the_cases_are_in_the_order_of_the_tables(planted, trained):
    embeddings = trained.embed(planted.split.test)
    report = evaluate(trained, planted.split, k=1, baselines={"other": embeddings})
    assert list(report.cases) == ["model", "random", "popularity", "other", "all-positive", "biases"]


def test_an_unknown_column_of_the_segments_is_named(planted, trained):
    with pytest.raises(ValueError, match="`segment_by` must be columns of the queries: age. Received: gender"):
        evaluate(trained, planted.split, segment_by=["gender"])


def test_the_recall_of_an_index_is_part_of_the_report(planted, trained):
    predictions = predict(trained, planted.split, k=3)
    report = build_report(predictions, planted.split, threshold=3, index_recall=0.75)
    assert report.index_recall == 0.75
    assert build_report(predictions, planted.split, threshold=3).index_recall is None


def _split(train, test, *, num_queries=4, num_candidates=6, times=None):
    """Makes a split of events (query row, candidate row, rating), at given times of the training events."""
    parts = [
        make_interactions(*np.array(events).reshape(-1, 3).T, num_queries=num_queries, num_candidates=num_candidates)
        for events in (train, test, [], [])
    ]
    if times is not None:
        parts = [with_times(part, np.zeros(part.num_events)) for part in parts]
        parts[0] = with_times(
            make_interactions(*np.array(train).T, num_queries=num_queries, num_candidates=num_candidates), times
        )
    return Split(train=parts[0], test=parts[1], validation=parts[2], history=parts[3])


class Flat:
    """A model that gives every pair the same score and, if asked to, the same probability."""

    threshold, vector_dim = 3.0, 2

    def __init__(self, *, rates=False):
        self.rates = rates

    @property
    def retrieval_model(self):
        return self

    @property
    def rating_model(self):
        return self if self.rates else None

    def embed(self, interactions, *, known=None):
        return np.ones((interactions.num_queries, 2), np.float32), np.ones((interactions.num_candidates, 2), np.float32)


@pytest.mark.filterwarnings("ignore:The model ranks the catalogue worse")
def test_a_repeat_is_found_only_where_seen_candidates_are_recommended_again():
    """Both queries choose candidate 0 in training and again in the test part; query 1 chooses 5 as well."""
    split = _split([[0, 0, 5], [1, 0, 5]], [[0, 0, 5], [1, 0, 5], [1, 5, 5]])
    again = evaluate(Flat(), split, k=1, recommend_seen=True)
    assert again.recommend_seen
    assert again.metrics["num_queries"] == 2
    # Candidate 0 is the most popular: query 0 finds all that it chooses, query 1 one of two.
    assert again.cases["popularity"]["recall@1"] == 0.75
    unseen = evaluate(Flat(), split, k=6)
    assert not unseen.recommend_seen
    assert unseen.metrics["num_queries"] == 1  # query 1, with candidate 5, which is among the five that it can get
    assert unseen.num_left_out == 1
    assert unseen.metrics["recall@6"] == unseen.cases["popularity"]["recall@6"] == 1


def test_recent_popularity_is_a_case_where_there_are_times():
    """Candidate 0 was popular long ago, candidate 1 is now; all later choices are of candidate 1."""
    day = 86_400
    train = [[3, 0, 5]] * 3 + [[3, 1, 5]]
    times = np.array([0, 0, 0, 1000 * day])
    test = [[query, 1, 5] for query in (0, 1, 2)]
    with pytest.warns(UserWarning, match="worse than recent popularity does: its NDCG@1 is lower by 1.000, which is"):
        report = build_report(
            Predictions(ranked=np.full((4, 1), 5), probabilities=None), _split(train, test, times=times), threshold=3
        )
    assert list(report.cases) == ["model", "random", "popularity", "recent popularity"]
    assert report.cases["recent popularity"]["ndcg@1"] == 1
    assert report.best_popularity == "recent popularity"
    assert report.cases["popularity"]["ndcg@1"] == 0
    assert "recent popularity" not in evaluate(Flat(), _split(train, test), k=1).cases


def test_a_sample_is_measured_on_the_same_queries_for_all_cases(planted, trained):
    report = evaluate(trained, planted.split, k=3, max_queries=9)
    num_queries = np.unique(planted.split.test.query_rows).size
    assert (report.num_ranked, report.num_test_queries) == (9, num_queries)
    assert all(case["num_queries"] == 9 for name, case in report.cases.items() if name != "all-positive")
    assert sum(segment.num for segment in report.by_history) == 9
    assert sum(segment.num for segment in report.by_popularity) == 9  # each query has one relevant candidate
    whole = evaluate(trained, planted.split, k=3, max_queries=num_queries)
    assert (whole.num_ranked, whole.num_test_queries) == (num_queries, num_queries)
    assert report.metrics["auc"] == whole.metrics["auc"]  # the rating metrics use all events
    assert report.num_events == whole.num_events


def test_progress_of_every_task_begins_with_nothing_and_ends_with_everything(planted, trained):
    told: dict[str, list[tuple[int, int]]] = {}
    evaluate(
        trained,
        planted.split,
        k=3,
        baselines={"itself": trained.embed(planted.split.test)},
        progress=lambda task, done, total: told.setdefault(task, []).append((done, total)),
    )
    assert list(told) == [
        "Embedding queries and candidates",
        "Ranking",
        "Ranking at random",
        "Ranking by popularity",
        "Ranking by itself",
        "Fitting the biases",
        "Ranking by biases",
        "Measuring the predictions",
    ]
    for steps in told.values():
        assert steps[0][0] == 0
        assert steps[-1][0] == steps[-1][1]
        assert steps == sorted(steps)


ODD_SPLITS = {
    "no validation part": _split([[0, 0, 5], [1, 1, 1]], [[0, 2, 5], [1, 3, 1]]),
    "no event before the test part": _split([], [[0, 2, 5], [1, 3, 1]]),
    "only queries without past events": _split([[0, 0, 5], [1, 1, 1]], [[2, 2, 5], [3, 3, 1]]),
    "one class in training": _split([[0, 0, 5], [1, 1, 5]], [[0, 2, 5], [1, 3, 1]]),
    "one class in the test part": _split([[0, 0, 5], [1, 1, 1]], [[0, 2, 5], [1, 3, 5]]),
    "one class everywhere": _split([[0, 0, 5], [1, 1, 5]], [[0, 2, 5], [1, 3, 5]]),
    "one test event": _split([[0, 0, 5], [1, 1, 1]], [[0, 2, 5]]),
    "one candidate": _split([[0, 0, 5]], [[1, 0, 5], [2, 0, 1]], num_candidates=1),
    "one query that has seen all but one": _split([[0, row, 5] for row in range(5)], [[0, 5, 5]], num_queries=1),
    "all events at one time": _split([[0, 0, 5], [1, 1, 1]], [[0, 2, 5]], times=np.zeros(2)),
    "no event before the test part, with times": _split(np.zeros((0, 3)), [[0, 2, 5]], times=np.zeros(0)),
}


@pytest.mark.parametrize("rates", [False, True])
@pytest.mark.parametrize("name", ODD_SPLITS)
def test_odd_but_legal_splits_give_a_report_without_a_warning(name, rates, recwarn, tmp_path):
    """All numbers are finite, which writing them as JSON requires, and only the warning about popularity may come."""
    split = ODD_SPLITS[name]
    report = evaluate(Flat(rates=rates), split, k=1)
    report.save(tmp_path / "metrics.json")
    has_both = 0 < (split.test.ratings >= 3).sum() < split.test.num_events
    assert ("auc" in report.metrics) == (rates and has_both)
    predictions = predict(Flat(rates=rates), split, k=1)
    assert "<h2" in build_page(report, predictions, split, threshold=3)
    assert not [str(note.message) for note in recwarn if "worse than" not in str(note.message)]


def test_without_anything_to_find_the_error_says_what_to_do():
    with pytest.raises(
        ValueError, match="event with a rating of at least 3.*any of the 1 queries.*recommend_seen=True"
    ):
        evaluate(Flat(), _split([[0, 1, 5]], [[0, 1, 5]]), k=1)


def test_queries_without_columns_have_segments_by_past_events():
    split = _split([[0, 0, 5], [1, 1, 1]], [[0, 2, 5], [2, 3, 5]])
    parts = {
        name: dataclasses.replace(part, queries=part.queries.select(["user_id"])) for name, part in vars(split).items()
    }
    report = evaluate(Flat(), Split(**parts), k=1)
    assert [(segment.name, segment.num) for segment in report.by_history] == [("no events", 1), ("1 to 9 events", 1)]
    with pytest.raises(ValueError, match="`segment_by` must be empty: the queries have no columns. Received: age"):
        evaluate(Flat(), Split(**parts), k=1, segment_by=["age"])
