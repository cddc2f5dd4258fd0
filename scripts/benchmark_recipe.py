"""The default recipe on many tables, without a setting, beside what a careful user would compare it with.

The tables are MovieLens 100K as somebody's own files with other column names, without ratings, on other scales, and
split by time; variants of it that differ in size; and generated ratings with planted taste. The rules of
`tfrs_twotower.choose_recipe` are judged by all of them, so that they do not fit a single table.

EASE's l2 is chosen on the validation part; then EASE, like the model, learns from training and validation part.
"""

import argparse
import dataclasses
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from _benchmark import Row, show
from make_ratings import draw_ratings

import tfrs_twotower as tt
from tfrs_twotower.data.splits import Split
from tfrs_twotower.evaluation import ease, ranking_metrics
from tfrs_twotower.evaluation.ranking import event_pairs, rank_candidates

_L2 = (10.0, 30.0, 100.0, 300.0, 1000.0)
_K = 10
OWN_SCHEMA = tt.Schema(query_id="customer", candidate_id="sku", rating="stars", timestamp="when")
_SHOWN = {"model": ("ndcg@10", "auc", "log_loss"), "biases": ("auc",)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """A table and how it is split.

    Attributes:
        write: Writes the table into a folder, and returns its path.
        schema: Names of its columns.
        threshold: A rating of at least this is positive; None leaves it to the recipe.
        by_time: Whether the split is by time; otherwise it is random.
    """

    write: Callable[[Path], Path]
    schema: tt.Schema = OWN_SCHEMA
    threshold: float | None = None
    by_time: bool = False


def main() -> None:
    """Trains and evaluates each case for each seed, and shows the figures and their means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flat = flat_table(tt.load_movielens("movielens/100k-ratings"))
    cases = _cases(flat)
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds, from 0 up (default 1)")
    parser.add_argument("--case", choices=cases, action="append", help="run only this case; repeatable")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file")
    arguments = parser.parse_args()
    rows: list[Row] = []
    for name in arguments.case or cases:
        figures = [_measure(cases[name], seed) for seed in range(arguments.seeds)]
        for seed, figure in enumerate(figures):
            print(name, f"seed {seed}", {metric: round(value, 4) for metric, value in figure.items()}, flush=True)
        for metric in figures[0]:
            mean = float(np.mean([figure[metric] for figure in figures]))
            rows.append(Row(case=name, metric=metric, value=mean, unit="s" if metric == "fit" else "1"))
    show("The default recipe on many tables", rows, arguments.json)


def _cases(flat: pa.Table) -> dict[str, Case]:
    stars = flat["stars"].to_numpy()
    doubled, liked = flat.set_column(2, "stars", pa.array(2 * stars)), pa.array(stars >= 3)
    no_ratings = tt.Schema(query_id="customer", candidate_id="sku", timestamp="when")
    return {
        "own CSV": Case(write=lambda folder: write_csv(flat, folder)),
        "own Parquet": Case(write=lambda folder: _write_parquet(flat, folder)),
        "without ratings": Case(
            write=lambda folder: write_csv(flat.drop_columns(["stars"]), folder), schema=no_ratings
        ),
        "ratings of 0 to 10": Case(write=lambda folder: write_csv(doubled, folder), threshold=6.0),
        "liked or not": Case(write=lambda folder: write_csv(flat.set_column(2, "stars", liked), folder)),
        "split by time": Case(write=lambda folder: write_csv(flat, folder), by_time=True),
        "a tenth of the users": Case(write=lambda folder: write_csv(_tenth(flat, "customer"), folder)),
        "a tenth of the items": Case(write=lambda folder: write_csv(_tenth(flat, "sku"), folder)),
        "short histories": Case(write=lambda folder: write_csv(_short(flat, 10), folder)),
        "ten times the items": Case(write=lambda folder: write_csv(_more_items(flat, 10), folder)),
        "planted taste": Case(write=lambda folder: write_csv(_planted(3_000, 2_000, 150_000), folder)),
    }


def _measure(case: Case, seed: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ratings = tt.load_ratings(case.write(Path(folder)), case.schema)
        if case.by_time:
            split = tt.temporal_split(ratings, test=0.2, validation=0.1)
        else:
            split = tt.random_split(ratings, test=0.2, validation=0.1, seed=seed)
        start = time.perf_counter()
        trained = tt.fit_recipe(tt.choose_recipe(split.train, threshold=case.threshold), split, seed=seed)
        seconds = time.perf_counter() - start
        threshold = trained.recipe.threshold
        report = tt.evaluate(trained.model, split, k=_K, baselines={"EASE": _tuned_ease(split, threshold)})
        reports = {"": report}
        if case.by_time:
            reports[" by event"] = tt.evaluate(trained.model, split, k=_K, by_event=True)
    figures = {}
    for of, found in reports.items():
        for name, metrics in found.cases.items():
            for metric in _SHOWN.get(name, ("ndcg@10",)):
                if metric in metrics and name not in ("random", "all-positive"):
                    figures[f"{name}{of}, {metric}"] = metrics[metric]
    return {**figures, "fit": seconds}


def _tuned_ease(split: Split, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Fits EASE with the l2 that ranks the validation part best."""
    seen, queries = event_pairs(split.train), np.unique(split.validation.query_rows)

    def ndcg(l2: float) -> float:
        ranked = rank_candidates(*ease(split.train, threshold=threshold, l2=l2), seen, k=_K, query_rows=queries)
        return ranking_metrics(ranked, split.validation, seen, threshold=threshold)["ndcg@10"]

    return ease(split.seen, threshold=threshold, l2=max(_L2, key=ndcg))


def flat_table(ratings: tt.Interactions) -> pa.Table:
    """Returns MovieLens as somebody's own flat table: customer, sku, stars, when, kind."""
    candidate_rows = pa.array(ratings.candidate_rows)
    kinds = pc.binary_join(ratings.candidates["genres"].combine_chunks(), "|")
    return pa.table(
        {
            "customer": ratings.queries["user_id"].take(pa.array(ratings.query_rows)),
            "sku": ratings.candidates["movie_id"].take(candidate_rows),
            "stars": pa.array(ratings.ratings.astype(np.int64)),
            "when": pa.array(ratings.timestamps),
            "kind": kinds.take(candidate_rows),
        }
    )


def write_csv(table: pa.Table, folder: Path) -> Path:
    """Writes a table as a CSV file, and returns its path.

    Args:
        table: The table.
        folder: Where it is written.
    """
    path = folder / "ratings.csv"
    pyarrow.csv.write_csv(table, path)
    return path


def _write_parquet(table: pa.Table, folder: Path) -> Path:
    path = folder / "ratings.parquet"
    pyarrow.parquet.write_table(table, path)
    return path


def _tenth(flat: pa.Table, column: str) -> pa.Table:
    """Keeps the events of a tenth of the values of a column."""
    values = np.unique(flat[column].to_numpy(zero_copy_only=False).astype(str))
    kept = np.random.default_rng(0).choice(values, len(values) // 10, replace=False)
    return flat.filter(pc.is_in(flat[column], pa.array(kept)))


def _short(flat: pa.Table, length: int) -> pa.Table:
    """Keeps at most `length` events of each customer, drawn at random."""
    order = np.random.default_rng(0).permutation(flat.num_rows)
    customers = np.unique(flat["customer"].to_numpy(zero_copy_only=False).astype(str), return_inverse=True)[1][order]
    by_customer = np.argsort(customers, kind="stable")
    counts = np.bincount(customers)
    places = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    return flat.take(pa.array(np.sort(order[by_customer[places < length]])))


def _more_items(flat: pa.Table, factor: int) -> pa.Table:
    """Divides the events of each item at random among as many items as `factor`."""
    copies = np.random.default_rng(0).integers(0, factor, flat.num_rows)
    skus: Sequence[str] = [f"{sku}-{copy}" for sku, copy in zip(flat["sku"].to_pylist(), copies, strict=True)]
    return flat.set_column(flat.column_names.index("sku"), "sku", pa.array(skus))


def _planted(num_users: int, num_items: int, num_events: int) -> pa.Table:
    drawn = draw_ratings(num_users, num_items, num_events, half_stars=True, generator=np.random.default_rng(0))
    pairs = drawn["user"].to_numpy().astype(np.int64) * (num_items + 1) + drawn["movie"].to_numpy()
    first = np.sort(np.unique(pairs, return_index=True)[1])  # one rating per pair
    return drawn.take(pa.array(first)).rename_columns(["customer", "sku", "stars", "when"])


if __name__ == "__main__":
    main()
