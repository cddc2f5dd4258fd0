import dataclasses

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tests.conftest import CANDIDATE, QUERY, make_planted
from tfrs_twotower.features.vocabularies import Vocabularies, Vocabulary
from tfrs_twotower.model.expansion import expand_tower, expand_vocabulary
from tfrs_twotower.model.tasks.frequencies import FrequencyEstimator
from tfrs_twotower.model.tasks.sampled_softmax import SampledSoftmaxTask
from tfrs_twotower.model.two_tower import TwoTowerModel
from tfrs_twotower.training.optimizers import LazyAdam

MOVIE_ID = tt.Categorical(name="movie_id", num_oov_buckets=2, id_dropout=0.3)


def make_model(train: tt.Interactions, embedding_dim: int | None = 8, **history) -> TwoTowerModel:
    tf.keras.utils.set_random_seed(0)
    features = (*QUERY.features, tt.History(of=MOVIE_ID, by_rating=True, **history))
    query = dataclasses.replace(QUERY, features=features, embedding_dim=embedding_dim)
    features = (MOVIE_ID, *CANDIDATE.features[1:], tt.Text(name="title"))
    candidate = dataclasses.replace(CANDIDATE, features=features, embedding_dim=embedding_dim)
    model = tt.build_two_tower(train, query=query, candidate=candidate)
    # As after a training, no weight has its initial value.
    for weight in model.weights:
        if weight.dtype == tf.float32:
            weight.assign_add(tf.random.uniform(weight.shape, 0.1, 1.0))
    return model


@pytest.fixture(scope="module")
def data() -> tuple[tt.Interactions, tt.Interactions]:
    """(older, newer): a training split, and another with all of its ids, in another order, and with more."""
    newer = make_planted(num_queries=12, num_candidates=16).split.train
    older = newer.with_events(np.flatnonzero((newer.query_rows < 8) & (newer.candidate_rows % 3 > 0)))
    return older, newer


