"""What a manifest says about the model of a bundle: its two sides with their inputs, its metrics and its data."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tfrs_twotower._json_values import JsonValue
from tfrs_twotower._settings import finite_number

if TYPE_CHECKING:
    import tensorflow as tf

#: The dtypes that raw inputs have.
_DTYPES = ("string", "float32", "int64")


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
        context: Names of the inputs that hold the context of a request, which a bundle does not remember.
        times_of: Name of an input of times -> name of the history that they belong to, place by place.
    """

    histories: tuple[str, ...]
    ratings_of: Mapping[str, str]
    context: tuple[str, ...] = ()
    times_of: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def histories_of(self) -> dict[str, str]:
        """Name of an input of ratings or times -> name of its history."""
        return {**self.ratings_of, **self.times_of}


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
class CardDetails:
    """What people say about a model in its card, and what its weights cannot tell. None means that nobody said it.

    Attributes:
        intended_use: What the model is for, and what it must not be used for.
        contact: Who answers for it.
        data_licence: Under which terms its data may be used.
        split: How the events were divided into training and test part, a sentence.
        remarks: Anything else, such as known limits.
        name_column: Column of the candidates that holds the names by which people know them, in recommendations on the
            command line and in the explorer; by default it is found.

    Raises:
        TypeError: If a value is not a text.

    Example:
        >>> CardDetails(contact="recommendations@example.com").data_licence is None
        True
    """

    intended_use: str | None = None
    contact: str | None = None
    data_licence: str | None = None
    split: str | None = None
    remarks: str | None = None
    name_column: str | None = None

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None and not isinstance(value, str):
                raise TypeError(f"`{field.name}` of a model card must be a text. Received: {value!r}.")


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
        card: What people say about the model in its card.
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
    card: CardDetails = dataclasses.field(default_factory=CardDetails)

    def names_of(self, known: Collection[str]) -> dict[str, str]:
        """Returns what inputs or columns may be called -> their names; a column has that of the user's table, too.

        Args:
            known: Names of inputs or columns.
        """
        originals = {original: name for name, original in self.original_names.items() if name in known}
        return originals | {name: name for name in known}

    def describe_names(self, known: Iterable[str]) -> str:
        """Lists inputs or columns, with the names that they had in the user's table.

        Args:
            known: Names of inputs or columns.
        """
        originals = self.original_names
        return ", ".join(f"{name} (the column {originals[name]})" if name in originals else name for name in known)


def require_metrics(metrics: Mapping[str, float]) -> None:
    """Checks metrics for a manifest.

    Args:
        metrics: Metric -> value.

    Raises:
        ValueError: If a value is not a finite number.
    """
    for name, value in metrics.items():
        if finite_number(value) is None:
            raise ValueError(f"`metrics` must be finite numbers. Received for {name!r}: {value!r}.")


def read_model_entry(content: JsonValue) -> ModelEntry:
    """Reads the description of a model, which lies among the other keys of a manifest.

    Args:
        content: The manifest.

    Raises:
        ValueError: If something is missing, or not what it should be.
    """
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
        original_names=content.optional("original_names", read_texts) or {},
        card=content.optional("card", _read_card) or CardDetails(),
    )


def _read_card(card: JsonValue) -> CardDetails:
    return CardDetails(
        **{field.name: card.optional(field.name, JsonValue.text) for field in dataclasses.fields(CardDetails)}
    )


def _read_query(query: JsonValue) -> QuerySchema:
    side = _read_side(query)
    inputs = [spec.name for spec in side["inputs"]]
    if "histories" in query.entries():
        histories = tuple(name.choice(inputs, "an input's name") for name in query["histories"].items())
        ratings_of, times_of = (
            {name: history.choice(histories, "a history's name") for name, history in of.items()}
            for of in (query["ratings_of"].entries(), query.optional("times_of", JsonValue.entries) or {})
        )
    else:
        # Version 0.1 described histories only by their features.
        past = [feature for feature in query["features"].items() if feature["kind"].text() == "History"]
        histories = tuple(sorted({feature["name"].choice(inputs, "an input's name") for feature in past}))
        rated = [feature["name"].text() for feature in past if feature["by_rating"].truth()]
        ratings_of, times_of = {f"{name}_rating": name for name in rated}, {}
    for key, names in (("ratings_of", ratings_of), ("times_of", times_of)):
        for name in names:
            if name not in inputs:
                raise ValueError(f"`query.{key}` must have inputs' names as keys. Received: {name!a}.")
    # Bundles that were exported before there was a context do not say so.
    context = query["context"].items() if "context" in query.entries() else ()
    return QuerySchema(
        **side,
        histories=histories,
        ratings_of=ratings_of,
        times_of=times_of,
        context=tuple(name.choice(inputs, "an input's name") for name in context),
    )


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


def _read_description(value: JsonValue) -> Mapping[str, Any]:
    value.entries()
    description: Mapping[str, Any] = value.plain()
    return description


def read_texts(value: JsonValue) -> dict[str, str]:
    """Reads an object whose values are texts.

    Args:
        value: The object.

    Raises:
        ValueError: If it is something else.
    """
    return {name: item.text() for name, item in value.entries().items()}
