"""Planted tastes are found by every task, by event and by query, by every pair of heads, and by heads that share."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tests.conftest import Planted, export_unchecked, make_interactions
from tfrs_twotower.evaluation.ranking import event_pairs, rank_candidates

NUM_QUERIES, NUM_CANDIDATES = 40, 24

# Ids alone: no feature tells the groups.
MOVIE = tt.Categorical(name="movie_id")
PAST = tt.History(of=MOVIE, length=24, pooling="sqrtn", by_rating=True)
PLAIN = {"embedding_dim": 8, "hidden_units": (), "output_dim": 8, "dropout": 0.0}
QUERY = tt.TowerConfig(features=(tt.Categorical(name="user_id"),), **PLAIN)
CANDIDATE = tt.TowerConfig(features=(MOVIE,), **PLAIN)
SUM_QUERY = tt.SumTowerConfig(features=(*QUERY.features, PAST), output_dim=8, has_bias=True)
SUM_CANDIDATE = tt.SumTowerConfig(features=(MOVIE,), output_dim=8, has_bias=True)


def make_board(kind: str) -> Planted:
    """One liked cell of each query is withheld.

    "groups": the first half of the queries likes the first half of the candidates, the others the rest; two thirds of
    the cells are trained on. "checkerboard": even ones like even ones, odd ones odd; all other cells are trained on.
    """
    rng = np.random.default_rng(2)
    queries, candidates = np.indices((NUM_QUERIES, NUM_CANDIDATES))
    if kind == "groups":
        liked = (queries < NUM_QUERIES // 2) == (candidates < NUM_CANDIDATES // 2)
    else:
        liked = queries % 2 == candidates % 2
    withheld = np.array([rng.choice(np.flatnonzero(row)) for row in liked])
    is_withheld = candidates == withheld[:, np.newaxis]
    is_trained = ~is_withheld & ((rng.random(liked.shape) < 0.7) | (kind == "checkerboard"))
    # On the checkerboard what is disliked is tested although it was trained on: there is nothing else.
    is_tested = ~is_trained | (~liked & (kind == "checkerboard"))

    def part(cells: np.ndarray) -> tt.Interactions:
        rows = np.argwhere(cells)
        ratings = np.where(liked[cells], 5.0, 1.0)
        return make_interactions(*rows.T, ratings, num_queries=NUM_QUERIES, num_candidates=NUM_CANDIDATES)

    nothing = part(np.zeros_like(liked))
    split = tt.Split(train=part(is_trained), validation=nothing, test=part(is_tested), history=nothing)
    return Planted(split=split, withheld=withheld)


def by_event(task, **options) -> tt.TwoTowerModel:
    def build(train: tt.Interactions) -> tt.TwoTowerModel:
        model = tt.build_two_tower(train, query=QUERY, candidate=CANDIDATE, task=task())
        model.compile(optimizer=tt.LazyAdam(5e-3))
        if options:
            options["negatives"] = tt.InBatchNegatives(train, threshold=3, num_uniform=8)
        model.fit(model.training_batches(train, batch_size=64, seed=0, **options), epochs=20, verbose=0)
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
    "cosines": by_event(lambda: tt.RetrievalTask(normalizes=True, temperature=0.5)),
    "mixed and hard": by_event(lambda: tt.RetrievalTask(num_hard_negatives=30), negatives=True),
    "estimated": by_event(lambda: tt.RetrievalTask(frequencies=tt.FrequencyEstimator(num_slots=240))),
    "catalogue": by_query(lambda: tt.CatalogueTask(learns_temperature=True)),
}


@pytest.fixture(scope="module", params=["groups", "checkerboard"])
def planted(request) -> Planted:
    return make_board(request.param)


@pytest.fixture(scope="module")
def heads(planted) -> dict[str, tt.TwoTowerModel]:
    models = {}
    for name, build in {**RATING, **RETRIEVAL}.items():
        tf.keras.utils.set_random_seed(0)
        models[name] = build(planted.split.train)
    return models


def share_first(planted: Planted, head: tt.TwoTowerModel) -> float:
    """How often the withheld candidate comes before all that its query dislikes, met in training or not."""
    is_disliked = np.zeros((NUM_QUERIES, NUM_CANDIDATES), bool)
    for part in (planted.split.train, planted.split.test):
        disliked = part.ratings < 3
        is_disliked[part.query_rows[disliked], part.candidate_rows[disliked]] = True
    is_other = ~is_disliked & (np.arange(NUM_CANDIDATES) != planted.withheld[:, np.newaxis])
    embedded = head.embed(planted.split.test, known=planted.split.seen)
    ranked = rank_candidates(*embedded, np.argwhere(is_other), k=1)
    return np.mean(ranked[:, 0] == planted.withheld)


@pytest.mark.parametrize("name", [*RATING, *RETRIEVAL])
def test_every_task_ranks_the_withheld_candidate_first(planted, heads, name):
    assert share_first(planted, heads[name]) >= 0.95


@pytest.mark.parametrize(("retrieval", "rating"), itertools.product(RETRIEVAL, RATING))
def test_every_pair_of_heads_ranks_and_knows_the_probability(planted, heads, retrieval, rating):
    joint = tt.JointModel(retrieval=heads[retrieval], rating=heads[rating])
    figures = tt.evaluate(joint, planted.split, k=1).cases["model"]
    assert figures["precision@1"] >= 0.95
    assert figures["auc"] >= 0.95


@pytest.mark.parametrize("shares_towers", [False, True])
def test_both_heads_are_trained_together_by_their_weights(planted, shares_towers):
    train = planted.split.train
    tf.keras.utils.set_random_seed(0)
    ranks = tt.build_two_tower(train, query=SUM_QUERY, candidate=SUM_CANDIDATE, task=tt.CatalogueTask())
    knows = tt.build_two_tower(train, query=SUM_QUERY, candidate=SUM_CANDIDATE)
    if shares_towers:
        towers = {"query_tower": ranks.query_tower, "candidate_tower": ranks.candidate_tower}
        knows = tt.TwoTowerModel(**towers, task=tt.RatingTask())
    joint = tt.JointModel(retrieval=ranks, rating=knows, rating_weight=2.0)
    joint.compile(optimizer=tt.LazyAdam(2e-2))
    batches = joint.query_batches(train, batch_size=16, seed=0)
    for epoch in range(2):
        for batch in batches:
            users = [batch[head]["query"]["user_id"].numpy().tolist() for head in ("retrieval", "rating")]
            assert users[0] == users[1], epoch
    joint.fit(batches, epochs=40, verbose=0)
    assert share_first(planted, joint.retrieval) >= 0.95
    assert tt.evaluate(joint, planted.split, k=1).cases["model"]["auc"] >= 0.95


def test_a_bundle_recommends_by_one_head_and_gives_the_others_probability(planted, heads, tmp_path):
    joint = tt.JointModel(retrieval=heads["catalogue"], rating=heads["binary by event"])
    split = planted.split
    bundle = tt.load_bundle(
        export_unchecked(joint, split.seen, tmp_path / "joint", k=4, build_index=tt.build_exact_index)
    )
    users = split.test.queries["user_id"].to_pylist()
    found = bundle.recommend({"user_id": users}, k=1)
    embedded = heads["catalogue"].embed(split.test, known=split.seen)
    best = rank_candidates(*embedded, event_pairs(split.seen), k=1)[:, 0]
    assert found["candidate_ids"][:, 0].tolist() == [f"m{row}" for row in best]
    queries, candidates = heads["binary by event"].embed(split.test)
    rows = [int(name[1:]) for name in found["candidate_ids"][:, 0]]
    logits = np.einsum("nd,nd->n", queries, candidates[rows])
    np.testing.assert_allclose(found["probabilities"][:, 0], 1 / (1 + np.exp(-logits)), rtol=1e-4)
    pairs = bundle.score({"user_id": users}, found["candidate_ids"][:, 0].tolist())
    np.testing.assert_allclose(pairs["probabilities"], found["probabilities"][:, 0], rtol=1e-4)
    np.testing.assert_allclose(pairs["scores"], found["scores"][:, 0], rtol=1e-4)


def test_a_bundle_that_only_ranks_gives_no_probabilities(planted, heads, tmp_path):
    """It also holds nothing that only training needs, such as an estimator's slots."""
    path = export_unchecked(
        heads["estimated"], planted.split.seen, tmp_path / "ranks", k=4, build_index=tt.build_exact_index
    )
    assert set(tt.load_bundle(path).recommend({"user_id": ["u0"]})) == {"candidate_ids", "scores"}
    shapes = [shape for _, shape in tf.train.list_variables(str(path / "variables" / "variables"))]
    assert [2 * 240] not in shapes


