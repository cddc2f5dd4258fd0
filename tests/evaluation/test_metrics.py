import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfrs_twotower.evaluation import metrics

HITS = hnp.arrays(bool, st.tuples(st.integers(1, 20), st.integers(1, 12)))


def num_relevant(hits: np.ndarray, extra: int = 0) -> np.ndarray:
    return np.maximum(hits.sum(axis=1) + extra, 1)


def all_metrics(hits: np.ndarray, relevant: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "precision": metrics.precision(hits),
        "recall": metrics.recall(hits, relevant),
        "hit_rate": metrics.hit_rate(hits),
        "ndcg": metrics.ndcg(hits, relevant),
        "reciprocal_rank": metrics.reciprocal_rank(hits),
        "average_precision": metrics.average_precision(hits, relevant),
    }


def test_a_case_by_hand():
    # Slots 1 and 3 of 4 hold relevant candidates, and there are 3 relevant candidates in all.
    hits, relevant = np.array([[True, False, True, False]]), np.array([3])
    values = all_metrics(hits, relevant)
    assert values["precision"] == pytest.approx(2 / 4)
    assert values["recall"] == pytest.approx(2 / 3)
    assert values["hit_rate"] == 1
    assert values["reciprocal_rank"] == 1
    # The precision is 1 at the first hit and 2/3 at the second; the third candidate was missed.
    assert values["average_precision"] == pytest.approx((1 + 2 / 3) / 3)
    # DCG = 1/log2(2) + 1/log2(4) = 1.5; ideal = 1/log2(2) + 1/log2(3) + 1/log2(4) = 2.13093
    assert values["ndcg"] == pytest.approx(1.5 / 2.1309297535714578)


@given(hits=HITS, extra=st.integers(0, 30))
def test_ndcg_agrees_with_scikit_learn(hits, extra):
    relevant = num_relevant(hits, extra)
    k = hits.shape[1]
    # scikit-learn ranks by score: the k slots come first, in order, and the missed candidates after them.
    width = k + int(relevant.max())
    for row, wanted in zip(hits, relevant, strict=True):
        missed = int(wanted - row.sum())
        gains = np.concatenate([row, np.ones(missed), np.zeros(width - k - missed)])
        scores = -np.arange(width, dtype=float)
        expected = sklearn.metrics.ndcg_score([gains], [scores], k=k)
        assert metrics.ndcg(row[np.newaxis], np.array([wanted]))[0] == pytest.approx(expected)


@given(hits=HITS, extra=st.integers(0, 30))
def test_every_metric_is_a_share(hits, extra):
    for name, values in all_metrics(hits, num_relevant(hits, extra)).items():
        assert np.all((values >= 0) & (values <= 1 + 1e-12)), name


@given(hits=HITS, extra=st.integers(1, 5), data=st.data())
def test_one_more_hit_is_never_worse(hits, extra, data):
    row = data.draw(st.integers(0, hits.shape[0] - 1))
    slot = data.draw(st.integers(0, hits.shape[1] - 1))
    better = hits.copy()
    better[row, slot] = True
    relevant = num_relevant(hits, extra)
    before, after = all_metrics(hits, relevant), all_metrics(better, relevant)
    for name in before:
        assert np.all(after[name] >= before[name] - 1e-12), name


@given(hits=HITS, data=st.data())
def test_the_order_of_the_queries_does_not_matter(hits, data):
    order = data.draw(st.permutations(range(len(hits))))
    relevant = num_relevant(hits)
    for name, values in all_metrics(hits, relevant).items():
        np.testing.assert_array_equal(values[order], all_metrics(hits[order], relevant[order])[name])


