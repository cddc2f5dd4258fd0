"""Planted preferences are learnt by every task, by every pair of models, and by models that share towers."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tests.conftest import Planted, export_unchecked, make_interactions
from tfrs_twotower.data.splits import Split
from tfrs_twotower.evaluation.ranking import event_pairs, rank_candidates
from tfrs_twotower.model.joint import JointModel
from tfrs_twotower.model.two_tower import TwoTowerModel

NUM_QUERIES, NUM_CANDIDATES = 40, 24

# The towers take ids alone: no feature tells which candidates a query likes.
MOVIE = tt.Categorical(name="movie_id")
PAST = tt.History(of=MOVIE, length=24, pooling="sqrtn", by_rating=True)
PLAIN = {"embedding_dim": 8, "hidden_units": (), "output_dim": 8, "dropout": 0.0}
QUERY = tt.MLPTowerConfig(features=(tt.Categorical(name="user_id"),), **PLAIN)
CANDIDATE = tt.MLPTowerConfig(features=(MOVIE,), **PLAIN)
SUM_QUERY = tt.SumTowerConfig(features=(*QUERY.features, PAST), output_dim=8, has_bias=True)
SUM_CANDIDATE = tt.SumTowerConfig(features=(MOVIE,), output_dim=8, has_bias=True)


def make_board() -> Planted:
    """Makes a board of queries by candidates, and withholds one liked cell of each query.

    Queries like the candidates of their own parity. About four fifths of the cells are trained on.
    """
    rng = np.random.default_rng(2)
    queries, candidates = np.indices((NUM_QUERIES, NUM_CANDIDATES))
    liked = queries % 2 == candidates % 2
    withheld = np.array([rng.choice(np.flatnonzero(row)) for row in liked])
    is_trained = (candidates != withheld[:, np.newaxis]) & (rng.random(liked.shape) < 0.8)

    def part(cells: np.ndarray) -> tt.Interactions:
        rows = np.argwhere(cells)
        ratings = np.where(liked[cells], 5.0, 1.0)
        return make_interactions(*rows.T, ratings, num_queries=NUM_QUERIES, num_candidates=NUM_CANDIDATES)

    nothing = part(np.zeros_like(liked))
    split = Split(train=part(is_trained), validation=nothing, test=part(~is_trained), history=nothing)
    return Planted(split=split, withheld=withheld)


def by_event(task, **options) -> TwoTowerModel:
    def build(train: tt.Interactions) -> TwoTowerModel:
        model = tt.build_two_tower(train, query=QUERY, candidate=CANDIDATE, task=task())
        model.compile(optimizer=tt.training.LazyAdam(5e-3))
        if options:
            options["negatives"] = tt.batches.InBatchNegatives(train, threshold=3, num_uniform=8)
        model.fit(model.training_batches(train, batch_size=64, seed=0, **options), epochs=20, verbose=0)
        return model

    return build


def by_query(task):
    def build(train: tt.Interactions) -> TwoTowerModel:
        model = tt.build_two_tower(train, query=SUM_QUERY, candidate=SUM_CANDIDATE, task=task())
        model.compile(optimizer=tt.training.LazyAdam(2e-2))
        model.fit(model.query_batches(train, batch_size=16, seed=0), epochs=40, verbose=0)
        return model

    return build


RATING = {
    "binary by event": by_event(tt.tasks.RatingTask),
    "ordinal by query": by_query(lambda: tt.tasks.RatingTask(other_thresholds=(2.0, 5.0))),
}
RETRIEVAL = {
    "in-batch": by_event(tt.tasks.SampledSoftmaxTask),
    "cosines": by_event(lambda: tt.tasks.SampledSoftmaxTask(normalizes=True, temperature=0.5)),
    "mixed and hard": by_event(lambda: tt.tasks.SampledSoftmaxTask(num_hard_negatives=30), negatives=True),
    "estimated": by_event(lambda: tt.tasks.SampledSoftmaxTask(frequencies=tt.tasks.FrequencyEstimator(num_slots=240))),
    "full softmax": by_query(lambda: tt.tasks.FullSoftmaxTask(learns_temperature=True)),
}


@pytest.fixture(scope="module")
def planted() -> Planted:
    return make_board()


@pytest.fixture(scope="module")
def models(planted) -> dict[str, TwoTowerModel]:
    trained = {}
    for name, build in {**RATING, **RETRIEVAL}.items():
        tf.keras.utils.set_random_seed(0)
        trained[name] = build(planted.split.train)
    return trained


def share_first(planted: Planted, model: TwoTowerModel) -> float:
    """Returns how often the withheld candidate comes before all candidates that its query dislikes."""
    is_disliked = np.zeros((NUM_QUERIES, NUM_CANDIDATES), bool)
    for part in (planted.split.train, planted.split.test):
        disliked = part.ratings < 3
        is_disliked[part.query_rows[disliked], part.candidate_rows[disliked]] = True
    is_other = ~is_disliked & (np.arange(NUM_CANDIDATES) != planted.withheld[:, np.newaxis])
    embedded = model.embed(planted.split.test, known=planted.split.seen)
    ranked = rank_candidates(*embedded, np.argwhere(is_other), k=1)
    return np.mean(ranked[:, 0] == planted.withheld)


@pytest.mark.parametrize("name", [*RATING, *RETRIEVAL])
def test_every_task_ranks_the_withheld_candidate_first(planted, models, name):
    assert share_first(planted, models[name]) >= 0.95


@pytest.mark.parametrize(("retrieval", "rating"), itertools.product(RETRIEVAL, RATING))
def test_every_pair_of_models_ranks_and_predicts_probabilities(planted, models, retrieval, rating):
    joint = JointModel(retrieval_model=models[retrieval], rating_model=models[rating])
    metrics = tt.evaluate(joint, planted.split, k=1).metrics
    assert metrics["precision@1"] >= 0.95
    assert metrics["auc"] >= 0.95


@pytest.mark.parametrize("shares_towers", [False, True])
def test_both_models_are_trained_together_by_their_weights(planted, shares_towers):
    train = planted.split.train
    tf.keras.utils.set_random_seed(0)
    retrieval = tt.build_two_tower(train, query=SUM_QUERY, candidate=SUM_CANDIDATE, task=tt.tasks.FullSoftmaxTask())
    rating = tt.build_two_tower(train, query=SUM_QUERY, candidate=SUM_CANDIDATE)
    if shares_towers:
        towers = {"query_tower": retrieval.query_tower, "candidate_tower": retrieval.candidate_tower}
        rating = TwoTowerModel(**towers, task=tt.tasks.RatingTask())
    joint = JointModel(retrieval_model=retrieval, rating_model=rating, rating_weight=2.0)
    joint.compile(optimizer=tt.training.LazyAdam(2e-2))
    batches = joint.query_batches(train, batch_size=16, seed=0)
    for epoch in range(2):
        for batch in batches:
            users = [part.query["user_id"].numpy().tolist() for part in (batch.retrieval, batch.rating)]
            assert users[0] == users[1], epoch
    joint.fit(batches, epochs=40, verbose=0)
    assert share_first(planted, joint.retrieval_model) >= 0.95
    assert tt.evaluate(joint, planted.split, k=1).metrics["auc"] >= 0.95


def test_a_bundle_ranks_by_one_model_and_predicts_the_probability_of_the_other(planted, models, tmp_path):
    joint = JointModel(retrieval_model=models["full softmax"], rating_model=models["binary by event"])
    split = planted.split
    bundle = tt.load_bundle(
        export_unchecked(joint, split.seen, tmp_path / "joint", k=4, build_index=tt.index.build_exact_index)
    )
    users = split.test.queries["user_id"].to_pylist()
    found = bundle.recommend({"user_id": users}, k=1)
    embedded = models["full softmax"].embed(split.test, known=split.seen)
    best = rank_candidates(*embedded, event_pairs(split.seen), k=1)[:, 0]
    assert found.candidate_ids[:, 0].tolist() == [f"m{row}" for row in best]
    queries, candidates = models["binary by event"].embed(split.test)
    rows = [int(name[1:]) for name in found.candidate_ids[:, 0]]
    logits = np.einsum("nd,nd->n", queries, candidates[rows])
    np.testing.assert_allclose(found.probabilities[:, 0], 1 / (1 + np.exp(-logits)), rtol=1e-4)
    pairs = bundle.score({"user_id": users}, found.candidate_ids[:, 0].tolist())
    np.testing.assert_allclose(pairs.probabilities, found.probabilities[:, 0], rtol=1e-4)
    np.testing.assert_allclose(pairs.scores, found.scores[:, 0], rtol=1e-4)


def test_a_bundle_of_a_retrieval_model_has_no_probabilities(planted, models, tmp_path):
    """It also holds nothing that only training needs, such as an estimator's slots."""
    path = export_unchecked(
        models["estimated"], planted.split.seen, tmp_path / "ranks", k=4, build_index=tt.index.build_exact_index
    )
    bundle = tt.load_bundle(path)
    assert set(bundle.module.signatures["recommend"].structured_outputs) == {"candidate_ids", "scores"}
    assert bundle.recommend({"user_id": ["u0"]}).probabilities is None
    shapes = [shape for _, shape in tf.train.list_variables(str(path / "variables" / "variables"))]
    assert [2 * 240] not in shapes


