import dataclasses
import warnings

import numpy as np
import pytest

from tests.conftest import CANDIDATE, QUERY, make_interactions
from tfrs_twotower.data.splits import Split
from tfrs_twotower.evaluation.build import build_report, evaluate
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
    with pytest.raises(ValueError, match="`segment_by` must be columns of the queries: user_id, age. Received: gender"):
        evaluate(trained, planted.split, segment_by=["gender"])


def test_the_recall_of_an_index_is_part_of_the_report(planted, trained):
    predictions = predict(trained, planted.split, k=3)
    report = build_report(predictions, planted.split, threshold=3, index_recall=0.75)
    assert report.index_recall == 0.75
    assert build_report(predictions, planted.split, threshold=3).index_recall is None
