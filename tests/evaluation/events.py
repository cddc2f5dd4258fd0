"""Events of a few queries and candidates, row by row."""

from collections.abc import Mapping, Sequence

import pyarrow as pa

import tfrs_twotower as tt

_TYPES = {"query_row": pa.int32(), "candidate_row": pa.int32(), "rating": pa.float32(), "timestamp": pa.int64()}


def make_events(
    rows: Sequence[tuple], columns: Sequence[str], *, queries: Mapping[str, list], num_candidates: int
) -> tt.Interactions:
    """Makes events of rows (query, candidate, rating, ...), the names of whose further columns are given."""
    names = ["query_row", "candidate_row", "rating", *columns]
    values = zip(*rows, strict=True) if rows else ((),) * len(names)
    return tt.Interactions(
        queries=pa.table(queries),
        candidates=pa.table({"item_id": [f"i{row}" for row in range(num_candidates)]}),
        events=pa.table(
            {name: pa.array(of, _TYPES.get(name, pa.string())) for name, of in zip(names, values, strict=True)}
        ),
        query_id="user_id",
        candidate_id="item_id",
    )
