"""How well it ranks and how well it knows the probability, on MovieLens 100K; the figures of `joint` are a bundle's.

Random 80/20 split, seeds 0, 1, 2; every setting was chosen on a validation part. All cases train on the whole 80 %, for
as many epochs as validation chose, but `reference`, which its validation part stops: on 72 %. Relevant is a rating of 3
or more; what was trained on is left out of the ranking.

- `unseen users ...`: ten folds of `unseen_queries_folds`; each user is held out once, and known by four fifths of their
  events alone.
- `later events ...`: `temporal_split`, trained on the first 80 % of all events; most of the test's users are new, too.
- `in-batch ...`: training by event, against the batch's other candidates: with the correction from counts, with the
  correction estimated on the stream, and without it.
- `EASE`, `implicit ALS` and `notebook`: other people's, in evaluation/peers.py and scripts/_notebook.py; left out
  without the extra `bench`.

    python scripts/benchmark_quality.py [--json FILE] [--repeats SEEDS] [--case NAME ...] [--readme]
"""

import argparse
import dataclasses
import functools
import importlib.util
import itertools
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import scipy.stats
from _benchmark import Row, add_arguments, show
from _notebook import notebook

import tfrs_twotower as tt  # isort: skip  # before TensorFlow
import tensorflow as tf

from tfrs_twotower.evaluation import external_baselines as peers
from tfrs_twotower.evaluation.baselines import all_positive, biases, popularity
from tfrs_twotower.evaluation.ranking import event_pairs, rank_candidates, ranking_metrics
from tfrs_twotower.evaluation.rating import pair_probabilities, rating_metrics
from tfrs_twotower.model.joint_movielens import RETRIEVAL_CANDIDATE, RETRIEVAL_QUERY, build_retrieval_head
from tfrs_twotower.model.reference import MOVIELENS_CANDIDATE, MOVIELENS_QUERY
from tfrs_twotower.training.fit import RETRIEVAL_TRAINING