def test_models_that_disagree_are_refused(planted, models):
    train, rating = planted.split.train, models["binary by event"]
    other = tt.build_two_tower(train, query=QUERY, candidate=CANDIDATE, task=tt.tasks.RatingTask(threshold=2))
    with pytest.raises(ValueError, match="the same threshold"):
        JointModel(retrieval_model=models["in-batch"], rating_model=other)
    with pytest.raises(TypeError, match="`rating_model` must have a RatingTask. Received: SampledSoftmaxTask"):
        JointModel(retrieval_model=models["in-batch"], rating_model=models["in-batch"])
    half = TwoTowerModel(
        query_tower=rating.query_tower, candidate_tower=other.candidate_tower, task=tt.tasks.RatingTask()
    )
    with pytest.raises(ValueError, match="must share both towers or none"):
        JointModel(retrieval_model=rating, rating_model=half)
    with pytest.raises(ValueError, match="`rating_weight` must be finite and at least 0. Received: nan"):
        JointModel(retrieval_model=models["in-batch"], rating_model=rating, rating_weight=float("nan"))


def test_the_joint_loss_is_the_weighted_sum_of_both(planted):
    train = planted.split.train
    retrieval = tt.build_two_tower(train, query=SUM_QUERY, candidate=SUM_CANDIDATE, task=tt.tasks.FullSoftmaxTask())
    rating = tt.build_two_tower(train, query=SUM_QUERY, candidate=SUM_CANDIDATE)
    joint = JointModel(retrieval_model=retrieval, rating_model=rating, retrieval_weight=0.5, rating_weight=3.0)
    batch = next(iter(joint.query_batches(train, batch_size=16, seed=0)))
    losses = retrieval.compute_loss(batch.retrieval), rating.compute_loss(batch.rating)
    assert float(joint.compute_loss(batch)) == pytest.approx(float(0.5 * losses[0] + 3 * losses[1]), rel=1e-5)


