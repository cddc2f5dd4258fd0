"""Users and movies that training never met, on MovieLens 100K: what histories, demographics and genres are worth.

Unseen users: NDCG@10 over the whole catalogue, what a user has rated left out, beside popularity's for the same users.
Unseen movies: AUC of their ratings. All settings and epochs were chosen by the validation part, which holds other users
and movies than the test part. The model is trained by the binary rating task; for ranking with sampled negatives.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from _benchmark import Row, show

import tfrs_twotower as tt  # isort: skip  # before TensorFlow
import tensorflow as tf

from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.data.splits import Split
from tfrs_twotower.model.two_tower import TwoTowerModel

MOVIE_ID = tt.Categorical(name="movie_id")
# Linear towers: on the validation parts a hidden layer gave less than nine tenths of their NDCG.
LINEAR: dict[str, Any] = {"embedding_dim": 64, "hidden_units": (), "output_dim": 64, "l2": 0.0}
MOVIE = tt.TowerConfig(
    features=(MOVIE_ID, tt.Categorical(name="release_year"), tt.MultiCategorical(name="genres")), **LINEAR
)
HISTORY = tt.TowerConfig(features=(tt.History(of=MOVIE_ID, length=200, pooling="sqrtn", by_rating=True),), **LINEAR)
DEMOGRAPHICS = tt.TowerConfig(
    features=(
        tt.Bucketized(name="age", boundaries=(18, 25, 35, 45, 50, 56)),
        tt.Categorical(name="gender"),
        tt.Categorical(name="occupation"),
    ),
    **LINEAR,
)
#: Half of the movies a batch meets count as unknown: the tower learns to do without the id.
NEW_MOVIE = tt.TowerConfig(
    features=(
        tt.Categorical(name="movie_id", unknown_rate=0.5),
        tt.Categorical(name="release_year"),
        tt.MultiCategorical(name="genres"),
    ),
    **LINEAR,
)
USER = tt.TowerConfig(features=(tt.Categorical(name="user_id"), *DEMOGRAPHICS.features), **LINEAR)


def main() -> None:
    """Trains, evaluates and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="seeds, 0 and up (default 3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    arguments = parser.parse_args()
    ratings = tt.load_movielens("movielens/100k-ratings")
    rows = []
    for seed in range(arguments.seeds):
        users = tt.unseen_queries_split(ratings, seed=seed)
        liked = users.train.with_events(np.flatnonzero(users.train.ratings >= 3))
        # Demographics learn more from likes alone, the history from what was disliked, too.
        for case, query, train, num_negatives in (
            ("history", HISTORY, users.train, 8),
            ("demographics", DEMOGRAPHICS, liked, 16),
        ):
            start = time.perf_counter()
            model = train_to_rank(users, query, train, num_negatives, seed)
            report = tt.evaluate(model, users).cases
            ours, popularity = report["model"]["ndcg@10"], report["popularity"]["ndcg@10"]
            label = f"unseen users by {case}, seed {seed}"
            rows += [
                Row(case=label, metric="NDCG@10", value=ours, unit=""),
                Row(case=label, metric="NDCG@10 of popularity", value=popularity, unit=""),
                Row(case=label, metric="NDCG@10, of popularity's", value=ours / popularity, unit="x"),
                Row(case=label, metric="training", value=time.perf_counter() - start, unit="s"),
            ]
        movies = tt.unseen_candidates_split(ratings, test=0.2, seed=seed)
        tf.keras.utils.set_random_seed(seed)
        model = tt.build_two_tower(movies.train, query=USER, candidate=NEW_MOVIE)
        tt.fit_two_tower(model, movies, seed=seed)
        auc = tt.evaluate(model, movies).cases["model"]["auc"]
        rows.append(Row(case=f"unseen movies, seed {seed}", metric="AUC", value=auc, unit=""))
    for case, metric in sorted({(row.case.rsplit(", ", 1)[0], row.metric) for row in rows}):
        same = [row for row in rows if row.case.startswith(case) and row.metric == metric]
        mean = float(np.mean([row.value for row in same]))
        rows.append(Row(case=f"{case}, mean", metric=metric, value=mean, unit=same[0].unit))
    show("Cold start on the test part of MovieLens 100K", rows, arguments.json)


def train_to_rank(
    split: Split, query: tt.TowerConfig, train: Interactions, num_negatives: int, seed: int
) -> TwoTowerModel:
    """Events and sampled negatives, up to the best epoch by validation NDCG@10."""
    tf.keras.utils.set_random_seed(seed)
    model = tt.build_two_tower(split.train, query=query, candidate=MOVIE)
    model.compile(optimizer=tt.LazyAdam(3e-3))
    negatives = tt.NegativeSampler(split.train, per_positive=num_negatives, threshold=3)
    model.fit(
        model.training_batches(train, batch_size=1024, seed=seed, negatives=negatives),
        epochs=15,
        callbacks=[tt.ValidationMetrics(split), tt.BestWeights("val_ndcg@10", mode="max", patience=4)],
        verbose=0,
    )
    return model


if __name__ == "__main__":
    main()
