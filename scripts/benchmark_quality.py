"""Ranking and rating metrics on MovieLens 100K; the figures of `joint` are those of the exported bundle.

The split is random, 80/20, with the seeds 0, 1 and 2, and every setting was chosen on a validation part. All cases
train on the whole 80 % for as many epochs as the validation part chose. Only `reference` is stopped by its validation
part and therefore trains on 72 %. A rating of at least 3 is relevant, and the ranking leaves out the events that the
model was trained on.

- `own CSV`: the same table as a CSV file with the columns `customer`, `sku`, `stars`, `when` and `kind`.
- `unseen users ...`: ten folds of `unseen_queries_folds`. Each user is held out once, and the model is given four
  fifths of the user's events as history.
- `later events ...`: `temporal_split`. The model is trained on the first 80 % of all events, and most users of the test
  part are new, too.
- `in-batch ...`: training by event against the other candidates of the batch: with the logQ correction from counts,
  with the logQ correction estimated on the stream, and without a correction.
- `EASE`, `implicit ALS` and `notebook`: external baselines from evaluation/external_baselines.py and
  scripts/_notebook.py. They are left out if the packages of the extra `bench` are not installed.

    python scripts/benchmark_quality.py [--json FILE] [--repeats SEEDS] [--case NAME ...] [--write]
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
from benchmark_recipe import OWN_SCHEMA, flat_table, write_csv

import tfrs_twotower as tt  # isort: skip  # before TensorFlow
import tensorflow as tf

from tfrs_twotower.bundle import evaluate_bundle
from tfrs_twotower.data.splits import Split, unseen_queries_folds
from tfrs_twotower.evaluation import ease, implicit_als, ranking_metrics, rating_metrics
from tfrs_twotower.evaluation.baselines import all_positive, biases, popularity
from tfrs_twotower.evaluation.ranking import event_pairs, rank_candidates
from tfrs_twotower.evaluation.rating import pair_probabilities
from tfrs_twotower.model import JointModel, TwoTowerModel, build_retrieval_model
from tfrs_twotower.model.tasks import FrequencyEstimator, FullSoftmaxTask, RatingTask, SampledSoftmaxTask
from tfrs_twotower.training import AveragedWeights, LazyAdam

_K = 10
_THRESHOLD = 3.0
_FIGURES = Path(__file__).parent.parent / "docs" / "guides" / "figures.md"
_BEGIN, _END = "<!-- quality: written by scripts/benchmark_quality.py -->", "<!-- /quality -->"
_SHOWN = ("auc", "accuracy", "f1", "log_loss", "ndcg@10", "precision@10", "recall@10", "hit_rate@10")
_UNITS = {"fit": "s", "log_loss": "nats", "memory": "bytes"}
_TRAIN_ALONE = """
import resource, sys, time
import tfrs_twotower as tt
import tensorflow as tf

seed = int(sys.argv[1])
split = tt.random_split(tt.load_movielens("movielens/100k-ratings"), test=0.2, validation=0.1, seed=seed)
recipe = tt.choose_recipe(split.train)
start = time.perf_counter()
tt.fit_recipe(recipe, split, seed=seed)
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""
_EXTERNAL = ("EASE", "implicit ALS", "notebook")
_NUM_FOLDS = 10
_IN_BATCH_EPOCHS = 14
_SHARED_EPOCHS = 56
Figures = dict[str, float]
Embeddings = tuple[np.ndarray, np.ndarray]

#: The notebook's features, for MLP towers.
REFERENCE_QUERY = tt.MLPTowerConfig(
    features=(
        tt.Categorical(name="user_id"),
        tt.Bucketized(name="age", boundaries=(18, 25, 35, 45, 50, 56)),
        tt.Categorical(name="gender"),
        tt.Categorical(name="occupation"),
        tt.Categorical(name="zip_code"),
    )
)
REFERENCE_CANDIDATE = tt.MLPTowerConfig(
    features=(
        tt.Categorical(name="movie_id"),
        tt.Categorical(name="release_year"),
        tt.MultiCategorical(name="genres"),
    )
)


