"""What explicit negatives do to the rank of what people dislike, on planted tastes.

People choose one candidate of each page that they are shown. They like two kinds of candidates, dislike a quarter of
the kinds, and do not care for the rest. Pages are drawn from the catalogue, or picked by taste, as by a recommender
that knows it. What was shown and not chosen are impressions, or events with the label 0.

- `without`: explicit negatives are negatives like all others.
- `with`: positives are compared with them in particular.
- `recipe`: the validation part chooses between the two.

The rank is the mean place among all candidates, 0 for the first and 1 for the last; NDCG@10 is that of the test part.

    python scripts/benchmark_negatives.py [--json FILE] [--repeats SEEDS] [--queries N] [--candidates N]
"""

import argparse
import dataclasses
import statistics
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from _benchmark import Row, add_arguments, show

sys.path.insert(0, str(Path(__file__).parent.parent))

import tfrs_twotower as tt
from tests.pages import Pages, make_pages

_CASES = {
    "impressions, pages drawn": {"picked": False},
    "impressions, pages picked": {"picked": True},
    "labels, pages drawn": {"picked": False, "labels": True},
    "labels, pages picked": {"picked": True, "labels": True},
}


def main() -> None:
    """Trains each contender on the pages of each seed, and shows medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--queries", type=int, default=600, help="number of people (default 600)")
    parser.add_argument("--candidates", type=int, default=1000, help="size of the catalogue (default 1000)")
    arguments = parser.parse_args()
    rows = []
    for case, options in _CASES.items():
        start, found = time.perf_counter(), []
        for seed in range(arguments.repeats):
            pages = make_pages(
                num_queries=arguments.queries,
                num_candidates=arguments.candidates,
                num_kinds=20,
                num_pages=20,
                page_size=10,
                seed=seed,
                **options,
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of candidates without a training event
                found.append(_measure(pages, seed))
        print(f"{case}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
        for contender, metrics in found[0].items():
            for metric in metrics:
                value = statistics.median(of_seed[contender][metric] for of_seed in found)
                rows.append(Row(case=f"{case}: {contender}", metric=metric, value=value, unit=""))
    show("Explicit negatives on planted tastes", rows, arguments.json)


def _measure(pages: Pages, seed: int) -> dict[str, dict[str, float]]:
    """Contender -> metrics."""
    split = tt.random_split(pages.interactions, seed=seed)
    recipe = dataclasses.replace(tt.choose_recipe(split.train), rating=None)
    weight = "dislike_weight" if recipe.impression_weight == 0 else "impression_weight"
    contenders = {
        "without": _with(recipe, weight, 0.0),
        "with": _with(recipe, weight, 1.0),
        "recipe": recipe,
    }
    found = {}
    for name, contender in contenders.items():
        trained = tt.fit_recipe(contender, split, seed=seed)
        ndcg = tt.evaluate(trained.model, split, k=10).metrics["ndcg@10"]
        found[name] = {"ndcg@10": ndcg, **pages.measure(trained.model, split.seen)}
    return found


def _with(recipe: tt.Recipe, name: str, weight: float) -> tt.Recipe:
    changes: dict[str, Any] = {name: weight}
    return dataclasses.replace(recipe, **changes)


if __name__ == "__main__":
    main()
