import dataclasses
import functools

import numpy as np
import pytest
import tensorflow as tf

from tests.index.cases import clustered, ids
from tfrs_twotower.data.rows import NO_ROW
from tfrs_twotower.index import tuning
from tfrs_twotower.index.approximate import ApproximateIndex, Effort
from tfrs_twotower.index.build import BuildLimits, build_approximate, build_exact
from tfrs_twotower.index.embeddings import check_embeddings
from tfrs_twotower.index.exact import ExactIndex
from tfrs_twotower.index.index import Index
from tfrs_twotower.index.portable import PortableEffort, PortableIndex
from tfrs_twotower.index.scann import ScannEffort, ScannIndex
from tfrs_twotower.index.tuning import IndexTarget, tune
from tfrs_twotower.index.vectors import CandidateVectors

TARGET = IndexTarget(recall={10: 0.9, 100: 0.8})


@dataclasses.dataclass(frozen=True, kw_only=True)
class SliceEffort(Effort):
    num_slices: int


class SliceIndex(ApproximateIndex[SliceEffort]):
    """A user's approximate kind: sorts candidates by their first value, and scores a query's nearest slices of 100."""

    kind = "slice"
    max_candidates_for_exact = 5000

    def __init__(self, embeddings, ids):
        embeddings = check_embeddings(embeddings, ids)
        self.num_slices = len(embeddings) // 100
        order = np.argsort(embeddings[:, 0])[: self.num_slices * 100].reshape(-1, 100)
        super().__init__(CandidateVectors(tf.Variable(embeddings)), effort=SliceEffort(num_slices=1))
        self.slices = tf.Variable(order.astype(np.int32))
        self.middles = tf.Variable(embeddings[order, 0].mean(axis=1))

    @property
    def is_exact(self):
        return False

    def list_efforts(self):
        return [SliceEffort(num_slices=num) for num in (5, self.num_slices)]

    def find_approximately(self, queries, width, num_columns, multiple):
        num_slices = min(multiple * self.effort.num_slices, self.num_slices)
        distances = tf.abs(queries[:, :1] - self.middles)
        rows = tf.gather(self.slices, tf.math.top_k(-distances, num_slices).indices)
        rows = tf.reshape(rows, [-1, num_slices * 100])
        scores = tf.einsum("qd,qnd->qn", queries, self.vectors.take(rows))
        num_found = tf.minimum(num_columns, num_slices * 100)
        found = tf.gather(rows, tf.math.top_k(scores, num_found).indices, batch_dims=1)
        return tf.pad(found, [[0, 0], [0, num_columns - num_found]], constant_values=NO_ROW)


class ColumnIndex(Index):
    """A user's exact kind: scores every candidate with a matrix product of its own."""

    kind = "column"
    is_exact = True

    def __init__(self, embeddings, ids):
        super().__init__(CandidateVectors(tf.Variable(check_embeddings(embeddings, ids))))

    def find_rows(self, queries, k, width, exclude):
        scores = tf.einsum("nd,qd->qn", self.vectors.matrix, queries)
        if exclude is not None:
            excluded = tf.reduce_any(tf.range(self.num_candidates) == exclude[:, :, tf.newaxis], axis=1)
            scores = tf.where(excluded, -np.inf, scores)
        best, rows = tf.math.top_k(scores, width)
        return tf.where(best == -np.inf, NO_ROW, rows)


KINDS = [PortableIndex, pytest.param(ScannIndex, marks=pytest.mark.scann), SliceIndex]