def test_a_task_that_cannot_be_trained_on_what_is_given_is_refused(planted, models):
    train = planted.split.train
    with pytest.raises(TypeError, match="`task` must be a task, such as RatingTask"):
        tt.build_two_tower(train, query=QUERY, candidate=CANDIDATE, task=tt.tasks.FullSoftmaxTask)
    with pytest.raises(ValueError, match="`batch_size` must be at least 2"):
        models["in-batch"].training_batches(train, batch_size=1, seed=0)
    lower = tt.batches.InBatchNegatives(train, threshold=1)
    with pytest.raises(ValueError, match="`negatives` must have the task's threshold, 3.* Received: 1"):
        models["in-batch"].training_batches(train, seed=0, negatives=lower)
    other = make_interactions([0, 1], [0, 1], [5, 1], num_queries=2, num_candidates=3)
    with pytest.raises(ValueError, match="`negatives` must be of the queries and candidates of `train`"):
        models["in-batch"].training_batches(train, seed=0, negatives=tt.batches.InBatchNegatives(other, threshold=3))
    nothing = train.with_events(np.zeros(0, np.int64))
    for name in ("ordinal by query", "full softmax"):
        with pytest.raises(ValueError, match="`train` must have an event"):
            models[name].query_batches(nothing, seed=0)
    single = make_interactions([0, 1], [0, 0], [5, 1], num_queries=2, num_candidates=1)
    alone = tt.build_two_tower(single, query=QUERY, candidate=CANDIDATE, task=tt.tasks.SampledSoftmaxTask())
    with pytest.raises(ValueError, match="`train` must have at least two candidates"):
        alone.training_batches(single, seed=0)
    with pytest.raises(TypeError, match="use `query_batches`"):
        models["full softmax"].training_batches(train, seed=0)
    with pytest.raises(TypeError, match="A SampledSoftmaxTask is trained by event"):
        models["in-batch"].query_batches(train, seed=0)
    mlp = tt.build_two_tower(train, query=tt.MLPTowerConfig(features=(PAST,), **PLAIN), candidate=CANDIDATE)
    with pytest.raises(TypeError, match="which only a `SumTowerConfig` allows"):
        mlp.query_batches(train, seed=0)
    with pytest.raises(TypeError, match="`negatives` of a RatingTask must be a NegativeSampler"):
        mlp.training_batches(train, seed=0, negatives=tt.batches.InBatchNegatives(train, threshold=3))


