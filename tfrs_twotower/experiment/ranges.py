"""`[tune]`: what a search for better settings may change, and how far."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, get_args, get_type_hints

from tfrs_twotower.experiment.checks import Section, read_value
from tfrs_twotower.experiment.feature_tables import suggestion
from tfrs_twotower.experiment.sections import RatingModelSection, RetrievalModelSection

ModelName = Literal["retrieval_model", "rating_model"]
_SECTIONS: Mapping[str, type[Section]] = {"retrieval_model": RetrievalModelSection, "rating_model": RatingModelSection}
# The validation part chooses the epochs of each trial, and the other two are no numbers.
_NOT_TUNED = ("epochs", "train", "starts_from_biases")
_SHARED = {
    "learning_rate": {"min": 5e-4, "max": 3e-2, "log": True},
    "dropout": {"min": 0.0, "max": 0.8},
    "id_dropout": {"min": 0.0, "max": 0.8},
}
#: Ranges that are searched if the experiment declares none.
DEFAULT_RANGES: Mapping[str, Mapping[str, Any]] = {
    "retrieval_model": {
        **_SHARED,
        "l2": {"min": 1e-6, "max": 1e-2, "log": True},
        "output_dim": (32, 64, 128, 256),
    },
    "rating_model": {
        **_SHARED,
        "l2": {"min": 1e-6, "max": 1e-1, "log": True},
        "output_dim": (8, 16, 32, 64),
    },
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class NumberRange:
    """The numbers from `min` to `max`, both included.

    Attributes:
        min: The lowest number.
        max: The highest number.
        log: Whether equal ratios are equally likely, rather than equal differences.
        is_whole: Whether only whole numbers are meant.

    Example:
        >>> NumberRange(min=1e-3, max=0.1, log=True).is_whole
        False
    """

    min: float
    max: float
    log: bool = False
    is_whole: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class TuneSection:
    """`[tune]`: what `tfrs-twotower tune` searches.

    Attributes:
        model: The model whose settings are searched: "retrieval_model", by the NDCG@10 of the validation part, or
            "rating_model", by its log loss.
        ranges: Key of that model's section -> a list of values, or {"min": ..., "max": ...} with perhaps "log": true.
            Without any, learning rate, dropouts, l2 and the length of the embeddings are searched.

    Raises:
        TypeError: If a value has the wrong type; names the key.
        ValueError: If a key is unknown, or a value is impossible; names the key.

    Example:
        >>> TuneSection(ranges={"output_dim": [32, 64], "dropout": {"min": 0, "max": 0.5}}).parsed["dropout"]
        NumberRange(min=0.0, max=0.5, log=False, is_whole=False)
        >>> TuneSection(ranges={"epochs": [10, 20]})
        Traceback (most recent call last):
        ValueError: `tune.ranges` has no key `epochs`. Did you mean `max_epochs`? Known: output_dim, dropout, ...
    """

    section: ClassVar[str] = "tune"

    model: ModelName = "retrieval_model"
    ranges: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        read_value("tune.model", self.model, ModelName)
        if not isinstance(self.ranges, Mapping):
            raise TypeError(f"`tune.ranges` must be a section, [tune.ranges]. Received: {self.ranges!r}.")
        listed = {name: tuple(given) if isinstance(given, list) else given for name, given in self.ranges.items()}
        object.__setattr__(self, "ranges", listed)
        assert self.parsed  # which raises an error for what is wrong

    @property
    def parsed(self) -> dict[str, NumberRange | tuple[Any, ...]]:
        """Key of the model's section -> the numbers, or the values, that are searched."""
        kind = _SECTIONS[self.model]
        hints = get_type_hints(kind)
        known = [field.name for field in dataclasses.fields(kind) if field.name not in _NOT_TUNED]
        parsed = {}
        for name, given in (self.ranges or DEFAULT_RANGES[self.model]).items():
            if name not in known:
                raise ValueError(
                    f"`tune.ranges` has no key `{name}`.{suggestion(name, known)} Known: {', '.join(known)}."
                )
            found = _read_range(name, given, is_whole=int in get_args(hints[name]))
            ends = found if isinstance(found, tuple) else (found.min, found.max)
            for value in ends:
                try:
                    kind(**{name: value})
                except (ValueError, TypeError) as error:
                    raise type(error)(f"`tune.ranges.{name}` must hold possible values. {error}") from None
            parsed[name] = found
        return parsed


def _read_range(name: str, given: Any, *, is_whole: bool) -> NumberRange | tuple[Any, ...]:
    place = f"tune.ranges.{name}"
    if isinstance(given, list | tuple):
        if not given:
            raise ValueError(f"`{place}` must list at least one value. Received: none.")
        return tuple(given)
    if not isinstance(given, Mapping) or not {"min", "max"} <= given.keys() <= {"min", "max", "log"}:
        raise TypeError(
            f"`{place}` must be a list of values, or a table with `min`, `max` and perhaps `log`. Received: {given!r}."
        )
    kind = int if is_whole else float
    low, high = (read_value(f"{place}.{end}", given[end], kind) for end in ("min", "max"))
    is_log = read_value(f"{place}.log", given.get("log", False), bool)
    if not low < high:
        raise ValueError(f"`{place}.max` must be above `min`, {low}. Received: {high}.")
    if is_log and low <= 0:
        raise ValueError(f"`{place}.min` must be above 0 where `log` is true. Received: {low}.")
    return NumberRange(min=low, max=high, log=is_log, is_whole=is_whole)
