"""How well it ranks and how well it knows the probability, on MovieLens 100K; the figures of `joint` are a bundle's.

Random 80/20 split, seeds 0, 1, 2; every setting was chosen on a validation part. `joint` trains on the whole 80 %, for
as many epochs as validation chose; `reference` is stopped by its validation part. Relevant is a rating of 3 or more;
what was trained on is left out of the ranking. Unseen users are those of `unseen_queries_split`, known by the earlier
part of their events alone.

The cases `in-batch ...` train by event, against the batch's other candidates: with the correction from counts, with the
correction estimated on the stream, and without it.

    python scripts/benchmark_quality.py [--json FILE] [--repeats SEEDS] [--case NAME ...] [--readme]
"""

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import scipy.stats
from _benchmark import Row, add_arguments, show

import tfrs_twotower as tt  # isort: skip  # before TensorFlow
import tensorflow as tf

from tfrs_twotower.evaluation.baselines import all_positive, popularity
from tfrs_twotower.evaluation.ranking import event_pairs, rank_candidates, ranking_metrics
from tfrs_twotower.evaluation.rating import rating_metrics
from tfrs_twotower.model.joint_movielens import build_movielens_joint
from tfrs_twotower.model.reference import MOVIELENS_CANDIDATE, MOVIELENS_QUERY

_K = 10
_THRESHOLD = 3.0
_BEGIN, _END = "<!-- quality: written by scripts/benchmark_quality.py -->", "<!-- /quality -->"
_SHOWN = ("auc", "accuracy", "f1", "log_loss", "ndcg@10", "precision@10", "recall@10", "hit_rate@10")
_UNITS = {"fit": "s", "log_loss": "nats", "memory": "bytes"}
_IN_BATCH_EPOCHS = 12
Figures = dict[str, float]


def main() -> None:
    """Trains each case on each seed's split and shows the means and their intervals."""
    cases = _cases()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--case", choices=cases, action="append", help="only these; repeatable")
    parser.add_argument("--readme", action="store_true", help="write the README's table of results")
    arguments = parser.parse_args()
    ratings = tt.load_movielens("movielens/100k-ratings")
    figures = {
        case: [cases[case](ratings, seed) for seed in range(arguments.repeats)] for case in arguments.case or cases
    }
    rows = []
    for case, of_seeds in figures.items():
        for metric in of_seeds[0]:
            unit = _UNITS.get(metric, "")
            mean, half_width = _interval([of_seed[metric] for of_seed in of_seeds])
            rows.append(Row(case=case, metric=metric, value=mean, unit=unit))
            rows.append(Row(case=case, metric=f"{metric} ±", value=half_width, unit=unit))
    show(f"MovieLens 100K, mean of {arguments.repeats} seeds and half its 95 % interval", rows, arguments.json)
    if arguments.readme:
        _write_readme(figures, Path(__file__).parent.parent / "README.md")


def _cases() -> dict[str, Callable[[tt.Interactions, int], Figures]]:
    return {
        "all-positive": measure_all_positive,
        "popularity": measure_popularity,
        "reference": measure_reference,
        "joint": measure_joint,
        "joint, unseen users": measure_unseen,
        "in-batch, counted": lambda ratings, seed: _measure_in_batch(ratings, seed),
        "in-batch, estimated": lambda ratings, seed: _measure_in_batch(
            ratings, seed, frequencies=tt.FrequencyEstimator(num_slots=20_000, learning_rate=0.02)
        ),
        "in-batch, uncorrected": lambda ratings, seed: _measure_in_batch(ratings, seed, corrects_frequency=False),
    }


def _interval(values: list[float]) -> tuple[float, float]:
    """The mean, and half the width of its 95 % interval by Student's t; 0 of a single value."""
    if len(values) < 2:
        return values[0], 0.0
    quantile = scipy.stats.t.ppf(0.975, len(values) - 1)
    return statistics.mean(values), float(quantile * statistics.stdev(values) / len(values) ** 0.5)


def _write_readme(figures: Mapping[str, list[Figures]], readme: Path) -> None:
    """Replaces what stands between the README's marks by the table."""
    lines = [f"| mean of {len(next(iter(figures.values())))} seeds | " + " | ".join(_SHOWN) + " |"]
    lines.append("|---" * (len(_SHOWN) + 1) + "|")
    for case, of_seeds in figures.items():
        cells = []
        for metric in _SHOWN:
            is_measured = metric in of_seeds[0]
            mean, half_width = _interval([of_seed[metric] for of_seed in of_seeds]) if is_measured else (0, 0)
            cells.append(f"{mean:.4f} ± {half_width:.4f}" if is_measured else "")
        lines.append(f"| `{case}` | " + " | ".join(cells) + " |")
    before, _, rest = readme.read_text(encoding="utf-8").partition(_BEGIN)
    _, _, after = rest.partition(_END)
    readme.write_text(before + _BEGIN + "\n" + "\n".join(lines) + "\n" + _END + after, encoding="utf-8")


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
    # Validation has done its work: its users are trained on, too.
    is_trained_on = ~np.isin(ratings.query_rows, split.test.query_rows)
    return _measure_bundle(split, ratings.with_events(np.flatnonzero(is_trained_on)), seed)


def _measure_in_batch(
    ratings: tt.Interactions,
    seed: int,
    *,
    frequencies: tt.FrequencyEstimator | None = None,
    corrects_frequency: bool = True,
) -> Figures:
    """A softmax over the batch, by event: the history in, no id of the user."""
    tf.keras.utils.set_random_seed(seed)
    split = tt.random_split(ratings, test=0.2, validation=0.1, seed=seed)
    movie = tt.Categorical(name="movie_id")
    past = tt.History(of=movie, length=300, pooling="sqrtn", by_rating=True)
    model = tt.build_two_tower(
        split.seen,
        query=tt.SumTowerConfig(features=(past,), dropout=0.4),
        candidate=tt.SumTowerConfig(features=(movie,)),
        task=tt.RetrievalTask(
            by_rating=True, learns_temperature=True, frequencies=frequencies, corrects_frequency=corrects_frequency
        ),
    )
    model.compile(optimizer=tt.LazyAdam(2e-3))
    start = time.perf_counter()
    model.fit(model.training_batches(split.seen, seed=seed), epochs=_IN_BATCH_EPOCHS, verbose=0)
    seconds = time.perf_counter() - start
    return {**_without_count(tt.evaluate(model, split, k=_K).cases["model"]), "fit": seconds}


def _measure_bundle(split: tt.Split, train: tt.Interactions, seed: int) -> Figures:
    tf.keras.utils.set_random_seed(seed)
    model = build_movielens_joint(train)
    start = time.perf_counter()
    tt.fit_joint(model, train, seed=seed)
    seconds = time.perf_counter() - start
    # The most the process has held so far: TensorFlow, the data and the models of earlier seeds are in it.
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
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
