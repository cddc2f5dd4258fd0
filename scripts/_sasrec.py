"""RecBole's SASRec, which `benchmark_leave_last_out.py` runs in a process of its own; it needs the extra `bench`.

The network, with its weights, masks and initial values, is RecBole's class and has RecBole's sizes. It is trained as in
the paper (Kang & McAuley 2018): a sequence goes through the network once, and every place predicts the next item. The
loss is RecBole's, the cross-entropy over all items. RecBole's own trainer instead makes each beginning of a sequence a
sequence of its own, for one prediction each. That is the same objective at a price many times as high, which does not
fit a benchmark on CPUs.

    python scripts/_sasrec.py INPUT.npz OUTPUT.npz
"""

import sys
import time
from types import SimpleNamespace

import numpy as np

_SIZES = {
    "n_layers": 2,
    "n_heads": 2,
    "hidden_size": 64,
    "inner_size": 256,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "initializer_range": 0.02,
    "loss_type": "CE",
    # Names of RecBole's columns, and where it computes.
    "USER_ID_FIELD": "user_id",
    "ITEM_ID_FIELD": "item_id",
    "LIST_SUFFIX": "_list",
    "ITEM_LIST_LENGTH_FIELD": "item_length",
    "NEG_PREFIX": "neg_",
    "device": "cpu",
}


def main() -> None:
    """Trains on sequences until the validation part no longer improves, and writes the scores of all items."""
    source, target = sys.argv[1:]
    content = np.load(source)
    start = time.perf_counter()
    scores, epochs = _train(
        content["sequences"],
        content["latest"],
        content["validation"],
        content["before_test"],
        num_items=int(content["num_items"]),
        dropout=float(content["dropout"]),
        seed=int(content["seed"]),
    )
    np.savez(target, scores=scores, epochs=epochs, seconds=time.perf_counter() - start)


def _train(
    sequences: np.ndarray,
    latest: np.ndarray,
    validation: np.ndarray,
    before_test: np.ndarray,
    *,
    num_items: int,
    dropout: float,
    seed: int,
    batch_size: int = 64,
    learning_rate: float = 2e-3,
    max_epochs: int = 80,
    every: int = 5,
    patience: int = 3,
) -> tuple[np.ndarray, int]:
    """Trains the network.

    Args:
        sequences: int64 [n, length + 1], numbers of items from 1, the earliest first, padded with 0 at the end.
        latest: int64 [num_users, length], the latest items of each user in the training part.
        validation: int64 [num_users], the item that follows.
        before_test: int64 [num_users, length], the latest items before the test part.
        num_items: Number of items.
        dropout: Share of units that training drops.
        seed: Seed of weights and order.
        batch_size: Sequences per step.
        learning_rate: Learning rate of Adam.
        max_epochs: Maximum number of epochs.
        every: Epochs from one measurement of the validation part to the next.
        patience: Measurements without a better one after which training stops.

    Returns:
        (scores, epochs): float32 [num_users, num_items] before the test part; the best epoch.
    """
    import torch
    from recbole.model.sequential_recommender.sasrec import SASRec

    class EveryPlace(SASRec):
        """Gives the state of every place, where RecBole's gives that of the last one."""

        def gather_indexes(self, output, gather_index):  # type: ignore[no-untyped-def]
            del gather_index
            return output

    torch.manual_seed(seed)
    length = latest.shape[1]
    config = {**_SIZES, "hidden_dropout_prob": dropout, "attn_dropout_prob": dropout, "MAX_ITEM_LIST_LENGTH": length}
    dataset = SimpleNamespace(num=lambda field: num_items + 1)
    model = EveryPlace(config, dataset)
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    rng = np.random.default_rng(seed)

    def score(items: np.ndarray) -> np.ndarray:
        model.eval()
        with torch.no_grad():
            lengths = (items > 0).sum(1)
            states = model(torch.tensor(items), torch.tensor(lengths))
            last = states[torch.arange(len(items)), torch.tensor(np.maximum(lengths - 1, 0))]
            return (last @ model.item_embedding.weight[1:].T).numpy()

    best, best_epoch, weights = -1.0, 0, model.state_dict()
    for epoch in range(1, max_epochs + 1):
        model.train()
        for rows in np.array_split(rng.permutation(len(sequences)), -(-len(sequences) // batch_size)):
            batch = torch.tensor(sequences[rows])
            past, following = batch[:, :-1], batch[:, 1:]
            is_target = following > 0
            states = model(past, is_target.sum(1))[is_target]
            loss = model.loss_fct(states @ model.item_embedding.weight.T, following[is_target])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if epoch % every == 0:
            ndcg = _ndcg(score(latest), latest, validation)
            print(f"SASRec: epoch {epoch}, validation NDCG@10 {ndcg:.4f}", file=sys.stderr, flush=True)
            if ndcg > best:
                best, best_epoch = ndcg, epoch
                weights = {name: values.clone() for name, values in model.state_dict().items()}
            elif epoch - best_epoch >= every * patience:
                break
    model.load_state_dict(weights)
    return score(before_test), best_epoch


def _ndcg(scores: np.ndarray, past: np.ndarray, targets: np.ndarray, k: int = 10) -> float:
    """Returns the mean NDCG@k of one target each, among the items that are not in the sequence."""
    rows, columns = np.nonzero(past)
    scores[rows, past[rows, columns] - 1] = -np.inf
    own = scores[np.arange(len(targets)), targets - 1]
    ranks = (scores > own[:, np.newaxis]).sum(1)
    return float(np.mean(np.where(ranks < k, 1 / np.log2(ranks + 2), 0)))


if __name__ == "__main__":
    main()