@given(hits=HITS, extra=st.integers(0, 30))
def test_average_precision_agrees_with_scikit_learn_on_a_whole_ranking(hits, extra):
    """scikit-learn divides by the number of hits, and this metric by the number of relevant candidates or of slots."""
    relevant = num_relevant(hits, extra)
    for row, wanted in zip(hits, relevant, strict=True):
        if not row.any():
            continue
        found = sklearn.metrics.average_precision_score(row, -np.arange(len(row), dtype=float))
        expected = found * row.sum() / min(wanted, len(row))
        assert metrics.average_precision(row[np.newaxis], np.array([wanted]))[0] == pytest.approx(expected)


@given(hits=HITS)
def test_the_reciprocal_rank_is_that_of_the_first_hit(hits):
    expected = [next((1 / slot for slot, hit in enumerate(row, start=1) if hit), 0.0) for row in hits.tolist()]
    assert metrics.reciprocal_rank(hits).tolist() == expected


@given(gains=hnp.arrays(np.float64, st.tuples(st.integers(1, 8), st.integers(2, 12)), elements=st.integers(0, 5)))
def test_graded_ndcg_agrees_with_scikit_learn(gains):
    gains = gains[gains.any(axis=1)]
    if not len(gains):
        return
    k = gains.shape[1] // 2 + 1
    best = -np.sort(-gains, axis=1)[:, :k]
    scores = np.tile(-np.arange(gains.shape[1], dtype=float), (len(gains), 1))
    expected = [sklearn.metrics.ndcg_score([row], [order], k=k) for row, order in zip(gains, scores, strict=True)]
    np.testing.assert_allclose(metrics.graded_ndcg(gains[:, :k], best), expected)


RANKED = hnp.arrays(np.int64, st.tuples(st.integers(1, 8), st.integers(1, 6)), elements=st.integers(-1, 9))


@given(found=RANKED, seed=st.integers(0, 1000))
def test_search_recall_is_the_share_of_a_set(found, seed):
    exact = np.random.default_rng(seed).permutation(found.ravel()).reshape(found.shape)
    values = metrics.search_recall(found, exact)
    for query in range(len(found)):
        wanted = [row for row in exact[query].tolist() if row >= 0]
        expected = np.mean([row in found[query] for row in wanted]) if wanted else np.nan
        assert values[query] == pytest.approx(expected, nan_ok=True)


@given(ranked=RANKED)
def test_coverage_counts_each_recommended_candidate_once(ranked):
    assert metrics.coverage(ranked, 10) == len({row for row in ranked.ravel().tolist() if row >= 0}) / 10


@given(counts=hnp.arrays(np.int64, st.integers(1, 20), elements=st.integers(0, 50)))
def test_gini_is_the_mean_difference_over_twice_the_mean(counts):
    if not counts.any():
        assert metrics.gini(counts) == 0
        return
    if len(counts) == 1:
        assert metrics.gini(counts) == 0
        return
    pairs = np.abs(counts[:, np.newaxis] - counts).sum() / (len(counts) * (len(counts) - 1))
    expected = pairs / (2 * counts.mean())
    assert metrics.gini(counts) == pytest.approx(expected)


@given(ranked=RANKED)
def test_novelty_and_similarity_agree_with_loops(ranked):
    rng = np.random.default_rng(0)
    shares, vectors = rng.uniform(0.01, 1, 10), rng.normal(size=(10, 3))
    vectors[4] = 0
    lengths = np.maximum(np.linalg.norm(vectors, axis=1), 1e-300)
    novelty, similarity = metrics.novelty(ranked, shares), metrics.intra_list_similarity(ranked, vectors)
    for query, row in enumerate(ranked.tolist()):
        found = [candidate for candidate in row if candidate >= 0]
        bits = [-np.log2(shares[candidate]) for candidate in found]
        assert novelty[query] == pytest.approx(np.mean(bits) if bits else np.nan, nan_ok=True)
        cosines = [
            vectors[first] @ vectors[second] / lengths[first] / lengths[second]
            for place, first in enumerate(found)
            for second in found[place + 1 :]
        ]
        assert similarity[query] == pytest.approx(np.mean(cosines) if cosines else np.nan, nan_ok=True, abs=1e-9)


