"""Planted tastes are found by every task, by event and by query, and by every pair of heads."""

import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tests.conftest import CANDIDATE, QUERY
from tfrs_twotower.evaluation.ranking import event_pairs, rank_candidates

PAST = tt.History(of=CANDIDATE.features[0], length=24, pooling="sqrtn", by_rating=True)
SUM_QUERY = tt.SumTowerConfig(features=(*QUERY.features, PAST), output_dim=8, has_bias=True)
SUM_CANDIDATE = tt.SumTowerConfig(features=CANDIDATE.features, output_dim=8, has_bias=True)


def by_event(task, **options) -> tt.TwoTowerModel:
    def build(train: tt.Interactions) -> tt.TwoTowerModel:
        model = tt.build_two_tower(train, query=QUERY, candidate=CANDIDATE, task=task())
        model.compile(optimizer=tt.LazyAdam(5e-3))
        if options:
            options["negatives"] = tt.InBatchNegatives(train, threshold=3, num_uniform=8)
        model.fit(model.training_batches(train, batch_size=64, seed=0, **options), epochs=30, verbose=0)
        return model

    return build


def by_query(task):
    def build(train: tt.Interactions) -> tt.TwoTowerModel:
        model = tt.build_two_tower(train, query=SUM_QUERY, candidate=SUM_CANDIDATE, task=task())
        model.compile(optimizer=tt.LazyAdam(2e-2))
        model.fit(model.query_batches(train, batch_size=16, seed=0), epochs=40, verbose=0)
        return model

    return build


RATING = {
    "binary by event": by_event(tt.RatingTask),
    "ordinal by query": by_query(lambda: tt.RatingTask(other_cuts=(2.0, 5.0))),
}
RETRIEVAL = {
    "in-batch": by_event(tt.RetrievalTask),
    "cosines": by_event(lambda: tt.RetrievalTask(normalizes=True, temperature=0.2, learns_temperature=True)),
    "mixed and hard": by_event(lambda: tt.RetrievalTask(num_hard_negatives=10), negatives=True),
    "estimated": by_event(lambda: tt.RetrievalTask(frequencies=tt.FrequencyEstimator(num_slots=240))),
    "catalogue": by_query(lambda: tt.CatalogueTask(learns_temperature=True)),
}


@pytest.fixture(scope="module")
def heads(planted) -> dict[str, tt.TwoTowerModel]:
    models = {}
    for name, build in {**RATING, **RETRIEVAL}.items():
        tf.keras.utils.set_random_seed(0)
        models[name] = build(planted.split.train)
    return models


@pytest.mark.parametrize("name", [*RATING, *RETRIEVAL])
def test_every_task_ranks_the_withheld_candidate_first(planted, heads, name):
    embedded = heads[name].embed(planted.split.test, known=planted.split.seen)
    ranked = rank_candidates(*embedded, event_pairs(planted.split.seen), k=1)
    assert np.mean(ranked[:, 0] == planted.withheld) >= 0.95


@pytest.mark.parametrize(("retrieval", "rating"), itertools.product(RETRIEVAL, RATING))
def test_every_pair_of_heads_ranks_and_knows_the_probability(planted, heads, retrieval, rating):
    joint = tt.JointModel(retrieval=heads[retrieval], rating=heads[rating])
    figures = tt.evaluate(joint, planted.split, k=1).cases["model"]
    assert figures["precision@1"] >= 0.95
    assert figures["auc"] >= 0.95


def test_both_heads_are_trained_together_by_their_weights(planted):
    train = planted.split.train
    tf.keras.utils.set_random_seed(0)
    joint = tt.JointModel(
        retrieval=tt.build_two_tower(train, query=SUM_QUERY, candidate=SUM_CANDIDATE, task=tt.CatalogueTask()),
        rating=tt.build_two_tower(train, query=SUM_QUERY, candidate=SUM_CANDIDATE),
        rating_weight=2.0,
    )
    joint.compile(optimizer=tt.LazyAdam(2e-2))
    joint.fit(joint.query_batches(train, batch_size=16, seed=0), epochs=40, verbose=0)
    figures = tt.evaluate(joint, planted.split, k=1).cases["model"]
    assert figures["precision@1"] >= 0.95
    assert figures["auc"] >= 0.95


def test_a_bundle_recommends_by_one_head_and_gives_the_others_probability(planted, heads, tmp_path):
    joint = tt.JointModel(retrieval=heads["catalogue"], rating=heads["binary by event"])
    split = planted.split
    bundle = tt.load_bundle(tt.export_bundle(joint, split.seen, tmp_path / "joint", k=4, build_index=tt.ExactIndex))
    users = split.test.queries["user_id"].to_pylist()
    found = bundle.recommend({"user_id": users}, k=1)
    assert np.mean(found["candidate_ids"][:, 0] == [f"m{row}" for row in planted.withheld]) >= 0.95
    queries, candidates = heads["binary by event"].embed(split.test)
    rows = [int(name[1:]) for name in found["candidate_ids"][:, 0]]
    logits = np.einsum("nd,nd->n", queries, candidates[rows])
    np.testing.assert_allclose(found["probabilities"][:, 0], 1 / (1 + np.exp(-logits)), rtol=1e-4)
    pairs = bundle.score({"user_id": users}, found["candidate_ids"][:, 0].tolist())
    np.testing.assert_allclose(pairs["probabilities"], found["probabilities"][:, 0], rtol=1e-4)
    np.testing.assert_allclose(pairs["scores"], found["scores"][:, 0], rtol=1e-4)


def test_a_bundle_that_only_ranks_gives_no_probabilities(planted, heads, tmp_path):
    path = tt.export_bundle(heads["in-batch"], planted.split.seen, tmp_path / "ranks", k=4, build_index=tt.ExactIndex)
    assert set(tt.load_bundle(path).recommend({"user_id": ["u0"]})) == {"candidate_ids", "scores"}


def test_heads_that_disagree_are_refused(planted, heads):
    train = planted.split.train
    other = tt.build_two_tower(train, query=QUERY, candidate=CANDIDATE, task=tt.RatingTask(threshold=2))
    with pytest.raises(ValueError, match="the same threshold"):
        tt.JointModel(retrieval=heads["in-batch"], rating=other)
    with pytest.raises(TypeError, match="`rating` must have a RatingTask. Received: RetrievalTask"):
        tt.JointModel(retrieval=heads["in-batch"], rating=heads["in-batch"])


def test_a_task_is_refused_where_it_cannot_be_trained(planted, heads):
    train = planted.split.train
    with pytest.raises(TypeError, match="use `query_batches`"):
        heads["catalogue"].training_batches(train, seed=0)
    with pytest.raises(TypeError, match="A RetrievalTask is trained by event"):
        heads["in-batch"].query_batches(train, seed=0)
    with_history = dataclasses.replace(QUERY, features=(*QUERY.features, PAST))
    mlp = tt.build_two_tower(train, query=with_history, candidate=CANDIDATE)
    with pytest.raises(TypeError, match="which a `SumTowerConfig` allows alone"):
        mlp.query_batches(train, seed=0)
    with pytest.raises(TypeError, match="`negatives` of a RatingTask must be NegativeSampler"):
        mlp.training_batches(train, seed=0, negatives=tt.InBatchNegatives(train, threshold=3))
