import dataclasses
import json
import warnings

import numpy as np
import pytest

import tfrs_twotower as tt
from tests.conftest import CANDIDATE, QUERY, make_interactions
from tfrs_twotower.evaluation.baselines import all_positive, biases, popularity, random
from tfrs_twotower.evaluation.ranking import rank_candidates
from tfrs_twotower.evaluation.rating import pair_probabilities
from tfrs_twotower.evaluation.report import Answers, judge


@pytest.mark.parametrize(("ratings", "base_rate"), [([5, 4, 3, 2], 0.75), ([5, 2, 2, 2], 0.25)])
def test_all_positive_takes_every_pair_for_positive(ratings, base_rate):
    train = make_interactions([0] * 4, [0] * 4, ratings, num_queries=1, num_candidates=1)
    values = all_positive(train, np.array([True, False, False]), threshold=3)
    # One of three is positive: precision 1/3, recall 1, F1 = 2 * (1/3) / (4/3).
    expected = {"accuracy": 1 / 3, "auc": 0.5, "f1": 0.5}
    expected["log_loss"] = -(np.log(base_rate) + 2 * np.log(1 - base_rate)) / 3
    expected["brier"] = ((1 - base_rate) ** 2 + 2 * base_rate**2) / 3
    expected["calibration_error"] = abs(base_rate - 1 / 3)
    assert values == pytest.approx(expected)


def test_a_random_ranking_shows_every_candidate_alike():
    train = make_interactions([0], [0], [5], num_queries=4000, num_candidates=50)
    ranked = rank_candidates(*random(train, seed=0), np.zeros((0, 2), np.int64), k=5)
    counts = np.bincount(ranked.ravel(), minlength=50)
    assert counts.std() / counts.mean() < 0.15
    assert not np.array_equal(ranked, rank_candidates(*random(train, seed=1), np.zeros((0, 2), np.int64), k=5))


def test_popularity_counts_positive_events():
    train = make_interactions([0, 1, 0, 1], [2, 2, 1, 0], [5, 3, 4, 1], num_queries=2, num_candidates=4)
    queries, candidates = popularity(train, threshold=3)
    assert (queries @ candidates.T).tolist() == [[0, 1, 2, 0]] * 2


def test_biases_are_the_optimum_of_the_penalised_likelihood():
    """At the optimum the gradient is zero: each bias is the sum of what its events lack."""
    rng = np.random.default_rng(0)
    rows, columns, ratings = rng.integers(0, 6, 80), rng.integers(0, 5, 80), rng.integers(1, 6, 80)
    train = make_interactions(rows, columns, ratings, num_queries=7, num_candidates=6)
    queries, candidates = biases(train, threshold=3)
    missing = (ratings >= 3) - pair_probabilities(queries, candidates, train)
    assert missing.sum() == pytest.approx(0, abs=1e-2)
    overall = queries[6, 0]  # nobody's events: the bias of all alone
    np.testing.assert_allclose(queries[:, 0] - overall, np.bincount(rows, missing, 7), atol=1e-2)
    np.testing.assert_allclose(candidates[:, 1], np.bincount(columns, missing, 6), atol=1e-2)


def test_biases_need_both_classes(planted, trained):
    train = make_interactions([0, 1], [0, 1], [5, 4], num_queries=2, num_candidates=2)
    with pytest.raises(ValueError, match="`train` must have ratings on both sides of 3, for biases to be learnt"):
        biases(train, threshold=3)
    parts = {name: getattr(planted.split, name) for name in ("train", "validation")}
    liked = {name: part.with_events(np.flatnonzero(part.ratings >= 3)) for name, part in parts.items()}
    report = tt.evaluate(trained, dataclasses.replace(planted.split, **liked), k=3)
    assert set(report.cases) == {"model", "all-positive", "random", "popularity"}


def test_planted_preferences_are_reported_as_found(planted, trained):
    report = tt.evaluate(trained, planted.split, k=3)
    model = report.cases["model"]
    # One liked and three disliked candidates per query are unseen: the liked one comes first.
    assert model["auc"] > 0.99
    assert model["hit_rate@3"] > 0.95
    assert model["precision@3"] == pytest.approx(model["hit_rate@3"] / 3)
    assert model["ndcg@3"] > report.cases["popularity"]["ndcg@3"]
    # A quarter of the test events is positive, of the training events about a half.
    assert report.cases["all-positive"]["auc"] == 0.5
    confusion = report.confusion
    assert confusion.true_positives + confusion.false_negatives == planted.split.test.num_queries
    assert report.num_events == planted.split.test.num_events


