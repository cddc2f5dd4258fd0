"""The training loop of the PyTorch notebook that this library started from; it needs the extra `bench`.

The notebook trains MLP towers over ids with batch normalisation by binary cross-entropy, for 100 epochs. It does not
give its layer sizes and dropout. They are chosen so that the AUC of the validation part comes near the notebook's own
0.7783.
"""

import sys
from collections.abc import Iterator

import numpy as np

from tfrs_twotower.data import Interactions

DIM = 32
HIDDEN = 64
DROPOUT = 0.5
LEARNING_RATE = 1e-3
_EPOCHS = 100
_BATCH_SIZE = 1024


def notebook(train: Interactions, *, threshold: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Trains as the notebook does.

    Args:
        train: The events to learn from.
        threshold: A rating of at least this is positive.
        seed: Seed of the weights and of the order of the events.

    Returns:
        (queries, candidates): float32 [num_queries, dim] and [num_candidates, dim]; dot products are log-odds.
    """
    model = Notebook(train, threshold=threshold, seed=seed)
    for _ in range(_EPOCHS):
        model.run_epoch(_BATCH_SIZE)
    return model.embed()


class Notebook:
    """The notebook's model, its optimizer and its data.

    Args:
        train: The events to learn from.
        threshold: A rating of at least this is positive.
        seed: Seed of the weights and of the order of the events.
    """

    def __init__(self, train: Interactions, *, threshold: float, seed: int) -> None:
        # In a process with TensorFlow, torch's import of triton has crashed; nothing here compiles for a GPU.
        sys.modules.setdefault("triton", None)  # type: ignore[arg-type]
        import torch

        torch.manual_seed(seed)
        self._torch = torch
        self._rows = [torch.from_numpy(np.array(rows)).long() for rows in (train.query_rows, train.candidate_rows)]
        self._labels = torch.from_numpy((train.ratings >= threshold).astype(np.float32))
        self._towers = torch.nn.ModuleList(
            torch.nn.Sequential(
                torch.nn.Embedding(num_rows, DIM),
                torch.nn.Linear(DIM, HIDDEN),
                torch.nn.BatchNorm1d(HIDDEN),
                torch.nn.ReLU(),
                torch.nn.Dropout(DROPOUT),
                torch.nn.Linear(HIDDEN, DIM),
            )
            for num_rows in (train.num_queries, train.num_candidates)
        )
        self._optimizer = torch.optim.Adam(self._towers.parameters(), lr=LEARNING_RATE)
        self._loss_of = torch.nn.BCEWithLogitsLoss()

    def run_epoch(self, batch_size: int) -> None:
        """Trains on every event once; the events of a batch are taken from the tensors at once.

        Args:
            batch_size: Events per step.
        """
        for batch in self._batches(batch_size):
            self._step([rows[batch] for rows in self._rows], self._labels[batch])

    def run_loaded_epoch(self, batch_size: int) -> None:
        """Trains on every event once; a `DataLoader` shuffles and batches the events, as in PyTorch's tutorials.

        Args:
            batch_size: Events per step.
        """
        data = self._torch.utils.data
        events = data.TensorDataset(*self._rows, self._labels)
        for *codes, labels in data.DataLoader(events, batch_size=batch_size, shuffle=True):
            if len(labels) > 1:
                self._step(codes, labels)

    def _step(self, codes: list["torch.Tensor"], labels: "torch.Tensor") -> None:  # type: ignore[name-defined]  # noqa: F821
        queries, candidates = (tower(part) for tower, part in zip(self._towers, codes, strict=True))
        self._optimizer.zero_grad()
        self._loss_of((queries * candidates).sum(1), labels).backward()
        self._optimizer.step()

    def embed(self) -> tuple[np.ndarray, np.ndarray]:
        """Embeds all queries and all candidates; training is over."""
        self._towers.eval()
        with self._torch.no_grad():
            queries, candidates = (tower(self._torch.arange(tower[0].num_embeddings)).numpy() for tower in self._towers)
        return queries, candidates

    def _batches(self, batch_size: int) -> Iterator["torch.Tensor"]:  # type: ignore[name-defined]  # noqa: F821
        """Yields the batches of an epoch, except a single last event, which batch normalisation cannot normalise."""
        for batch in self._torch.randperm(len(self._labels)).split(batch_size):
            if len(batch) > 1:
                yield batch
