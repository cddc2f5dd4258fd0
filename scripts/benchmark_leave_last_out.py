"""What comes next: sequences beside pooled histories on MovieLens 100K, each user's latest event held out.

The split is `leave_last_out_split`: the latest event of each user is the test part and the one before it the validation
part. All events count, whatever their ratings, and the whole catalogue is ranked, without what the user has rated
before. Every contender is trained on the training part until the NDCG@10 of the validation part no longer improves, and
predicts the test part from all earlier events. Settings were chosen on the validation part.

- `popularity`: movies by their number of events.
- `pooled`: the retrieval model of the default recipe.
- `sequence`: a query tower that reads the history by self-attention, with ratings and times.
- `sequence without times`: the same without the times, which the peer does not know either.
- `SASRec`: RecBole's network, see `_sasrec.py`. It is left out if the packages of the extra `bench` are not installed.

    python scripts/benchmark_leave_last_out.py [--archive PATH] [--json FILE] [--repeats SEEDS] [--case NAME ...]
"""

import argparse
import dataclasses
import importlib.util
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from _benchmark import Row, add_arguments, show

import tfrs_twotower as tt  # isort: skip  # before TensorFlow
import tensorflow as tf

from tfrs_twotower.batches.histories import Timeline
from tfrs_twotower.data.splits import Split
from tfrs_twotower.evaluation import ranking_metrics
from tfrs_twotower.evaluation.baselines import popularity
from tfrs_twotower.evaluation.ranking import event_pairs, rank_candidates
from tfrs_twotower.features import SelfAttention
from tfrs_twotower.training import QueryTraining, fit_by_query
from tfrs_twotower.training.callbacks import BestWeights, ValidationMetrics

_K = 10
_LENGTH = 100
_EVERY, _PATIENCE = 3, 5
_SHOWN = (f"ndcg@{_K}", f"hit_rate@{_K}")
_UNITS = {"fit": "s"}
Figures = dict[str, float]


def main() -> None:
    """Trains each case for each seed, and shows the means and their ratios to `pooled`."""
    cases: dict[str, Callable[[Split, int], Figures]] = {
        "popularity": measure_popularity,
        "pooled": measure_pooled,
        "sequence": measure_sequence,
        "sequence without times": lambda split, seed: measure_sequence(split, seed, by_time=False),
    }
    if all(importlib.util.find_spec(package) for package in ("recbole", "torch")):
        cases["SASRec"] = measure_sasrec
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--archive", help="a GroupLens archive of MovieLens 100K")
    parser.add_argument("--case", choices=cases, action="append", help="run only this case; repeatable")
    arguments = parser.parse_args()
    ratings = tt.load_movielens("movielens/100k-ratings", archive=arguments.archive)
    with warnings.catch_warnings():
        # A few movies have no training event.
        warnings.simplefilter("ignore")
        split = tt.leave_last_out_split(ratings)
        figures: dict[str, list[Figures]] = {name: [] for name in arguments.case or cases}
        for seed in range(arguments.repeats):  # in turn
            for name, of_seeds in figures.items():
                of_seeds.append(cases[name](split, seed))
                print(name, seed, of_seeds[-1], file=sys.stderr)
    means = {
        name: {metric: statistics.mean(of_seed[metric] for of_seed in of_seeds) for metric in of_seeds[0]}
        for name, of_seeds in figures.items()
    }
    rows = [
        Row(case=name, metric=metric, value=value, unit=_UNITS.get(metric, ""))
        for name, of_case in means.items()
        for metric, value in of_case.items()
    ]
    for other in ("pooled", "SASRec"):
        if "sequence" in means and other in means:
            rows += [
                Row(
                    case=f"sequence / {other}",
                    metric=metric,
                    value=means["sequence"][metric] / means[other][metric],
                    unit="x",
                )
                for metric in _SHOWN
            ]
    show(f"MovieLens 100K, latest event held out, mean of {arguments.repeats} seeds", rows, arguments.json)


def measure_popularity(split: Split, seed: int) -> Figures:
    """Ranks movies by their number of events."""
    del seed
    return _rank(*popularity(split.train, threshold=0), split)


