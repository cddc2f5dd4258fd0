import dataclasses

import pytest

import tfrs_twotower as tt


def test_history_has_every_validation_metric(planted):
    from tests.conftest import CANDIDATE, QUERY

    model = tt.build_two_tower(planted.split.train, query=QUERY, candidate=CANDIDATE)
    history = tt.fit_two_tower(model, planted.split, seed=0, epochs=1, batch_size=64)
    assert {"val_log_loss", "val_accuracy", "val_auc", "log_loss", "accuracy", "auc"} <= set(history.history)


def test_a_history_needs_no_further_word(planted):
    """Training leaves the target out, validation knows what came before, evaluation all that was seen."""
    import tensorflow as tf

    from tests.conftest import CANDIDATE, QUERY

    tf.keras.utils.set_random_seed(0)
    query = dataclasses.replace(QUERY, features=(tt.History(of=CANDIDATE.features[0], by_rating=True),))
    model = tt.build_two_tower(planted.split.train, query=query, candidate=CANDIDATE)
    tt.fit_two_tower(model, planted.split, seed=0, epochs=20, learning_rate=5e-3, patience=20)
    assert tt.evaluate(model, planted.split).cases["model"]["auc"] > 0.95


def test_a_hundred_events_are_enough_to_learn_from():
    """The first thing anybody tries; batches of a single event would teach nothing."""
    import tensorflow as tf

    from tests.conftest import CANDIDATE, QUERY, make_planted

    split = make_planted(num_queries=7, num_candidates=20).split
    assert 90 <= split.train.num_events <= 110
    tf.keras.utils.set_random_seed(0)
    model = tt.build_two_tower(split.train, query=QUERY, candidate=CANDIDATE)
    tt.fit_two_tower(model, split, seed=0, epochs=60, learning_rate=5e-3, patience=60)
    assert tt.evaluate(model, split).cases["model"]["auc"] > 0.95


def test_no_epoch_is_no_training(planted, trained):
    with pytest.raises(ValueError, match="`epochs` must be at least 1. Received: 0"):
        tt.fit_two_tower(trained, planted.split, seed=0, epochs=0)
