import dataclasses
import functools

import numpy as np
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tests.test_index import clustered, ids
from tfrs_twotower.index import build as build_index
from tfrs_twotower.index.build import verify_index
from tfrs_twotower.index.tuning import tune, tune_exclusions

TARGET = tt.IndexTarget(recall={10: 0.9, 100: 0.8})


@pytest.fixture(scope="module")
def vectors() -> tuple[np.ndarray, np.ndarray]:
    """(candidates, queries)."""
    return clustered(6000, 16, seed=1), clustered(400, 16, seed=2)


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch):
    """As if 6,000 candidates were too many to score."""
    monkeypatch.setattr(build_index, "MOST_FOR_EXACT", 5000)
    monkeypatch.setattr(build_index, "MOST_FOR_EXACT_SCANN", 5000)


BUILDERS = [tt.build_portable_index, pytest.param(tt.build_scann_index, marks=pytest.mark.scann)]


def recall(index, queries, candidates, k, exclude=None) -> float:
    """Against sorting in NumPy."""
    scores = queries @ candidates.T
    if exclude is not None:
        np.put_along_axis(scores, exclude, -np.inf, axis=1)
    truth = np.argsort(-scores, axis=1)[:, :k]
    _, rows = index.search(tf.constant(queries), k, None if exclude is None else tf.constant(exclude.astype(np.int32)))
    return float((rows.numpy()[:, :, None] == truth[:, None, :]).any(axis=2).mean())


@pytest.mark.parametrize("build", BUILDERS)
def test_a_large_catalogue_is_searched_approximately_and_as_well_as_the_outcome_says(build, vectors):
    candidates, queries = vectors
    built = build(candidates, ids(6000), queries, target=TARGET)
    outcome = built.outcome
    assert not built.index.is_exact
    assert outcome.note is None
    fresh = clustered(500, 16, seed=3)
    for k, least in TARGET.recall.items():
        assert outcome.recall[k] >= least
        # 500 queries: three standard errors of a mean of shares in 0..1 are below 0.07.
        assert recall(built.index, fresh, candidates, k) == pytest.approx(outcome.recall[k], abs=0.07)
    assert outcome.parameters["excluding"] == {str(most): effort for most, effort in built.index.excluding}
    assert set(outcome.latency_ms) == {1, 256}
    assert outcome.size_bytes > candidates.nbytes


@pytest.mark.parametrize("build", BUILDERS)
def test_with_the_best_excluded_the_rest_is_found_as_well(build, vectors):
    """As many excluded as are searched for approximately, and more, where the search must be exact."""
    candidates, queries = vectors
    index = build(candidates, ids(6000), queries, target=TARGET).index
    assert index.excluding
    best = np.argsort(-(queries @ candidates.T), axis=1)
    for most, _ in index.excluding:
        assert recall(index, queries, candidates, 10, best[:, :most]) >= 0.9 - 0.03
    assert recall(index, queries, candidates, 10, best[:, : most + 1]) > 0.999


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize(
    ("options", "queries", "note"),
    [
        ({"target": tt.IndexTarget(recall={10: 1.0})}, None, "no effort that there was time to try"),
        ({"limits": tt.BuildLimits(build_s=1e-9)}, None, "no effort that there was time to try"),
        ({"limits": tt.BuildLimits(memory_bytes=1000)}, None, "would need about"),
        ({}, np.zeros((1, 16), np.float32), "fewer than 64 queries to measure"),
    ],
)
def test_what_cannot_be_good_enough_is_exact_and_says_why(build, options, queries, note, monkeypatch):
    monkeypatch.setattr(build_index, "_SHARES", (0.001,))  # so little finds too little
    candidates = clustered(6000, 16, seed=1)
    built = build(candidates, ids(6000), clustered(100, 16, seed=2) if queries is None else queries, **options)
    assert built.index.is_exact
    assert note in built.outcome.note
    assert set(built.outcome.recall.values()) == {1.0}


