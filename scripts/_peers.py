"""Other people's recommenders, for comparison: EASE, implicit's ALS, and the PyTorch notebook this library began with.

Each takes training events and gives embeddings, `queries @ candidates.T` being its scores. They need the extra `bench`.
"""

import sys
from collections.abc import Iterator

import numpy as np
import scipy.sparse

import tfrs_twotower as tt

Embeddings = tuple[np.ndarray, np.ndarray]

# The validation part's choice on MovieLens 100K.
_EASE_L2 = 400.0
_ALS = {"factors": 32, "regularization": 30.0, "alpha": 4.0, "iterations": 15}

_DIM = 32
_HIDDEN = 64
_DROPOUT = 0.5
_EPOCHS = 100
_BATCH_SIZE = 1024
_LEARNING_RATE = 1e-3


def ease(train: tt.Interactions, *, threshold: float, l2: float = _EASE_L2) -> Embeddings:
    """A linear model from all liked candidates to all candidates, none predicting itself, in closed form.

    Args:
        train: The events to learn from.
        threshold: A rating of at least this is liked.
        l2: Weight of the squared coefficients, > 0.

    Returns:
        (queries, candidates): float32 [num_queries, num_candidates], what each likes, and
        float32 [num_candidates, num_candidates], the coefficients of each.

    References:
        Steck 2019, "Embarrassingly Shallow Autoencoders for Sparse Data", eq. 8.
    """
    liked = _liked(train, threshold).toarray()
    inverse = np.linalg.inv(liked.T @ liked + l2 * np.eye(liked.shape[1]))
    coefficients = inverse / -np.diag(inverse)
    np.fill_diagonal(coefficients, 0)
    return liked, np.ascontiguousarray(coefficients.T, np.float32)


def implicit_als(train: tt.Interactions, *, threshold: float, seed: int, **settings: float) -> Embeddings:
    """Weighted matrix factorisation by alternating least squares, as the library `implicit` does it.

    Args:
        train: The events to learn from.
        threshold: A rating of at least this is liked.
        seed: Of the initial factors.
        **settings: `implicit`'s, in place of the defaults here.

    Returns:
        (queries, candidates): float32 [num_queries, factors] and [num_candidates, factors].

    References:
        Hu, Koren & Volinsky 2008, "Collaborative Filtering for Implicit Feedback Datasets".
    """
    from implicit.cpu.als import AlternatingLeastSquares

    model = AlternatingLeastSquares(**{**_ALS, **settings}, random_state=seed)
    model.fit(_liked(train, threshold), show_progress=False)
    return model.user_factors, model.item_factors


def notebook(train: tt.Interactions, *, threshold: float, seed: int) -> Embeddings:
    """The notebook's loop: MLP towers with batch normalisation over ids, sigmoid of the dot product, BCE, 100 epochs.

    What it leaves open, sizes and dropout, is chosen so that the AUC of the validation part comes near its own 0.7783.

    Args:
        train: The events to learn from.
        threshold: A rating of at least this is positive.
        seed: Of the weights and the order of the events.

    Returns:
        (queries, candidates): float32 [num_queries, dim] and [num_candidates, dim]; dot products are log-odds.
    """
    # In a process with TensorFlow, torch's import of triton has crashed; nothing here compiles for a GPU.
    sys.modules.setdefault("triton", None)  # type: ignore[arg-type]
    import torch

    torch.manual_seed(seed)
    rows = torch.stack([torch.from_numpy(np.array(rows)).long() for rows in (train.query_rows, train.candidate_rows)])
    labels = torch.from_numpy((train.ratings >= threshold).astype(np.float32))
    towers = torch.nn.ModuleList(
        torch.nn.Sequential(
            torch.nn.Embedding(num_rows, _DIM),
            torch.nn.Linear(_DIM, _HIDDEN),
            torch.nn.BatchNorm1d(_HIDDEN),
            torch.nn.ReLU(),
            torch.nn.Dropout(_DROPOUT),
            torch.nn.Linear(_HIDDEN, _DIM),
        )
        for num_rows in (train.num_queries, train.num_candidates)
    )
    optimizer = torch.optim.Adam(towers.parameters(), lr=_LEARNING_RATE)
    loss_of = torch.nn.BCEWithLogitsLoss()
    for _ in range(_EPOCHS):
        for batch in _batches(torch.randperm(len(labels))):
            queries, candidates = (tower(codes[batch]) for tower, codes in zip(towers, rows, strict=True))
            optimizer.zero_grad()
            loss_of((queries * candidates).sum(1), labels[batch]).backward()
            optimizer.step()
    towers.eval()
    with torch.no_grad():
        queries, candidates = (tower(torch.arange(tower[0].num_embeddings)).numpy() for tower in towers)
    return queries, candidates


def _batches(order: "torch.Tensor") -> Iterator["torch.Tensor"]:  # type: ignore[name-defined]  # noqa: F821
    """The order in batches; a last one of a single event would leave batch normalisation nothing to normalise."""
    for batch in order.split(_BATCH_SIZE):
        if len(batch) > 1:
            yield batch


def _liked(train: tt.Interactions, threshold: float) -> scipy.sparse.csr_matrix:
    """float32 [num_queries, num_candidates], 1 where a query likes a candidate."""
    positive = train.ratings >= threshold
    pairs = train.query_rows[positive], train.candidate_rows[positive]
    ones = np.ones(len(pairs[0]), np.float32)
    liked = scipy.sparse.csr_matrix((ones, pairs), shape=(train.num_queries, train.num_candidates))
    liked.data[:] = 1  # of a pair that occurs twice, the sum
    return liked
