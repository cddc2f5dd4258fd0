"""Which column of a catalogue holds the names of candidates."""

import dataclasses

import pyarrow as pa
import pytest

import tfrs_twotower as tt
from tests.bundle.manifests import make_manifest
from tfrs_twotower.bundle.build import build_sides
from tfrs_twotower.bundle.candidate_names import choose_name_column
from tfrs_twotower.bundle.load import LoadedBundle
from tfrs_twotower.bundle.manifest import Manifest
from tfrs_twotower.bundle.model_card import build_model_card
from tfrs_twotower.server.exploration import Exploration

IDS = [f"A{number}" for number in range(8)]
NAMES = [
    "Rote Socken",
    "Blaue Mütze",
    "Grüner Hut",
    "Graues Hemd",
    "Lange Hose",
    "Kurze Hose",
    "Weite Jacke",
    "Schal 2",
]
DESCRIPTIONS = [f"{name} aus reiner Wolle, für kalte Tage" for name in NAMES]
SINGLE = ["Socken", "Mütze", "Hut", "Hemd", "Hose", "Jacke", "Schal", "Büro-Stuhl"]
CODES = [f"400638133{number}" for number in range(8)]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"Bezeichnung": NAMES, "title": SINGLE}, "title"),
        ({"Bezeichnung": NAMES, "Product_Name": SINGLE}, "Product_Name"),
        ({"Warengruppe": ["Mode", "Büro"] * 4, "Bezeichnung": NAMES, "Preis": [9.5] * 8}, "Bezeichnung"),
        # A description is free text, too, and so are names that are left out for some candidates.
        ({"Beschreibung": DESCRIPTIONS, "Bezeichnung": NAMES}, "Bezeichnung"),
        ({"Bezeichnung": [*NAMES[:5], None, "", None]}, "Bezeichnung"),
        # Authors are shared by several books.
        ({"Autor": ["A. B.", "C. D."] * 2 + ["E F", "G H", "I J", "K L"], "Buchtitel": DESCRIPTIONS}, "Buchtitel"),
        # A name of one word is found, but not codes, addresses, times, prices and other numbers.
        ({"EAN": CODES, "Wein": SINGLE}, "Wein"),
        ({"Wein": SINGLE, "Bezeichnung": NAMES}, "Bezeichnung"),
        ({"EAN": CODES}, None),
        ({"Bild": [f"https://example.com/bild/{name}.jpg" for name in SINGLE]}, None),
        ({"Start": [f"2024-01-0{number} 10:00" for number in range(1, 9)]}, None),
        ({"Preis": [f"{number},53 EUR" for number in range(10, 18)]}, None),
        ({"uuid": [f"123e4567-e89b-12d3-a456-42661417400{number}" for number in range(8)]}, None),
        # What recurs is a category, and what is missing is no name.
        ({"Farbe": ["sehr rot", "sehr blau", "sehr gelb"] * 2 + ["sehr rot"] * 2}, None),
        ({"leer": pa.array([None] * 8, pa.string())}, None),
        ({"Gewicht": [1.5] * 8, "Marken": [["a b"]] * 8}, None),
        (
            {
                "商品名": [
                    "赤い靴下",
                    "青い帽子",
                    "緑の帽子",
                    "灰色のシャツ",
                    "長ズボン",
                    "短ズボン",
                    "上着",
                    "マフラー",
                ]
            },
            "商品名",
        ),
        ({}, None),
    ],
)
def test_names_are_found_by_the_column_or_by_its_texts(columns, expected):
    table = pa.table({"Artikel": IDS, **columns})
    assert choose_name_column(table, "Artikel") == expected


def test_ids_are_no_names():
    assert choose_name_column(pa.table({"name": NAMES}), "name") is None
    assert choose_name_column(pa.table({"name": SINGLE, "Bezeichnung": NAMES}), "name") == "Bezeichnung"


def test_an_empty_catalogue_has_no_names():
    assert choose_name_column(pa.table({"id": pa.array([], pa.string()), "x": pa.array([], pa.string())}), "id") is None


def test_the_column_that_people_chose_comes_first():
    table = pa.table({"Artikel": IDS, "title": NAMES, "Warengruppe": ["Mode", "Büro"] * 4})
    assert choose_name_column(table, "Artikel", "Warengruppe") == "Warengruppe"
    assert choose_name_column(table, "Artikel", "gone") == "title"  # another catalogue may lack it


def test_the_card_keeps_the_column_and_must_name_one_of_the_catalogue(trained, planted):
    card = tt.bundle.CardDetails(name_column="title")
    manifest = make_manifest(card=card)
    assert Manifest.from_dict(manifest.to_dict()).model.card == card
    assert "- Names of candidates: column `title`\n" in build_model_card(manifest, None, name="films")
    assert "Names of candidates" not in build_model_card(make_manifest(), None, name="films")
    assert build_sides(trained, planted.split.seen, card=card).entry.card == card
    with pytest.raises(ValueError, match="`name_column` the card gives, has no column titel. Its columns: movie_id,"):
        build_sides(trained, planted.split.seen, card=tt.bundle.CardDetails(name_column="titel"))


def renamed(bundle: LoadedBundle, names: dict[str, str], **card: str) -> LoadedBundle:
    """Returns a bundle whose catalogue has other columns."""
    columns = [names.get(column, column) for column in bundle.candidates.column_names]
    model = dataclasses.replace(bundle.manifest.model, card=tt.bundle.CardDetails(**card))
    manifest = dataclasses.replace(bundle.manifest, model=model)
    return LoadedBundle(bundle.path, manifest, bundle.candidates.rename_columns(columns), bundle.module)


def test_the_explorer_names_candidates_by_it(bundle_path):
    bundle = tt.load_bundle(bundle_path)
    for found in (renamed(bundle, {"title": "Bezeichnung"}), renamed(bundle, {"title": "x"}, name_column="x")):
        (candidate,) = Exploration(found).name_candidates(["m3"])
        assert (candidate.id, candidate.name) == ("m3", "Title 3")
        assert "Title 3" not in candidate.details
