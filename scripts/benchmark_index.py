"""Compares this library's indexes with TensorFlow Recommenders' layers and other libraries: top 10 by dot product.

There are two sets of vectors. One has a million vectors in 64 dimensions, in 5,000 clusters whose sizes follow Zipf's
law, with as much variance within clusters as between them. The other has the embeddings of a two-tower model that is
trained here on a million candidates, in niches of which each user likes five. Indexes are tuned on one half of the
queries, to a recall of 0.98, the portable one to 0.95, and the recall that is shown is that of the other half. Other
libraries are tuned to 0.98, too: their effort is raised by a half until they reach it. All contenders may use all
cores, and are called from Python.

Exclusions: 60,000 candidates with string ids, 64 queries at once, with 1,000 and with 10 exclusions each, compared with
`query_with_exclusions`.

    python scripts/benchmark_index.py [--json FILE] [--repeats ROUNDS] [--case NAME]... [--without-peers]
"""

import argparse
import functools
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from _benchmark import Row, add_arguments, show, time_in_turns

import tfrs_twotower as tt
from tfrs_twotower.data.rows import NO_ROW
from tfrs_twotower.index.build import BuiltIndex
from tfrs_twotower.index.exact import ExactIndex
from tfrs_twotower.index.index import Index
from tfrs_twotower.index.kinds import build_exact_index, build_portable_index, build_scann_index
from tfrs_twotower.index.scann import ScannIndex
from tfrs_twotower.index.tables import build_table
from tfrs_twotower.index.tuning import IndexTarget
from tfrs_twotower.model.tasks import SampledSoftmaxTask
from tfrs_twotower.training import LazyAdam

import tensorflow as tf  # isort: skip  # after tfrs_twotower
import tensorflow_recommenders as tfrs  # isort: skip

_K = 10
_DIM = 64
_RECALL = 0.98
_PORTABLE_RECALL = 0.95
_NUM_QUERIES = 2048
_CALLS = {1: 30, 256: 2}
_EFFORTS = tuple(round(10 * 1.5**step) for step in range(14))  # 10 to 1,946

Search = Callable[[np.ndarray], np.ndarray]  # queries -> rows


def main() -> None:
    """Measures the cases and shows times, ratios to BruteForce, recalls, build times and sizes."""
    cases: dict[str, Callable[[], tuple[np.ndarray, np.ndarray]]] = {"clustered": clustered, "model": model_embeddings}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument(
        "--case",
        choices=[*cases, "exclusions"],
        action="append",
        help="measure only this case; may be given more than once",
    )
    parser.add_argument("--without-peers", action="store_true", help="leave out faiss, hnswlib and voyager")
    arguments = parser.parse_args()
    rows = []
    for case, make in cases.items():
        if not arguments.case or case in arguments.case:
            rows += measure(case, *make(), repeats=arguments.repeats, with_peers=not arguments.without_peers)
    if not arguments.case or "exclusions" in arguments.case:
        rows += measure_exclusions(repeats=arguments.repeats)
    show(f"Top {_K}", rows, arguments.json)


def clustered(num: int = 1_000_000, num_clusters: int = 5_000) -> tuple[np.ndarray, np.ndarray]:
    """Draws (candidates, queries)."""
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(num_clusters, _DIM)).astype(np.float32)
    weights = 1 / (np.arange(num_clusters) + 50)

    def draw(size: int) -> np.ndarray:
        of = generator.choice(num_clusters, size, p=weights / weights.sum())
        return centres[of] + generator.normal(size=(size, _DIM)).astype(np.float32)

    return draw(num), draw(_NUM_QUERIES)


def model_embeddings(
    num_candidates: int = 1_000_000, num_queries: int = 20_000, num_events: int = 4_000_000, num_niches: int = 2_000
) -> tuple[np.ndarray, np.ndarray]:
    """Returns (candidates, queries) of a model that is trained with in-batch negatives for one epoch."""
    tf.keras.utils.set_random_seed(0)
    generator = np.random.default_rng(0)
    liked = generator.integers(0, num_niches, (num_queries, 5))
    users = generator.integers(0, num_queries, num_events)
    niches = liked[users, generator.integers(0, 5, num_events)]
    size = num_candidates // num_niches
    # The first items of a niche are the popular ones.
    items = niches * size + (size * generator.random(num_events) ** 2).astype(np.int64)
    items = np.where(generator.random(num_events) < 0.1, generator.integers(0, num_candidates, num_events), items)
    ratings = tt.Interactions(
        queries=pa.table({"user_id": [f"u{row}" for row in range(num_queries)]}),
        candidates=pa.table({"movie_id": [f"m{row}" for row in range(num_candidates)]}),
        events=pa.table(
            {
                "query_row": pa.array(users, pa.int32()),
                "candidate_row": pa.array(items, pa.int32()),
                "rating": pa.array(np.full(num_events, 5), pa.float32()),
            }
        ),
        query_id="user_id",
        candidate_id="movie_id",
    )
    query, candidate = (
        tt.MLPTowerConfig(
            features=(tt.Categorical(name=name),), embedding_dim=_DIM, hidden_units=(), output_dim=_DIM, dropout=0.0
        )
        for name in ("user_id", "movie_id")
    )
    model = tt.build_two_tower(ratings, query=query, candidate=candidate, task=SampledSoftmaxTask(temperature=0.1))
    model.compile(optimizer=LazyAdam(0.01))
    model.fit(model.training_batches(ratings, batch_size=2048, seed=0), epochs=1, verbose=0)
    queries, candidates = model.embed(ratings)
    return candidates, queries[np.random.default_rng(0).permutation(num_queries)[:_NUM_QUERIES]]