@pytest.fixture(scope="module", autouse=True)
def small_catalogues_are_searched_approximately():
    """Lets 6,000 candidates count as too many to score, and tries few efforts, since each takes a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuning, "_NUMS_EXCLUSIONS", (16, 256))
        for kind in (PortableIndex, ScannIndex):
            patch.setattr(kind, "max_candidates_for_exact", 5000)
            patch.setattr(kind, "exclusion_multiples", (2, 8))
            list_efforts = kind.list_efforts
            patch.setattr(kind, "list_efforts", lambda index, efforts=list_efforts: efforts(index)[::-12][::-1])
        yield


@pytest.fixture(scope="module")
def vectors() -> tuple[np.ndarray, np.ndarray]:
    """(candidates, queries)."""
    return clustered(6000, 16, seed=1), clustered(400, 16, seed=2)


@pytest.fixture(scope="module", params=KINDS)
def built(request, vectors):
    candidates, queries = vectors
    return build_approximate(request.param, candidates, ids(6000), queries, target=TARGET)


def measure_recall(index, queries, candidates, k, exclude=None) -> float:
    """Compares a search with sorting in NumPy."""
    scores = queries @ candidates.T
    if exclude is not None:
        np.put_along_axis(scores, exclude, -np.inf, axis=1)
    truth = np.argsort(-scores, axis=1)[:, :k]
    _, rows = index.search(tf.constant(queries), k, None if exclude is None else tf.constant(exclude.astype(np.int32)))
    return float((rows.numpy()[:, :, None] == truth[:, None, :]).any(axis=2).mean())


def test_a_large_catalogue_is_searched_approximately_with_the_recall_of_the_outcome(built, vectors):
    candidates, _ = vectors
    outcome = built.outcome
    assert built.requested == built.index.kind
    assert not built.index.is_exact
    assert outcome.note is None
    fresh = clustered(500, 16, seed=3)
    for k, minimum in TARGET.recall.items():
        assert outcome.recall[k] >= minimum
        # Three standard errors of the mean of 500 shares in 0..1 are below 0.07.
        assert measure_recall(built.index, fresh, candidates, k) == pytest.approx(outcome.recall[k], abs=0.07)
    assert outcome.parameters == built.index.parameters()
    assert set(outcome.latency_ms) == {1, 256}
    assert outcome.size_bytes > candidates.nbytes


def test_the_recall_holds_when_the_best_candidates_are_excluded(built, vectors):
    """The search is approximate up to the tuned number of exclusions, and exact above it."""
    candidates, queries = vectors
    assert built.index.excluding
    best = np.argsort(-(queries @ candidates.T), axis=1)
    for max_exclusions, _ in built.index.excluding:
        assert measure_recall(built.index, queries, candidates, 10, best[:, :max_exclusions]) >= 0.9 - 0.03
    assert measure_recall(built.index, queries, candidates, 10, best[:, : max_exclusions + 1]) > 0.999


UNREACHABLE = {"target": IndexTarget(recall={10: 1.0})}


# Each kind makes its own exact index. What else stands in the way is asked before it, of every kind alike.
@pytest.mark.parametrize(
    ("kind", "options", "queries", "note"),
    [
        (PortableIndex, UNREACHABLE, None, "no effort that there was time to try"),
        pytest.param(ScannIndex, UNREACHABLE, None, "no effort that there was time to try", marks=pytest.mark.scann),
        (SliceIndex, UNREACHABLE, None, "no effort that there was time to try"),
        (PortableIndex, {"limits": BuildLimits(build_s=1e-9)}, None, "no effort that there was time to try"),
        (PortableIndex, {"limits": BuildLimits(memory_bytes=1000)}, None, "would need about"),
        (PortableIndex, {}, np.zeros((1, 16), np.float32), "fewer than 64 queries to measure"),
    ],
)
def test_an_index_that_cannot_be_good_enough_is_exact_and_says_why(kind, options, queries, note, monkeypatch):
    # A single partition or slice holds too few of the best candidates.
    for tuned_kind, effort in (
        (PortableIndex, PortableEffort(num_partitions_to_search=1)),
        (ScannIndex, ScannEffort(num_partitions_to_search=1)),
        (SliceIndex, SliceEffort(num_slices=1)),
    ):
        monkeypatch.setattr(tuned_kind, "list_efforts", lambda index, effort=effort: [effort])
    candidates = clustered(6000, 16, seed=1)
    queries = clustered(100, 16, seed=2) if queries is None else queries
    built = build_approximate(kind, candidates, ids(6000), queries, **options)
    assert built.index.is_exact
    assert built.requested == kind.kind
    assert note in built.outcome.note
    assert set(built.outcome.recall.values()) == {1.0}


@pytest.mark.parametrize("kind", KINDS[:2])
def test_equal_candidates_count_as_found(kind):
    """The catalogue holds twenty copies of each vector, and it does not matter which of them are found."""
    candidates = np.repeat(clustered(300, 16, seed=1), 20, axis=0)
    built = build_approximate(kind, candidates, ids(6000), clustered(200, 16, seed=2), target=TARGET)
    assert built.outcome.note is None
    assert built.index.excluding


def test_a_small_catalogue_is_scored_exactly_and_needs_no_query(vectors):
    candidates, queries = vectors
    for given in (queries, queries[:0]):
        built = build_approximate(PortableIndex, candidates[:4000], ids(4000), given)
        assert (built.index.kind, built.requested, built.outcome.note) == ("exact", "portable", None)


@pytest.mark.parametrize("kind", [ExactIndex, ColumnIndex, pytest.param(ScannIndex, marks=pytest.mark.scann)])
def test_an_exact_kind_is_built_and_finds_the_best(kind, vectors):
    candidates, queries = vectors
    built = build_exact(kind, candidates, ids(6000), queries)
    assert (built.requested, built.outcome.recall, built.outcome.parameters) == (kind.kind, {10: 1.0, 100: 1.0}, {})
    assert measure_recall(built.index, queries, candidates, 10) > 0.999  # rounding may swap two neighbours
    best = np.argsort(-(queries @ candidates.T), axis=1)[:, :5]
    assert measure_recall(built.index, queries, candidates, 10, best) > 0.999


def test_an_exact_kind_that_is_wrong_is_not_built(vectors):
    class LastRowsIndex(ColumnIndex):
        def find_rows(self, queries, k, width, exclude):
            return self.num_candidates - 1 - super().find_rows(queries, k, width, exclude)

    candidates, queries = vectors
    with pytest.raises(RuntimeError, match="The column index finds only .* of candidates by their own vectors"):
        build_exact(LastRowsIndex, candidates, ids(6000), queries)


def test_a_saved_index_finds_the_same(built, vectors, tmp_path):
    _, queries = vectors
    module = tf.Module()
    module.index = built.index
    module.search = tf.function(
        functools.partial(built.index.search, k=10), input_signature=[tf.TensorSpec([None, 16], tf.float32)]
    )
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    for ours, theirs in zip(loaded.search(tf.constant(queries)), module.search(tf.constant(queries)), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_an_effort_is_traced_once_for_every_k_and_every_sample(vectors):
    """Tracing a search takes longer than searching a sample of the queries."""
    traced = []

    class NotingIndex(SliceIndex):
        def find_approximately(self, queries, width, num_columns, multiple):
            traced.append(self.effort.num_slices)
            return SliceIndex.find_approximately(self, queries, width, num_columns, multiple)

    candidates, queries = vectors
    index = NotingIndex(candidates, ids(6000))
    assert tune(index, queries, TARGET) is not None
    efforts = [effort.num_slices for effort in index.list_efforts()]
    assert traced == efforts[: efforts.index(index.effort.num_slices) + 1]


@pytest.mark.parametrize("limits", [{"build_s": 0}, {"memory_bytes": -1}, {"build_s": float("nan")}])
def test_limits_must_be_positive(limits):
    with pytest.raises(ValueError, match="`build_s` and `memory_bytes` must be positive"):
        BuildLimits(**limits)
