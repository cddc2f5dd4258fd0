"""Protocols that papers use, with peers beside us in the same run. `benchmark_leave_last_out.py` has a third one.

Both protocols keep the ratings of 4 and more as events that say no more than that a user liked a film (Liang et al.
2018, section 4.1). The whole catalogue is ranked without what is known of the user. The metrics are those of the paper:
NDCG@100, and recall at 20 and 50, which is divided by the number of films to find or by k, whichever is less; the
library's `recall@k` is always divided by the number of films.

- `unseen users`, strong generalisation as in Liang et al. 2018: users with at least five events, of whom some are held
  out. A model is trained on the events of all other users, is given four fifths of a held-out user's events, and is to
  find the last fifth. In the paper 10,000 of 136,677 users are held out for the test. Here each user is held out in one
  of five folds, with a fifth of the others for validation, because a fold of MovieLens 100K has fewer than 200 users.
- `later events`, a global split in time: the last fifth of all events is the test part, and the last tenth of those
  before it the validation part. All earlier events are known and learnt from. For users without one, the peers rank by
  recent popularity.

Every setting of a peer is chosen on the validation part by NDCG@100, and so are ours, by the recipe itself. Nothing is
chosen on the test part.

- `popularity`, `recent popularity`: the same list for all users.
- `EASE`: Steck 2019, in closed form. `ALS`, `BPR`: of the library implicit, left out if it is not installed. A
  held-out user's ALS factors are solved for; BPR has no such way, and is measured on later events only.
- `default recipe`: `fit_recipe` without a setting. `without ids` is the same without the users' ids, which tell nothing
  of a user who was not trained on.

    python scripts/benchmark_protocols.py PROTOCOL [--dataset NAME] [--archive PATH] [--json FILE] [--repeats SEEDS]
        [--case NAME ...]

`--repeats` is the number of seeds for later events; for unseen users there is one seed for each fold.
"""

import argparse
import dataclasses
import functools
import importlib.util
import itertools
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import scipy.sparse
from _benchmark import Row, add_arguments, show

import tfrs_twotower as tt
from tfrs_twotower.data.splits import Split, unseen_queries_folds
from tfrs_twotower.evaluation import (
    QueryMetrics,
    compare,
    ease,
    popularity,
    query_metrics,
    rank_candidates,
    recent_popularity,
)
from tfrs_twotower.evaluation.ranking import event_pairs

Embeddings = tuple[np.ndarray, np.ndarray]

