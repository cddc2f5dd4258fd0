"""The manifest, which describes a bundle to people and tools: its declared type, with one reader and one writer."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfrs_twotower._json_values import JsonValue, read_json
from tfrs_twotower.bundle.layout import MANIFEST_FILE
from tfrs_twotower.bundle.model_entry import ModelEntry, read_model_entry, read_texts
from tfrs_twotower.index.outcome import IndexOutcome, read_outcome

# Manifests have kilobytes. Reading a file of any size could use up the memory.
_MAX_BYTES = 16 * 2**20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rerank:
    """Declares how the first candidates that are found are reordered before they are recommended.

    They are ordered by weight * log-odds + (1 - weight) * score. Both are logarithms: the score is that of a softmax
    over the catalogue, and the log-odds are those of the probability. The others follow in the order in which they were
    found.

    Attributes:
        first: Number of found candidates that are reordered, >= 1; it may exceed the number that is recommended.
        weight: Weight of the log-odds, in 0..1: 1 orders by probability alone, 0 leaves the order as it is.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> Rerank(first=200, weight=0.5)
        Rerank(first=200, weight=0.5)
    """

    first: int
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.first < 1 or not 0 <= self.weight <= 1:
            raise ValueError(f"`first` must be at least 1 and `weight` in 0..1. Received: {self}.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class IndexEntry:
    """The index of a bundle.

    Attributes:
        requested: Kind that was requested, which a refreshed bundle requests again.
        kind: Kind that was built.
        is_exact: Whether a search always finds the best candidates.
        outcome: Outcome of building the index.
    """

    requested: str
    kind: str
    is_exact: bool
    outcome: IndexOutcome


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """Describes a bundle: its inputs, its catalogue, its index, and where it came from.

    Attributes:
        versions: Name of a package -> version that wrote the bundle.
        created: Time of writing, ISO 8601 in UTC.
        model: Description of the model, which stays the same when the catalogue changes.
        num_candidates: Size of the catalogue.
        requested_k: Recommendations per query that were requested.
        k: Recommendations per query, at most the size of the catalogue.
        filter_by: Columns of the candidates that recommendations may be filtered by.
        rerank: How the first candidates that are found are reordered; None if they are not.
        index: The index.
        candidates_sha256: SHA-256 of the file `candidates.parquet`, in hexadecimal; None before the bundle is written,
            and in bundles of older versions.
        recommend_seen: Whether candidates that a query has seen may be recommended again.
        export_id: Identifies the export, which a bundle that needs ScaNN and its portable twin share; None if version
            0.1 of this library wrote the bundle.
        is_twin: Whether this is the portable twin of a bundle that needs ScaNN.

    Example:
        >>> from tfrs_twotower.bundle.model_entry import DataSource, InputSpec, QuerySchema, SideSchema
        >>> user = InputSpec(name="user_id", dtype="string", shape=(None,))
        >>> movie = InputSpec(name="movie_id", dtype="string", shape=(None,))
        >>> manifest = Manifest(
        ...     versions={"tfrs_twotower": "0.2.0"},
        ...     created="2024-01-01T00:00:00+00:00",
        ...     model=ModelEntry(
        ...         query=QuerySchema(id="user_id", features=(), inputs=(user,), histories=(), ratings_of={}),
        ...         candidate=SideSchema(id="movie_id", features=(), inputs=(movie,)),
        ...         num_queries=943,
        ...         positive_threshold=3.0,
        ...         has_probabilities=True,
        ...         metrics={"ndcg@10": 0.25},
        ...         data=DataSource(source="ratings.csv", fingerprint="0f2d"),
        ...     ),
        ...     num_candidates=1682,
        ...     requested_k=100,
        ...     k=100,
        ...     filter_by=(),
        ...     rerank=None,
        ...     index=IndexEntry(
        ...         requested="exact",
        ...         kind="exact",
        ...         is_exact=True,
        ...         outcome=IndexOutcome(
        ...             parameters={}, recall={10: 1.0}, latency_ms={1: 0.25}, build_s=0.1, size_bytes=430_592
        ...         ),
        ...     ),
        ... )
        >>> Manifest.from_dict(manifest.to_dict()) == manifest
        True
    """

    versions: Mapping[str, str]
    created: str
    model: ModelEntry
    num_candidates: int
    requested_k: int
    k: int
    filter_by: tuple[str, ...]
    rerank: Rerank | None
    index: IndexEntry
    candidates_sha256: str | None = None
    recommend_seen: bool = False
    export_id: str | None = None
    is_twin: bool = False

    @property
    def needs_scann(self) -> bool:
        """Whether a host needs ScaNN's operations."""
        return "scann" in self.versions

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values, for JSON."""
        index = self.index
        return {
            "versions": dict(self.versions),
            "created": self.created,
            "export_id": self.export_id,
            "is_twin": self.is_twin,
            **dataclasses.asdict(self.model),
            "num_candidates": self.num_candidates,
            "requested_k": self.requested_k,
            "k": self.k,
            "filter_by": list(self.filter_by),
            "rerank": None if self.rerank is None else dataclasses.asdict(self.rerank),
            "candidates_sha256": self.candidates_sha256,
            "recommend_seen": self.recommend_seen,
            "index": {
                "requested": index.requested,
                "kind": index.kind,
                "is_exact": index.is_exact,
                **index.outcome.to_dict(),
            },
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Manifest:
        """Reads what `to_dict` returned, or what version 0.1 of this library wrote.

        Args:
            content: Plain values, from JSON.

        Raises:
            ValueError: If something is missing, or not what it should be.
        """
        try:
            return _read(JsonValue(content))
        except ValueError as error:
            raise ValueError(f"The manifest is damaged: {error}") from error

    def write(self, folder: Path) -> None:
        """Writes the manifest of a bundle.

        Args:
            folder: The version's folder.

        Raises:
            OSError: If it cannot be written.
            ValueError: If it could not be read again.
        """
        data = (json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n").encode("utf-8")
        if len(data) > _MAX_BYTES:
            raise ValueError(f"A manifest must have at most {_MAX_BYTES:,} bytes. Received: {len(data):,}.")
        Manifest.from_dict(self.to_dict())  # what is written can be read
        (folder / MANIFEST_FILE).write_bytes(data)

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Reads the manifest of a bundle.

        Args:
            folder: The version's folder.

        Raises:
            OSError: If there is none, or it cannot be read.
            ValueError: If it is damaged; names the file, the key, and what was expected there.
        """
        path = folder / MANIFEST_FILE
        try:
            return _read(read_json(path, _MAX_BYTES))
        except ValueError as error:
            raise ValueError(f"The manifest {path} is damaged: {error}") from error