def test_what_was_seen_is_left_out_of_the_ranking(planted, trained):
    """With every slot of the unseen candidates, recall is whole: none was taken by a seen one."""
    report = tt.evaluate(trained, planted.split, k=4)
    assert report.cases["model"]["recall@4"] == 1
    assert report.cases["popularity"]["recall@4"] == 1


def test_a_report_survives_json(planted, trained):
    report = tt.evaluate(trained, planted.split, k=2).to_dict()
    assert json.loads(json.dumps(report)) == report
    assert np.isfinite(list(report["cases"]["model"].values())).all()


def test_every_figure_lies_within_its_interval(planted, trained):
    report = tt.evaluate(trained, planted.split, k=3)
    model = report.cases["model"]
    for name, interval in report.intervals.items():
        assert interval.low - 1e-9 <= interval.mean <= interval.high + 1e-9
        assert interval.mean == pytest.approx(model[name], abs=1e-9), name
    assert {"auc", "log_loss", "ndcg@3", "mrr@3", "map@3"} <= set(report.intervals)
    assert report.above_popularity["ndcg@3"].low > 0
    assert sum(segment.num for segment in report.by_history) == model["num_queries"]
    shares = sum(segment.values["share"] for segment in report.by_popularity)
    assert shares == pytest.approx(1)


def test_a_model_below_popularity_is_warned_of_loudly(planted, trained):
    """Half of the queries have met what all like; the others are recommended something else."""
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
    split = tt.Split(train=parts[0], validation=nothing, test=parts[1], history=nothing)
    worst = np.full((60, 1), 7)
    with pytest.warns(
        UserWarning, match="ranks the catalogue worse than popularity does.*Likely causes: a rating task"
    ):
        judge(Answers(ranked=worst, probabilities=None), split, threshold=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tt.evaluate(trained, planted.split, k=1)


def test_clicks_are_judged_by_their_ranking_alone(planted, trained):
    """All ratings are of one class: there is nothing to tell apart, but something to find."""
    parts = {name: part.with_events(np.flatnonzero(part.ratings >= 3)) for name, part in vars(planted.split).items()}
    report = tt.evaluate(trained, tt.Split(**parts), k=3)
    assert set(report.cases) == {"model", "random", "popularity"}
    assert "auc" not in report.cases["model"]
    assert report.cases["model"]["hit_rate@3"] > 0.9
    assert report.confusion is None


def test_other_baselines_and_models_are_compared_on_the_same_users(planted, trained):
    queries, candidates = trained.embed(planted.split.test)
    report = tt.evaluate(trained, planted.split, k=3, baselines={"itself": (queries, candidates)})
    ranking = {name: value for name, value in report.cases["model"].items() if name in report.cases["itself"]}
    assert report.cases["itself"] == pytest.approx(ranking)
    other = tt.evaluate(tt.build_two_tower(planted.split.train, query=QUERY, candidate=CANDIDATE), planted.split, k=3)
    difference = tt.compare(report.of_queries, other.of_queries)["ndcg@3"]
    assert difference.low > 0
    assert "of_queries" not in report.to_dict()


def test_answers_about_something_else_are_refused(planted, trained):
    good = tt.answer(trained, planted.split, k=3)
    for bad, message in (
        ({"ranked": good.ranked[:-1]}, "`ranked` must have a row for each of the 40 queries. Received: 39"),
        ({"ranked": good.ranked + 1}, "`ranked` must hold rows of the 24 candidates, or -1"),
        ({"probabilities": good.probabilities[1:]}, "`probabilities` must be finite, one for each of the 160 labels"),
        ({"probabilities": good.probabilities * np.nan}, "`probabilities` must be finite"),
    ):
        with pytest.raises(ValueError, match=message):
            judge(dataclasses.replace(good, **bad), planted.split, threshold=3)


def test_novelty_counts_a_user_once(planted):
    """Nine of ten users have met candidate 0; one has met candidate 1, many times."""
    rows = [*range(9), *([9] * 30)]
    columns = [*([0] * 9), *([1] * 30)]
    known = make_interactions(rows, columns, [5] * 39, num_queries=10, num_candidates=3)
    test = make_interactions([0], [2], [5], num_queries=10, num_candidates=3)
    nothing = known.with_events(np.zeros(0, np.int64))
    split = tt.Split(train=known, validation=nothing, test=test, history=nothing)
    ranked = np.full((10, 1), -1)
    ranked[0] = 1
    report = judge(Answers(ranked=ranked, probabilities=None), split, threshold=3)
    assert report.beyond_accuracy["novelty"] == pytest.approx(-np.log2(2 / 11))
