"""Other people's recommenders, for comparison on request: EASE, and implicit's ALS, which needs the extra `bench`.

Each takes training events and gives embeddings, `queries @ candidates.T` being its scores:

    tt.evaluate(model, split, baselines={"EASE": peers.ease(split.seen, threshold=3)})
"""

from __future__ import annotations

import numpy as np
import scipy.sparse

from tfrs_twotower.data.interactions import Interactions

Embeddings = tuple[np.ndarray, np.ndarray]

# The validation part's choice on MovieLens 100K.
_EASE_L2 = 400.0
_ALS = {"factors": 32, "regularization": 30.0, "alpha": 4.0, "iterations": 15}


def ease(train: Interactions, *, threshold: float, l2: float = _EASE_L2) -> Embeddings:
    """A linear model from all liked candidates to all candidates, none predicting itself, in closed form.

    It takes memory in proportion to the square of the catalogue, and time to its cube: 10,000 candidates are much.

    Args:
        train: The events to learn from.
        threshold: A rating of at least this is liked.
        l2: Weight of the squared coefficients, > 0.

    Returns:
        (queries, candidates): float32 [num_queries, num_candidates], what each likes, and
        float32 [num_candidates, num_candidates], the coefficients of each.

    Raises:
        ValueError: If `l2` is not positive.

    References:
        Steck 2019, "Embarrassingly Shallow Autoencoders for Sparse Data", eq. 8.
    """
    if not l2 > 0:
        raise ValueError(f"`l2` must be positive. Received: {l2}.")
    liked = _liked(train, threshold)
    inverse = np.linalg.inv((liked.T @ liked).toarray() + l2 * np.eye(train.num_candidates))
    coefficients = inverse / -np.diag(inverse)
    np.fill_diagonal(coefficients, 0)
    return liked.toarray(), np.ascontiguousarray(coefficients.T, np.float32)


def implicit_als(train: Interactions, *, threshold: float, seed: int, **settings: float) -> Embeddings:
    """Weighted matrix factorisation by alternating least squares, as the library `implicit` does it.

    Args:
        train: The events to learn from.
        threshold: A rating of at least this is liked.
        seed: Of the initial factors.
        **settings: `implicit`'s, in place of the defaults here.

    Returns:
        (queries, candidates): float32 [num_queries, factors] and [num_candidates, factors].

    Raises:
        ImportError: If `implicit` is not installed.

    References:
        Hu, Koren & Volinsky 2008, "Collaborative Filtering for Implicit Feedback Datasets".
    """
    try:
        from implicit.cpu.als import AlternatingLeastSquares
    except ImportError as error:
        raise ImportError("ALS comes from the library `implicit`: pip install 'tfrs-twotower[bench]'.") from error

    model = AlternatingLeastSquares(**{**_ALS, **settings}, random_state=seed)
    model.fit(_liked(train, threshold), show_progress=False)
    return model.user_factors, model.item_factors


def _liked(train: Interactions, threshold: float) -> scipy.sparse.csr_matrix:
    """float32 [num_queries, num_candidates], 1 where a query likes a candidate."""
    positive = train.ratings >= threshold
    pairs = train.query_rows[positive], train.candidate_rows[positive]
    ones = np.ones(len(pairs[0]), np.float32)
    liked = scipy.sparse.csr_matrix((ones, pairs), shape=(train.num_queries, train.num_candidates))
    liked.data[:] = 1  # of a pair that occurs twice, the sum
    return liked