def read_manifest(folder: Path) -> Manifest | None:
    """Reads the manifest of a bundle, None if it is missing or damaged.

    Args:
        folder: The version's folder.
    """
    try:
        return Manifest.read(folder)
    except (OSError, ValueError):
        return None


def _read(content: JsonValue) -> Manifest:
    """Reads a manifest, of which every part is checked here: nothing else has to doubt it."""
    index, num_candidates = content["index"], content["num_candidates"].whole_number(1)
    requested_k = content["requested_k"].whole_number(1)
    return Manifest(
        versions=read_texts(content["versions"]),
        created=content["created"].text(),
        model=read_model_entry(content),
        num_candidates=num_candidates,
        requested_k=requested_k,
        k=content["k"].whole_number(1, min(requested_k, num_candidates)),
        filter_by=tuple(name.text() for name in content["filter_by"].items()),
        rerank=content["rerank"].nullable(_read_rerank),
        index=IndexEntry(
            requested=index["requested"].text(),
            kind=index["kind"].text(),
            is_exact=index["is_exact"].truth(),
            outcome=read_outcome(index),
        ),
        candidates_sha256=content.optional("candidates_sha256", JsonValue.text),
        recommend_seen=bool(content.optional("recommend_seen", JsonValue.truth)),
        export_id=content.optional("export_id", JsonValue.text),
        is_twin=bool(content.optional("is_twin", JsonValue.truth)),
    )


def _read_rerank(rerank: JsonValue) -> Rerank:
    return Rerank(first=rerank["first"].whole_number(1), weight=rerank["weight"].number(0, 1))