def main() -> None:
    """Trains each case on the split of each seed, and shows the means and their intervals."""
    cases = _cases()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--case", choices=cases, action="append", help="run only this case; repeatable")
    parser.add_argument("--write", action="store_true", help="write the figures into docs/guides/figures.md")
    arguments = parser.parse_args()
    ratings = tt.load_movielens("movielens/100k-ratings")
    figures = {}
    for case in arguments.case or cases:
        start = time.perf_counter()
        rounds = range(_NUM_FOLDS if case.startswith("unseen users") else arguments.repeats)
        with warnings.catch_warnings():
            # Every split warns of a few movies without a training event.
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
    if arguments.write:
        _write_table(figures, _FIGURES)


def _cases() -> dict[str, Callable[[tt.Interactions, int], Figures]]:
    """Returns the function that measures each case, given the ratings and a seed or the number of a fold."""

    def estimator() -> FrequencyEstimator:
        return FrequencyEstimator(num_slots=20_000, learning_rate=0.02)

    cases: dict[str, Callable[[tt.Interactions, int], Figures]] = {
        "all-positive": measure_all_positive,
        "popularity": measure_popularity,
        "biases": measure_biases,
        "reference": measure_reference,
        "retrieval": measure_retrieval,
        "joint": measure_joint,
        "own CSV": measure_own_csv,
        "joint, alone in its process": measure_alone,
        "joint, shared towers": measure_shared,
        "unseen users, popularity": measure_unseen_popularity,
        "unseen users, joint": measure_unseen,
        "later events, popularity": measure_later_popularity,
        "later events, joint": measure_later,
        "in-batch, counted": measure_in_batch,
        "in-batch, estimated": lambda ratings, seed: measure_in_batch(ratings, seed, frequencies=estimator()),
        "in-batch, uncorrected": functools.partial(measure_in_batch, corrects_log_q=False),
    }
    if all(importlib.util.find_spec(package) for package in ("implicit", "torch")):
        cases["EASE"] = functools.partial(measure_external, lambda train, seed: ease(train, threshold=_THRESHOLD))
        cases["implicit ALS"] = functools.partial(
            measure_external, lambda train, seed: implicit_als(train, threshold=_THRESHOLD, seed=seed)
        )
        cases["notebook"] = functools.partial(
            measure_external,
            lambda train, seed: notebook(train, threshold=_THRESHOLD, seed=seed),
            has_probabilities=True,
        )
    return cases


def _interval(values: list[float]) -> tuple[float, float]:
    """Returns the mean and half the width of its 95 % interval by Student's t, which is 0 for a single value."""
    if len(values) < 2:
        return values[0], 0.0
    quantile = scipy.stats.t.ppf(0.975, len(values) - 1)
    return statistics.mean(values), float(quantile * statistics.stdev(values) / len(values) ** 0.5)


def _write_table(figures: Mapping[str, list[Figures]], page: Path) -> None:
    """Replaces the rows of the measured cases in the table between the page's markers, and keeps all other rows."""
    before, _, rest = page.read_text(encoding="utf-8").partition(_BEGIN)
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
    order = dict.fromkeys([*_cases(), *_EXTERNAL])  # also if the packages of the external baselines are missing
    lines += [rows[case] for case in order if case in rows]
    page.write_text(before + _BEGIN + "\n" + "\n".join(lines) + "\n" + _END + after, encoding="utf-8")


def measure_all_positive(ratings: tt.Interactions, seed: int) -> Figures:
    """Predicts every pair to be positive."""
    split = _random_split(ratings, seed)
    return all_positive(split.seen, split.test.ratings >= _THRESHOLD, threshold=_THRESHOLD)


def measure_popularity(ratings: tt.Interactions, seed: int) -> Figures:
    """Ranks movies by their number of positive ratings."""
    split = _random_split(ratings, seed)
    return _rank(popularity(split.seen, threshold=_THRESHOLD), split)


def measure_biases(ratings: tt.Interactions, seed: int) -> Figures:
    """Fits a logistic regression with a bias for each user and each movie."""
    split = _random_split(ratings, seed)
    return _rank_and_rate(biases(split.seen, threshold=_THRESHOLD), split)


