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
    }


def test_a_case_by_hand():
    # Slots 1 and 3 of 4 are relevant, of 3 relevant candidates in all.
    hits, relevant = np.array([[True, False, True, False]]), np.array([3])
    values = all_metrics(hits, relevant)
    assert values["precision"] == pytest.approx(2 / 4)
    assert values["recall"] == pytest.approx(2 / 3)
    assert values["hit_rate"] == 1
    # DCG = 1/log2(2) + 1/log2(4) = 1.5; ideal = 1/log2(2) + 1/log2(3) + 1/log2(4) = 2.13093
    assert values["ndcg"] == pytest.approx(1.5 / 2.1309297535714578)


@given(hits=HITS, extra=st.integers(0, 30))
def test_ndcg_agrees_with_scikit_learn(hits, extra):
    relevant = num_relevant(hits, extra)
    k = hits.shape[1]
    # scikit-learn ranks by score: the k slots first, in order, then what was missed.
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
