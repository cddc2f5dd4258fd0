"""Compares the ranking of the whole catalogue with TensorFlow Recommenders' FactorizedTopK over the same vectors.

Each query has one relevant candidate, near its vector, and the top 10 are searched. FactorizedTopK uses its own exact
layers: `Streaming` over batches of 128 candidates, as in TensorFlow Recommenders' tutorials, and `BruteForce`, which
holds the whole catalogue. Queries come in batches of 1,024. All contenders must find the same share of the relevant
candidates.

The size "million" measures `evaluate` instead: a report of a million events of 289,302 queries, most of them with few,
and 47,624 candidates. The model gives random embeddings of length 129 at no cost, so that only the evaluation is timed.

    python scripts/benchmark_evaluation.py [--json FILE] [--repeats ROUNDS] [--size small|large|million]
"""

import argparse
import resource
import time
from collections.abc import Callable

import numpy as np
import pyarrow as pa
from _benchmark import Row, add_arguments, show, time_in_turns

import tfrs_twotower as tt  # isort: skip  # before TensorFlow
import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrs_twotower.evaluation import metrics
from tfrs_twotower.evaluation.ranking import rank_candidates

_SIZES = {"small": (6_000, 4_000), "large": (50_000, 60_000)}
_MILLION = "million"
_EVENTS, _QUERIES, _CANDIDATES = 1_000_000, 289_302, 47_624
_DIM = 64
_K = 10
_QUERY_BATCH = 1024
_CANDIDATE_BATCH = 128
_NOTHING = np.zeros((0, 2), np.int64)