def measure_reference(ratings: tt.Interactions, seed: int) -> Figures:
    """Trains MLP towers with the notebook's architecture and loss."""
    tf.keras.utils.set_random_seed(seed)
    split = _random_split(ratings, seed)
    model = tt.build_two_tower(split.train, query=REFERENCE_QUERY, candidate=REFERENCE_CANDIDATE)
    seconds = _time(lambda: tt.fit_two_tower(model, split, seed=seed))
    return {**_without_count(tt.evaluate(model, split, k=_K).metrics), "fit": seconds}


def measure_retrieval(ratings: tt.Interactions, seed: int) -> Figures:
    """Trains the retrieval model of the default recipe alone."""
    split = _random_split(ratings, seed)
    recipe = dataclasses.replace(tt.choose_recipe(split.train), rating=None)
    start = time.perf_counter()
    model = tt.fit_recipe(recipe, split, seed=seed).model
    seconds = time.perf_counter() - start
    return {**_without_count(tt.evaluate(model, split, k=_K).metrics), "fit": seconds}


def measure_joint(ratings: tt.Interactions, seed: int) -> Figures:
    """Trains the default recipe and evaluates its bundle through the signatures."""
    split = _random_split(ratings, seed)
    return _measure_bundle(split, seed)


def measure_own_csv(ratings: tt.Interactions, seed: int) -> Figures:
    """Trains the default recipe on MovieLens as somebody's own CSV file, with other column names and no setting."""
    with tempfile.TemporaryDirectory() as folder:
        own = tt.load_ratings(write_csv(flat_table(ratings), Path(folder)), OWN_SCHEMA)
    split = _random_split(own, seed)
    start = time.perf_counter()
    model = tt.fit_recipe(tt.choose_recipe(split.train), split, seed=seed).model
    seconds = time.perf_counter() - start
    return {**_without_count(tt.evaluate(model, split, k=_K).metrics), "fit": seconds}


