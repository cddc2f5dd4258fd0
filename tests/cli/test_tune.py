"""`tune`, in this process and another."""

import pytest

from tests.experiment.shop import write_shop

EXPERIMENT = """
[data]
ratings = "ratings.csv"
query_id = "customer"
candidate_id = "sku"

[retrieval_model]
max_epochs = 1
output_dim = 4

[tune.ranges]
learning_rate = [0.01, 0.1]
"""


@pytest.fixture(autouse=True)
def shop(tmp_path, monkeypatch):
    write_shop(tmp_path)
    (tmp_path / "shop.toml").write_text(EXPERIMENT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_best_settings_are_printed_and_written(call, shop):
    result = call("tune", "--config", "shop.toml", "--trials", "2", "--processes", "2")
    assert result.returncode == 0, result.stderr
    assert "Best NDCG@10 of the validation part: 0." in result.stdout
    assert "retrieval_model.learning_rate = 0." in result.stdout
    assert "train --config tuning/ratings/tuned.toml" in result.stdout
    assert "learning_rate = 0." in (shop / "tuning" / "ratings" / "tuned.toml").read_text()


def test_a_range_that_is_wrong_is_one_line(call, shop):
    (shop / "shop.toml").write_text(EXPERIMENT.replace("0.1]", "-1]"))
    message = call("tune", "--config", "shop.toml").error()
    assert "shop.toml: `tune.ranges.learning_rate` must hold possible values." in message
    assert not (shop / "tuning").exists()
