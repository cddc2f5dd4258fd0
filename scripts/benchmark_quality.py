"""How well it ranks and how well it knows the probability, on MovieLens 100K; the figures of `joint` are a bundle's.

Random 80/20 split, seeds 0, 1, 2; every setting was chosen on a validation part. `joint` trains on the whole 80 %, for
as many epochs as validation chose; `reference` is stopped by its validation part. Relevant is a rating of 3 or more;
what was trained on is left out of the ranking. Unseen users are those of `unseen_queries_split`, known by the earlier
part of their events alone.

    python scripts/benchmark_quality.py [--json FILE] [--repeats SEEDS]
"""

import statistics
import tempfile
import time
from collections.abc import Callable

import numpy as np
import psutil
from _benchmark import Row, parse_arguments, show

import tfrs_twotower as tt  # isort: skip  # before TensorFlow
import tensorflow as tf

from tfrs_twotower.evaluation.baselines import all_positive, popularity
from tfrs_twotower.evaluation.ranking import event_pairs, rank_candidates, ranking_metrics
from tfrs_twotower.evaluation.rating import rating_metrics
from tfrs_twotower.model.joint_movielens import build_movielens_joint
from tfrs_twotower.model.reference import MOVIELENS_CANDIDATE, MOVIELENS_QUERY

_K = 10
_THRESHOLD = 3.0
Figures = dict[str, float]


def main() -> None:
    """Trains each case on each seed's split and shows the means and their intervals."""
    arguments = parse_arguments(__doc__)
    ratings = tt.load_movielens("movielens/100k-ratings")
    cases: dict[str, Callable[[tt.Interactions, int], Figures]] = {
        "all-positive": measure_all_positive,
        "popularity": measure_popularity,
        "reference": measure_reference,
        "joint": measure_joint,
        "joint, unseen users": measure_unseen,
    }
    rows = []
    for case, measure in cases.items():
        figures = [measure(ratings, seed) for seed in range(arguments.repeats)]
        for metric in figures[0]:
            values = [of_seed[metric] for of_seed in figures]
            unit = {"fit": "s", "log_loss": "nats", "memory": "bytes"}.get(metric, "")
            rows.append(Row(case=case, metric=metric, value=statistics.mean(values), unit=unit))
            if len(values) > 1:
                # Student's t for three seeds is wide; the deviation says as much.
                rows.append(Row(case=case, metric=f"{metric} deviation", value=statistics.stdev(values), unit=unit))
    show(f"MovieLens 100K, mean of {arguments.repeats} seeds", rows, arguments.json)


def measure_all_positive(ratings: tt.Interactions, seed: int) -> Figures:
    """Takes every pair for positive."""
    split = tt.random_split(ratings, test=0.2, validation=0.1, seed=seed)
    return all_positive(split.seen, split.test.ratings >= _THRESHOLD, threshold=_THRESHOLD)


def measure_popularity(ratings: tt.Interactions, seed: int) -> Figures:
    """Recommends what most users like."""
    split = tt.random_split(ratings, test=0.2, validation=0.1, seed=seed)
    seen = event_pairs(split.seen)
    ranked = rank_candidates(*popularity(split.seen, threshold=_THRESHOLD), seen, k=_K)
    return _without_count(ranking_metrics(ranked, split.test, seen, threshold=_THRESHOLD))


def measure_reference(ratings: tt.Interactions, seed: int) -> Figures:
    """The notebook's architecture and loss."""
    tf.keras.utils.set_random_seed(seed)
    split = tt.random_split(ratings, test=0.2, validation=0.1, seed=seed)
    model = tt.build_two_tower(split.train, query=MOVIELENS_QUERY, candidate=MOVIELENS_CANDIDATE)
    start = time.perf_counter()
    tt.fit_two_tower(model, split, seed=seed)
    seconds = time.perf_counter() - start
    return {**_without_count(tt.evaluate(model, split, k=_K).cases["model"]), "fit": seconds}


def measure_joint(ratings: tt.Interactions, seed: int) -> Figures:
    """The default configuration, asked through the signatures of its bundle."""
    split = tt.random_split(ratings, test=0.2, validation=0.1, seed=seed)
    return _measure_bundle(split, split.seen, seed)


def measure_unseen(ratings: tt.Interactions, seed: int) -> Figures:
    """The same for users whom training never met."""
    split = tt.unseen_queries_split(ratings, seed=seed)
    train = split.train
    validation = split.validation
    if not np.isin(validation.query_rows, split.test.query_rows).any():
        rows = np.isin(ratings.query_rows, np.union1d(train.query_rows, validation.query_rows))
        train = ratings.with_events(np.flatnonzero(rows))
    return _measure_bundle(split, train, seed)


def _measure_bundle(split: tt.Split, train: tt.Interactions, seed: int) -> Figures:
    tf.keras.utils.set_random_seed(seed)
    model = build_movielens_joint(train)
    before = psutil.Process().memory_info().rss
    start = time.perf_counter()
    tt.fit_joint(model, train, seed=seed)
    seconds = time.perf_counter() - start
    memory = psutil.Process().memory_info().rss - before
    with tempfile.TemporaryDirectory() as folder:
        bundle = tt.load_bundle(tt.export_bundle(model, split.seen, folder, k=_K))
        figures = _ask(bundle, split)
    return {**figures, "fit": seconds, "memory": float(memory)}


def _ask(bundle: tt.LoadedBundle, split: tt.Split) -> Figures:
    """The figures of the test part by the signatures `recommend` and `score`."""
    test = split.test
    query_ids = np.array(test.queries[test.query_id].to_pylist())
    candidate_ids = test.candidates[test.candidate_id].to_pylist()
    row_of = {candidate_id: row for row, candidate_id in enumerate(candidate_ids)}
    found = bundle.recommend({test.query_id: query_ids.tolist()}, k=_K)["candidate_ids"]
    ranked = np.vectorize(lambda name: row_of.get(name, -1))(found).astype(np.int32)
    pairs = bundle.score(
        {test.query_id: query_ids[test.query_rows].tolist()}, np.array(candidate_ids)[test.candidate_rows].tolist()
    )
    return {
        **rating_metrics(test.ratings >= _THRESHOLD, pairs["probabilities"]),
        **_without_count(ranking_metrics(ranked, test, event_pairs(split.seen), threshold=_THRESHOLD)),
    }


def _without_count(figures: Figures) -> Figures:
    return {name: value for name, value in figures.items() if name != "num_queries"}


if __name__ == "__main__":
    main()