_LIKED, _MIN_EVENTS, _NUM_FOLDS = 4.0, 5, 5
_MAIN, _RECALLS = 100, (20, 50)
_SHOWN = (f"ndcg@{_MAIN}", *(f"recall@{k}" for k in _RECALLS))
# Every event is positive.
_THRESHOLD = 1.0
_L2S = (50.0, 100.0, 200.0, 400.0, 800.0)
_ALS = {"factors": (32, 64, 128), "regularization": (10.0, 30.0), "alpha": (2.0, 4.0, 8.0)}
_BPR = {"factors": (32, 64), "regularization": (0.003, 0.01, 0.03), "learning_rate": (0.03, 0.1)}
# NDCG@100, recall@20 and recall@50 for unseen users of MovieLens 20M, by the papers' own tables.
_PUBLISHED = {
    "Mult-VAE (Liang et al. 2018)": (0.426, 0.395, 0.537),
    "Mult-DAE (Liang et al. 2018)": (0.419, 0.387, 0.524),
    "EASE (Steck 2019)": (0.420, 0.391, 0.521),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """Events to find, and what is known by then.

    Attributes:
        train: What is learnt from.
        known: The users' past events, which are inputs and are left out of the ranking.
        target: The events to find.
    """

    train: tt.Interactions
    known: tt.Interactions
    target: tt.Interactions

    def measure(self, embeddings: Embeddings) -> QueryMetrics:
        """Ranks the catalogue for the users of the target, and measures the ranking as the paper does."""
        rows, seen = np.unique(self.target.query_rows), event_pairs(self.known)
        ranked = rank_candidates(*embeddings, seen, k=_MAIN, query_rows=rows)
        found = query_metrics(ranked, self.target, seen, threshold=_THRESHOLD, ks=(*_RECALLS, _MAIN), query_rows=rows)
        values = {_SHOWN[0]: found.values[_SHOWN[0]]}
        num_relevant = _num_relevant(self, found.query_rows)
        for k in _RECALLS:
            values[f"recall@{k}"] = found.values[f"precision@{k}"] * k / np.minimum(num_relevant, k)
        return QueryMetrics(query_rows=found.query_rows, values=values, num_left_out=found.num_left_out)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """One split, in which a contender chooses its settings by one part and is measured by the other.

    Attributes:
        split: For our own models.
        choosing: The validation part.
        final: The test part.
        seed: Seed of what is drawn.
    """

    split: Split
    choosing: Part
    final: Part
    seed: int

    @property
    def is_of_unseen_users(self) -> bool:
        """Whether the users of the test part are not trained on."""
        return self.split.history.num_events > 0


Contender = Callable[[Task], Embeddings]


def main() -> None:
    """Measures every contender by a protocol, and shows means and differences."""
    protocols = {"unseen users": unseen_users, "later events": later_events}
    contenders = _contenders()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("protocol", choices=protocols, help="what is held out")
    add_arguments(parser)
    parser.add_argument("--dataset", default="movielens/100k-ratings", help="name of a MovieLens data set in TFDS")
    parser.add_argument("--archive", help="the data set's archive as GroupLens publishes it, instead of the network")
    parser.add_argument("--case", choices=contenders, action="append", help="run only this case; repeatable")
    arguments = parser.parse_args()
    ratings = tt.load_movielens(arguments.dataset, archive=arguments.archive)
    chosen = {name: contenders[name] for name in arguments.case or contenders}
    with warnings.catch_warnings():
        # Some films have no training event.
        warnings.simplefilter("ignore")
        rows = list(_measure(protocols[arguments.protocol](liked(ratings), arguments.repeats), chosen))
    show(f"{arguments.dataset}, ratings of {_LIKED:g} and more, {arguments.protocol}", rows, arguments.json)
    if arguments.protocol == "unseen users":
        published = [
            Row(case=case, metric=metric, value=value, unit="")
            for case, values in _PUBLISHED.items()
            for metric, value in zip(_SHOWN, values, strict=True)
        ]
        show("movielens/20m-ratings, unseen users: published; ours was not run here", published, None)


def liked(ratings: tt.Interactions) -> tt.Interactions:
    """Keeps the events of high ratings, without the ratings."""
    kept = ratings.with_events(np.flatnonzero(ratings.ratings >= _LIKED))
    place = kept.events.schema.get_field_index("rating")
    ones = pa.array(np.ones(kept.num_events, np.float32))
    return dataclasses.replace(kept, events=kept.events.set_column(place, "rating", ones), has_ratings=False)


def unseen_users(events: tt.Interactions, repeats: int) -> list[Task]:
    """Makes the folds in which users are held out; `repeats` does not matter."""
    del repeats
    counts = np.bincount(events.query_rows, minlength=events.num_queries)
    events = events.with_events(np.flatnonzero(counts[events.query_rows] >= _MIN_EVENTS))
    folds = unseen_queries_folds(events, num_folds=_NUM_FOLDS, validation=0.2, target=0.2, seed=0)
    return [
        Task(
            split=split,
            choosing=Part(train=split.train, known=split.context, target=split.validation),
            # As in the paper, nothing is learnt from the users held out for validation.
            final=Part(train=split.train, known=split.context, target=split.test),
            seed=seed,
        )
        for seed, split in enumerate(folds)
    ]


def later_events(events: tt.Interactions, repeats: int) -> list[Task]:
    """Makes the split in time, for each seed of the models."""
    split = tt.temporal_split(events, test=0.2, validation=0.1)
    return [
        Task(
            split=split,
            choosing=Part(train=split.train, known=split.train, target=split.validation),
            final=Part(train=split.seen, known=split.seen, target=split.test),
            seed=seed,
        )
        for seed in range(repeats)
    ]


def _contenders() -> dict[str, Contender]:
    contenders: dict[str, Contender] = {
        "popularity": lambda task: popularity(task.final.train, threshold=_THRESHOLD),
        "recent popularity": lambda task: recent_popularity(task.final.train, threshold=_THRESHOLD),
        "EASE": functools.partial(_tuned, _fit_ease, {"l2": _L2S}),
    }
    if importlib.util.find_spec("implicit"):
        contenders["ALS"] = functools.partial(_tuned, _fit_als, _ALS)
        contenders["BPR"] = functools.partial(_tuned, _fit_bpr, _BPR)
    return {
        **contenders,
        "default recipe": functools.partial(_fit_recipe, has_ids=True),
        "default recipe without ids": functools.partial(_fit_recipe, has_ids=False),
    }


def _measure(tasks: Sequence[Task], contenders: Mapping[str, Contender]) -> Iterable[Row]:
    """Measures the contenders in turn; metrics of the same user are averaged over the tasks."""
    found: dict[str, list[QueryMetrics]] = {name: [] for name in contenders}
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number, task in enumerate(tasks):
        for name, fit in contenders.items():
            if name == "BPR" and task.is_of_unseen_users:
                continue
            start = time.perf_counter()
            embeddings = fit(task)
            seconds[name].append(time.perf_counter() - start)
            found[name].append(task.final.measure(embeddings))
            print(number, name, found[name][-1].means(), f"{seconds[name][-1]:.0f} s", file=sys.stderr, flush=True)
    of_users = {name: _by_user(metrics) for name, metrics in found.items() if metrics}
    for name, metrics in of_users.items():
        for metric, mean in metrics.means().items():
            yield Row(case=name, metric=metric, value=mean, unit="")
        yield Row(case=name, metric="fit and choice", value=statistics.median(seconds[name]), unit="s")
    for ours, peer in itertools.product(of_users, ("recent popularity", "EASE", "ALS", "BPR")):
        if not ours.startswith("default recipe") or peer not in of_users:
            continue
        for metric, interval in compare(of_users[ours], of_users[peer]).items():
            for bound in ("mean", "low", "high"):
                value = getattr(interval, bound)
                yield Row(case=f"{ours} - {peer}", metric=f"{metric}, {bound}", value=value, unit="")


def _by_user(metrics: Sequence[QueryMetrics]) -> QueryMetrics:
    """Averages each user's metrics over the tasks in which the user is tested."""
    rows, places = np.unique(np.concatenate([each.query_rows for each in metrics]), return_inverse=True)
    counts = np.bincount(places)
    values = {
        name: np.bincount(places, np.concatenate([each.values[name] for each in metrics])) / counts for name in _SHOWN
    }
    return QueryMetrics(query_rows=rows, values=values, num_left_out=0)


def _num_relevant(part: Part, query_rows: np.ndarray) -> np.ndarray:
    """Returns how many films each user has to find."""
    target = np.unique(event_pairs(part.target), axis=0)
    known = _matrix(part.known)
    is_new = np.asarray(known[target[:, 0], target[:, 1]]).ravel() == 0
    return np.bincount(target[is_new, 0], minlength=part.target.num_queries)[query_rows]


def _fit_recipe(task: Task, *, has_ids: bool) -> Embeddings:
    """Trains the retrieval model of the default recipe; every event is positive, so that there is no rating model."""
    train = task.split.train
    recipe = tt.choose_recipe(train, query_features=None if has_ids else {train.query_id: None})
    trained = tt.fit_recipe(recipe, task.split, seed=task.seed, retrain=not task.is_of_unseen_users)
    return trained.model.retrieval_model.embed(task.final.target, known=task.final.known)


def _tuned(fit: Callable[..., Embeddings], grid: Mapping[str, Sequence[float]], task: Task) -> Embeddings:
    """Fits a peer with the settings of a grid that rank the validation part best."""
    settings = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]

    def ndcg(chosen: Mapping[str, Any]) -> float:
        return task.choosing.measure(_with_popularity(fit(task.choosing, task.seed, **chosen), task.choosing)).means()[
            _SHOWN[0]
        ]

    best = max(settings, key=ndcg)
    print(best, file=sys.stderr, flush=True)
    return _with_popularity(fit(task.final, task.seed, **best), task.final)


