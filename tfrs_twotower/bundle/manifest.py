"""The manifest, which describes a bundle to people and tools: its declared type, with one reader and one writer."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfrs_twotower._json_values import JsonValue, read_json
from tfrs_twotower.bundle.layout import MANIFEST_FILE
from tfrs_twotower.index.outcome import IndexOutcome, read_outcome

if TYPE_CHECKING:
    import tensorflow as tf

#: The dtypes that raw inputs have.
_DTYPES = ("string", "float32", "int64")
# Manifests have kilobytes. Reading a file of any size could use up the memory.
_MAX_BYTES = 16 * 2**20


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputSpec:
    """A raw input of the signatures.

    Attributes:
        name: Name of the input.
        dtype: TensorFlow's name of the dtype, such as "string".
        shape: Sizes of the axes, None for an axis of any length.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    @classmethod
    def of(cls, spec: tf.TensorSpec) -> InputSpec:
        """Describes a spec of TensorFlow's."""
        return cls(name=spec.name, dtype=spec.dtype.name, shape=tuple(spec.shape.as_list()))

    @property
    def tensor_spec(self) -> tf.TensorSpec:
        """The spec in TensorFlow's own type."""
        import tensorflow as tf  # listing versions takes a manifest, but not TensorFlow

        return tf.TensorSpec(self.shape, tf.as_dtype(self.dtype), name=self.name)

    @property
    def is_list(self) -> bool:
        """Whether each row has a list of values."""
        return len(self.shape) > 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class SideSchema:
    """Describes one side of the model.

    Attributes:
        id: Name of the column that identifies a row.
        features: Kind and settings of each feature, for people and tools.
        inputs: Raw inputs of the signatures.
    """

    id: str
    features: tuple[Mapping[str, Any], ...]
    inputs: tuple[InputSpec, ...]

    def input(self, name: str) -> InputSpec | None:
        """Returns an input by name, None if there is none."""
        return next((spec for spec in self.inputs if spec.name == name), None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuerySchema(SideSchema):
    """Describes the query side.

    Attributes:
        id: Name of the column that identifies a row.
        features: Kind and settings of each feature, for people and tools.
        inputs: Raw inputs of the signatures.
        histories: Names of the inputs that list past candidates.
        ratings_of: Name of an input of ratings -> name of the history that they belong to, place by place.
    """

    histories: tuple[str, ...]
    ratings_of: Mapping[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSource:
    """Describes where the events that a bundle remembers came from.

    Attributes:
        source: Description in words.
        fingerprint: SHA-256 of the three tables, `Interactions.fingerprint`.
    """

    source: str
    fingerprint: str


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
class ModelEntry:
    """Describes the model of a bundle, which stays the same when the catalogue changes.

    Attributes:
        query: Description of the query side.
        candidate: Description of the candidate side.
        num_queries: Number of queries that the bundle remembers.
        positive_threshold: A rating of at least this is positive.
        has_probabilities: Whether recommendations come with probabilities.
        metrics: Metric of the model -> value; empty if it was not evaluated.
        data: Where the events came from.
        refreshed_from: The version whose catalogue was replaced; None for a bundle from a model.
        recipe: What the model consists of and why, `Recipe.to_dict`; None for a model without a recipe.
        original_names: Input or column name -> the name of that column in the user's table, where they differ.
    """

    query: QuerySchema
    candidate: SideSchema
    num_queries: int
    positive_threshold: float
    has_probabilities: bool
    metrics: Mapping[str, float]
    data: DataSource
    refreshed_from: str | None = None
    recipe: Mapping[str, Any] | None = None
    original_names: Mapping[str, str] = dataclasses.field(default_factory=dict)


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
        >>> user = InputSpec(name="user_id", dtype="string", shape=(None,))
        >>> movie = InputSpec(name="movie_id", dtype="string", shape=(None,))
        >>> manifest = Manifest(
        ...     versions={"tfrs_twotower": "0.1.0"},
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


def require_metrics(metrics: Mapping[str, float]) -> None:
    """Checks metrics for a manifest.

    Args:
        metrics: Metric -> value.

    Raises:
        ValueError: If a value is not a finite number.
    """
    for name, value in metrics.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"`metrics` must be finite numbers. Received for {name!r}: {value!r}.")


def _read(content: JsonValue) -> Manifest:
    """Reads a manifest, of which every part is checked here: nothing else has to doubt it."""
    index, num_candidates = content["index"], content["num_candidates"].whole_number(1)
    requested_k = content["requested_k"].whole_number(1)
    return Manifest(
        versions=_texts(content["versions"]),
        created=content["created"].text(),
        model=_read_model(content),
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


def _read_model(content: JsonValue) -> ModelEntry:
    metrics, data = content["metrics"], content["data"]
    if "cases" in metrics.entries():  # version 0.1 kept the whole report here
        metrics = metrics["cases"]["model"]
    return ModelEntry(
        query=_read_query(content["query"]),
        candidate=SideSchema(**_read_side(content["candidate"])),
        num_queries=content["num_queries"].whole_number(0),
        positive_threshold=content["positive_threshold"].number(),
        has_probabilities=content["has_probabilities"].truth(),
        metrics={name: value.number() for name, value in metrics.entries().items()},
        data=DataSource(source=data["source"].text(), fingerprint=data["fingerprint"].text()),
        refreshed_from=content.optional("refreshed_from", JsonValue.text),
        recipe=content.optional("recipe", _read_description),
        original_names=content.optional("original_names", _texts) or {},
    )


def _read_query(query: JsonValue) -> QuerySchema:
    side = _read_side(query)
    inputs = [spec.name for spec in side["inputs"]]
    if "histories" in query.entries():
        histories = tuple(name.choice(inputs, "an input's name") for name in query["histories"].items())
        ratings_of = {
            name: history.choice(histories, "a history's name")
            for name, history in query["ratings_of"].entries().items()
        }
    else:
        # Version 0.1 described histories only by their features.
        past = [feature for feature in query["features"].items() if feature["kind"].text() == "History"]
        histories = tuple(sorted({feature["name"].choice(inputs, "an input's name") for feature in past}))
        rated = [feature["name"].text() for feature in past if feature["by_rating"].truth()]
        ratings_of = {f"{name}_rating": name for name in rated}
    for name in ratings_of:
        if name not in inputs:
            raise ValueError(f"`query.ratings_of` must have inputs' names as keys. Received: {name!a}.")
    return QuerySchema(**side, histories=histories, ratings_of=ratings_of)


def _read_side(side: JsonValue) -> dict[str, Any]:
    inputs = tuple(map(_read_input, side["inputs"].items()))
    if len({spec.name for spec in inputs}) < len(inputs):
        raise ValueError(f"`{side.path}.inputs` must have different names.")
    return {
        "id": side["id"].text(),
        "features": tuple(map(_read_description, side["features"].items())),
        "inputs": inputs,
    }


def _read_input(spec: JsonValue) -> InputSpec:
    shape = spec["shape"]
    sizes = tuple(size.nullable(lambda size: size.whole_number(1)) for size in shape.items())
    if sizes[:1] != (None,):
        raise shape.error("a list that begins with null")
    return InputSpec(name=spec["name"].text(), dtype=spec["dtype"].choice(_DTYPES, " or ".join(_DTYPES)), shape=sizes)


def _read_rerank(rerank: JsonValue) -> Rerank:
    return Rerank(first=rerank["first"].whole_number(1), weight=rerank["weight"].number(0, 1))


def _read_description(value: JsonValue) -> Mapping[str, Any]:
    value.entries()
    description: Mapping[str, Any] = value.plain()
    return description


def _texts(value: JsonValue) -> dict[str, str]:
    return {name: item.text() for name, item in value.entries().items()}