def measure_pooled(split: Split, seed: int) -> Figures:
    """Trains the retrieval model of the default recipe, with its linear part and recent popularity."""
    recipe = dataclasses.replace(tt.choose_recipe(split.train, threshold=_lowest_rating(split)), rating=None)
    start = time.perf_counter()
    model = tt.fit_recipe(recipe, split, seed=seed, retrain=False).model
    seconds = time.perf_counter() - start
    return {**_rank(*model.retrieval_model.embed(split.test, known=split.seen), split), "fit": seconds}


def measure_sequence(split: Split, seed: int, *, by_time: bool = True) -> Figures:
    """Trains a query tower that reads the history as a sequence, whose candidates have the vectors that are ranked."""
    tf.keras.utils.set_random_seed(seed)
    movie = tt.Categorical(name="movie_id")
    past = tt.History(
        of=movie,
        length=_LENGTH,
        by_rating=True,
        by_time=by_time,
        shares_embedding=True,
        encoder=SelfAttention(dropout=0.3),
    )
    model = tt.build_two_tower(
        split.train,
        query=tt.SumTowerConfig(features=(past,), output_dim=64, has_bias=True, dropout=0.3),
        candidate=tt.SumTowerConfig(features=(movie,), output_dim=64, has_bias=True, frequency_of=movie.name),
        task=tt.tasks.FullSoftmaxTask(threshold=_lowest_rating(split)),
    )
    watching = [
        ValidationMetrics(split, k=_K, every=_EVERY),
        BestWeights(f"val_ndcg@{_K}", mode="max", patience=_EVERY * _PATIENCE),
    ]
    training = QueryTraining(epochs=60, batch_size=64, learning_rate=2e-3, decay=0.97)
    start = time.perf_counter()
    fit_by_query(model, split.train, seed=seed, training=training, callbacks=watching)
    seconds = time.perf_counter() - start
    return {**_rank(*model.embed(split.test, known=split.seen), split), "fit": seconds}


def measure_sasrec(split: Split, seed: int) -> Figures:
    """Trains RecBole's SASRec in a process of its own."""
    timeline, users = Timeline(split.train), np.arange(split.train.num_queries)
    sequences = []
    for start, end in zip(timeline.starts[:-1], timeline.starts[1:], strict=True):
        for last in range(end, start + 1, -_LENGTH):
            sequences.append(timeline.candidate_rows[max(start, last - _LENGTH - 1) : last] + 1)
    followed = np.zeros(len(users), np.int64)
    followed[split.validation.query_rows] = split.validation.candidate_rows + 1
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "input.npz", Path(folder) / "output.npz"
        np.savez(
            source,
            sequences=_from_start(sequences, _LENGTH + 1),
            latest=_latest(timeline, users),
            validation=followed,
            before_test=_latest(Timeline(split.seen), users),
            num_items=split.train.num_candidates,
            dropout=0.3,
            seed=seed,
        )
        script = Path(__file__).with_name("_sasrec.py")
        subprocess.run([sys.executable, "-W", "ignore", script, source, target], check=True)
        content = np.load(target)
        scores, seconds = content["scores"], float(content["seconds"])
    # As vectors: what a query scores, and each candidate's place.
    return {**_rank(scores, np.eye(scores.shape[1], dtype=np.float32), split), "fit": seconds}


def _latest(timeline: Timeline, users: np.ndarray) -> np.ndarray:
    """Returns int64 [num_users, _LENGTH], the latest items of each user, numbered from 1, padded with 0 at the end."""
    rows, _ = timeline.candidates_at(timeline.latest(users, _LENGTH))
    return _from_start([row[row >= 0] + 1 for row in rows], _LENGTH)


def _from_start(sequences: list[np.ndarray], length: int) -> np.ndarray:
    return np.array([np.pad(sequence, (0, length - len(sequence))) for sequence in sequences], np.int64)


def _lowest_rating(split: Split) -> float:
    """The threshold at which every event is positive."""
    return float(min(part.ratings.min() for part in (split.train, split.validation, split.test)))


def _rank(queries: np.ndarray, candidates: np.ndarray, split: Split) -> Figures:
    """Ranks the whole catalogue for each user, without what the user has rated before the test event."""
    seen = event_pairs(split.seen)
    ranked = rank_candidates(queries, candidates, seen, k=_K)
    metrics = ranking_metrics(ranked, split.test, seen, threshold=_lowest_rating(split))
    return {metric: metrics[metric] for metric in _SHOWN}


if __name__ == "__main__":
    main()
