import pytest

import tfrs_twotower as tt


def test_history_has_every_validation_metric(planted):
    from tests.conftest import CANDIDATE, QUERY

    model = tt.build_two_tower(planted.split.train, query=QUERY, candidate=CANDIDATE)
    history = tt.fit_two_tower(model, planted.split, seed=0, epochs=1, batch_size=64)
    assert {"val_log_loss", "val_accuracy", "val_auc", "log_loss", "accuracy", "auc"} <= set(history.history)


def test_no_epoch_is_no_training(planted, trained):
    with pytest.raises(ValueError, match="`epochs` must be at least 1. Received: 0"):
        tt.fit_two_tower(trained, planted.split, seed=0, epochs=0)