def test_heads_that_disagree_are_refused(planted, heads):
    train, knows = planted.split.train, heads["binary by event"]
    other = tt.build_two_tower(train, query=QUERY, candidate=CANDIDATE, task=tt.RatingTask(threshold=2))
    with pytest.raises(ValueError, match="the same threshold"):
        tt.JointModel(retrieval=heads["in-batch"], rating=other)
    with pytest.raises(TypeError, match="`rating` must have a RatingTask. Received: RetrievalTask"):
        tt.JointModel(retrieval=heads["in-batch"], rating=heads["in-batch"])
    half = tt.TwoTowerModel(query_tower=knows.query_tower, candidate_tower=other.candidate_tower, task=tt.RatingTask())
    with pytest.raises(ValueError, match="must share both towers or none"):
        tt.JointModel(retrieval=knows, rating=half)
    with pytest.raises(ValueError, match="`rating_weight` must be finite and at least 0. Received: nan"):
        tt.JointModel(retrieval=heads["in-batch"], rating=knows, rating_weight=float("nan"))


def test_the_joint_loss_is_the_weighted_sum_of_both(planted):
    train = planted.split.train
    ranks = tt.build_two_tower(train, query=SUM_QUERY, candidate=SUM_CANDIDATE, task=tt.CatalogueTask())
    knows = tt.build_two_tower(train, query=SUM_QUERY, candidate=SUM_CANDIDATE)
    joint = tt.JointModel(retrieval=ranks, rating=knows, retrieval_weight=0.5, rating_weight=3.0)
    batch = next(iter(joint.query_batches(train, batch_size=16, seed=0)))
    losses = ranks.compute_loss(batch["retrieval"]), knows.compute_loss(batch["rating"])
    assert float(joint.compute_loss(batch)) == pytest.approx(float(0.5 * losses[0] + 3 * losses[1]), rel=1e-5)