def _with_popularity(embeddings: Embeddings, part: Part) -> Embeddings:
    """Ranks by recent popularity for users of whom nothing is known."""
    queries, candidates = (np.asarray(side, np.float32) for side in embeddings)
    is_new = np.bincount(part.known.query_rows, minlength=part.known.num_queries) == 0
    queries = np.where(is_new[:, np.newaxis], 0, queries)
    _, counts = recent_popularity(part.train, threshold=_THRESHOLD)
    return np.column_stack([queries, is_new]).astype(np.float32), np.column_stack([candidates, counts])


def _fit_ease(part: Part, seed: int, *, l2: float) -> Embeddings:
    del seed
    _, candidates = ease(part.train, threshold=_THRESHOLD, l2=l2)
    return _matrix(part.known).toarray(), candidates


def _fit_als(part: Part, seed: int, **settings: Any) -> Embeddings:
    from implicit.cpu.als import AlternatingLeastSquares

    model = AlternatingLeastSquares(iterations=15, random_state=seed, **settings)
    model.fit(_matrix(part.train), show_progress=False)
    return model.recalculate_user(np.arange(part.known.num_queries), _matrix(part.known)), model.item_factors


def _fit_bpr(part: Part, seed: int, **settings: Any) -> Embeddings:
    from implicit.cpu.bpr import BayesianPersonalizedRanking

    # With one thread, because several update the same factors in an order that no seed decides.
    model = BayesianPersonalizedRanking(iterations=100, random_state=seed, num_threads=1, **settings)
    model.fit(_matrix(part.train), show_progress=False)
    return model.user_factors, model.item_factors


def _matrix(events: tt.Interactions) -> scipy.sparse.csr_matrix:
    """Returns float32 [num_queries, num_candidates], 1 for each pair that occurs."""
    pairs = np.unique(event_pairs(events), axis=0)
    shape = (events.num_queries, events.num_candidates)
    return scipy.sparse.csr_matrix((np.ones(len(pairs), np.float32), tuple(pairs.T)), shape=shape)


if __name__ == "__main__":
    main()
