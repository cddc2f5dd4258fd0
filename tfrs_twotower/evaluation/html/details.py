"""What the page shows in addition to the report."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence


@dataclasses.dataclass(frozen=True, kw_only=True)
class PageDetails:
    """The title, columns, curves and properties that the page shows in addition to the report.

    Attributes:
        title: Title of the page.
        curves: Name of a training run -> metric -> one value per epoch, as in the history that Keras returns.
        name_column: Column of the candidates that holds their names; None shows their ids, as does a missing name.
        group_column: Column of the candidates, of strings or lists of strings, that colours the map; None draws the map
            in one colour.
        model: Property of the model, such as "parameters" -> its value, as shown under "Data and model".
        timings: Step -> duration in seconds.

    Example:
        >>> details = PageDetails(title="Films", name_column="title", timings={"training": 62.0})
        >>> details.title
        'Films'
    """

    title: str = "Recommender report"
    curves: Mapping[str, Mapping[str, Sequence[float]]] = dataclasses.field(default_factory=dict)
    name_column: str | None = None
    group_column: str | None = None
    model: Mapping[str, str] = dataclasses.field(default_factory=dict)
    timings: Mapping[str, float] = dataclasses.field(default_factory=dict)