def main() -> None:
    """Measures both sizes, and shows times, ratios, hit rates and memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument(
        "--size", choices=[*_SIZES, _MILLION], action="append", help="measure only this size; repeatable"
    )
    arguments = parser.parse_args()
    rows = []
    for name in arguments.size or [*_SIZES, _MILLION]:
        rows += measure_report() if name == _MILLION else measure(*_SIZES[name], repeats=arguments.repeats)
    show(f"Top {_K} of the whole catalogue, {_DIM} dimensions", rows, arguments.json)


def measure(num_queries: int, num_candidates: int, *, repeats: int) -> list[Row]:
    """Measures one size and returns its rows."""
    generator = np.random.default_rng(0)
    candidates = generator.normal(size=(num_candidates, _DIM)).astype(np.float32)
    relevant = generator.integers(0, num_candidates, num_queries)
    queries = (candidates[relevant] + 2.5 * generator.normal(size=(num_queries, _DIM))).astype(np.float32)
    hit_rates: dict[str, float] = {}

    def ours() -> None:
        ranked = rank_candidates(queries, candidates, _NOTHING, k=_K)
        hit_rates["ours"] = float(metrics.hit_rate(ranked == relevant[:, np.newaxis]).mean())

    contenders: dict[str, Callable[[], object]] = {"ours": ours}
    layers = {
        "Streaming": tfrs.layers.factorized_top_k.Streaming(k=_K),
        "BruteForce": tfrs.layers.factorized_top_k.BruteForce(k=_K),
    }
    ids = tf.range(num_candidates)
    for name, layer in layers.items():
        if name == "Streaming":
            blocks = tf.data.Dataset.from_tensor_slices((ids, candidates)).batch(_CANDIDATE_BATCH)
            layer.index_from_dataset(blocks)
        else:
            layer.index(candidates, ids)
        contenders[f"FactorizedTopK, {name}"] = _factorized(layer, queries, candidates, relevant, name, hit_rates)
    size = f"{num_queries:,} x {num_candidates:,}"
    before = _peak_bytes()
    ours()
    rows = [Row(case=f"{size}, ours", metric="memory beyond the vectors", value=_peak_bytes() - before, unit="bytes")]
    seconds = time_in_turns(contenders, repeats=repeats)
    for name, value in seconds.items():
        key = name.removeprefix("FactorizedTopK, ")
        rows.append(Row(case=f"{size}, {name}", metric="time", value=value, unit="s"))
        rows.append(Row(case=f"{size}, {name}", metric=f"hit_rate@{_K}", value=hit_rates[key], unit=""))
        if name != "ours":
            rows.append(Row(case=f"{size}, {name}", metric="time / ours", value=value / seconds["ours"], unit="x"))
    return rows


def measure_report() -> list[Row]:
    """Measures a report of a million events, once, and returns its rows."""
    split = tt.random_split(_make_events(), test=0.2, validation=0.1, seed=0)
    seconds: dict[str, float] = {}
    starts: dict[str, float] = {}

    def progress(task: str, done: int, total: int) -> None:
        del total
        if not done:
            starts[task] = time.perf_counter()
        seconds[task] = time.perf_counter() - starts[task]

    start = time.perf_counter()
    report = tt.evaluate(_RandomModel(), split, progress=progress)  # type: ignore[arg-type]
    seconds["in all"] = time.perf_counter() - start
    case = f"report of {_EVENTS:,} events"
    rows = [Row(case=case, metric="queries ranked", value=float(report.num_ranked or 0), unit="")]
    return rows + [Row(case=case, metric=task, value=value, unit="s") for task, value in seconds.items()]


def _make_events() -> tt.Interactions:
    """Makes events of queries and candidates of very different numbers of events."""
    generator = np.random.default_rng(0)
    activity = 1 + generator.pareto(1.2, _QUERIES)
    popularity = 1 / np.arange(1, _CANDIDATES + 1) ** 0.8
    others = generator.choice(_QUERIES, _EVENTS - _QUERIES, p=activity / activity.sum())
    return tt.Interactions(
        queries=pa.table({"user_id": [str(row) for row in range(_QUERIES)]}),
        candidates=pa.table({"item_id": [str(row) for row in range(_CANDIDATES)]}),
        events=pa.table(
            {
                "query_row": np.concatenate([np.arange(_QUERIES), others]).astype(np.int32),
                "candidate_row": generator.choice(_CANDIDATES, _EVENTS, p=popularity / popularity.sum()).astype(
                    np.int32
                ),
                "rating": generator.integers(1, 6, _EVENTS).astype(np.float32),
                "timestamp": generator.integers(1_300_000_000, 1_400_000_000, _EVENTS),
            }
        ),
        query_id="user_id",
        candidate_id="item_id",
    )


class _RandomModel:
    """A stand-in for a trained model, whose embeddings cost nothing."""

    threshold, vector_dim = 3.0, 128

    def __init__(self) -> None:
        generator = np.random.default_rng(1)
        self._queries = generator.normal(size=(_QUERIES, self.vector_dim + 1)).astype(np.float32)
        self._candidates = generator.normal(size=(_CANDIDATES, self.vector_dim + 1)).astype(np.float32)

    @property
    def retrieval_model(self) -> "_RandomModel":
        return self

    @property
    def rating_model(self) -> "_RandomModel":
        return self

    def embed(self, interactions: tt.Interactions, *, known: tt.Interactions) -> tuple[np.ndarray, np.ndarray]:
        del interactions, known
        return self._queries, self._candidates


def _factorized(
    layer: tf.keras.layers.Layer,
    queries: np.ndarray,
    candidates: np.ndarray,
    relevant: np.ndarray,
    name: str,
    hit_rates: dict[str, float],
) -> Callable[[], None]:
    """Returns a compiled pass of FactorizedTopK over all queries, as `model.evaluate` would run it."""
    metric = tfrs.metrics.FactorizedTopK(candidates=layer, ks=(_K,))

    @tf.function
    def update(query: tf.Tensor, candidate: tf.Tensor, row: tf.Tensor) -> None:
        metric.update_state(query, candidate, true_candidate_ids=row)

    batches = tf.data.Dataset.from_tensor_slices((queries, candidates[relevant], relevant.astype(np.int32)))
    batches = batches.batch(_QUERY_BATCH).prefetch(tf.data.AUTOTUNE)

    def run() -> None:
        metric.reset_states()
        for query, candidate, row in batches:
            update(query, candidate, row)
        hit_rates[name] = float(metric.result()[0])

    run()  # the first run, which is not timed, traces the function
    return run


def _peak_bytes() -> float:
    """Returns the peak memory of the process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


if __name__ == "__main__":
    main()
