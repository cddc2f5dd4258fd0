import sys

import numpy as np
import pytest

from tests.conftest import make_interactions
from tfrs_twotower.evaluation.external_baselines import ease, implicit_als


def test_ease_is_the_ridge_regression_of_each_candidate_on_the_others():
    """Each candidate is solved for with itself left out. A pair that occurs twice counts once."""
    rng = np.random.default_rng(0)
    liked = rng.random((30, 6)) < 0.4
    rows = np.argwhere(liked)
    rows = np.concatenate([rows, rows[:5], np.argwhere(~liked)[:9]])
    ratings = np.where(liked[rows[:, 0], rows[:, 1]], 5, 1)
    train = make_interactions(*rows.T, ratings, num_queries=30, num_candidates=6)
    queries, candidates = ease(train, threshold=3, l2=2.0)
    expected = np.empty((30, 6))
    for target in range(6):
        others = liked[:, np.arange(6) != target].astype(float)
        coefficients = np.linalg.solve(others.T @ others + 2.0 * np.eye(5), others.T @ liked[:, target])
        expected[:, target] = others @ coefficients
    np.testing.assert_allclose(queries @ candidates.T, expected, atol=1e-5)
    with pytest.raises(ValueError, match="`l2` must be positive. Received: 0"):
        ease(train, threshold=3, l2=0)


def test_als_without_implicit_says_how_to_install_it(monkeypatch):
    train = make_interactions([0], [0], [5], num_queries=1, num_candidates=1)
    monkeypatch.setitem(sys.modules, "implicit", None)
    monkeypatch.setitem(sys.modules, "implicit.cpu", None)
    monkeypatch.setitem(sys.modules, "implicit.cpu.als", None)
    with pytest.raises(ImportError, match=r"pip install 'tfrs-twotower\[bench\]'"):
        implicit_als(train, threshold=3, seed=0)
