"""Reading experiments from TOML. Unknown sections and keys are refused, with the nearest known one."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfrs_twotower.experiment.experiment import Experiment
from tfrs_twotower.experiment.feature_tables import read_features, suggestion
from tfrs_twotower.experiment.ranges import TuneSection
from tfrs_twotower.experiment.sections import (
    CardSection,
    DataSection,
    EvaluationSection,
    ExportSection,
    FeaturesSection,
    IndexSection,
    LinearPartSection,
    MovieLensSection,
    RatingModelSection,
    RetrievalModelSection,
    SplitSection,
    TrainingSection,
)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: Name of a section -> its dataclass.
SECTIONS: Mapping[str, Any] = {
    kind.section: kind
    for kind in (
        DataSection,
        MovieLensSection,
        SplitSection,
        FeaturesSection,
        RetrievalModelSection,
        LinearPartSection,
        RatingModelSection,
        TrainingSection,
        EvaluationSection,
        IndexSection,
        ExportSection,
        CardSection,
        TuneSection,
    )
}


def read_experiment(path: str | os.PathLike[str]) -> Experiment:
    r"""Reads an experiment file.

    Args:
        path: A TOML file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not TOML, a section or key is unknown, or a value is impossible.
        TypeError: If a value has the wrong type.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "shop.toml")
        ...     _ = path.write_text('[data]\nratings = "ratings.csv"\nquery_id = "customer"\n')
        ...     read_experiment(path).data.query_id
        'customer'
    """
    location = Path(path)
    if not location.is_file():
        raise FileNotFoundError(f"There is no experiment file at {location}.")
    try:
        text = location.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{location} must be a text file in UTF-8. Save it as UTF-8.") from error
    try:
        return parse_experiment(text)
    except (ValueError, TypeError) as error:
        raise type(error)(f"{location}: {error}") from error


def parse_experiment(text: str) -> Experiment:
    r"""Reads an experiment from the text of a file.

    Args:
        text: TOML.

    Raises:
        ValueError: As in `read_experiment`.
        TypeError: As in `read_experiment`.

    Example:
        >>> parse_experiment("[movielens]\n[training]\nsede = 1")
        Traceback (most recent call last):
        ValueError: The section `training` has no key `sede`. Did you mean `seed`? Known: seed, threshold, ...
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"An experiment must be written in TOML. Received: {error}.") from None
    sections = {name: _read_section(name, table) for name, table in tables.items()}
    return Experiment(**sections)


def _read_section(name: str, table: Any) -> Any:
    if name not in SECTIONS:
        raise _unknown_section(name, table)
    kind = SECTIONS[name]
    if not isinstance(table, Mapping):
        raise TypeError(f"`{name}` must be a section, [{name}]. Received: {table!r}.")
    if kind is FeaturesSection:
        return FeaturesSection(**read_features(table))
    known = {field.name: field for field in dataclasses.fields(kind)}
    for key in table:
        if key not in known:
            raise ValueError(
                f"The section `{name}` has no key `{key}`.{suggestion(key, known)} Known: {', '.join(known)}."
            )
    for key, field in known.items():
        if field.default is dataclasses.MISSING and key not in table:
            raise ValueError(f"The section `{name}` must have the key `{key}`.")
    return kind(**table)


def _unknown_section(name: str, table: Any) -> ValueError:
    homes = [section for section, kind in SECTIONS.items() if name in {f.name for f in dataclasses.fields(kind)}]
    if homes and not isinstance(table, Mapping):
        return ValueError(f"The key `{name}` must stand below its section, [{'] or ['.join(homes)}].")
    word = "section" if isinstance(table, Mapping) else "key outside the sections"
    return ValueError(f"There is no {word} `{name}`.{suggestion(name, SECTIONS)} Known: {', '.join(SECTIONS)}.")
