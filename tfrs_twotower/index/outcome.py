"""The outcome of building an index: its parameters, and what was measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeAlias

from tfrs_twotower._json_values import JsonValue

#: Parameters of an index: name -> value. The value of `excluding` maps maximum numbers of exclusions to multiples of
#: the effort.
Parameters: TypeAlias = Mapping[str, bool | int | float | str | Mapping[int, int] | None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class IndexOutcome:
    """The outcome of building an index, as a manifest records it.

    Attributes:
        parameters: Parameters of the index, as `Index.parameters` returns them; none for an exact index of this
            library.
        recall: k -> share of the k best candidates that a search finds, in 0..1, as a mean over queries that did not
            choose the effort; 1 for an exact index.
        latency_ms: Batch size -> median milliseconds of a search for 10 candidates from Python, with one exclusion per
            query.
        build_s: Seconds that building and tuning took.
        size_bytes: Size of the index's variables.
        note: Reason why the index is exact although an approximate one was wanted, or None.
        target: k -> recall that was required of the index; None for an index of an exact kind, and in bundles of older
            versions.
        num_changed: Vectors that were put in or taken out since the partitions of the index were learnt. The latency
            was measured then, and the recall after the last change.

    Example:
        >>> outcome = IndexOutcome(
        ...     parameters={}, recall={10: 1.0}, latency_ms={1: 0.25}, build_s=0.5, size_bytes=4096
        ... )
        >>> outcome.to_dict()["recall"]
        {'10': 1.0}
        >>> IndexOutcome.from_dict(outcome.to_dict()) == outcome
        True
    """

    parameters: Parameters
    recall: Mapping[int, float]
    latency_ms: Mapping[int, float]
    build_s: float
    size_bytes: int
    note: str | None = None
    target: Mapping[int, float] | None = None
    num_changed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Returns the outcome as JSON holds it: numbers rounded, and numbers that are keys as strings."""
        return {
            "parameters": {
                name: {str(key): item for key, item in value.items()} if isinstance(value, Mapping) else value
                for name, value in self.parameters.items()
            },
            "recall": {str(k): round(value, 4) for k, value in self.recall.items()},
            "latency_ms": {str(batch): round(value, 3) for batch, value in self.latency_ms.items()},
            "build_s": round(self.build_s, 1),
            "size_bytes": self.size_bytes,
            "note": self.note,
            "target": None if self.target is None else {str(k): share for k, share in self.target.items()},
            "num_changed": self.num_changed,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> IndexOutcome:
        """Reads what `to_dict` wrote.

        Parameters keep the names under which they were written, which older versions chose differently.

        Args:
            values: What `to_dict` returned. Other keys are ignored, because a manifest keeps further facts about the
                index beside the outcome.

        Returns:
            The outcome, with rounded numbers.

        Raises:
            ValueError: If a key is missing, or a value is not of the type that `to_dict` writes.
        """
        return read_outcome(JsonValue(values))


def read_outcome(value: JsonValue) -> IndexOutcome:
    """Reads an outcome, as `IndexOutcome.from_dict`, where it stands within other JSON.

    Args:
        value: The object that has the outcome's keys.

    Raises:
        ValueError: If a key is missing, or a value is not of the type that `to_dict` writes; names the key.
    """
    return IndexOutcome(
        parameters={name: _parameter(given) for name, given in value["parameters"].entries().items()},
        recall=_shares(value["recall"]),
        latency_ms={batch: time.number(0) for batch, time in value["latency_ms"].numbered().items()},
        build_s=value["build_s"].number(0),
        size_bytes=value["size_bytes"].whole_number(0),
        note=value["note"].nullable(JsonValue.text),
        target=value.optional("target", _shares),
        num_changed=value.optional("num_changed", lambda number: number.whole_number(0)) or 0,
    )


def _shares(value: JsonValue) -> dict[int, float]:
    return {k: share.number(0, 1) for k, share in value.numbered().items()}


def _parameter(value: JsonValue) -> Any:
    if isinstance(value.content, Mapping):
        return {key: item.whole_number(0) for key, item in value.numbered().items()}
    return value.plain()