@pytest.mark.parametrize("build", BUILDERS)
def test_equal_candidates_count_as_found(build):
    """Twenty copies of each: which of them are found says nothing."""
    candidates = np.repeat(clustered(300, 16, seed=1), 20, axis=0)
    built = build(candidates, ids(6000), clustered(200, 16, seed=2), target=TARGET)
    assert built.outcome.note is None
    assert built.index.excluding


def test_few_candidates_are_scored_exactly_and_need_no_query(vectors):
    candidates, queries = vectors
    for asked in (queries, queries[:0]):
        built = tt.build_portable_index(candidates[:4000], ids(4000), asked)
        assert (built.index.kind, built.outcome.note) == ("exact", None)


def test_the_effort_that_is_tried_first_is_kept_if_it_is_enough(vectors):
    candidates, queries = vectors
    index = tt.PortableIndex(candidates, ids(6000))
    tried = []

    def efforts():
        for blocks in (1, 100, 200):
            tried.append(blocks)
            yield {"blocks_to_open": blocks}

    recalls = tune(index, queries, TARGET, efforts())
    assert tried == [1, 100]
    assert index.blocks_to_open == 100
    assert all(recalls[k] >= least for k, least in TARGET.recall.items())


def test_exclusions_that_spoil_the_recall_are_not_searched_approximately(vectors):
    """One block of 32 cannot hold what is left when hundreds are excluded."""
    candidates, queries = vectors
    index = tt.PortableIndex(candidates, ids(6000), blocks_to_open=1)
    tune_exclusions(index, queries, tt.IndexTarget(recall={10: 0.999}), (1, 2, 4))
    assert index.excluding == ()


@pytest.mark.parametrize("recall", [{}, {0: 0.9}, {10: 0.0}, {10: 1.1}])
def test_a_target_must_be_a_share_for_some_k(recall):
    with pytest.raises(ValueError, match="`recall` must give a share above 0, up to 1, for each k >= 1"):
        tt.IndexTarget(recall=recall)


@pytest.mark.parametrize("limits", [{"build_s": 0}, {"memory_bytes": -1}, {"build_s": float("nan")}])
def test_limits_must_be_positive(limits):
    with pytest.raises(ValueError, match="`build_s` and `memory_bytes` must be positive"):
        tt.BuildLimits(**limits)


class TestVerification:
    def test_vectors_in_another_order_are_noticed(self, vectors):
        candidates, _ = vectors
        index = tt.ExactIndex(candidates[:500], ids(500))
        verify_index(index, candidates[:500])
        with pytest.raises(RuntimeError, match="holds other vectors than it was given"):
            verify_index(index, candidates[:500][::-1])

    def test_scores_that_are_no_products_are_noticed(self, vectors):
        class Wrong(tt.ExactIndex):
            def search(self, *arguments, **options):
                scores, rows = super().search(*arguments, **options)
                return scores * 1.01, rows

        candidates, _ = vectors
        with pytest.raises(RuntimeError, match="scores are not the products"):
            verify_index(Wrong(candidates[:500], ids(500)), candidates[:500])

    def test_an_exact_index_that_does_not_find_is_noticed(self, vectors):
        class Blind(tt.ExactIndex):
            def _find(self, queries, k, width, exclude):
                return tf.zeros_like(super()._find(queries, k, width, exclude)) + tf.range(width)

        candidates, _ = vectors
        with pytest.raises(RuntimeError, match="of candidates by their own vectors"):
            verify_index(Blind(candidates[:500], ids(500)), candidates[:500])

    @pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-18, 1.0, 1e15])
    def test_odd_but_right_vectors_pass(self, vectors, scale):
        candidates = (vectors[0][:500] * scale).astype(np.float32)
        verify_index(tt.ExactIndex(candidates, ids(500)), candidates)
        verify_index(tt.PortableIndex(candidates, ids(500)), candidates)


def test_the_outcome_is_plain_data(vectors):
    candidates, queries = vectors
    built = functools.partial(tt.build_portable_index, target=TARGET)(candidates, ids(6000), queries)
    described = built.outcome.to_dict()
    assert set(described) == {field.name for field in dataclasses.fields(tt.IndexOutcome)}
    assert described["recall"]["10"] == round(built.outcome.recall[10], 4)