def test_a_task_is_refused_where_it_cannot_be_trained(planted, heads):
    train = planted.split.train
    with pytest.raises(TypeError, match="`task` must be a task, such as RatingTask"):
        tt.build_two_tower(train, query=QUERY, candidate=CANDIDATE, task=tt.CatalogueTask)
    with pytest.raises(ValueError, match="`batch_size` must be at least 2"):
        heads["in-batch"].training_batches(train, batch_size=1, seed=0)
    lower = tt.InBatchNegatives(train, threshold=1)
    with pytest.raises(ValueError, match="`negatives` must have the task's threshold, 3.* Received: 1"):
        heads["in-batch"].training_batches(train, seed=0, negatives=lower)
    other = make_interactions([0, 1], [0, 1], [5, 1], num_queries=2, num_candidates=3)
    with pytest.raises(ValueError, match="`negatives` must be of the queries and candidates of `train`"):
        heads["in-batch"].training_batches(train, seed=0, negatives=tt.InBatchNegatives(other, threshold=3))
    nothing = train.with_events(np.zeros(0, np.int64))
    for head in ("ordinal by query", "catalogue"):
        with pytest.raises(ValueError, match="`train` must have an event"):
            heads[head].query_batches(nothing, seed=0)
    single = make_interactions([0, 1], [0, 0], [5, 1], num_queries=2, num_candidates=1)
    alone = tt.build_two_tower(single, query=QUERY, candidate=CANDIDATE, task=tt.RetrievalTask())
    with pytest.raises(ValueError, match="`train` must have two candidates or more"):
        alone.training_batches(single, seed=0)
    with pytest.raises(TypeError, match="use `query_batches`"):
        heads["catalogue"].training_batches(train, seed=0)
    with pytest.raises(TypeError, match="A RetrievalTask is trained by event"):
        heads["in-batch"].query_batches(train, seed=0)
    mlp = tt.build_two_tower(train, query=tt.TowerConfig(features=(PAST,), **PLAIN), candidate=CANDIDATE)
    with pytest.raises(TypeError, match="which a `SumTowerConfig` allows alone"):
        mlp.query_batches(train, seed=0)
    with pytest.raises(TypeError, match="`negatives` of a RatingTask must be a NegativeSampler"):
        mlp.training_batches(train, seed=0, negatives=tt.InBatchNegatives(train, threshold=3))


