"""Keras's summary of a model shows its towers and their encoders, with numbers that are counted by hand."""

import re

import numpy as np
import pytest

import tfrs_twotower as tt
from tests.conftest import make_interactions
from tfrs_twotower.model.joint import JointModel
from tfrs_twotower.model.two_tower import TwoTowerModel

USER, MOVIE = tt.Categorical(name="user_id"), tt.Categorical(name="movie_id")
# Tables: a missing value, unknown ones, and 10 users or 20 movies. The last number of each tower is its fingerprint.
USERS, MOVIES, FINGERPRINT = 1 + 1 + 10, 1 + 1 + 20, 1
SUM_ROWS = [
    ("query", USERS * 4 + 2 * 4 + (MOVIES * 4 + 1) + FINGERPRINT),
    ("user_id_embedding", USERS * 4),
    ("age_embedding", 2 * 4),  # a matrix for the number and the mark of a missing one
    ("history_embedding", MOVIES * 4 + 1),  # and the slope of the ratings
    ("candidate", MOVIES * 5 + (1 + MOVIES) + FINGERPRINT),
    ("movie_id_embedding", MOVIES * 5),
    ("frequency", 1 + MOVIES),
    ("full_softmax", 1),  # the scale
]
HIDDEN, OUTPUT, CANDIDATE_OUTPUT = 3 * 6 + 6 + 4 * 6, 6 * 2 + 2, 3 * 2 + 2  # the hidden layer has batch normalisation
MLP_ROWS = [
    ("query", USERS * 3 + HIDDEN + OUTPUT + FINGERPRINT),
    ("user_id_embedding", USERS * 3),
    ("mlp", HIDDEN + OUTPUT),
    ("hidden_0", HIDDEN),
    ("output", OUTPUT),
    ("candidate", MOVIES * 3 + CANDIDATE_OUTPUT + FINGERPRINT),
    ("movie_id_embedding", MOVIES * 3),
    ("mlp", CANDIDATE_OUTPUT),
    ("output", CANDIDATE_OUTPUT),
    ("rating_task", 1),  # the gap between two thresholds
]
PARTS = ("query", "candidate", "full_softmax", "rating_task")


@pytest.fixture(scope="module")
def events() -> tt.Interactions:
    pairs = np.divmod(np.arange(200), 20)
    return make_interactions(*pairs, np.arange(200) % 5 + 1, num_queries=10, num_candidates=20)


@pytest.fixture
def retrieval(events) -> TwoTowerModel:
    return tt.build_two_tower(
        events,
        query=tt.SumTowerConfig(
            features=(USER, tt.Numeric(name="age"), tt.History(of=MOVIE, by_rating=True)), output_dim=4
        ),
        candidate=tt.SumTowerConfig(features=(MOVIE,), output_dim=4, has_bias=True, frequency_of="movie_id"),
        task=tt.tasks.FullSoftmaxTask(),
    )


@pytest.fixture
def rating(events) -> TwoTowerModel:
    sizes = {"embedding_dim": 3, "output_dim": 2}
    return tt.build_two_tower(
        events,
        query=tt.MLPTowerConfig(features=(USER,), hidden_units=(6,), **sizes),
        candidate=tt.MLPTowerConfig(features=(MOVIE,), hidden_units=(), **sizes),
        task=tt.tasks.RatingTask(other_thresholds=(4.0,)),
    )


def summarize(model, *, expand_nested: bool) -> tuple[list[tuple[str, int]], int]:
    """((name, number) of each row, the total)."""
    lines: list[str] = []
    model.summary(expand_nested=expand_nested, print_fn=lambda line, **_: lines.append(line), line_length=120)
    text = "\n".join(lines)
    rows = re.findall(r"^[| ]*(\w+) \([A-Z]\w*\).* (\d+) *(?:\(unused\))?[| ]*$", text, flags=re.M)
    return [(name, int(number)) for name, number in rows], int(re.search(r"Total params: (\d+)", text).group(1))


def count(model) -> int:
    return sum(int(np.prod(weight.shape)) for weight in model.get_weights())


@pytest.mark.parametrize(("fixture", "expected"), [("retrieval", SUM_ROWS), ("rating", MLP_ROWS)])
def test_a_two_tower_model_shows_its_towers_and_their_encoders(request, fixture, expected):
    model = request.getfixturevalue(fixture)
    rows, total = summarize(model, expand_nested=False)
    assert rows == [row for row in expected if row[0] in PARTS]
    assert total == sum(number for _, number in rows) == count(model)
    expanded, total_expanded = summarize(model, expand_nested=True)
    assert sorted(row for row in expanded if row[1]) == sorted(expected)
    assert total_expanded == total


def test_a_joint_model_shows_the_towers_of_both_models(retrieval, rating):
    model = JointModel(retrieval_model=retrieval, rating_model=rating)
    numbers = [sum(number for name, number in rows if name in PARTS) for rows in (SUM_ROWS, MLP_ROWS)]
    rows, total = summarize(model, expand_nested=False)
    assert rows == [("two_tower", number) for number in numbers]
    assert total == sum(numbers) == count(model)
    expanded, _ = summarize(model, expand_nested=True)
    shown = [row for row in expanded if row[1]]
    assert sorted(shown) == sorted([*rows, *SUM_ROWS, *MLP_ROWS])


def test_shared_towers_count_once(retrieval):
    towers = {"query_tower": retrieval.query_tower, "candidate_tower": retrieval.candidate_tower}
    model = JointModel(retrieval_model=retrieval, rating_model=TwoTowerModel(**towers, task=tt.tasks.RatingTask()))
    rows, total = summarize(model, expand_nested=False)
    both = sum(number for name, number in SUM_ROWS if name in ("query", "candidate"))
    assert rows == [("two_tower", both + 1), ("two_tower", both)]
    assert total == both + 1 == count(model)