def measure(case: str, candidates: np.ndarray, queries: np.ndarray, *, repeats: int, with_peers: bool) -> list[Row]:
    """Measures one set of vectors."""
    case = f"{case}, {len(candidates):,} x {candidates.shape[1]}"
    rows = []
    searches: dict[str, Search] = {}
    half = len(queries) // 2
    tuning, evaluation = queries[:half], queries[half:]
    truth = {name: _exact(candidates, part) for name, part in (("tuning", tuning), ("evaluation", evaluation))}
    builders: dict[str, Callable[[], Search]] = {
        "TFRS BruteForce": lambda: _tfrs(tfrs.layers.factorized_top_k.BruteForce(k=_K), candidates),
        "TFRS ScaNN, defaults": lambda: _tfrs(tfrs.layers.factorized_top_k.ScaNN(k=_K), candidates),
        "exact": lambda: _ours(build_exact_index, candidates, tuning),
        "scann": lambda: _ours(build_scann_index, candidates, tuning),
        "portable": lambda: _ours(build_portable_index, candidates, tuning),
    }
    for name, build in builders.items():
        start = time.perf_counter()
        searches[name] = build()
        rows.append(Row(case=f"{case}, {name}", metric="build", value=time.perf_counter() - start, unit="s"))
    if with_peers:
        for name, make in _PEERS.items():
            start = time.perf_counter()
            efforts = make(candidates)
            first = next(efforts)
            rows.append(Row(case=f"{case}, {name}", metric="build", value=time.perf_counter() - start, unit="s"))
            searches[name] = first
            # The efforts are tried in turn, because some libraries hold the effort in the index.
            for search in itertools.chain([first], efforts):
                searches[name] = search
                if _recall(search(tuning), truth["tuning"]) >= _RECALL:
                    break
    for name, search in searches.items():
        value = _recall(np.concatenate([search(evaluation[:256]), search(evaluation[256:])]), truth["evaluation"])
        rows.append(Row(case=f"{case}, {name}", metric=f"recall@{_K}", value=value, unit=""))
    for batch, calls in _CALLS.items():
        contenders = {name: _repeated(search, evaluation, batch, calls) for name, search in searches.items()}
        seconds = time_in_turns(contenders, repeats=repeats)
        for name, value in seconds.items():
            row = f"{case}, {name}, batch {batch}"
            rows.append(Row(case=row, metric="time of a call", value=1000 * value / calls, unit="ms"))
            rows.append(Row(case=row, metric="BruteForce / this", value=seconds["TFRS BruteForce"] / value, unit="x"))
    return rows


def measure_exclusions(*, repeats: int, num: int = 60_000, batch: int = 64) -> list[Row]:
    """Measures searches with exclusions."""
    generator = np.random.default_rng(0)
    candidates = generator.normal(size=(num, _DIM)).astype(np.float32)
    queries = tf.constant(generator.normal(size=(batch, _DIM)).astype(np.float32))
    layers = {
        "TFRS BruteForce": tfrs.layers.factorized_top_k.BruteForce(k=_K),
        "TFRS ScaNN": tfrs.layers.factorized_top_k.ScaNN(k=_K, num_reordering_candidates=4 * _K),
    }
    for layer in layers.values():
        layer.index(candidates, tf.constant(_ids(num)))
    row_of = build_table(_ids(num), np.arange(num), default=NO_ROW)
    indexes: dict[str, Index] = {
        "exact": ExactIndex(candidates, _ids(num)),
        "scann": ScannIndex(candidates, _ids(num)),
    }
    rows = []
    for num_excluded in (10, 1000):
        exclude = tf.strings.as_string(generator.integers(0, num, (batch, num_excluded)))

        def with_layer(layer: tf.keras.layers.Layer, exclude: tf.Tensor = exclude) -> Callable[[], object]:
            search = tf.function(lambda: layer.query_with_exclusions(queries, exclude, k=_K))
            search()
            return lambda: search()[1].numpy()

        def with_index(index: Index, exclude: tf.Tensor = exclude) -> Callable[[], object]:
            search = tf.function(lambda: index.search(queries, _K, row_of.lookup(exclude)))
            search()
            return lambda: search()[1].numpy()

        contenders = {name: with_layer(layer) for name, layer in layers.items()}
        contenders.update({name: with_index(index) for name, index in indexes.items()})
        seconds = time_in_turns(contenders, repeats=repeats)
        for name, value in seconds.items():
            case = f"exclusions, {num:,} x {_DIM}, {num_excluded:,} excluded, batch {batch}, {name}"
            rows.append(Row(case=case, metric="time of a call", value=1000 * value, unit="ms"))
            for layer in layers:
                rows.append(Row(case=case, metric=f"{layer} / this", value=seconds[layer] / value, unit="x"))
    return rows


