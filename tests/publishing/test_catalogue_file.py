"""A catalogue from a file gets the types of the bundle whose catalogue it replaces."""

import dataclasses
from pathlib import Path

import pyarrow as pa
import pytest

from tests.bundle.manifests import make_manifest
from tfrs_twotower.bundle.load import LoadedBundle
from tfrs_twotower.bundle.model_entry import InputSpec, SideSchema
from tfrs_twotower.publishing.catalogue_file import read_catalogue


@pytest.fixture
def bundle() -> LoadedBundle:
    """A bundle whose candidates have an id, a text, a category of digits, and two columns to filter by."""
    candidate = SideSchema(
        id="sku",
        features=(),
        inputs=(
            InputSpec(name="sku", dtype="string", shape=(None,)),
            InputSpec(name="shelf", dtype="string", shape=(None,)),
            InputSpec(name="price", dtype="float32", shape=(None,)),
        ),
    )
    candidates = pa.table(
        {"sku": ["007"], "title": ["7"], "shelf": ["01"], "price": [1.5], "year": [1994], "is_new": [True]}
    )
    manifest = make_manifest(candidate=candidate, filter_by=("year", "is_new"))
    return LoadedBundle(Path("saved_models/shop/1"), manifest, candidates, None)


def test_texts_of_digits_stay_text_and_filters_keep_their_types(bundle, tmp_path):
    file = tmp_path / "items.csv"
    file.write_text("sku,title,shelf,price,year,is_new\n008,1984,02,2.5,1995,false\n")
    table = read_catalogue(file, bundle)
    assert table.to_pylist() == [
        {"sku": "008", "title": "1984", "shelf": "02", "price": 2.5, "year": 1995, "is_new": False}
    ]
    assert table.schema.field("year").type == pa.int64()


@pytest.mark.parametrize("price", ["2,5", "1.250,75"])
def test_numbers_may_have_decimal_commas(bundle, tmp_path, price):
    file = tmp_path / "items.csv"
    file.write_text(f"sku;title;shelf;price;Weight\n008;1,5;0,2;{price};0,25\n009;1,5;0,2;;0,5\n")
    table = read_catalogue(file, bundle)
    assert table["price"].to_pylist() == [{"2,5": 2.5, "1.250,75": 1250.75}[price], None]
    assert table["Weight"].to_pylist() == [0.25, 0.5]
    assert (table["title"][0].as_py(), table["shelf"][0].as_py()) == ("1,5", "0,2")


def test_a_column_to_filter_by_that_is_missing_is_left_to_the_refresh(bundle, tmp_path):
    file = tmp_path / "items.csv"
    file.write_text("sku,price\n008,2.5\n")
    assert read_catalogue(file, bundle).column_names == ["sku", "price"]


def test_a_column_to_filter_by_must_have_the_type_that_it_had(bundle, tmp_path):
    file = tmp_path / "items.csv"
    file.write_text("sku,year,is_new\n008,soon,true\n")
    with pytest.raises(ValueError, match="`year` must hold int64, by which the bundle filters. It holds string"):
        read_catalogue(file, bundle)


def test_columns_keep_the_users_names_and_lists_that_are_written_as_text(bundle, tmp_path):
    """The table that the bundle was trained on had a column `Product No` and another `kinds`, such as new|sale."""
    model = dataclasses.replace(bundle.manifest.model, original_names={"sku": "Product No", "price": "price"})
    candidates = bundle.candidates.append_column("kinds", pa.array([["new"]]))
    renamed = LoadedBundle(bundle.path, dataclasses.replace(bundle.manifest, model=model), candidates, None)
    file = tmp_path / "items.csv"
    file.write_text("Product No,year,is_new,kinds\n008,1995,true,new|sale\n009,1996,false,\n")
    table = read_catalogue(file, renamed)
    assert table.to_pylist() == [
        {"sku": "008", "year": 1995, "is_new": True, "kinds": ["new", "sale"]},
        {"sku": "009", "year": 1996, "is_new": False, "kinds": []},
    ]


@pytest.fixture
def with_lists(bundle) -> LoadedBundle:
    """A bundle whose candidate tower takes lists and a vector, and that filters by lists of numbers."""
    candidate = SideSchema(
        id="sku",
        features=(),
        inputs=(
            InputSpec(name="sku", dtype="string", shape=(None,)),
            InputSpec(name="kinds", dtype="string", shape=(None, None)),
            InputSpec(name="face", dtype="float32", shape=(None, 2)),
            InputSpec(name="awards", dtype="string", shape=(None, None)),  # its catalogue has no such column
        ),
    )
    candidates = pa.table(
        {"sku": ["007"], "kinds": [["new"]], "face": [[1.0, 2.0]], "sizes": [[1, 2]], "tags": [["a"]], "none": [[]]}
    )
    manifest = make_manifest(candidate=candidate, filter_by=("sizes", "tags"))
    return LoadedBundle(bundle.path, manifest, candidates, None)


@pytest.mark.parametrize(
    ("column", "texts", "lists"),
    [
        ("kinds", ["Action|Comedy", "Drama", ""], [["Action", "Comedy"], ["Drama"], []]),
        ("kinds", ["Action | Comedy", " Drama ", ""], [["Action", "Comedy"], ["Drama"], []]),
        ("kinds", ['["Action", "Comedy"]', "['Drama']", "[]"], [["Action", "Comedy"], ["Drama"], []]),
        ("kinds", ["7", "8", "9"], [["7"], ["8"], ["9"]]),
        ("kinds", ["[1, 2]", "[3]", ""], [["1", "2"], ["3"], None]),
        ("awards", ["gold", "silver|gold", ""], [["gold"], ["silver", "gold"], []]),
        ("sizes", ["1|2", "3", ""], [[1, 2], [3], []]),
        ("sizes", ["1", "2", "3"], [[1], [2], [3]]),
        ("sizes", ["[1, 2]", "[3]", "[]"], [[1, 2], [3], []]),
        ("tags", ["01|02", "1.50", "x"], [["01", "02"], ["1.50"], ["x"]]),
        ("face", ["0.5|1", "1|2", ""], [[0.5, 1.0], [1.0, 2.0], None]),
        ("face", ["[0.5, 1]", "[1, 2]", ""], [[0.5, 1.0], [1.0, 2.0], None]),
        ("none", ["a|b", "", "c"], [["a", "b"], [], ["c"]]),
    ],
)
def test_lists_are_read_from_text_in_the_type_that_they_had(with_lists, tmp_path, column, texts, lists):
    quoted = [text.replace('"', '""') for text in texts]
    file = tmp_path / "items.csv"
    file.write_text(f"sku,{column}\n" + "".join(f'{row},"{text}"\n' for row, text in enumerate(quoted)))
    table = read_catalogue(file, with_lists)
    assert table[column].to_pylist() == lists
    if column in with_lists.candidates.column_names and column != "none":
        assert table.schema.field(column).type == with_lists.candidates.schema.field(column).type


def test_text_that_is_no_list_of_numbers_is_named(with_lists, tmp_path):
    file = tmp_path / "items.csv"
    file.write_text("sku,sizes\n008,1|two\n")
    with pytest.raises(ValueError, match=r"`sizes` must hold list<item: int64>, .*written as 1\|2 .*'two'"):
        read_catalogue(file, with_lists)
