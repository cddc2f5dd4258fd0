"""The guide of the experiment file has every key, with its default, and its examples can be read."""

import dataclasses
import re
from pathlib import Path

import pytest

from tfrs_twotower.experiment import parse_experiment, sections
from tfrs_twotower.experiment.checks import Section
from tfrs_twotower.experiment.feature_tables import column_kinds
from tfrs_twotower.experiment.reading import SECTIONS
from tfrs_twotower.index.tuning import IndexTarget
from tfrs_twotower.model.recipe_settings import LinearSettings, ModelSettings

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "experiment_file.md").read_text(encoding="utf-8")


def part_of(section: str) -> str:
    """Returns the part of the guide about a section."""
    (part,) = (part for part in GUIDE.split("\n### ") if f"[{section}]" in part.partition("\n")[0])
    return part


def rows_of(section: str) -> dict[str, list[str]]:
    """Returns key -> the other cells of its row, from the tables about a section."""
    lines = re.findall(r"^\| `(\w+)` \|(.*)\|$", part_of(section), re.MULTILINE)
    return {key: [cell.strip() for cell in cells.split(" | ")] for key, cells in lines}


# Columns and ranges are keys of the user's own.
TABLES = [name for name in SECTIONS if name not in ("features", "tune")]


@pytest.mark.parametrize("section", TABLES)
def test_every_key_is_in_the_guide_and_no_other(section):
    # Both models share a table, and each has keys of its own.
    others = {"retrieval_model": {"train", "starts_from_biases"}, "rating_model": {"history_encoder"}}
    extra = others.get(section, set())
    assert set(rows_of(section)) - extra == {field.name for field in dataclasses.fields(SECTIONS[section])}


def value_in_words(field: dataclasses.Field) -> str:
    rules = {sections.SHARE: "share", sections.SHARE_OR_0: "share, or 0", sections.SHARE_OR_1: "share, or 1"}
    if field.metadata["rule"] in rules:
        return rules[field.metadata["rule"]]
    choices = re.findall(r"'([\w-]+)'", field.type)
    if choices:
        return ", ".join(f'`"{choice}"`' for choice in choices)
    words = {"int": "whole number", "float": "number", "bool": "`true`, `false`", "str": "text"}
    return words.get(field.type.removesuffix(" | None"), "list of texts")


def default_in_words(field: dataclasses.Field) -> str | None:
    """Returns how the guide writes a default; None if it says in words what happens without a value."""
    if field.default is dataclasses.MISSING:
        return "required"
    if isinstance(field.default, bool):
        return f"`{str(field.default).lower()}`"
    if isinstance(field.default, str):
        return f'`"{field.default}"`'
    return str(field.default) if isinstance(field.default, int) else None


@pytest.mark.parametrize("section", TABLES)
def test_values_and_defaults_of_the_guide_are_true(section):
    rows = rows_of(section)
    for field in dataclasses.fields(SECTIONS[section]):
        value, _, *default = rows[field.name]
        assert value == value_in_words(field), field.name
        assert default_in_words(field) in (None, *default), field.name


def test_the_recall_of_the_guide_is_that_of_the_index():
    rows = rows_of("index")
    recall = {10: float(rows["recall_at_10"][2]), 100: float(rows["recall_at_100"][2])}
    assert recall == dict(IndexTarget().recall)


@pytest.mark.parametrize(
    ("section", "settings", "extra"),
    [(sections.ModelSection, ModelSettings, set()), (sections.LinearPartSection, LinearSettings, {"train"})],
)
def test_the_models_have_the_keys_of_the_recipe(section, settings, extra):
    names = {field.name for field in dataclasses.fields(settings)}
    assert {field.name for field in dataclasses.fields(section)} == names | extra


def test_every_kind_of_feature_is_in_the_guide():
    kinds = re.search(r"The kinds are (.*?)\. ", part_of("features.query").replace("\n", " "))[1]
    assert re.findall(r"`(\w+)`", kinds) == sorted(column_kinds())


def test_every_section_is_checked_when_it_is_made():
    assert all(issubclass(kind, Section) for name, kind in SECTIONS.items() if name in TABLES)


def test_the_examples_can_be_read():
    first, features = re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL)
    experiment = parse_experiment(first)
    assert experiment.features.candidate["price"].num_buckets == 5
    assert experiment.name == "shop"
    assert parse_experiment("[movielens]\n" + features).features.query["zip_code"] is None