def test_what_has_no_loss_or_no_pairs_says_so(planted, heads):
    test, known = planted.split.test, planted.split.seen
    past = tt.HistoryKnown(timeline=tt.Timeline(known), length=24)
    for name, history in (("in-batch", None), ("catalogue", past)):
        head = heads[name]
        head.compile()
        batches = head.evaluation_batches(test, history=history)
        with pytest.raises(TypeError, match="follow the validation part by the callback ValidationMetrics"):
            head.evaluate(batches, verbose=0)
        assert head.predict(batches, verbose=0).shape == (test.num_events,)
    with pytest.raises(TypeError, match="A batch of queries has no pairs to score"):
        heads["catalogue"].predict(heads["catalogue"].query_batches(known, seed=0), verbose=0)
    # Negatives of a batch are no pairs of it.
    negatives = tt.InBatchNegatives(known, threshold=3, num_uniform=5)
    batches = heads["in-batch"].training_batches(known, batch_size=known.num_events, seed=0, negatives=negatives)
    assert heads["in-batch"].predict(batches, verbose=0).shape == (known.num_events,)


def test_nothing_is_learnt_of_what_is_random():
    """A target lacks its own part; where that lack alone gave it away, the loss would fall below that of guessing."""
    rng = np.random.default_rng(0)
    rows = np.argwhere(rng.random((150, 200)) < 0.04)
    train = make_interactions(*rows.T, np.full(len(rows), 5.0), num_queries=150, num_candidates=200)
    tf.keras.utils.set_random_seed(0)
    query = tt.SumTowerConfig(features=(PAST,), output_dim=1, has_bias=True)
    model = tt.build_two_tower(
        train, query=query, candidate=tt.SumTowerConfig(features=(MOVIE,), output_dim=1), task=tt.CatalogueTask()
    )
    model.compile(optimizer=tt.LazyAdam(2e-2))
    losses = model.fit(model.query_batches(train, batch_size=50, seed=0), epochs=60, verbose=0).history
    # One dimension per candidate can learn a little by heart.
    assert losses["catalogue_loss"][-1] > np.log(200) - 0.5


def test_by_query_a_pair_that_occurs_twice_is_left_out_of_its_own_history_twice():
    train = make_interactions([0, 0, 0, 1], [1, 1, 2, 3], [5, 5, 1, 5], num_queries=2, num_candidates=4)
    past = tt.History(of=MOVIE, length=4, pooling="sum")
    query, candidate = (tt.SumTowerConfig(features=(feature,), output_dim=3) for feature in (past, MOVIE))
    model = tt.build_two_tower(train, query=query, candidate=candidate, task=Recorder())
    batch = next(iter(model.query_batches(train, batch_size=2, seed=0)))
    model.compute_loss(batch)
    queries, parts = model.task.queries.numpy(), model.task.parts.numpy()
    codes = model.query_tower.encode_past(train.candidates)["history"][:, np.newaxis]
    vectors = model.query_tower.encode({"history": tf.constant(codes)}).numpy()
    rows = batch["candidate_row"].numpy()[batch["target_candidate"].numpy()]
    for place, row, part in zip(batch["target_place"].numpy(), rows, parts, strict=True):
        rest = {1: vectors[2], 2: 2 * vectors[1], 3: 0 * vectors[3]}[row]
        np.testing.assert_allclose(queries[place[0]] - part, rest, atol=1e-6)


class Recorder(tt.RatingTask):
    """Remembers what it was asked about."""

    def query_loss(self, queries, parts, candidates, inputs, training):
        self.queries, self.parts = queries, parts
        return super().query_loss(queries, parts, candidates, inputs, training)