_K = 10
_THRESHOLD = 3.0
_BEGIN, _END = "<!-- quality: written by scripts/benchmark_quality.py -->", "<!-- /quality -->"
_SHOWN = ("auc", "accuracy", "f1", "log_loss", "ndcg@10", "precision@10", "recall@10", "hit_rate@10")
_UNITS = {"fit": "s", "log_loss": "nats", "memory": "bytes"}
_TRAIN_ALONE = """
import resource, sys, time
import tfrs_twotower as tt
import tensorflow as tf

seed = int(sys.argv[1])
split = tt.random_split(tt.load_movielens("movielens/100k-ratings"), test=0.2, validation=0.1, seed=seed)
tf.keras.utils.set_random_seed(seed)
model = tt.build_movielens_joint(split.seen)
start = time.perf_counter()
tt.fit_joint(model, split.seen, seed=seed)
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""
_PEERS = ("EASE", "implicit ALS", "notebook")
_NUM_FOLDS = 10
_IN_BATCH_EPOCHS = 14
_SHARED_EPOCHS = 56
Figures = dict[str, float]
Embeddings = tuple[np.ndarray, np.ndarray]


def main() -> None:
    """Trains each case on each seed's split and shows the means and their intervals."""
    cases = _cases()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--case", choices=cases, action="append", help="only these; repeatable")
    parser.add_argument("--readme", action="store_true", help="write these cases into the README's table")
    arguments = parser.parse_args()
    ratings = tt.load_movielens("movielens/100k-ratings")
    figures = {}
    for case in arguments.case or cases:
        start = time.perf_counter()
        rounds = range(_NUM_FOLDS if case.startswith("unseen users") else arguments.repeats)
        with warnings.catch_warnings():
            # Every split says that it has a few movies without a training event.
            warnings.simplefilter("ignore")
            figures[case] = [cases[case](ratings, number) for number in rounds]
        print(f"{case}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    rows = []
    for case, of_rounds in figures.items():
        for metric in of_rounds[0]:
            unit = _UNITS.get(metric, "")
            mean, half_width = _interval([of_round[metric] for of_round in of_rounds])
            rows.append(Row(case=case, metric=metric, value=mean, unit=unit))
            rows.append(Row(case=case, metric=f"{metric} ±", value=half_width, unit=unit))
    show(f"MovieLens 100K, mean of {arguments.repeats} seeds and half its 95 % interval", rows, arguments.json)
    if arguments.readme:
        _write_readme(figures, Path(__file__).parent.parent / "README.md")


def _cases() -> dict[str, Callable[[tt.Interactions, int], Figures]]:
    """Case -> what measures it, given the ratings and a seed or the number of a fold."""

    def estimator() -> tt.FrequencyEstimator:
        return tt.FrequencyEstimator(num_slots=20_000, learning_rate=0.02)

    cases: dict[str, Callable[[tt.Interactions, int], Figures]] = {
        "all-positive": measure_all_positive,
        "popularity": measure_popularity,
        "biases": measure_biases,
        "reference": measure_reference,
        "retrieval": measure_retrieval,
        "joint": measure_joint,
        "joint, alone in its process": measure_alone,
        "joint, shared towers": measure_shared,
        "unseen users, popularity": measure_unseen_popularity,
        "unseen users, joint": measure_unseen,
        "later events, popularity": measure_later_popularity,
        "later events, joint": measure_later,
        "in-batch, counted": measure_in_batch,
        "in-batch, estimated": lambda ratings, seed: measure_in_batch(ratings, seed, frequencies=estimator()),
        "in-batch, uncorrected": functools.partial(measure_in_batch, corrects_frequency=False),
    }
    if all(importlib.util.find_spec(package) for package in ("implicit", "torch")):
        cases["EASE"] = functools.partial(measure_peer, lambda train, seed: peers.ease(train, threshold=_THRESHOLD))
        cases["implicit ALS"] = functools.partial(
            measure_peer, lambda train, seed: peers.implicit_als(train, threshold=_THRESHOLD, seed=seed)
        )
        cases["notebook"] = functools.partial(
            measure_peer, lambda train, seed: notebook(train, threshold=_THRESHOLD, seed=seed), knows=True
        )
    return cases


def _interval(values: list[float]) -> tuple[float, float]:
    """The mean, and half the width of its 95 % interval by Student's t; 0 of a single value."""
    if len(values) < 2:
        return values[0], 0.0
    quantile = scipy.stats.t.ppf(0.975, len(values) - 1)
    return statistics.mean(values), float(quantile * statistics.stdev(values) / len(values) ** 0.5)


def _write_readme(figures: Mapping[str, list[Figures]], readme: Path) -> None:
    """Replaces the rows of these cases in the table between the README's marks; those of others stay."""
    before, _, rest = readme.read_text(encoding="utf-8").partition(_BEGIN)
    table, _, after = rest.partition(_END)
    rows = {line.split("`")[1]: line for line in table.splitlines() if line.startswith("| `")}
    for case, of_rounds in figures.items():
        if not set(_SHOWN) & set(of_rounds[0]):
            continue
        cells = []
        for metric in _SHOWN:
            is_measured = metric in of_rounds[0]
            mean, half_width = _interval([of_round[metric] for of_round in of_rounds]) if is_measured else (0, 0)
            cells.append(f"{mean:.4f} ± {half_width:.4f}" if is_measured else "")
        rows[case] = f"| `{case}` | " + " | ".join(cells) + " |"
    lines = ["| mean and half its 95 % interval | " + " | ".join(_SHOWN) + " |", "|---" * (len(_SHOWN) + 1) + "|"]
    order = dict.fromkeys([*_cases(), *_PEERS])  # without the peers' packages, too
    lines += [rows[case] for case in order if case in rows]
    readme.write_text(before + _BEGIN + "\n" + "\n".join(lines) + "\n" + _END + after, encoding="utf-8")


def measure_all_positive(ratings: tt.Interactions, seed: int) -> Figures:
    """Takes every pair for positive."""
    split = _random_split(ratings, seed)
    return all_positive(split.seen, split.test.ratings >= _THRESHOLD, threshold=_THRESHOLD)


def measure_popularity(ratings: tt.Interactions, seed: int) -> Figures:
    """Recommends what most users like."""
    split = _random_split(ratings, seed)
    return _rank(popularity(split.seen, threshold=_THRESHOLD), split)


def measure_biases(ratings: tt.Interactions, seed: int) -> Figures:
    """Logistic regression on user and movie."""
    split = _random_split(ratings, seed)
    return _rank_and_rate(biases(split.seen, threshold=_THRESHOLD), split)


def measure_reference(ratings: tt.Interactions, seed: int) -> Figures:
    """The notebook's architecture and loss."""
    tf.keras.utils.set_random_seed(seed)
    split = _random_split(ratings, seed)
    model = tt.build_two_tower(split.train, query=MOVIELENS_QUERY, candidate=MOVIELENS_CANDIDATE)
    seconds = _time(lambda: tt.fit_two_tower(model, split, seed=seed))
    return {**_without_count(tt.evaluate(model, split, k=_K).cases["model"]), "fit": seconds}


def measure_retrieval(ratings: tt.Interactions, seed: int) -> Figures:
    """The default configuration's head that ranks, alone."""
    tf.keras.utils.set_random_seed(seed)
    split = _random_split(ratings, seed)
    model = build_retrieval_head(split.seen)
    seconds = _time(lambda: tt.fit_by_query(model, split.seen, seed=seed, training=RETRIEVAL_TRAINING))
    return {**_without_count(tt.evaluate(model, split, k=_K).cases["model"]), "fit": seconds}


def measure_joint(ratings: tt.Interactions, seed: int) -> Figures:
    """The default configuration, asked through the signatures of its bundle."""
    split = _random_split(ratings, seed)
    return _measure_bundle(split, split.seen, seed)


def measure_alone(ratings: tt.Interactions, seed: int) -> Figures:
    """Time and memory of training the default configuration where nothing was trained before."""
    del ratings
    command = [sys.executable, "-W", "ignore", "-c", _TRAIN_ALONE, str(seed)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds, memory = map(float, told.split()[-2:])
    return {"fit": seconds, "memory": memory}


def measure_shared(ratings: tt.Interactions, seed: int) -> Figures:
    """One pair of towers for both tasks, the retrieval head's with biases."""
    tf.keras.utils.set_random_seed(seed)
    split = _random_split(ratings, seed)
    query = dataclasses.replace(RETRIEVAL_QUERY, has_bias=True)
    task = tt.CatalogueTask(by_rating=True, learns_temperature=True)
    ranks = tt.build_two_tower(split.seen, query=query, candidate=RETRIEVAL_CANDIDATE, task=task)
    towers = {"query_tower": ranks.query_tower, "candidate_tower": ranks.candidate_tower}
    knows = tt.TwoTowerModel(**towers, task=tt.RatingTask(other_cuts=(2.0, 4.0, 5.0)))
    joint = tt.JointModel(retrieval=ranks, rating=knows)
    joint.compile(optimizer=tt.LazyAdam(RETRIEVAL_TRAINING.learning_rate))
    batches = joint.query_batches(split.seen, batch_size=RETRIEVAL_TRAINING.batch_size, seed=seed)
    average = tt.AveragedWeights(decay=0.97)
    seconds = _time(lambda: joint.fit(batches, epochs=_SHARED_EPOCHS, callbacks=[average], verbose=0))
    return {**_without_count(tt.evaluate(joint, split, k=_K).cases["model"]), "fit": seconds}


def measure_unseen_popularity(ratings: tt.Interactions, fold: int) -> Figures:
    """What most users like, for users whom training never met."""
    split = _fold(ratings, fold)
    return _rank(popularity(split.seen, threshold=_THRESHOLD), split)


def measure_unseen(ratings: tt.Interactions, fold: int) -> Figures:
    """The bundle of the default configuration, for users whom training never met."""
    split = _fold(ratings, fold)
    # Validation has done its work: its users are trained on, too.
    is_trained_on = ~np.isin(ratings.query_rows, split.test.query_rows)
    return _measure_bundle(split, ratings.with_events(np.flatnonzero(is_trained_on)), fold)


def measure_later_popularity(ratings: tt.Interactions, seed: int) -> Figures:
    """What most users have liked so far, for what comes after."""
    del seed
    split = tt.temporal_split(ratings)
    return _rank(popularity(split.seen, threshold=_THRESHOLD), split)


def measure_later(ratings: tt.Interactions, seed: int) -> Figures:
    """The bundle of the default configuration, for what comes after."""
    split = tt.temporal_split(ratings)
    return _measure_bundle(split, split.seen, seed)


def measure_in_batch(
    ratings: tt.Interactions,
    seed: int,
    *,
    frequencies: tt.FrequencyEstimator | None = None,
    corrects_frequency: bool = True,
) -> Figures:
    """A softmax over the batch, by event: the history in, no id of the user."""
    tf.keras.utils.set_random_seed(seed)
    split = _random_split(ratings, seed)
    movie = tt.Categorical(name="movie_id")
    about = (tt.Categorical(name="release_year"), tt.MultiCategorical(name="genres"))
    past = tt.History(of=movie, length=300, pooling="sqrtn", by_rating=True)
    model = tt.build_two_tower(
        split.seen,
        query=tt.SumTowerConfig(features=(past,), dropout=0.6),
        candidate=tt.SumTowerConfig(features=(movie, *about), has_bias=True, frequency_of="movie_id"),
        task=tt.RetrievalTask(
            by_rating=True, learns_temperature=True, frequencies=frequencies, corrects_frequency=corrects_frequency
        ),
    )
    model.compile(optimizer=tt.LazyAdam(2e-3))
    batches, average = model.training_batches(split.seen, seed=seed), tt.AveragedWeights(decay=0.97)
    seconds = _time(lambda: model.fit(batches, epochs=_IN_BATCH_EPOCHS, callbacks=[average], verbose=0))
    return {**_without_count(tt.evaluate(model, split, k=_K).cases["model"]), "fit": seconds}


def measure_peer(
    train: Callable[[tt.Interactions, int], Embeddings], ratings: tt.Interactions, seed: int, *, knows: bool = False
) -> Figures:
    """Other people's: its ranking, and where it knows probabilities, those."""
    split = _random_split(ratings, seed)
    start = time.perf_counter()
    embeddings = train(split.seen, seed)
    seconds = time.perf_counter() - start
    return {**(_rank_and_rate if knows else _rank)(embeddings, split), "fit": seconds}


def _random_split(ratings: tt.Interactions, seed: int) -> tt.Split:
    return tt.random_split(ratings, test=0.2, validation=0.1, seed=seed)


def _fold(ratings: tt.Interactions, fold: int) -> tt.Split:
    return next(itertools.islice(tt.unseen_queries_folds(ratings, num_folds=_NUM_FOLDS, seed=0), fold, None))


def _time(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _rank(embeddings: Embeddings, split: tt.Split) -> Figures:
    seen = event_pairs(split.seen)
    return _without_count(
        ranking_metrics(rank_candidates(*embeddings, seen, k=_K), split.test, seen, threshold=_THRESHOLD)
    )


def _rank_and_rate(embeddings: Embeddings, split: tt.Split) -> Figures:
    labels = split.test.ratings >= _THRESHOLD
    return {**rating_metrics(labels, pair_probabilities(*embeddings, split.test)), **_rank(embeddings, split)}


def _measure_bundle(split: tt.Split, train: tt.Interactions, seed: int) -> Figures:
    tf.keras.utils.set_random_seed(seed)
    model = tt.build_movielens_joint(train)
    seconds = _time(lambda: tt.fit_joint(model, train, seed=seed))
    with tempfile.TemporaryDirectory() as folder:
        bundle = tt.load_bundle(tt.export_bundle(model, split.seen, folder, k=_K))
        figures = _without_count(tt.evaluate_bundle(bundle, split, k=_K).cases["model"])
    return {**figures, "fit": seconds}


def _without_count(figures: Figures) -> Figures:
    return {name: value for name, value in figures.items() if name != "num_queries"}


if __name__ == "__main__":
    main()
