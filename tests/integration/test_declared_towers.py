"""Four pairs of towers, declared in a few lines and trained on planted preferences, rank the withheld item first."""

import functools
import inspect
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tests.conftest import export_unchecked
from tfrs_twotower.data.splits import Split
from tfrs_twotower.evaluation.ranking import event_pairs, rank_candidates
from tfrs_twotower.model.two_tower import TwoTowerModel

Towers = tuple[tt.MLPTowerConfig, tt.MLPTowerConfig]
DAY_S = 86_400


def categorical(name: str) -> tt.Categorical:
    return tt.Categorical(name=name)


def movielens() -> Towers:
    names = ("user_id", "gender", "occupation", "zip_code")
    user = (*map(categorical, names), tt.Bucketized(name="age", boundaries=(18, 25, 35, 45, 50, 56)))
    movie = (categorical("movie_id"), categorical("release_year"), tt.MultiCategorical(name="genres"))
    return tt.MLPTowerConfig(features=user), tt.MLPTowerConfig(features=movie)


def two_ids() -> Towers:
    query = tt.MLPTowerConfig(features=(tt.Categorical(name="user_id"),))
    candidate = tt.MLPTowerConfig(features=(tt.Categorical(name="movie_id"),))
    return query, candidate


def news() -> Towers:
    query = tt.MLPTowerConfig(features=(tt.Categorical(name="reader"),))
    # The id is left out, because an article is new when it matters.
    article = (tt.Text(name="headline", pooling="sqrtn"), tt.Timestamp(name="published"))
    return query, tt.MLPTowerConfig(features=article, dropout=0.0)


def shop() -> Towers:
    sku = tt.Hashed(name="sku", num_buckets=500)
    bought = tt.History(of=sku, name="bought", length=20, by_rating=True, shares_embedding=True)
    # Half of the time a customer counts as unknown, so that the model learns to use the history alone.
    query = tt.MLPTowerConfig(features=(tt.Categorical(name="customer", id_dropout=0.5), bought))
    item = (sku, tt.Numeric(name="price", log=True), tt.MultiCategorical(name="categories", pooling="sqrtn"))
    return query, tt.MLPTowerConfig(features=item)


def split_of(queries: pa.Table, candidates: pa.Table, likes: np.ndarray) -> tuple[Split, np.ndarray]:
    """Splits every query's ratings of every candidate, 5 if it likes the candidate and 1 otherwise.

    The test part has one liked candidate of each query, which is returned as withheld, and three disliked ones; the
    validation part has one of each.
    """
    rng = np.random.default_rng(0)
    rows: dict[str, list[tuple[int, int]]] = {"train": [], "validation": [], "test": []}
    withheld = np.empty(len(likes), np.int64)
    for query, of_query in enumerate(likes):
        order = rng.permutation(len(of_query))
        liked, disliked = order[of_query[order]], order[~of_query[order]]
        withheld[query] = liked[0]
        rows["test"] += [(query, row) for row in (liked[0], *disliked[:3])]
        rows["validation"] += [(query, row) for row in (liked[1], disliked[3])]
        rows["train"] += [(query, row) for row in (*liked[2:], *disliked[4:])]

    def part(name: str) -> tt.Interactions:
        # The order is random: it counts as the order of time, and a history holds the latest events.
        pairs = rng.permutation(np.array(rows[name]))
        ratings = np.where(likes[tuple(pairs.T)], 5.0, 1.0)
        return tt.Interactions(
            queries=queries,
            candidates=candidates,
            events=pa.table({"query_row": pairs[:, 0], "candidate_row": pairs[:, 1], "rating": ratings}),
            query_id=queries.column_names[0],
            candidate_id=candidates.column_names[0],
        )

    train = part("train")
    nothing = train.with_events(np.zeros(0, np.int64))
    return Split(train=train, validation=part("validation"), test=part("test"), history=nothing), withheld


def movies() -> tuple[pa.Table, pa.Table, np.ndarray]:
    """Makes users of two tastes and movies of two genres."""
    users, items = np.arange(60), np.arange(40)
    queries = {
        "user_id": [f"u{row}" for row in users],
        "age": 20.0 + users % 7 * 5,
        "gender": ["M" if row % 3 else "F" for row in users],
        "occupation": [f"job {row % 5}" for row in users],
        "zip_code": [f"{row % 11:05d}" for row in users],
    }
    candidates = {
        "movie_id": [f"m{row}" for row in items],
        "release_year": [str(1990 + row % 4) for row in items],
        "genres": [["War"] if row % 2 else ["Comedy", "Drama"] for row in items],
    }
    return pa.table(queries), pa.table(candidates), users[:, np.newaxis] % 2 == items % 2


