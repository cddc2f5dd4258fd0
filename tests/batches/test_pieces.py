"""The pieces of a batch are the batch, whatever its optional fields and however many replicas there are."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tests.conftest import make_interactions
from tfrs_twotower.batches.pieces import piece_of_events, piece_of_queries

NUM_QUERIES, NUM_CANDIDATES, NUM_EVENTS = 12, 9, 50


@pytest.fixture(scope="module")
def events() -> tt.Interactions:
    rng = np.random.default_rng(0)
    places = rng.choice(NUM_QUERIES * NUM_CANDIDATES, NUM_EVENTS, replace=False)
    made = make_interactions(
        *divmod(places, NUM_CANDIDATES),
        rng.integers(1, 6, NUM_EVENTS),
        num_queries=NUM_QUERIES,
        num_candidates=NUM_CANDIDATES,
    )
    weights = pa.array(rng.uniform(0, 3, NUM_EVENTS).astype(np.float32))
    return dataclasses.replace(made, events=made.events.append_column("weight", weights))


def build(events, task) -> tt.model.TwoTowerModel:
    movie = tt.Categorical(name="movie_id")
    features = (tt.Categorical(name="user_id"), tt.History(of=movie))
    return tt.build_two_tower(
        events,
        query=tt.SumTowerConfig(features=features, output_dim=4),
        candidate=tt.SumTowerConfig(features=(movie,), output_dim=4),
        task=task,
    )


def split_loss(model, batch, count: int) -> float:
    """The weighted mean of the pieces' losses, for tasks that compare no candidates of other events."""
    pieces = [model.piece_of(batch, index, count) for index in range(count)]
    weights = [float(model.batch_weight(piece)) for piece in pieces]
    return float(np.average([float(model.compute_loss(piece)) for piece in pieces], weights=weights))


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("with_negatives", [False, True])
def test_the_loss_of_events_is_the_weighted_mean_of_the_pieces(events, count, with_negatives):
    model = build(events, tt.tasks.RatingTask(other_thresholds=(2.0,)))
    negatives = tt.batches.NegativeSampler(events, per_positive=2, threshold=3) if with_negatives else None
    for batch in model.training_batches(events, batch_size=21, seed=0, negatives=negatives):
        assert split_loss(model, batch, count) == pytest.approx(float(model.compute_loss(batch)), rel=1e-5)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize(
    "task", [tt.tasks.FullSoftmaxTask(), tt.tasks.RatingTask(), tt.tasks.FullSoftmaxTask(dislike_weight=20.0)]
)
def test_the_loss_of_queries_is_the_weighted_mean_of_the_pieces(events, count, task):
    model = build(events, task)
    for batch in model.query_batches(events, batch_size=5, seed=0):
        assert split_loss(model, batch, count) == pytest.approx(float(model.compute_loss(batch)), rel=1e-5)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("num_uniform", [0, 4])
def test_gathered_candidates_are_described_from_the_own_ones_on(events, count, num_uniform):
    """After the gathered rows are rolled by `rows_before`, each piece compares its queries with the whole batch."""
    model = build(events, tt.tasks.SampledSoftmaxTask(frequencies=tt.tasks.FrequencyEstimator(num_slots=90)))
    negatives = tt.batches.InBatchNegatives(events, threshold=3, num_uniform=num_uniform)
    batch = next(iter(model.training_batches(events, batch_size=20, seed=0, negatives=negatives)))
    pieces = [piece_of_events(batch, index, count, gathers_candidates=True) for index in range(count)]
    gathered = np.concatenate([piece.candidate["movie_id"] for piece in pieces])
    code = dict(zip(batch.candidate_rows.numpy(), batch.candidate["movie_id"].numpy(), strict=True))
    log_probability = dict(
        zip(batch.candidate_rows.numpy(), batch.negatives.log_sampling_probabilities.numpy(), strict=True)
    )
    first = 0
    for piece in pieces:
        codes = np.roll(gathered, -int(piece.rows_before))
        np.testing.assert_array_equal(codes, [code[row] for row in piece.candidate_rows.numpy()])
        np.testing.assert_array_equal(codes[: len(piece.ratings)], piece.candidate["movie_id"][: len(piece.ratings)])
        assert sorted(piece.candidate_rows.numpy()) == sorted(batch.candidate_rows.numpy())
        assert len(set(zip(piece.candidate_rows.numpy(), piece.candidate_keys.numpy(), strict=True))) <= NUM_CANDIDATES
        np.testing.assert_array_equal(
            piece.negatives.log_sampling_probabilities, [log_probability[row] for row in piece.candidate_rows.numpy()]
        )
        for place, row in enumerate(piece.negatives.is_other_positive.numpy()):
            whole = batch.negatives.is_other_positive.numpy()[first + place]
            positives = set(batch.candidate_rows.numpy()[whole])
            assert set(piece.candidate_rows.numpy()[row]) == positives
        first += len(piece.ratings)
    assert first == 20


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_piece_has_the_explicit_negatives_of_its_queries(events, count):
    """Joined with the candidates that are gathered, the pieces have the loss of the batch."""
    task = tt.tasks.SampledSoftmaxTask(dislike_weight=20.0)
    model = build(events, task)
    negatives = tt.batches.InBatchNegatives(
        events, threshold=3, num_uniform=4, negative_weights=task.negative_weights, max_explicit=99
    )
    batch = next(iter(model.training_batches(events, batch_size=20, seed=0, negatives=negatives)))
    pieces = [model.piece_of(batch, index, count) for index in range(count)]
    embedded, own = [], []
    for piece in pieces:
        candidates = model.embed_candidates(piece.candidate)
        num_explicit = len(piece.candidate_rows) - int(piece.num_shared)
        embedded.append(candidates[: len(candidates) - num_explicit])
        own.append(candidates[len(candidates) - num_explicit :])
        assert len(piece.explicit_negatives.events) > 0
    losses = []
    for piece, explicit in zip(pieces, own, strict=True):
        gathered = np.roll(np.concatenate(embedded), -int(piece.rows_before), axis=0)
        losses.append(
            task.event_loss(
                model.embed_queries(piece.query), tf.concat([gathered, explicit], axis=0), piece, training=True
            )
        )
    weights = [float(model.batch_weight(piece)) for piece in pieces]
    assert np.average(losses, weights=weights) == pytest.approx(float(model.compute_loss(batch)), rel=1e-5)


def test_a_piece_may_be_empty(events):
    model = build(events, tt.tasks.RatingTask())
    batch = model.piece_of(next(iter(model.training_batches(events, batch_size=20, seed=0))), 0, 20)
    assert [len(model.piece_of(batch, index, 2).ratings) for index in range(2)] == [0, 1]
    queries = next(iter(model.query_batches(events, batch_size=5, seed=0)))
    assert len(piece_of_queries(queries, 0, 6).ratings) == 0
    assert float(model.batch_weight(piece_of_queries(queries, 0, 6))) == 0
