"""The estimate of what training costs, by hand."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

import tfrs_twotower as tt
from tfrs_twotower.experiment import cost
from tfrs_twotower.model.recipe import choose_recipe


def interactions(num_candidates: int) -> tt.Interactions:
    rows = np.arange(1000) % 10
    return tt.Interactions(
        queries=pa.table({"q": [str(row) for row in range(10)]}),
        candidates=pa.table({"c": [str(row) for row in range(num_candidates)]}),
        events=pa.table({"query_row": rows, "candidate_row": rows, "rating": 1.0 + rows % 5}),
        query_id="q",
        candidate_id="c",
    )


@pytest.mark.parametrize(("num_candidates", "scale"), [(10, 1.0), (60_000, 1.0), (90_000, 1.5)])
def test_time_grows_with_events_epochs_and_large_catalogues(num_candidates, scale):
    train = interactions(num_candidates)
    recipe = choose_recipe(train)
    estimated = cost.estimate_cost(train, recipe)
    assert estimated.epoch_s == pytest.approx(1000 * (8e-6 * scale + 4.3e-6))
    # The rating model may be trained from biases, too; there are no columns that the retrieval model could leave out.
    retrieval, rating = 2 * recipe.retrieval.max_epochs, 3 * recipe.rating.max_epochs
    assert estimated.max_s == pytest.approx(1000 * (8e-6 * scale * retrieval + 4.3e-6 * rating))


def test_a_retrieval_model_with_columns_is_trained_with_ids_alone_too():
    train = interactions(30)
    colors = pa.array(["red", "blue"] * 15)
    train = dataclasses.replace(train, candidates=train.candidates.append_column("color", colors))
    recipe = dataclasses.replace(choose_recipe(train), rating=None)
    assert cost.estimate_cost(train, recipe).max_s == pytest.approx(1000 * 8e-6 * 3 * recipe.retrieval.max_epochs)


def test_explicit_negatives_that_are_to_be_tried_take_another_training():
    train = interactions(30)
    recipe = dataclasses.replace(choose_recipe(train), rating=None, impression_weight=None)
    assert cost.estimate_cost(train, recipe).max_s == pytest.approx(1000 * 8e-6 * 3 * recipe.retrieval.max_epochs)


def test_memory_grows_with_ids_and_lengths_of_vectors():
    small, large = (interactions(size) for size in (10, 1010))
    recipe = choose_recipe(small)
    dims = recipe.retrieval.output_dim + recipe.rating.output_dim
    more = cost.estimate_cost(large, recipe).memory_bytes - cost.estimate_cost(small, recipe).memory_bytes
    assert more == 20 * dims * 2 * 1000  # five copies of 4 bytes, for candidates and for histories


def test_epochs_that_are_given_are_trained_once():
    train = interactions(10)
    recipe = choose_recipe(train).with_settings(epochs=3)
    assert cost.estimate_cost(train, recipe).max_s == pytest.approx(3 * 1000 * (8e-6 + 4.3e-6))