def test_batches_without_a_loss_or_without_pairs_are_refused(planted, models):
    test, known = planted.split.test, planted.split.seen
    past = tt.batches.FixedHistory(timeline=tt.batches.Timeline(known), length=24)
    for name, history in (("in-batch", None), ("full softmax", past)):
        model = models[name]
        model.compile()
        batches = model.evaluation_batches(test, history=history)
        with pytest.raises(TypeError, match="[Ff]ollow the validation part by the callback ValidationMetrics"):
            model.evaluate(batches, verbose=0)
        assert model.predict(batches, verbose=0).shape == (test.num_events,)
    with pytest.raises(TypeError, match="Only a batch of events has pairs to score.* Received: QueryBatch"):
        models["full softmax"].predict(models["full softmax"].query_batches(known, seed=0), verbose=0)
    # The negatives of a batch are not among its pairs.
    negatives = tt.batches.InBatchNegatives(known, threshold=3, num_uniform=5)
    batches = models["in-batch"].training_batches(known, batch_size=known.num_events, seed=0, negatives=negatives)
    assert models["in-batch"].predict(batches, verbose=0).shape == (known.num_events,)


def test_nothing_is_learnt_from_random_events():
    """A target is scored without its own part. If that gave it away, the loss would fall below that of guessing."""
    rng = np.random.default_rng(0)
    rows = np.argwhere(rng.random((150, 200)) < 0.04)
    train = make_interactions(*rows.T, np.full(len(rows), 5.0), num_queries=150, num_candidates=200)
    tf.keras.utils.set_random_seed(0)
    query = tt.SumTowerConfig(features=(PAST,), output_dim=1, has_bias=True)
    model = tt.build_two_tower(
        train,
        query=query,
        candidate=tt.SumTowerConfig(features=(MOVIE,), output_dim=1),
        task=tt.tasks.FullSoftmaxTask(),
    )
    model.compile(optimizer=tt.training.LazyAdam(2e-2))
    losses = model.fit(model.query_batches(train, batch_size=50, seed=0), epochs=60, verbose=0).history
    # One dimension per candidate is enough to memorise a little.
    assert losses["softmax_loss"][-1] > np.log(200) - 0.5


def test_a_pair_that_occurs_twice_is_left_out_of_its_own_history_twice():
    train = make_interactions([0, 0, 0, 1], [1, 1, 2, 3], [5, 5, 1, 5], num_queries=2, num_candidates=4)
    past = tt.History(of=MOVIE, length=4, pooling="sum")
    query, candidate = (tt.SumTowerConfig(features=(feature,), output_dim=3) for feature in (past, MOVIE))
    model = tt.build_two_tower(train, query=query, candidate=candidate, task=Recorder())
    batch = next(iter(model.query_batches(train, batch_size=2, seed=0)))
    model.compute_loss(batch)
    queries, parts = model.task.queries.numpy(), model.task.parts.vectors().numpy()
    (history,) = model.query_tower.encode_histories(train.candidates)
    codes = history.codes[:, np.newaxis]
    vectors = model.query_tower.encode({"history": tf.constant(codes)}).numpy()
    rows = batch.candidate_rows.numpy()[batch.target_candidates.numpy()]
    for place, row, part in zip(batch.target_places.numpy(), rows, parts, strict=True):
        rest = {1: vectors[2], 2: 2 * vectors[1], 3: 0 * vectors[3]}[row]
        np.testing.assert_allclose(queries[place[0]] - part, rest, atol=1e-6)


class Recorder(tt.tasks.RatingTask):
    """Keeps the embeddings that it was given."""

    def query_loss(self, queries, parts, candidates, batch, training):
        self.queries, self.parts = queries, parts
        return super().query_loss(queries, parts, candidates, batch, training)
