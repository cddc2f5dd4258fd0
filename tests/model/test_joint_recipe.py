import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from tests.conftest import make_interactions
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.features.categorical import Categorical
from tfrs_twotower.features.history import History
from tfrs_twotower.features.multi_categorical import MultiCategorical
from tfrs_twotower.model.joint import JointModel
from tfrs_twotower.model.joint_recipe import build_joint, build_rating_model, build_retrieval_model
from tfrs_twotower.model.tasks.full_softmax import FullSoftmaxTask
from tfrs_twotower.model.tasks.rating import RatingTask

RATINGS = [5.0, 1.0, 4.0, 2.0, 3.0, 5.0]


def shop(ratings=RATINGS, **columns) -> Interactions:
    """A shop of six goods with two customers; `columns` are further columns of the goods."""
    return Interactions(
        queries=pa.table({"customer": ["c1", "c2"], "town": ["Ulm", "Ulm"]}),
        candidates=pa.table({"sku": list("abcdef"), **columns}),
        events=pa.table({"query_row": [0, 0, 0, 1, 1, 1], "candidate_row": list(range(6)), "rating": ratings}),
        query_id="customer",
        candidate_id="sku",
    )


@pytest.mark.parametrize(
    ("column", "features"),
    [
        (["red", "red", "blue", "red", "blue", "red"], (Categorical(name="about"),)),
        (["red", None, None, None, None, None], (Categorical(name="about"),)),
        # Three values in six rows: at half the number of rows, values do not count as recurring.
        (["red", "red", "blue", "blue", "green", "green"], ()),
        (["A", "B", "C", "D", "E", "F"], ()),  # titles
        ([["new"], [], ["new", "sale"], None, ["a"], ["b"]], (MultiCategorical(name="about"),)),
        (["a", "a", "a", "a", "a", "a"], (Categorical(name="about"),)),
        ([1, 1, 1, 2, 2, 2], ()),
        ([1.5, 1.5, 1.5, 2.0, 2.0, 2.0], ()),
        ([[1.0, 2.0]] * 6, ()),
    ],
    ids=["recurring", "mostly null", "half", "titles", "lists", "constant", "integers", "numbers", "vectors"],
)
def test_columns_of_recurring_strings_and_of_lists_become_candidate_features(column, features):
    model = build_joint(shop(about=column))
    for part in model.models:
        assert part.candidate_tower.config.features == (Categorical(name="sku"), *features)


def test_features_are_in_the_order_of_the_columns():
    colors, tags = ["red", "red", "red", "blue", "blue", "blue"], [["new"]] * 6
    titles = ["A", "B", "C", "D", "E", "F"]
    assert build_retrieval_model(shop(color=colors, title=titles, tags=tags)).candidate_tower.feature_names == [
        "sku",
        "color",
        "tags",
    ]
    assert build_rating_model(shop(tags=tags, color=colors)).candidate_tower.feature_names == ["sku", "tags", "color"]


def test_a_query_is_its_id_and_its_rated_history():
    model = build_joint(shop())
    past = History(of=Categorical(name="sku"), length=1000, pooling="sqrtn", by_rating=True)
    user = Categorical(name="customer", id_dropout=0.5)
    assert model.retrieval_model.query_tower.config.features == (user, past)
    rated = dataclasses.replace(past, rating_vectors=True)
    assert model.rating_model.query_tower.config.features == (user, rated)


def test_the_retrieval_model_starts_from_popularity_and_the_rating_model_has_biases():
    model = build_joint(shop())
    retrieval, rating = model.retrieval_model, model.rating_model
    assert isinstance(model, JointModel)
    assert isinstance(retrieval.task, FullSoftmaxTask)
    assert isinstance(rating.task, RatingTask)
    assert not model.shares_towers
    assert retrieval.candidate_tower.config.frequency_of == "sku"
    assert retrieval.candidate_tower.config.has_bias
    assert rating.candidate_tower.config.frequency_of is None
    assert rating.candidate_tower.config.has_bias
    assert rating.query_tower.config.has_bias


@pytest.mark.parametrize(
    ("ratings", "threshold", "expected"),
    [
        (RATINGS, 3.0, (2, 4, 5)),
        (RATINGS, 4.0, (2, 3, 5)),
        ([1.0, 5.0, 1.0, 5.0, 1.0, 5.0], 3.0, (5,)),
        ([0.0, 1.0, 0.0, 1.0, 0.0, 1.0], 1.0, ()),
        ([4.0] * 6, 3.0, ()),
    ],
)
def test_every_other_rating_but_the_lowest_is_a_threshold(ratings, threshold, expected):
    for task in (
        build_rating_model(shop(ratings), threshold=threshold).task,
        build_joint(shop(ratings), threshold=threshold).rating_model.task,
    ):
        assert task.threshold == threshold
        assert task.other_thresholds == expected


@pytest.mark.parametrize(("num_ratings", "num_others"), [(11, 10), (12, 0)])
def test_a_fine_scale_of_ratings_has_no_other_thresholds(num_ratings, num_others):
    rows = np.zeros(num_ratings, np.int64)
    data = make_interactions(rows, rows, np.arange(num_ratings), num_queries=1, num_candidates=2)
    assert len(build_rating_model(data, threshold=2.5).task.other_thresholds) == num_others


@pytest.mark.parametrize(("num_events", "length"), [(3, 1000), (1000, 1000), (1200, 1200)])
def test_the_history_takes_the_longest_query_whole(num_events, length):
    rows = np.arange(num_events) % 4
    data = make_interactions(
        np.zeros(num_events, np.int64), rows, np.where(rows < 2, 5.0, 1.0), num_queries=2, num_candidates=4
    )
    for model in build_joint(data).models:
        assert model.history_length == length


def test_both_models_have_the_threshold_that_is_asked_for():
    model = build_joint(shop(), threshold=4.0)
    assert [part.threshold for part in model.models] == [4.0, 4.0]


@pytest.mark.parametrize("name", ["candidate_id", "customer no"])
def test_an_id_that_cannot_name_an_input_is_refused(name):
    data = shop()
    named = dataclasses.replace(data, queries=data.queries.rename_columns([name, "town"]), query_id=name)
    with pytest.raises(ValueError, match=repr(name)):
        build_joint(named)