@pytest.mark.parametrize("embedding_dim", [8, None])
@pytest.mark.parametrize("shares_embedding", [False, True])
def test_an_expanded_model_has_more_values_and_predicts_as_before(data, shares_embedding, embedding_dim):
    older, newer = data
    model = make_model(older, embedding_dim, shares_embedding=shares_embedding)
    expanded = expand_vocabulary(model, newer)
    for tower, before in ((expanded.query_tower, model.query_tower), (expanded.candidate_tower, model.candidate_tower)):
        for name in before.vocabularies:
            values = before.vocabularies.values_of(name)
            assert tower.vocabularies.values_of(name)[: len(values)] == values
    assert len(expanded.candidate_tower.vocabularies.values_of("movie_id")) == 16
    assert len(model.candidate_tower.vocabularies.values_of("movie_id")) < 16
    for ours, theirs in zip(expanded.embed(newer, known=newer), model.embed(newer, known=newer), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    table = expanded.candidate_tower.encoders["movie_id"].table
    assert (expanded.query_tower.encoders["history"].table is table) == shares_embedding


def test_an_expanded_model_learns_the_new_ids_and_leaves_the_old_model_unchanged(data):
    older, newer = data
    model = make_model(older)
    before = [weight.copy() for weight in model.get_weights()]
    expanded = expand_vocabulary(model, newer)
    expanded.compile(optimizer=LazyAdam(1e-2))
    expanded.fit(expanded.training_batches(newer, batch_size=64, seed=0), epochs=2, verbose=0)
    for ours, theirs in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    rows = expanded.candidate_tower.encoders["movie_id"].table.embeddings.numpy()
    assert len(np.unique(rows[3:], axis=0)) == 16  # each id has its own vector now


def test_a_sum_tower_with_numbers_is_expanded_and_its_estimates_stay_with_their_candidates(data):
    older, newer = (with_years(part) for part in data)
    config = tt.SumTowerConfig(features=(tt.Categorical(name="movie_id"), tt.Numeric(name="year")), output_dim=4)
    task = SampledSoftmaxTask(frequencies=FrequencyEstimator(num_slots=500))
    query = tt.SumTowerConfig(features=(tt.Categorical(name="user_id"), tt.Numeric(name="age")), output_dim=4)
    model = tt.build_two_tower(older, query=query, candidate=config, task=task)
    model.compile(optimizer=LazyAdam(1e-2))
    model.fit(model.training_batches(older, batch_size=16, seed=0), epochs=3, verbose=0)
    # The newer catalogue is in another order.
    order = np.arange(newer.num_candidates)[::-1]
    rows = pa.array(order[newer.candidate_rows], pa.int32())
    turned = dataclasses.replace(
        newer,
        candidates=newer.candidates.take(order),
        events=newer.events.set_column(newer.events.column_names.index("candidate_row"), "candidate_row", rows),
    )
    expanded = expand_vocabulary(model, turned)
    queries, candidates = model.embed(newer)
    np.testing.assert_array_equal(expanded.embed(turned)[0], queries)
    np.testing.assert_array_equal(expanded.embed(turned)[1], candidates[order])

    def estimates(of: TwoTowerModel, train: tt.Interactions) -> dict[str, float]:
        batch = next(iter(of.training_batches(train, batch_size=500, seed=0)))
        ids = train.candidates["movie_id"].take(batch.candidate_rows.numpy()).to_pylist()
        return dict(zip(ids, of.task.frequencies(batch.candidate_keys).numpy().tolist(), strict=True))

    before, after = estimates(model, newer), estimates(expanded, turned)
    assert after == pytest.approx(before)
    assert len({round(value, 3) for value in before.values()}) > 3


def with_years(part: tt.Interactions) -> tt.Interactions:
    years = pa.array(1990.0 + np.arange(part.num_candidates), pa.float32())
    return dataclasses.replace(part, candidates=part.candidates.append_column("year", years))


def test_a_tower_is_expanded_alone():
    known = Vocabularies({"id": Vocabulary(("a", "b"))})
    config = tt.MLPTowerConfig(features=(tt.Categorical(name="id"), tt.Numeric(name="price")), hidden_units=())
    tower = config.build_tower(known, name="candidate")
    expanded = expand_tower(tower, known.expand(Vocabularies({"id": Vocabulary(("c",))})))
    raw = {"id": tf.constant(["a", "b", "c", "d", ""]), "price": tf.constant([1.0, 2.0, 3.0, 4.0, np.nan])}
    np.testing.assert_array_equal(tower(raw), expanded(raw))
    assert expanded.encoders["id"].num_codes == 5
    assert tower.encoders["id"].num_codes == 4


@pytest.mark.parametrize("embedding_dim", [8, None])
def test_an_empty_vocabulary_is_expanded(embedding_dim):
    config = tt.MLPTowerConfig(features=(tt.Categorical(name="id"),), embedding_dim=embedding_dim)
    tower = config.build_tower(Vocabularies({"id": Vocabulary(())}), name="candidate")
    expanded = expand_tower(tower, Vocabularies({"id": Vocabulary(("a",))}))
    raw = {"id": tf.constant(["a", "", "b"])}
    np.testing.assert_array_equal(tower(raw), expanded(raw))


@pytest.mark.parametrize("values", [("b", "a"), ("a",), ("c", "a", "b")])
def test_a_vocabulary_that_moves_or_loses_a_value_is_refused(values):
    config = tt.MLPTowerConfig(features=(tt.Categorical(name="id"),))
    tower = config.build_tower(Vocabularies({"id": Vocabulary(("a", "b"))}), name="candidate")
    with pytest.raises(ValueError, match=r"`vocabularies\['id'\]` must be expanded from the tower's own"):
        expand_tower(tower, Vocabularies({"id": Vocabulary(values)}))


def test_a_candidate_without_events_is_not_added(data):
    """A new candidate enters the vocabulary with its first event."""
    older, _ = data
    more = pa.concat_tables([older.candidates, older.candidates.slice(0, 1).set_column(0, "movie_id", [["new"]])])
    model = make_model(older)
    expanded = expand_vocabulary(model, dataclasses.replace(older, candidates=more))
    assert expanded.candidate_tower.vocabularies == model.candidate_tower.vocabularies
