import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import CANDIDATE, QUERY
from tfrs_twotower.features.categorical import Categorical
from tfrs_twotower.features.history import History
from tfrs_twotower.features.vocabularies import Vocabularies, Vocabulary
from tfrs_twotower.model.build import build_two_tower
from tfrs_twotower.model.expansion import expand_tower
from tfrs_twotower.model.mlp_tower import MLPTowerConfig
from tfrs_twotower.model.sum_tower import SumTowerConfig
from tfrs_twotower.model.tasks.rating import RatingTask
from tfrs_twotower.model.tower_pair import build_tower_pair
from tfrs_twotower.model.two_tower import join_towers

PAST = History(of=CANDIDATE.features[0])


def with_history(**settings) -> MLPTowerConfig:
    return dataclasses.replace(QUERY, features=(*QUERY.features, dataclasses.replace(PAST, **settings)))


def test_towers_of_different_lengths_are_refused(planted):
    with pytest.raises(ValueError, match="`output_dim` must be the same in both towers.*query 8, candidate 4"):
        build_two_tower(planted.split.train, query=QUERY, candidate=dataclasses.replace(CANDIDATE, output_dim=4))


@pytest.mark.parametrize("shares_embedding", [False, True])
def test_a_history_shares_the_candidates_vectors_if_declared_so(planted, shares_embedding):
    query = with_history(shares_embedding=shares_embedding)
    model = build_two_tower(planted.split.train, query=query, candidate=CANDIDATE)
    tables = [model.query_tower.encoders["history"].table, model.candidate_tower.encoders["movie_id"].table]
    assert (tables[0] is tables[1]) == shares_embedding


def test_a_history_can_only_share_what_the_candidate_tower_has(planted):
    other = Categorical(name="movie_id", min_count=2)
    with pytest.raises(ValueError, match="The history 'history' can share the vectors of a feature of the candidate"):
        build_two_tower(planted.split.train, query=with_history(of=other, shares_embedding=True), candidate=CANDIDATE)


def test_a_tower_with_shared_vectors_is_saved_and_expanded_alone(planted, tmp_path):
    """The candidate tower, whose vectors have another length than the query tower's, is not needed."""
    train = planted.split.train
    candidate = dataclasses.replace(CANDIDATE, embedding_dim=16)
    model = build_two_tower(train, query=with_history(shares_embedding=True), candidate=candidate)
    raw = {**model.query_tower.raw_features(train.queries.slice(0, 1)), "history": tf.constant([["m1", "m2"]])}
    expected = model.query_tower(raw)
    model.query_tower.save(tmp_path / "query.keras")
    np.testing.assert_array_equal(tf.keras.models.load_model(tmp_path / "query.keras")(raw), expected)
    np.testing.assert_array_equal(expand_tower(model.query_tower, model.query_tower.vocabularies)(raw), expected)


def test_a_shared_table_needs_one_vocabulary():
    movie_id = Categorical(name="movie_id")
    past = History(of=movie_id, shares_embedding=True)
    with pytest.raises(ValueError, match=r"`query_vocabularies\['history'\]` must be `candidate_vocabularies\['movie"):
        join_towers(
            query=MLPTowerConfig(features=(past,)),
            candidate=MLPTowerConfig(features=(movie_id,)),
            query_vocabularies=Vocabularies({"history": Vocabulary(("b", "a"))}),
            candidate_vocabularies=Vocabularies({"movie_id": Vocabulary(("a", "b"))}),
            task=RatingTask(),
        )


def test_a_sum_tower_shares_vectors_of_its_own_length_only():
    movie_id = Categorical(name="movie_id")
    query = SumTowerConfig(features=(History(of=movie_id, shares_embedding=True),), output_dim=3)
    known = Vocabulary(("a", "b"))
    vocabularies = {
        "query_vocabularies": Vocabularies({"history": known}),
        "candidate_vocabularies": Vocabularies({"movie_id": known}),
    }
    candidate = SumTowerConfig(features=(movie_id,), output_dim=3)
    query_tower, candidate_tower = build_tower_pair(query=query, candidate=candidate, **vocabularies)
    assert query_tower.encoders["history"].table is candidate_tower.encoders["movie_id"].table
    with pytest.raises(
        ValueError, match=r"only where they are as long as the query tower's outputs, 3. Received: \[4\]"
    ):
        build_tower_pair(query=query, candidate=dataclasses.replace(candidate, has_bias=True), **vocabularies)
