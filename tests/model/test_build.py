import dataclasses

import numpy as np
import pytest

import tfrs_twotower as tt
from tests.conftest import CANDIDATE, QUERY, make_planted
from tfrs_twotower.features.categorical import Categorical
from tfrs_twotower.features.history import History
from tfrs_twotower.model.build import build_two_tower
from tfrs_twotower.model.mlp_tower import MLPTowerConfig

PAST = History(of=CANDIDATE.features[0])


def with_history(**settings) -> MLPTowerConfig:
    return dataclasses.replace(QUERY, features=(*QUERY.features, dataclasses.replace(PAST, **settings)))


def test_a_categorical_takes_integers():
    star = tt.load_ratings(
        {"user": [1, 2, 1], "item": [5, 6, 6], "stars": [5, 1, 2], "aisle": [10, 20, 20]},
        tt.Schema(query_id="user", candidate_id="item", rating="stars", candidate_features=("aisle",)),
    )
    candidate = dataclasses.replace(CANDIDATE, features=(Categorical(name="item"), Categorical(name="aisle")))
    query = dataclasses.replace(QUERY, features=(Categorical(name="user"),))
    model = build_two_tower(star, query=query, candidate=candidate)
    assert {name: known.values for name, known in model.candidate_tower.vocabularies.items()} == {
        "item": ("6", "5"),
        "aisle": ("20", "10"),
    }
    assert model.candidate_tower.encode_table(star.candidates)["aisle"].tolist() == [3, 2]


def test_vocabularies_come_from_the_training_split_alone():
    split = make_planted(num_queries=6, num_candidates=10).split
    train = split.train.with_events(np.flatnonzero(split.train.candidate_rows != 3))
    model = build_two_tower(train, query=QUERY, candidate=CANDIDATE)
    assert "m3" not in model.candidate_tower.vocabularies.values_of("movie_id")
    assert len(model.candidate_tower.vocabularies.values_of("movie_id")) == 9


def test_a_history_of_the_candidate_tower_is_refused(planted):
    candidate = dataclasses.replace(CANDIDATE, features=(*CANDIDATE.features, PAST))
    with pytest.raises(ValueError, match="Only queries have a History"):
        build_two_tower(planted.split.train, query=QUERY, candidate=candidate)


def test_a_history_of_another_column_than_the_candidates_id_is_refused(planted):
    query = with_history(of=Categorical(name="title"))
    with pytest.raises(ValueError, match="`of` of the history 'history' must be the candidates' id.*'title'"):
        build_two_tower(planted.split.train, query=query, candidate=CANDIDATE)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("user id", "`name` must be a letter, then letters, digits and underscores.*Received: 'user id'"),
        ("class", "`name` must not be a Python keyword or `self`: 'class'"),
        ("candidate_id", "No query feature may be called 'candidate_id'"),
        ("history", "No history may have the name of the queries' id. Received: 'history'"),
    ],
)
def test_with_a_history_the_queries_id_must_be_a_possible_input_name(planted, name, message):
    """It is refused before training rather than at the export."""
    train = planted.split.train
    queries = train.queries.rename_columns([name, "age"])
    named = dataclasses.replace(train, queries=queries, query_id=name)
    with pytest.raises(ValueError, match=message):
        build_two_tower(named, query=dataclasses.replace(QUERY, features=(PAST,)), candidate=CANDIDATE)
    build_two_tower(named, query=dataclasses.replace(QUERY, features=QUERY.features[1:]), candidate=CANDIDATE)


def test_a_feature_without_a_column_is_named(planted):
    query = dataclasses.replace(QUERY, features=(Categorical(name="zip_code"),))
    with pytest.raises(ValueError, match="The table has no column zip_code. Its columns: user_id, age"):
        build_two_tower(planted.split.train, query=query, candidate=CANDIDATE)


def test_a_query_feature_cannot_take_the_name_of_the_candidates_input(planted):
    query = dataclasses.replace(QUERY, features=(Categorical(name="candidate_id"),))
    with pytest.raises(ValueError, match="No query feature may be called 'candidate_id'"):
        build_two_tower(planted.split.train, query=query, candidate=CANDIDATE)
