"""Cold start on MovieLens 100K: what histories, demographics and genres are worth for unseen users and movies.

For unseen users the script measures NDCG@10 over the whole catalogue without the movies that a user has rated, and
compares it with popularity for the same users. For unseen movies it measures the AUC of their ratings. All settings and
epochs were chosen by the validation part, whose users and movies are different from those of the test part. All models
are trained by the binary rating task, those that rank with sampled negatives in addition.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from _benchmark import Row, show

import tfrs_twotower as tt  # isort: skip  # before TensorFlow
import tensorflow as tf

from tfrs_twotower.batches import NegativeSampler
from tfrs_twotower.data.splits import Split, unseen_candidates_split, unseen_queries_split
from tfrs_twotower.model import TwoTowerModel
from tfrs_twotower.training import BestWeights, LazyAdam, ValidationMetrics

MOVIE_ID = tt.Categorical(name="movie_id")
# The towers are linear: on the validation parts, a hidden layer reached less than nine tenths of their NDCG.
LINEAR: dict[str, Any] = {"embedding_dim": 64, "hidden_units": (), "output_dim": 64, "l2": 0.0}
MOVIE = tt.MLPTowerConfig(
    features=(MOVIE_ID, tt.Categorical(name="release_year"), tt.MultiCategorical(name="genres")), **LINEAR
)
HISTORY = tt.MLPTowerConfig(features=(tt.History(of=MOVIE_ID, length=200, pooling="sqrtn", by_rating=True),), **LINEAR)
DEMOGRAPHICS = tt.MLPTowerConfig(
    features=(
        tt.Bucketized(name="age", boundaries=(18, 25, 35, 45, 50, 56)),
        tt.Categorical(name="gender"),
        tt.Categorical(name="occupation"),
    ),
    **LINEAR,
)
#: Half of the movies in a batch count as unknown, so that the tower learns to do without the id.
NEW_MOVIE = tt.MLPTowerConfig(
    features=(
        tt.Categorical(name="movie_id", id_dropout=0.5),
        tt.Categorical(name="release_year"),
        tt.MultiCategorical(name="genres"),
    ),
    **LINEAR,
)
USER = tt.MLPTowerConfig(features=(tt.Categorical(name="user_id"), *DEMOGRAPHICS.features), **LINEAR)


def main() -> None:
    """Trains and evaluates each case for each seed, and prints the figures and their means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds, from 0 up (default 3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file")
    arguments = parser.parse_args()
    ratings = tt.load_movielens("movielens/100k-ratings")
    rows = []
    for seed in range(arguments.seeds):
        users = unseen_queries_split(ratings, seed=seed)
        liked = users.train.with_events(np.flatnonzero(users.train.ratings >= 3))
        # With demographics, training on likes alone works better; with a history, dislikes help, too.
        for case, query, train, num_negatives in (
            ("history", HISTORY, users.train, 8),
            ("demographics", DEMOGRAPHICS, liked, 16),
        ):
            start = time.perf_counter()
            model = train_to_rank(users, query, train, num_negatives, seed)
            report = tt.evaluate(model, users)
            ours, popularity = report.metrics["ndcg@10"], report.cases["popularity"]["ndcg@10"]
            label = f"unseen users by {case}, seed {seed}"
            rows += [
                Row(case=label, metric="NDCG@10", value=ours, unit=""),
                Row(case=label, metric="NDCG@10 of popularity", value=popularity, unit=""),
                Row(case=label, metric="NDCG@10 / popularity's", value=ours / popularity, unit="x"),
                Row(case=label, metric="training", value=time.perf_counter() - start, unit="s"),
            ]
        movies = unseen_candidates_split(ratings, test=0.2, seed=seed)
        tf.keras.utils.set_random_seed(seed)
        model = tt.build_two_tower(movies.train, query=USER, candidate=NEW_MOVIE)
        tt.fit_two_tower(model, movies, seed=seed)
        auc = tt.evaluate(model, movies).metrics["auc"]
        rows.append(Row(case=f"unseen movies, seed {seed}", metric="AUC", value=auc, unit=""))
    for case, metric in sorted({(row.case.rsplit(", ", 1)[0], row.metric) for row in rows}):
        same = [row for row in rows if row.case.startswith(case) and row.metric == metric]
        mean = float(np.mean([row.value for row in same]))
        rows.append(Row(case=f"{case}, mean", metric=metric, value=mean, unit=same[0].unit))
    show("Cold start on the test part of MovieLens 100K", rows, arguments.json)


def train_to_rank(
    split: Split, query: tt.MLPTowerConfig, train: tt.Interactions, num_negatives: int, seed: int
) -> TwoTowerModel:
    """Trains on events and sampled negatives, and keeps the best epoch by validation NDCG@10."""
    tf.keras.utils.set_random_seed(seed)
    model = tt.build_two_tower(split.train, query=query, candidate=MOVIE)
    model.compile(optimizer=LazyAdam(3e-3))
    negatives = NegativeSampler(split.train, per_positive=num_negatives, threshold=3)
    model.fit(
        model.training_batches(train, batch_size=1024, seed=seed, negatives=negatives),
        epochs=15,
        callbacks=[ValidationMetrics(split), BestWeights("val_ndcg@10", mode="max", patience=4)],
        verbose=0,
    )
    return model


if __name__ == "__main__":
    main()
