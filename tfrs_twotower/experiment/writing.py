"""Writing experiments as TOML, so that reading gives the same experiment."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any

from tfrs_twotower.experiment.experiment import Experiment
from tfrs_twotower.experiment.feature_tables import SIDES, write_feature
from tfrs_twotower.experiment.sections import FeaturesSection


def format_experiment(experiment: Experiment) -> str:
    r"""Writes an experiment as TOML. Keys without a value are left out.

    Args:
        experiment: Any experiment.

    Example:
        >>> from tfrs_twotower.experiment.sections import DataSection, TrainingSection
        >>> text = format_experiment(Experiment(data=DataSection(ratings="a.csv"), training=TrainingSection(seed=3)))
        >>> print(text[:text.index("[split]")].strip())
        [data]
        ratings = "a.csv"
        event_features = []
        on_invalid = "fail"
        repeats = "keep"
    """
    blocks = []
    for field in dataclasses.fields(experiment):
        section = getattr(experiment, field.name)
        if isinstance(section, FeaturesSection):
            blocks += [_format_features(side, getattr(section, side)) for side in SIDES]
        elif section is not None:
            values = {key.name: getattr(section, key.name) for key in dataclasses.fields(section)}
            blocks.append(_format_table(field.name, values))
    return "\n\n".join(block for block in blocks if block) + "\n"


def _format_features(side: str, features: Mapping[str, Any]) -> str:
    written = {column: write_feature(feature) for column, feature in features.items()}
    return _format_table(f"features.{side}", written) if written else ""


def _format_table(name: str, values: Mapping[str, Any]) -> str:
    lines = [f"{_format_key(key)} = {_format(value)}" for key, value in values.items() if value is not None]
    return "\n".join([f"[{name}]", *lines])


def _format_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _format_text(key)


def _format_text(text: str) -> str:
    # JSON's escapes are TOML's, but TOML does not allow DEL as it is.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")


def _format(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _format_text(value)
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{_format_key(key)} = {_format(item)}' for key, item in value.items())} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_format, value))}]"
    return repr(value)  # numbers, which TOML writes as Python does