def measure_alone(ratings: tt.Interactions, seed: int) -> Figures:
    """Measures time and memory of training the default recipe in a fresh process."""
    del ratings
    command = [sys.executable, "-W", "ignore", "-c", _TRAIN_ALONE, str(seed)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds, memory = map(float, output.split()[-2:])
    return {"fit": seconds, "memory": memory}


def measure_shared(ratings: tt.Interactions, seed: int) -> Figures:
    """Trains one pair of towers for both tasks: those of the retrieval model, with biases."""
    split = _random_split(ratings, seed)
    recipe = tt.choose_recipe(split.train)
    towers = build_retrieval_model(recipe, split.seen)
    query = dataclasses.replace(towers.query_tower.config, has_bias=True)
    tf.keras.utils.set_random_seed(seed)
    task = FullSoftmaxTask(highest_rating=5.0, learns_temperature=True)
    retrieval = tt.build_two_tower(split.seen, query=query, candidate=towers.candidate_tower.config, task=task)
    rating = TwoTowerModel(
        query_tower=retrieval.query_tower,
        candidate_tower=retrieval.candidate_tower,
        task=RatingTask(other_thresholds=(2.0, 4.0, 5.0)),
    )
    joint = JointModel(retrieval_model=retrieval, rating_model=rating)
    joint.compile(optimizer=LazyAdam(recipe.retrieval.learning_rate))
    batches = joint.query_batches(split.seen, batch_size=recipe.retrieval.batch_size, seed=seed)
    average = AveragedWeights(decay=0.97)
    seconds = _time(lambda: joint.fit(batches, epochs=_SHARED_EPOCHS, callbacks=[average], verbose=0))
    return {**_without_count(tt.evaluate(joint, split, k=_K).metrics), "fit": seconds}


def measure_unseen_popularity(ratings: tt.Interactions, fold: int) -> Figures:
    """Ranks movies by popularity for users without a training event."""
    split = _fold(ratings, fold)
    return _rank(popularity(split.seen, threshold=_THRESHOLD), split)


def measure_unseen(ratings: tt.Interactions, fold: int) -> Figures:
    """Evaluates the bundle of the default recipe on users without a training event."""
    return _measure_bundle(_fold(ratings, fold), fold)


def measure_later_popularity(ratings: tt.Interactions, seed: int) -> Figures:
    """Ranks movies by their popularity before the test part, for later events."""
    del seed
    split = tt.temporal_split(ratings)
    return _rank(popularity(split.seen, threshold=_THRESHOLD), split)


def measure_later(ratings: tt.Interactions, seed: int) -> Figures:
    """Evaluates the bundle of the default recipe on later events."""
    split = tt.temporal_split(ratings)
    return _measure_bundle(split, seed)


def measure_in_batch(
    ratings: tt.Interactions,
    seed: int,
    *,
    frequencies: FrequencyEstimator | None = None,
    corrects_log_q: bool = True,
) -> Figures:
    """Trains by event with a softmax over the batch; the query tower takes the history and no user id."""
    tf.keras.utils.set_random_seed(seed)
    split = _random_split(ratings, seed)
    movie = tt.Categorical(name="movie_id")
    about = (tt.Categorical(name="release_year"), tt.MultiCategorical(name="genres"))
    past = tt.History(of=movie, length=300, pooling="sqrtn", by_rating=True)
    model = tt.build_two_tower(
        split.seen,
        query=tt.SumTowerConfig(features=(past,), dropout=0.6),
        candidate=tt.SumTowerConfig(features=(movie, *about), has_bias=True, frequency_of="movie_id"),
        task=SampledSoftmaxTask(
            highest_rating=5.0, learns_temperature=True, frequencies=frequencies, corrects_log_q=corrects_log_q
        ),
    )
    model.compile(optimizer=LazyAdam(2e-3))
    batches, average = model.training_batches(split.seen, seed=seed), AveragedWeights(decay=0.97)
    seconds = _time(lambda: model.fit(batches, epochs=_IN_BATCH_EPOCHS, callbacks=[average], verbose=0))
    return {**_without_count(tt.evaluate(model, split, k=_K).metrics), "fit": seconds}


def measure_external(
    train: Callable[[tt.Interactions, int], Embeddings],
    ratings: tt.Interactions,
    seed: int,
    *,
    has_probabilities: bool = False,
) -> Figures:
    """Evaluates the ranking of an external baseline, and its probabilities if it predicts them."""
    split = _random_split(ratings, seed)
    start = time.perf_counter()
    embeddings = train(split.seen, seed)
    seconds = time.perf_counter() - start
    return {**(_rank_and_rate if has_probabilities else _rank)(embeddings, split), "fit": seconds}


def _random_split(ratings: tt.Interactions, seed: int) -> Split:
    return tt.random_split(ratings, test=0.2, validation=0.1, seed=seed)


def _fold(ratings: tt.Interactions, fold: int) -> Split:
    return next(itertools.islice(unseen_queries_folds(ratings, num_folds=_NUM_FOLDS, seed=0), fold, None))


def _time(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _rank(embeddings: Embeddings, split: Split) -> Figures:
    seen = event_pairs(split.seen)
    return _without_count(
        ranking_metrics(rank_candidates(*embeddings, seen, k=_K), split.test, seen, threshold=_THRESHOLD)
    )


def _rank_and_rate(embeddings: Embeddings, split: Split) -> Figures:
    labels = split.test.ratings >= _THRESHOLD
    return {**rating_metrics(labels, pair_probabilities(*embeddings, split.test)), **_rank(embeddings, split)}


def _measure_bundle(split: Split, seed: int) -> Figures:
    start = time.perf_counter()
    trained = tt.fit_recipe(tt.choose_recipe(split.train), split, seed=seed)
    seconds = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder:
        bundle = tt.load_bundle(tt.export_bundle(trained.model, split.seen, folder, config=tt.ExportConfig(k=_K)))
        figures = _without_count(evaluate_bundle(bundle, split, k=_K).metrics)
    return {**figures, "fit": seconds}


def _without_count(figures: Figures) -> Figures:
    return {name: value for name, value in figures.items() if name != "num_queries"}


if __name__ == "__main__":
    main()
