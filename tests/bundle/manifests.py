"""Manifests for tests, complete except for what a test changes."""

from typing import Any

from tfrs_twotower.bundle.manifest import IndexEntry, Manifest
from tfrs_twotower.bundle.model_entry import DataSource, InputSpec, ModelEntry, QuerySchema, SideSchema
from tfrs_twotower.index.outcome import IndexOutcome


def make_index_entry(
    *, kind: str = "exact", is_exact: bool = True, recall: dict[int, float] | None = None
) -> IndexEntry:
    """Makes the entry of an index that was asked to be of its kind."""
    outcome = IndexOutcome(
        parameters={}, recall=recall or {10: 1.0}, latency_ms={1: 0.25}, build_s=0.5, size_bytes=4096, note=None
    )
    return IndexEntry(requested=kind, kind=kind, is_exact=is_exact, outcome=outcome)


def make_model_entry(**changes: Any) -> ModelEntry:
    """Makes the entry of a model that takes ids and a rated history, with some fields changed."""
    fields = {
        "query": QuerySchema(
            id="user_id",
            features=({"kind": "Categorical", "name": "user_id"},),
            inputs=(
                InputSpec(name="user_id", dtype="string", shape=(None,)),
                InputSpec(name="history", dtype="string", shape=(None, None)),
                InputSpec(name="history_rating", dtype="float32", shape=(None, None)),
            ),
            histories=("history",),
            ratings_of={"history_rating": "history"},
        ),
        "candidate": SideSchema(
            id="movie_id",
            features=({"kind": "Categorical", "name": "movie_id"},),
            inputs=(InputSpec(name="movie_id", dtype="string", shape=(None,)),),
        ),
        "num_queries": 40,
        "positive_threshold": 3.0,
        "has_probabilities": True,
        "metrics": {"auc": 0.8},
        "data": DataSource(source="planted", fingerprint="00ff"),
    }
    return ModelEntry(**{**fields, **changes})


def make_manifest(**changes: Any) -> Manifest:
    """Makes a manifest, with some fields of it or of its model's entry changed."""
    model = {name: changes.pop(name) for name in [*changes] if name in ModelEntry.__dataclass_fields__}
    fields = {
        "versions": {"tfrs_twotower": "0.2.0", "tensorflow": "2.20.0"},
        "created": "2025-01-02T03:04:05+00:00",
        "model": make_model_entry(**model),
        "num_candidates": 24,
        "requested_k": 100,
        "k": 24,
        "filter_by": (),
        "rerank": None,
        "index": make_index_entry(),
    }
    return Manifest(**{**fields, **changes})
