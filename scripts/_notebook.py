"""The training loop of the PyTorch notebook that this library started from; it needs the extra `bench`."""

import sys
from collections.abc import Iterator

import numpy as np

from tfrs_twotower.data import Interactions

_DIM = 32
_HIDDEN = 64
_DROPOUT = 0.5
_EPOCHS = 100
_BATCH_SIZE = 1024
_LEARNING_RATE = 1e-3


def notebook(train: Interactions, *, threshold: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Trains as the notebook does: MLP towers over ids with batch normalisation, binary cross-entropy, 100 epochs.

    The notebook does not give its layer sizes and dropout. They are chosen so that the AUC of the validation part comes
    near the notebook's own 0.7783.

    Args:
        train: The events to learn from.
        threshold: A rating of at least this is positive.
        seed: Seed of the weights and of the order of the events.

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
    """Yields the batches of an epoch, except a single last event, which batch normalisation cannot normalise."""
    for batch in order.split(_BATCH_SIZE):
        if len(batch) > 1:
            yield batch