def _ids(num: int) -> list[str]:
    return [str(row) for row in range(num)]


def _exact(candidates: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Finds the rows of the best candidates with NumPy."""
    found = []
    for start in range(0, len(queries), 64):
        scores = queries[start : start + 64] @ candidates.T
        found.append(np.argpartition(-scores, _K, axis=1)[:, :_K])
    return np.concatenate(found)


def _recall(found: np.ndarray, truth: np.ndarray) -> float:
    return float((found[:, :, None] == truth[:, None, :]).any(axis=1).mean())


def _repeated(search: Search, queries: np.ndarray, batch: int, calls: int) -> Callable[[], None]:
    parts = [queries[start : start + batch] for start in range(0, batch * calls, batch)]
    search(parts[0])  # traced and warmed up outside the clock

    def run() -> None:
        for part in parts:
            search(part)

    return run


def _tfrs(layer: tf.keras.layers.Layer, candidates: np.ndarray) -> Search:
    layer.index(candidates)
    search = tf.function(lambda queries: layer(queries)[1]).get_concrete_function(
        tf.TensorSpec([None, candidates.shape[1]], tf.float32)
    )
    return lambda queries: search(tf.constant(queries)).numpy()


def _ours(build: Callable[..., BuiltIndex], candidates: np.ndarray, queries: np.ndarray) -> Search:
    targets = {build_scann_index: _RECALL, build_portable_index: _PORTABLE_RECALL}
    options = {"target": IndexTarget(recall={_K: targets[build]})} if build in targets else {}
    built = build(candidates, _ids(len(candidates)), queries, **options)
    print(built.index.kind, built.outcome.to_dict(), flush=True)
    search = tf.function(lambda queries: built.index.search(queries, _K)[1]).get_concrete_function(
        tf.TensorSpec([None, candidates.shape[1]], tf.float32)
    )
    return lambda queries: search(tf.constant(queries)).numpy()


def _faiss_ivf(candidates: np.ndarray) -> Iterator[Search]:
    import faiss

    num_lists = round(4 * np.sqrt(len(candidates)))
    quantizer = faiss.IndexFlatIP(candidates.shape[1])
    index = faiss.IndexIVFFlat(quantizer, candidates.shape[1], num_lists, faiss.METRIC_INNER_PRODUCT)
    index.train(candidates[np.random.default_rng(0).permutation(len(candidates))[: 50 * num_lists]])
    index.add(candidates)
    for index.nprobe in _EFFORTS:
        yield lambda queries: index.search(queries, _K)[1]


def _faiss_hnsw(candidates: np.ndarray) -> Iterator[Search]:
    import faiss

    index = faiss.IndexHNSWFlat(candidates.shape[1], 16, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 100
    index.add(candidates)
    for index.hnsw.efSearch in _EFFORTS:
        yield lambda queries: index.search(queries, _K)[1]


def _hnswlib(candidates: np.ndarray) -> Iterator[Search]:
    import hnswlib

    index = hnswlib.Index(space="ip", dim=candidates.shape[1])
    index.init_index(max_elements=len(candidates), M=16, ef_construction=100)
    index.add_items(candidates)
    for effort in _EFFORTS:
        index.set_ef(effort)
        yield lambda queries: index.knn_query(queries, k=_K)[0].astype(np.int64)


def _voyager(candidates: np.ndarray) -> Iterator[Search]:
    import voyager

    index = voyager.Index(voyager.Space.InnerProduct, candidates.shape[1], M=16, ef_construction=100)
    index.add_items(candidates)
    for effort in _EFFORTS:
        yield functools.partial(_search_voyager, index, effort)


def _search_voyager(index: Any, effort: int, queries: np.ndarray) -> np.ndarray:
    rows: np.ndarray = index.query(queries, k=_K, query_ef=effort)[0].astype(np.int64)
    return rows


_PEERS = {
    "faiss IVF": _faiss_ivf,
    "faiss HNSW": _faiss_hnsw,
    "hnswlib": _hnswlib,
    "voyager": _voyager,
}


if __name__ == "__main__":
    main()
