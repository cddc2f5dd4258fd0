"""What a warm start is worth on MovieLens 100K in order of time, beside a training from nothing.

A model of the first 60 % of the events is trained on with all events of the first 80 %, by `warm_start` at several
shares of the epochs, and tested on the last 20 %. Two trainings from nothing on the first 80 % stand beside it: with
the settings of the earlier model, and with settings chosen anew, whose steps are counted without those that chose them.
The model of the first 60 % is tested as well, with the newer ids and histories and without a further step.

In order of time means two things. "All" divides the events by the time of all: most users come in a single session, so
that only 107 users are tested, and popularity changes within days. "Each" divides the events of each user by their own
time: all users are tested, and no user is new. Only test events whose query and candidate have an event among the first
80 % count. NDCG@100 depends on chance less than NDCG@10.

    python scripts/benchmark_warm_start.py [--archive PATH] [--shares N,N] [--json FILE] [--repeats SEEDS]
"""

import argparse
import dataclasses
import functools
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Mapping

import numpy as np
from _benchmark import Row, add_arguments, show

import tfrs_twotower as tt
from tfrs_twotower.data.splits import Split
from tfrs_twotower.model.expansion import expand_vocabulary
from tfrs_twotower.model.recommender import Recommender
from tfrs_twotower.training.finishing import finished
from tfrs_twotower.training.recipe import Trained, fit_recipe
from tfrs_twotower.training.state import TrainingState
from tfrs_twotower.training.warm_start import DEFAULT_SHARE, warm_start

#: Shares of all events: what the earlier model knows, and what is known when the newer ones are made.
OLDER, NEWER = 0.6, 0.8
VALIDATION = 0.1
METRICS = {"ndcg@10": "NDCG@10", "ndcg@100": "NDCG@100", "auc": "AUC", "log_loss": "log loss"}


def main() -> None:
    """Trains and tests every contender for each seed, and prints medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--archive", help="a GroupLens archive of MovieLens 100K")
    parser.add_argument("--shares", default=f"0.1,0.2,{DEFAULT_SHARE:.3g}", help="shares of the epochs")
    arguments = parser.parse_args()
    shares = [float(share) for share in arguments.shares.split(",")]
    ratings = tt.load_movielens("movielens/100k-ratings", archive=arguments.archive)
    figures: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for order, share_before in {"all": order_of_all(ratings), "each": order_of_each(ratings)}.items():
        older, newer = (split_by_time(ratings, share_before, share) for share in (OLDER, NEWER))
        for seed in range(arguments.repeats):
            for case, metric, value, unit in measure(older, newer, shares, seed):
                figures[f"{order}: {case}", metric, unit].append(value)
    rows = [
        Row(case=case, metric=metric, value=statistics.median(values), unit=unit)
        for (case, metric, unit), values in figures.items()
    ]
    show("Warm start on MovieLens 100K in order of time", rows, arguments.json)


def order_of_all(ratings: tt.Interactions) -> np.ndarray:
    """Returns for each event the share of all events that are before it."""
    assert ratings.timestamps is not None
    return np.argsort(np.argsort(ratings.timestamps, kind="stable")) / ratings.num_events


def order_of_each(ratings: tt.Interactions) -> np.ndarray:
    """Returns for each event the share of the same user's events that are before it."""
    assert ratings.timestamps is not None
    order = np.lexsort((ratings.timestamps, ratings.query_rows))
    counts = np.bincount(ratings.query_rows, minlength=ratings.num_queries)
    shares = np.zeros(ratings.num_events)
    first = np.repeat(np.cumsum(counts) - counts, counts)
    shares[order] = (np.arange(ratings.num_events) - first) / np.repeat(counts, counts)
    return shares


def split_by_time(ratings: tt.Interactions, share_before: np.ndarray, share: float) -> Split:
    """Splits the first events into training and validation part; the test part has the last ones of all that are known.

    Args:
        ratings: All events.
        share_before: For each event, the share of the events before it.
        share: Share of the events that are not tested.
    """
    is_seen = share_before < NEWER
    is_known = np.isin(ratings.query_rows, ratings.query_rows[is_seen])
    is_known &= np.isin(ratings.candidate_rows, ratings.candidate_rows[is_seen])
    is_train = share_before < share * (1 - VALIDATION)
    train, validation, test, history = (
        ratings.with_events(np.flatnonzero(part))
        for part in (is_train, ~is_train & (share_before < share), ~is_seen & is_known, np.zeros_like(is_seen))
    )
    return Split(train=train, validation=validation, test=test, history=history)


def measure(older: Split, newer: Split, shares: list[float], seed: int) -> list[tuple[str, str, float, str]]:
    """Returns (case, metric, value, unit) of all contenders with one seed."""
    earlier = fit_recipe(tt.choose_recipe(older.train), older, seed=seed)
    state = earlier.state
    assert state is not None
    contenders: dict[str, Callable[[], Trained]] = {
        "from nothing": functools.partial(fit_recipe, earlier.recipe, newer, seed=seed),
        "from nothing, chosen anew": functools.partial(fit_recipe, tt.choose_recipe(newer.train), newer, seed=seed),
    }
    for share in shares:
        contenders[f"warm start, share {share:g}"] = functools.partial(warm_start, state, newer, seed=seed, share=share)
    rows = tested("no further step", only_expanded(earlier, newer.seen), newer)
    steps: dict[str, int] = {}
    for case, train in contenders.items():
        start = time.perf_counter()
        trained = train()
        seconds = time.perf_counter() - start
        assert trained.state is not None
        steps[case] = sum(num_steps(trained.state).values())
        rows += tested(case, trained.model, newer)
        rows += [(case, "steps", steps[case], ""), (case, "time", seconds, "s")]
        if "warm" in case:
            rows.append((case, "steps / from nothing", steps[case] / steps["from nothing"], "x"))
    return rows


def num_steps(state: TrainingState) -> Mapping[str, int]:
    """Returns the steps that each model has been trained for."""
    models = {"retrieval": state.retrieval, "rating": state.rating}
    return {name: int(model.optimizer.iterations) for name, model in models.items() if model is not None}


def only_expanded(earlier: Trained, seen: tt.Interactions) -> Recommender:
    """Returns the earlier models with the newer ids."""
    state = earlier.state
    assert state is not None
    retrieval = expand_vocabulary(state.retrieval, seen)
    rating = None if state.rating is None else expand_vocabulary(state.rating, seen)
    return finished(dataclasses.replace(state, retrieval=retrieval, rating=rating), seen)


def tested(case: str, model: Recommender, split: Split) -> list[tuple[str, str, float, str]]:
    """Returns the metrics of the test part."""
    metrics = {**tt.evaluate(model, split, k=100).metrics, **tt.evaluate(model, split, k=10).metrics}
    return [(case, word, metrics[name], "") for name, word in METRICS.items() if name in metrics]


if __name__ == "__main__":
    main()