@st.composite
def labelled_probabilities(draw) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities, some of them equal."""
    num, levels = draw(st.integers(1, 60)), draw(st.sampled_from([3, 1000]))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    return rng.random(num) < 0.6, rng.integers(0, levels + 1, num) / levels


@given(pairs=labelled_probabilities())
def test_the_brier_score_is_scikit_learns(pairs):
    labels, probabilities = pairs
    if 0 < labels.sum() < len(labels):
        expected = sklearn.metrics.brier_score_loss(labels, probabilities)
        assert metrics.brier_score(labels, probabilities) == pytest.approx(expected)


@given(pairs=labelled_probabilities())
def test_the_log_loss_is_scikit_learns_away_from_0_and_1(pairs):
    labels, probabilities = pairs
    probabilities = probabilities * 0.98 + 0.01
    expected = sklearn.metrics.log_loss(labels, probabilities, labels=[False, True])
    assert metrics.log_losses(labels, probabilities).mean() == pytest.approx(expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_certain_and_wrong_probability_costs_the_same_in_every_dtype(dtype):
    wrong = metrics.log_losses(np.array([False, True]), np.array([1, 0], dtype))
    np.testing.assert_allclose(wrong, -np.log(np.finfo(np.float32).eps), rtol=1e-6)


@given(pairs=labelled_probabilities(), num_bins=st.integers(1, 12))
def test_bins_hold_every_pair_once_and_equal_probabilities_together(pairs, num_bins):
    labels, probabilities = pairs
    predicted, observed, counts = metrics.reliability(labels, probabilities, num_bins=num_bins).T
    assert 1 <= len(counts) <= num_bins
    assert counts.sum() == len(labels)
    assert (predicted * counts).sum() == pytest.approx(probabilities.sum())
    assert (observed * counts).sum() == pytest.approx(labels.sum())
    assert (np.diff(predicted) > 0).all()
    # Events of equal probability are in one bin: the bins end between distinct values.
    ends = np.cumsum(counts).astype(int)[:-1]
    ascending = np.sort(probabilities)
    assert (ascending[ends - 1] < ascending[ends]).all()
    error = metrics.calibration_error(labels, probabilities, num_bins=num_bins)
    assert error == pytest.approx(np.sum(counts * np.abs(predicted - observed)) / len(labels))
    assert 0 <= error <= 1


def test_bins_have_equal_sizes_if_all_probabilities_differ():
    probabilities = np.linspace(0, 1, 100)
    counts = metrics.reliability(np.ones(100, bool), probabilities, num_bins=8)[:, 2]
    assert len(counts) == 8
    assert set(counts) <= {12.0, 13.0}


def test_probabilities_that_equal_observed_shares_have_no_calibration_error():
    rng = np.random.default_rng(0)
    probabilities = rng.uniform(size=200_000)
    labels = rng.random(200_000) < probabilities
    assert metrics.calibration_error(labels, probabilities) < 0.005
    assert metrics.calibration_error(labels, probabilities**2) > 0.1


@given(pairs=labelled_probabilities(), num_groups=st.integers(1, 6))
def test_gauc_is_the_weighted_mean_of_scikit_learns_auc_by_group(pairs, num_groups):
    labels, scores = pairs
    groups = np.random.default_rng(1).integers(0, num_groups, len(labels)) * 3
    areas, sizes = [], []
    for group in np.unique(groups):
        is_in = groups == group
        if 0 < labels[is_in].sum() < is_in.sum():
            areas.append(sklearn.metrics.roc_auc_score(labels[is_in], scores[is_in]))
            sizes.append(is_in.sum())
    expected = np.average(areas, weights=sizes) if areas else np.nan
    assert metrics.grouped_auc(labels, scores, groups) == pytest.approx(expected, nan_ok=True)
    order = np.random.default_rng(2).permutation(len(labels))
    shuffled = metrics.grouped_auc(labels[order], scores[order], groups[order])
    assert shuffled == pytest.approx(expected, nan_ok=True)