def articles() -> tuple[pa.Table, pa.Table, np.ndarray]:
    """Makes readers who like one of two topics, and only articles published at the weekend."""
    topics = (("Derby ends in a draw", "Cup final: late goal!"), ("New opera premieres", "The soprano's last aria"))
    readers, items = np.arange(40), np.arange(48)
    topic, is_weekend = items % 2, items // 2 % 2
    # 1970-01-03 was a Saturday.
    days = np.where(is_weekend, 2 + items // 4 % 2, 4 + items // 4 % 5) + 7 * (items % 3)
    candidates = {
        "article": [f"a{row}" for row in items],
        "headline": [topics[topic[row]][row // 8 % 2] for row in items],
        "published": pa.array(days * DAY_S + items % 24 * 3600, pa.timestamp("s")),
    }
    queries = {"reader": [f"r{row}" for row in readers]}
    likes = (readers[:, np.newaxis] % 2 == topic) & (is_weekend == 1)
    return pa.table(queries), pa.table(candidates), likes


def goods() -> tuple[pa.Table, pa.Table, np.ndarray]:
    """Makes customers who buy one of two categories, cheap or expensive."""
    customers, items = np.arange(40), np.arange(48)
    category, is_dear = items % 2, items // 2 % 2
    candidates = {
        "sku": [f"{row:04d}" for row in items],
        "price": np.where(is_dear, 500.0, 5.0) * (1 + items % 5 / 10),
        "categories": [["garden", "tools"] if row % 2 else ["books"] for row in items],
    }
    queries = {"customer": [f"c{row}" for row in customers]}
    likes = (customers[:, np.newaxis] % 2 == category) & (customers[:, np.newaxis] // 2 % 2 == is_dear)
    return pa.table(queries), pa.table(candidates), likes


@functools.cache
def train(declare: Callable[[], Towers], plant: Callable[[], tuple]) -> tuple[Split, np.ndarray, TwoTowerModel]:
    """Returns the split, the withheld candidates, and the model, trained once for all tests."""
    split, withheld = split_of(*plant())
    tf.keras.utils.set_random_seed(0)
    query, candidate = declare()
    model = tt.build_two_tower(split.train, query=query, candidate=candidate)
    training = tt.training.EventTraining(epochs=12, batch_size=64, learning_rate=6e-3, patience=12)
    tt.fit_two_tower(model, split, seed=0, training=training)
    return split, withheld, model


@pytest.mark.parametrize(
    ("declare", "plant"), [(movielens, movies), (two_ids, movies), (news, articles), (shop, goods)]
)
def test_the_withheld_candidate_ranks_first(declare, plant):
    assert len(inspect.getsource(declare).splitlines()) < 25
    split, withheld, model = train(declare, plant)
    queries, candidates = model.embed(split.test, known=split.seen)
    ranked = rank_candidates(queries, candidates, event_pairs(split.seen), k=1)
    assert np.mean(ranked[:, 0] == withheld) >= 0.95


def test_a_new_article_is_recommended_by_its_words_and_its_time():
    split, _, model = train(news, articles)
    queries, _ = model.embed(split.test)
    raw = {
        "headline": tf.constant(["Cup draw", "Aria!", "Cup draw", "Aria!"]),
        # Saturday and Wednesday of a week that training has not seen
        "published": tf.constant([30, 30, 34, 34]) * DAY_S + 9 * 3600,
    }
    best = np.argmax(queries @ model.candidate_tower(raw).numpy().T, axis=1)
    assert np.mean(best == np.arange(40) % 2) >= 0.95


def test_an_unknown_query_is_recommended_what_its_history_suggests(tmp_path):
    """A customer unknown to the exported bundle has bought expensive books."""
    split, _, model = train(shop, goods)
    path = export_unchecked(model, split.seen, tmp_path / "shop", k=3, build_index=tt.index.build_exact_index)
    bundle = tt.load_bundle(path)
    # Expensive books are liked; cheap books and all garden tools are disliked.
    bought = ["0002", "0004", "0006", "0005", "0010", "0007", "0014", "0009"]
    outputs = bundle.recommend({"customer": ["new"], "bought": [bought], "bought_rating": [[5.0, 1.0] * 4]})
    for sku in outputs.candidate_ids[0]:
        assert sku not in bought
        assert int(sku) % 4 == 2  # books have even numbers, and expensive goods the remainders 2 and 3
