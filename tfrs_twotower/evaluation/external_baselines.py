"""Well-known recommenders to compare a model with: EASE, and the ALS of `implicit`, which needs the extra `bench`.

Each takes training events and returns embeddings whose dot products are its scores, as `evaluate` takes them:

    evaluate(model, split, baselines={"EASE": ease(split.seen, threshold=3)})
"""

from __future__ import annotations

import numpy as np
import scipy.sparse

from tfrs_twotower.data.interactions import Interactions, require_interactions
from tfrs_twotower.evaluation.ranking import Embeddings

# This default, and those of `implicit_als`, were chosen on the validation part of MovieLens 100K.
_EASE_L2 = 400.0


def ease(train: Interactions, *, threshold: float, l2: float = _EASE_L2) -> Embeddings:
    """Fits EASE, a linear model in closed form that predicts each candidate from the other candidates that were liked.

    Memory grows with the square of the catalogue size and time with its cube, which makes about 10,000 candidates the
    practical limit.

    Args:
        train: The events to learn from.
        threshold: Lowest rating that counts as liked.
        l2: Weight of the squared coefficients, > 0.

    Returns:
        (queries, candidates): float32 [num_queries, num_candidates], 1 where a query likes a candidate, else 0;
        float32 [num_candidates, num_candidates], each candidate's coefficients.

    Raises:
        ValueError: If `l2` is not positive.

    References:
        Steck 2019, "Embarrassingly Shallow Autoencoders for Sparse Data", eq. 8.

    Example:
        >>> import pyarrow as pa
        >>> train = Interactions(
        ...     queries=pa.table({"user_id": ["u1", "u2", "u3"]}),
        ...     candidates=pa.table({"movie_id": ["m1", "m2", "m3"]}),
        ...     events=pa.table({
        ...         "query_row": [0, 0, 1, 1, 2], "candidate_row": [0, 1, 0, 1, 0], "rating": [5.0, 4.0, 5.0, 5.0, 4.0]
        ...     }),
        ...     query_id="user_id", candidate_id="movie_id",
        ... )
        >>> queries, candidates = ease(train, threshold=3, l2=1.0)
        >>> scores = queries @ candidates.T
        >>> int(scores[2, 1:].argmax()) + 1  # u3 likes m1, as u1 and u2 do, who like m2 as well
        1
    """
    if not l2 > 0:
        raise ValueError(f"`l2` must be positive. Received: {l2}.")
    liked = _liked(train, threshold)
    inverse = np.linalg.inv((liked.T @ liked).toarray() + l2 * np.eye(train.num_candidates))
    coefficients = inverse / -np.diag(inverse)
    np.fill_diagonal(coefficients, 0)
    return liked.toarray(), np.ascontiguousarray(coefficients.T, np.float32)


def implicit_als(
    train: Interactions,
    *,
    threshold: float,
    seed: int,
    factors: int = 32,
    regularization: float = 30.0,
    alpha: float = 4.0,
    iterations: int = 15,
) -> Embeddings:
    """Fits a weighted matrix factorisation by alternating least squares with the library `implicit`.

    Args:
        train: The events to learn from.
        threshold: Lowest rating that counts as liked.
        seed: Seed of the initial factors.
        factors: Length of the embeddings, >= 1.
        regularization: Weight of the squared factors.
        alpha: Weight of a liked pair relative to any other pair.
        iterations: Number of alternations.

    Returns:
        (queries, candidates): float32 [num_queries, factors] and [num_candidates, factors].

    Raises:
        ImportError: If `implicit` is not installed.

    References:
        Hu, Koren & Volinsky 2008, "Collaborative Filtering for Implicit Feedback Datasets".

    Example:
        >>> import importlib.util
        >>> import pyarrow as pa
        >>> train = Interactions(
        ...     queries=pa.table({"user_id": ["u1", "u2"]}), candidates=pa.table({"movie_id": ["m1", "m2"]}),
        ...     events=pa.table({"query_row": [0, 1], "candidate_row": [0, 1], "rating": [5.0, 4.0]}),
        ...     query_id="user_id", candidate_id="movie_id",
        ... )
        >>> if importlib.util.find_spec("implicit"):
        ...     queries, candidates = implicit_als(train, threshold=3, seed=0, factors=2)
        ...     assert queries.shape == candidates.shape == (2, 2)
    """
    try:
        from implicit.cpu.als import AlternatingLeastSquares
    except ImportError as error:
        raise ImportError(
            "`implicit_als` needs the library `implicit`. Install it with: pip install 'tfrs-twotower[bench]'."
        ) from error

    model = AlternatingLeastSquares(
        factors=factors, regularization=regularization, alpha=alpha, iterations=iterations, random_state=seed
    )
    model.fit(_liked(train, threshold), show_progress=False)
    return model.user_factors, model.item_factors


def _liked(train: Interactions, threshold: float) -> scipy.sparse.csr_matrix:
    """Returns float32 [num_queries, num_candidates], 1 where a query likes a candidate."""
    require_interactions(train, "train")
    positive = train.ratings >= threshold
    pairs = train.query_rows[positive], train.candidate_rows[positive]
    ones = np.ones(len(pairs[0]), np.float32)
    liked = scipy.sparse.csr_matrix((ones, pairs), shape=(train.num_queries, train.num_candidates))
    liked.data[:] = 1  # a pair that occurs twice was summed
    return liked
