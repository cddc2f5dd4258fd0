"""A bundle of any size with drawn weights, for benchmarks of what serves it.

The weights are drawn rather than learnt: a candidate's vector is the sum of those of its niche, its brand and its own,
and niches follow Zipf's law. Queries like one niche each.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa

import tfrs_twotower as tt
from tfrs_twotower.model.two_tower import TwoTowerModel

_DIM = 64
_NUM_QUERIES, _NUM_EVENTS, _NUM_NICHES, _NUM_BRANDS = 20_000, 200_000, 5_000, 20_000


def draw_candidates(num: int, prefix: str, *, seed: int) -> pa.Table:
    """Draws candidates with a niche and a brand, from which their vectors follow, a year and a title."""
    generator = np.random.default_rng(seed)
    return pa.table(
        {
            "movie_id": [f"{prefix}{row}" for row in range(num)],
            "niche": [f"n{niche}" for niche in draw_niches(generator, num)],
            "brand": [f"b{brand}" for brand in generator.integers(0, _NUM_BRANDS, num)],
            "year": generator.integers(1950, 2025, num),
            "title": [f"Title {row}" for row in range(num)],
        }
    )


def draw_niches(generator: np.random.Generator, num: int) -> np.ndarray:
    """Draws niches by Zipf's law."""
    weights = 1 / (np.arange(_NUM_NICHES) + 50)
    return generator.choice(_NUM_NICHES, num, p=weights / weights.sum())


def export_drawn(catalogue: pa.Table, directory: Path, config: tt.ExportConfig) -> None:
    """Publishes a bundle of drawn candidates.

    Args:
        catalogue: From `draw_candidates`.
        directory: The folder of its versions.
        config: What the bundle holds.
    """
    generator = np.random.default_rng(2)
    known = tt.Interactions(
        queries=pa.table(
            {
                "user_id": [f"u{row}" for row in range(_NUM_QUERIES)],
                "niche": [f"n{niche}" for niche in draw_niches(generator, _NUM_QUERIES)],
            }
        ),
        candidates=catalogue,
        events=pa.table(
            {
                "query_row": pa.array(generator.integers(0, _NUM_QUERIES, _NUM_EVENTS), pa.int32()),
                "candidate_row": pa.array(generator.integers(0, catalogue.num_rows, _NUM_EVENTS), pa.int32()),
                "rating": pa.array(np.full(_NUM_EVENTS, 5), pa.float32()),
            }
        ),
        query_id="user_id",
        candidate_id="movie_id",
    )
    query, candidate = (
        tt.SumTowerConfig(features=tuple(tt.Categorical(name=name) for name in names), output_dim=_DIM)
        for names in (("user_id", "niche"), ("movie_id", "niche", "brand"))
    )
    model = tt.build_two_tower(known, query=query, candidate=candidate, task=tt.tasks.SampledSoftmaxTask())
    draw_weights(model, generator)
    tt.export_bundle(model, known, directory, config=config)


def draw_weights(model: TwoTowerModel, generator: np.random.Generator) -> None:
    """Draws a vector for every value of every feature, the same for a niche on both sides."""
    niches = generator.normal(size=(_NUM_NICHES, _DIM))
    for tower in (model.query_tower, model.candidate_tower):
        for name, encoder in tower.encoders.items():
            (table,) = encoder.variables
            vectors = generator.normal(size=table.shape) * (1 if name == "user_id" else 0.7)
            if name == "niche":
                values = tower.vocabularies.values_of(name)
                vectors[-len(values) :] = niches[[int(value[1:]) for value in values]]
            table.assign(vectors.astype(np.float32))
