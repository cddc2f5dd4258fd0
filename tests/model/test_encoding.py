import dataclasses

import numpy as np
import pytest

from tests.conftest import CANDIDATE, QUERY
from tfrs_twotower.batches.batch import EventBatch
from tfrs_twotower.batches.histories import FixedHistory, Timeline
from tfrs_twotower.features.history import History
from tfrs_twotower.model.build import build_two_tower
from tfrs_twotower.model.encoding import encode_tables, with_candidate_keys
from tfrs_twotower.model.mlp_tower import MLPTowerConfig

PAST = History(of=CANDIDATE.features[0])


def with_history(**settings) -> MLPTowerConfig:
    return dataclasses.replace(QUERY, features=(*QUERY.features, dataclasses.replace(PAST, **settings)))


def test_a_missing_history_is_refused_where_there_is_no_default(planted):
    model = build_two_tower(planted.split.train, query=with_history(length=7), candidate=CANDIDATE)
    with pytest.raises(ValueError, match=r"`history` must be given.*Timeline\(split.context\), length=7"):
        model.evaluation_batches(planted.split.validation)
    with pytest.raises(ValueError, match="`known` must be given: the query tower takes a history"):
        model.embed(planted.split.validation)


def test_a_history_of_other_queries_or_candidates_or_too_short_is_refused(planted):
    split = planted.split
    model = build_two_tower(split.train, query=with_history(), candidate=CANDIDATE)
    others = dataclasses.replace(split.seen, candidates=split.seen.candidates.take(np.arange(24)[::-1]))
    with pytest.raises(ValueError, match="`known` must have the queries and candidates of `interactions`"):
        model.embed(split.test, known=others)
    with pytest.raises(ValueError, match="`history` must be of the same queries and candidates"):
        model.evaluation_batches(split.test, history=FixedHistory(timeline=Timeline(others), length=100))
    with pytest.raises(ValueError, match="`history` must have a length of at least 100, the.*Received: 3"):
        model.evaluation_batches(split.test, history=FixedHistory(timeline=Timeline(split.seen), length=3))


def test_embedding_in_blocks_equals_embedding_all_at_once(planted, monkeypatch):
    split = planted.split
    model = build_two_tower(split.train, query=with_history(by_rating=True), candidate=CANDIDATE)
    whole, _ = model.embed(split.test, known=split.seen)
    monkeypatch.setattr("tfrs_twotower.model.encoding._MAX_QUERIES_AT_ONCE", 7)
    parts, _ = model.embed(split.test, known=split.seen)
    np.testing.assert_allclose(parts, whole, rtol=1e-5, atol=1e-6)


def test_a_training_split_without_events_is_refused(planted, trained):
    with pytest.raises(ValueError, match="`train` must have an event"):
        trained.training_batches(planted.split.history, seed=0)


def test_tables_hold_the_codes_of_every_query_and_candidate_and_past_candidate(planted):
    train = planted.split.train
    model = build_two_tower(train, query=with_history(by_rating=True), candidate=CANDIDATE)
    tables = encode_tables(model.query_tower, model.candidate_tower, train)
    assert tables.queries.keys() == {"user_id", "age"}
    assert tables.candidates.keys() == {"movie_id", "genres"}
    # Code 0 is missing, code 1 unknown; then come the values of the vocabulary.
    values = model.candidate_tower.vocabularies.values_of("movie_id")
    codes = [2 + values.index(name) for name in train.candidates["movie_id"].to_pylist()]
    assert tables.candidates["movie_id"].tolist() == codes
    (history,) = tables.histories
    assert history.name == "history"
    assert history.codes.tolist() == [*codes, 0]


def test_candidate_keys_stay_with_the_ids_in_another_order(planted, trained):
    test = planted.split.test
    order = np.arange(test.num_candidates)[::-1]
    turned = dataclasses.replace(test, candidates=test.candidates.take(order))

    def keys(interactions) -> dict[str, int]:
        ids, found = interactions.candidates["movie_id"].to_pylist(), {}
        for batch in with_candidate_keys(trained.evaluation_batches(interactions, batch_size=50), interactions):
            assert isinstance(batch, EventBatch)
            rows = batch.candidate_rows.numpy().tolist()
            found |= dict(zip([ids[row] for row in rows], batch.candidate_keys.numpy().tolist(), strict=True))
        return found

    first, second = keys(test), keys(turned)
    both = first.keys() & second.keys()
    assert len(both) > 10
    assert {name: first[name] for name in both} == {name: second[name] for name in both}
    assert len(set(first.values())) == len(first)
